"""What a run says before it begins: rows, cost, budget, and whom it asks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cli.environment import stack_settings
from cli.foretelling import foretold, sentence
from cli.inputs import inputs_of
from shared.forecasts import Foretold
from shared.options import Options
from shared.pipelines.artists import foretelling
from tests.fake_api import LOCAL, FakeApi, FakeBucket, status_of
from tests.unit.conftest import CSV, Run

pytestmark = pytest.mark.usefixtures("run")


def told(content: str | bytes) -> Foretold | None:
    Path("f.csv").write_bytes(content if isinstance(content, bytes) else content.encode())
    inputs, _ = inputs_of([Path("f.csv")], "artists")
    return foretold(inputs, "artists", stack_settings())


def rows(count: int, name: str = "Nina Simone") -> str:
    return "artist_id,artist_name\n" + "".join(
        f"00000000-0000-4000-8000-{number:012x},{name}\n" for number in range(count)
    )


def test_valid_rows_are_counted_once_each_and_priced() -> None:
    found = told(rows(3) + "no uuid,Somebody\n" + "00000000-0000-4000-8000-000000000001,Again\n")
    assert found is not None
    assert (found.rows, found.rejected, found.exact, found.model) == (3, 1, True, "gpt-6-luna")
    assert 0 < found.micros.likely < found.micros.high
    twice = told(rows(6))
    assert twice is not None
    assert twice.micros.high == 2 * found.micros.high


def test_the_price_is_that_of_the_model_and_the_limit_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    usual = told(rows(3))
    monkeypatch.setenv("OPENAI_MAX_OUTPUT_TOKENS", "2400")
    longer = told(rows(3))
    monkeypatch.setenv("OPENAI_MODEL", "gpt-6-sol")
    dearer = told(rows(3))
    assert usual
    assert longer
    assert dearer
    assert usual.micros.high < longer.micros.high < dearer.micros.high
    assert dearer.model == "gpt-6-sol"


def test_a_large_file_is_reckoned_from_its_beginning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(foretelling, "WITHIN", -1.0)
    found = told(rows(40_000))
    assert found is not None
    assert not found.exact
    assert found.rows == pytest.approx(40_000, rel=0.01)
    assert any(f"about {n}," in sentence(found, Options()) for n in (39, 40))


@pytest.mark.parametrize(
    ("budget", "said"),
    [
        (None, "1 row for gpt-6-luna: about $"),
        ("1", "; the budget is enough whatever happens"),
        ("0.0003", "; the budget is enough for that"),
        ("0.0000001", "; more than the budget"),
    ],
)
def test_the_sentence_says_what_the_budget_makes_of_it(budget: str | None, said: str) -> None:
    found = told(rows(1))
    assert found is not None
    assert said in sentence(found, Options.parse({"budget": budget} if budget else {}))


@pytest.mark.parametrize("content", [b"", b"name\nx\n", b"\x00\x01\x02"])
def test_what_cannot_be_read_is_left_to_ingest(content: bytes) -> None:
    assert told(content) is None


def test_films_cost_nothing() -> None:
    assert foretold([], "movies", stack_settings()) is None


def test_run_says_whom_it_asks_and_what_that_costs(
    run: Run, api: FakeApi, stack: dict[str, Any], bucket: FakeBucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("a.csv").write_bytes(CSV)
    api.default = [status_of()]
    said = run("run", "a.csv").err
    assert "simulated OpenAI: nothing is paid. Real with OPENAI_API_KEY set." in said
    assert "1 row for gpt-6-luna: about $" in said
    assert "at most at its real price" in said
    assert f"dashboard  {LOCAL}/" in said
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    ran = run("run", "a.csv")
    assert "Real with OPENAI_API_KEY set, as it is now: end this stack with `rowlift down`" in ran.err
    stack["openai"] = None
    ran = run("run", "a.csv")
    assert "OpenAI itself: calls cost money" in ran.err
    assert "sk-secret" not in ran.out + ran.err


@pytest.mark.parametrize(
    ("simulated", "said"), [(True, "simulated OpenAI: nothing is paid"), (False, "OpenAI itself: calls cost money")]
)
def test_a_deployment_says_it_itself(
    run: Run, api: FakeApi, bucket: FakeBucket, files: list[str], simulated: bool, said: str
) -> None:
    api.default = [status_of()]
    one = {"slug": "artists", "paid": True, "simulated": simulated}
    api.answers["GET /api/pipelines"] = {"pipelines": [one], "options": []}
    assert said in run("run", "a.csv", "--api", LOCAL).err
    del api.answers["GET /api/pipelines"]
    assert run("run", "b.csv", "--api", LOCAL).code == 0  # one that does not tell
