"""`rowlift reprocess`: what is sent, and what is said of rows and cost."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.fake_api import (
    FakeApi,
    payment_of,
    problem,
    status_of,
    working,
)
from tests.unit.conftest import ID, Run


def test_reprocess_says_how_many_rows_run_again(run: Run, api: FakeApi, stack: dict[str, Any]) -> None:
    path = f"/api/session/{ID}/reprocess"
    api.answers[f"POST {path}"] = {"opened": 3, "status": working(7)}
    ran = run("reprocess", ID, "--outcome", "failed, not_found", "--key", "k1", "--json")
    assert ran.answer["opened"] == 3
    assert "3 rows run again" in ran.err
    api.answers[f"POST {path}"] = {"opened": 0, "status": status_of()}
    assert "No row ended failed, so nothing runs again. Rows by outcome: 10 enriched." in run("reprocess", ID).out
    assert api.sent("POST", path) == [
        {"outcomes": ["failed", "not_found"], "key": "k1"},
        {},  # what is meant then is the API's to say
    ]


def test_reprocess_by_error_code_and_prompt(run: Run, api: FakeApi, stack: dict[str, Any]) -> None:
    path = f"/api/session/{ID}/reprocess"
    api.answers[f"POST {path}"] = {"opened": 1, "status": working(7)}
    assert run("reprocess", ID, "--error-code", "upstream.timeout, db.refused").code == 0
    assert run("reprocess", ID, "--prompt", "artist-bio/1", "--outcome", "enriched").code == 0
    assert api.sent("POST", path) == [
        {"error_codes": ["upstream.timeout", "db.refused"]},
        {"outcomes": ["enriched"], "prompt": "artist-bio/1"},
    ]
    for option in ("--error-code", "--outcome"):  # an empty list is not the default
        assert run("reprocess", ID, option, " , ").code == 2
    assert len(api.sent("POST", path)) == 2


@pytest.fixture
def opened(api: FakeApi) -> Callable[..., None]:
    """Has the API open rows of a session with this status."""

    def answer(count: int, **changes: Any) -> None:
        api.answers[f"POST /api/session/{ID}/reprocess"] = {"opened": count, "status": working(7, **changes)}

    return answer


def test_it_says_what_the_rows_will_cost_by_what_the_sessions_calls_did(
    run: Run, api: FakeApi, stack: dict[str, Any], opened: Callable[..., None]
) -> None:
    opened(4)
    api.answers[f"GET /api/session/{ID}/calls"] = payment_of()  # ten calls for $0.0125
    ran = run("reprocess", ID, "--json")
    assert "4 rows run again, for about $0.005 if a call costs what it did so far" in ran.err
    assert ran.answer["estimated_usd"] == 0.005
    assert "will pause" not in ran.err
    opened(1, budget_usd=0.0126)
    ran = run("reprocess", ID)
    assert "1 row runs again" in ran.out
    assert "The budget of $0.0126 leaves $0.0001: it will pause before the end" in ran.out


@pytest.mark.parametrize(
    ("changes", "calls"),
    [({"pipeline": "movies"}, payment_of()), ({}, payment_of(by_model=[])), ({}, problem(503, "Away."))],
)
def test_where_that_is_not_known_it_says_nothing_of_cost(
    run: Run, api: FakeApi, stack: dict[str, Any], opened: Callable[..., None], changes: dict[str, Any], calls: Any
) -> None:
    opened(4, **changes)
    api.answers[f"GET /api/session/{ID}/calls"] = calls
    ran = run("reprocess", ID, "--json")
    assert (ran.code, ran.answer["estimated_usd"], "$" in ran.err) == (0, None, False)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "No row ended failed, so nothing runs again. Rows by outcome: 7 enriched. --outcome NAME chooses others."),
        (["--outcome", "failed,not_found"], "No row ended failed or not_found, so nothing"),
        (["--error-code", "upstream.timeout"], "No row has code upstream.timeout, so nothing"),
        (["--key", "k1", "--prompt", "p/1"], "No row has key k1 and was made by prompt p/1, so nothing"),
    ],
)
def test_where_no_row_is_meant_it_says_how_the_rows_stand(
    run: Run, api: FakeApi, stack: dict[str, Any], opened: Callable[..., None], words: list[str], said: str
) -> None:
    opened(0)
    assert said in run("reprocess", ID, *words).out
