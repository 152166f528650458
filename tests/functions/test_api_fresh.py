"""Answers that may be a little old: made once for all who ask at the same time, and never without being allowed."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable
from typing import Any

import pytest
from werkzeug.test import Client

from shared.api.freshness import LONGEST, Freshness
from shared.api.routing import Api
from tests.factories import at_once
from tests.functions.asking import client_of, problem
from tests.workbench import Workbench, artists_csv


class Clock:
    """A clock that is moved by hand."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def counting(start: int = 0) -> Callable[[], int]:
    """A maker of answers that counts."""
    made = itertools.count(start + 1)
    return lambda: next(made)


class TestFreshness:
    def test_an_answer_serves_until_it_is_too_old(self) -> None:
        clock = Clock()
        fresh: Freshness[int] = Freshness(clock=clock)
        make = counting()
        assert [fresh.get("a", make, max_age=1) for _ in range(3)] == [1, 1, 1]
        clock.now += 1.01
        assert fresh.get("a", make, max_age=3) == 1
        assert fresh.get("a", make, max_age=1) == 2
        assert fresh.get("b", make, max_age=1) == 3

    def test_however_old_one_would_take_it(self) -> None:
        clock = Clock()
        fresh: Freshness[int] = Freshness(clock=clock)
        make = counting()
        fresh.get("a", make, max_age=1)
        clock.now += LONGEST + 0.1
        assert fresh.get("a", make, max_age=3_600) == 2

    def test_all_who_ask_while_it_is_made_get_the_same(self) -> None:
        fresh: Freshness[int] = Freshness()
        make, begun = counting(), threading.Event()

        def slowly() -> int:
            begun.wait(5)
            return make()

        def ask(i: int) -> int:
            if i == 19:
                begun.set()
            return fresh.get("a", slowly, max_age=1)

        assert at_once(20, ask) == [1] * 20

    def test_a_failure_is_told_to_all_who_wait_and_to_nobody_later(self) -> None:
        fresh: Freshness[int] = Freshness()
        with pytest.raises(ValueError, match="once"):
            fresh.get("a", lambda: (_ for _ in ()).throw(ValueError("once")), max_age=1)
        assert fresh.get("a", lambda: 7, max_age=1) == 7

    def test_what_was_begun_before_forgetting_serves_nobody_who_asks_after(self) -> None:
        fresh: Freshness[str] = Freshness()
        begun, go_on = threading.Event(), threading.Event()

        def slowly() -> str:
            begun.set()
            assert go_on.wait(5)
            return "before"

        early = threading.Thread(target=lambda: fresh.get("a", slowly, max_age=1))
        early.start()
        assert begun.wait(5)
        fresh.forget()
        assert fresh.get("a", lambda: "after", max_age=1) == "after"
        go_on.set()
        early.join(5)
        assert fresh.get("a", lambda: "later", max_age=1) == "after"

    def test_no_more_are_kept_than_there_is_room_for(self) -> None:
        fresh: Freshness[int] = Freshness(most=10)
        make = counting()
        for i in range(1_000):
            fresh.get(i, make, max_age=1)
        assert len(fresh._kept) == 10


class TestOverTheApi:
    @pytest.fixture
    def asked(self, bench: Workbench, monkeypatch: pytest.MonkeyPatch) -> list[str]:
        """The statements that were run, by name."""
        seen: list[str] = []
        rows = bench.db.rows

        def noted(name: str, **params: Any) -> Any:
            seen.append(name)
            return rows(name, **params)

        monkeypatch.setattr(bench.db, "rows", noted)
        return seen

    def test_fifty_dashboards_cost_what_one_does(self, bench: Workbench, asked: list[str]) -> None:
        session = bench.drop(artists_csv(2))
        api = Api(bench.db, bench.sessions, bench.store, bench.settings)
        asked.clear()
        path, headers = f"/api/session/{session}/status", {"Cache-Control": "max-age=5"}
        answers = at_once(50, lambda i: client_of(api).get(path, headers=headers).data)
        assert len({*answers}) == 1
        assert b'"open":2' in answers[0]
        assert asked.count("session_stands") == 1

    @pytest.mark.parametrize("path", ["/api/sessions", "/api/session/{}/status", "/api/session/{}/progress",
                                      "/api/session/{}/errors"])  # fmt: skip
    def test_nothing_is_old_unless_the_request_allows_it(
        self, http: Client, bench: Workbench, asked: list[str], path: str
    ) -> None:
        path = path.format(bench.drop(artists_csv(1)))
        for headers, again in (
            ({}, True),
            ({"Cache-Control": "no-cache"}, True),
            ({"Cache-Control": "max-age=0"}, True),
            ({"Cache-Control": "max-age=x"}, True),
            ({"Cache-Control": "max-age=5"}, False),
        ):
            http.get(path, headers=headers)
            asked.clear()
            response = http.get(path, headers=headers)
            assert (response.status_code, response.headers["Cache-Control"]) == (200, "no-store")
            assert bool(asked) == again

    def test_an_action_is_seen_at_once(self, http: Client, bench: Workbench) -> None:
        session = bench.drop(artists_csv(1))
        headers = {"Cache-Control": "max-age=5"}
        assert http.get(f"/api/session/{session}/status", headers=headers).json["status"] == "enriching"
        assert http.get("/api/sessions", headers=headers).json["sessions"][0]["status"] == "enriching"
        http.post(f"/api/session/{session}/pause")
        assert http.get(f"/api/session/{session}/status", headers=headers).json["status"] == "paused"
        assert http.get("/api/sessions", headers=headers).json["sessions"][0]["status"] == "paused"

    def test_pages_of_different_queries_are_different(self, http: Client, bench: Workbench) -> None:
        for i in range(3):
            bench.drop(artists_csv(1), f"artists/{i}.csv")
        headers = {"Cache-Control": "max-age=5"}
        one, two = (http.get(f"/api/sessions?limit={n}", headers=headers).json["sessions"] for n in (1, 2))
        assert (len(one), len(two)) == (1, 2)

    def test_an_unknown_session_is_asked_for_again(self, http: Client, asked: list[str]) -> None:
        for _ in range(2):
            asked.clear()
            path = "/api/session/00000000-0000-4000-8000-000000000000/status"
            problem(http.get(path, headers={"Cache-Control": "max-age=5"}), 404, "not-found")
            assert asked
