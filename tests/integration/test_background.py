"""call-mode=background: the id of an answer is kept before the answer; after a crash it is fetched, not paid again."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import Any, cast
from uuid import UUID

import pytest

from shared.calls import request_digest
from shared.db import Database
from shared.errors import InputError, LedgerDown
from shared.files import check_options
from shared.items import Item
from shared.messages import ItemsNotice
from shared.options import CallMode, Options
from shared.pipelines.base import Dialogue
from shared.progress import items_page
from shared.upstreams.base import Answer, ErrorClass, Failure, Usage
from tests.factories import failure, make_session, started
from tests.fakes import answer
from tests.workbench import Workbench, artists_csv

UNFINISHED = failure(ErrorClass.TRANSIENT, code="upstream.unfinished", call_state="unknown", response_id="resp_1")


class Deferred:
    """An upstream that answers by id; `script` says what the nth fetch gets."""

    name = "openai"

    def __init__(self, script: Any = None) -> None:
        self.began: list[str] = []
        self.fetched: list[str] = []
        self._script = script or (lambda n: None)
        self._lock = threading.Lock()

    def begin(self, request: Any, *, timeout: float) -> str | Answer | Failure:
        with self._lock:
            self.began.append(f"resp_{len(self.began) + 1}")
            return self.began[-1]

    def fetch(self, response_id: str, *, timeout: float) -> Answer | Failure:
        with self._lock:
            self.fetched.append(response_id)
            n = len(self.fetched)
        scripted = self._script(n)
        if isinstance(scripted, BaseException):
            raise scripted
        return scripted or answer(f"Bio of {response_id}.", response_id=response_id)

    def worst_case(self, request: Any) -> Usage:
        return Usage(input_tokens=100, output_tokens=1000)


def bench_with(db: Database, url: str, upstream: Deferred) -> Workbench:
    """A Rowlift on that upstream."""
    bench = Workbench(db=db, url=url)
    bench.pipeline.__dict__["_openai"] = upstream
    return bench


def _same_request(bench: Workbench, session: UUID) -> None:
    """Have the call that a test made by hand be the one the pipeline makes."""
    (dialogue,) = bench.pipeline.begin(bench.db, [_item(bench, session)], Options()).values()
    digest = request_digest(next(cast(Dialogue, dialogue)), bench.pipeline.configuration)
    bench.execute(f"UPDATE calls SET request_hash = decode('{digest}', 'hex')")


def _item(bench: Workbench, session: UUID) -> Item:
    row = items_page(bench.db, session, limit=1)[0][0]
    return Item(session=session, number=1, attempt=1, key=row["key"], input=row["input"], failures=0, snoozes=0,
                round=1, kept=None)  # fmt: skip


def handle(bench: Workbench, session: UUID) -> None:
    """Deliver the first item's notice."""
    bench.processor.handle(ItemsNotice(session=session, items=(1,)))


def test_every_answer_is_fetched_by_its_id(db: Database, database_url: str) -> None:
    upstream = Deferred()
    bench = bench_with(db, database_url, upstream)
    session = bench.drop(artists_csv(20), call_mode="background")
    assert bench.run(session)["enriched"] == 20
    assert sorted(upstream.began) == sorted(upstream.fetched)
    assert bench.value("SELECT count(*) FROM calls WHERE state = 'succeeded' AND response_id LIKE 'resp_%'") == 20
    bench.assert_sound(session)


def test_a_worker_that_died_after_the_id_was_kept_pays_nothing_again(db: Database, database_url: str) -> None:
    upstream = Deferred()
    bench = bench_with(db, database_url, upstream)
    session = make_session(bench, 1, options='{"call_mode": "background"}')
    call = started(bench, session)
    db.rows("keep_response_id", call=call.id, response_id=upstream.begin("?", timeout=1))
    _same_request(bench, session)
    bench.pass_time(131)
    bench.rescuer.round()
    assert [one[2] for one in bench.calls(session)] == ["unknown"]
    assert bench.run(session)["enriched"] == 1
    assert (upstream.began, upstream.fetched) == (["resp_1"], ["resp_1"])
    ((_, _, state, _, cost),) = bench.calls(session)
    assert state == "succeeded"
    assert bench.facts(session)["spent"] == cost
    assert bench.facts(session)["reserved"] == 0
    bench.assert_sound(session)


def test_an_answer_begun_with_another_model_is_asked_anew(db: Database, database_url: str) -> None:
    upstream = Deferred(lambda n: UNFINISHED if n == 1 else None)
    before = bench_with(db, database_url, upstream)
    session = make_session(before, 1, options='{"call_mode": "background"}')
    handle(before, session)
    after = Workbench(db=db, url=database_url, changes={"openai_model": "gpt-5.5"})
    after.pipeline.__dict__["_openai"] = upstream
    assert after.run(session)["enriched"] == 1
    assert (upstream.began, upstream.fetched) == (["resp_1", "resp_2"], ["resp_1", "resp_2"])
    assert sorted(call[2] for call in after.calls(session)) == ["succeeded", "unknown"]
    after.assert_sound(session)


def test_a_fetched_answer_that_says_no_usage_costs_what_was_reserved(db: Database, database_url: str) -> None:
    silent = replace(answer("A bio."), usage=None)
    upstream = Deferred(lambda n: UNFINISHED if n == 1 else silent)
    bench = bench_with(db, database_url, upstream)
    session = make_session(bench, 1, options='{"call_mode": "background"}')
    assert bench.run(session)["enriched"] == 1
    ((_, _, _, reserved, cost),) = bench.calls(session)
    assert cost == reserved > 0


def test_an_answer_that_is_late_is_fetched_by_the_next_attempt(db: Database, database_url: str) -> None:
    upstream = Deferred(lambda n: UNFINISHED if n == 1 else None)
    bench = bench_with(db, database_url, upstream)
    session = make_session(bench, 1, options='{"call_mode": "background"}')
    handle(bench, session)
    assert bench.item(session)["state"] == "retryable"
    assert bench.run(session)["enriched"] == 1
    assert upstream.began == ["resp_1"]
    assert len(bench.calls(session)) == 1
    bench.assert_sound(session)


def test_an_answer_nobody_can_give_back_is_asked_anew(db: Database, database_url: str) -> None:
    lost = failure(ErrorClass.TRANSIENT, code="upstream.response_lost", call_state="unknown")
    upstream = Deferred(lambda n: lost if n == 1 else None)
    bench = bench_with(db, database_url, upstream)
    session = make_session(bench, 1, options='{"call_mode": "background"}')
    assert bench.run(session)["enriched"] == 1
    assert upstream.began == ["resp_1", "resp_2"]
    assert sorted(call[2] for call in bench.calls(session)) == ["succeeded", "unknown"]
    bench.assert_sound(session)


def test_a_new_round_asks_anew(db: Database, database_url: str) -> None:
    upstream = Deferred(lambda n: UNFINISHED if n <= 23 else None)  # twenty times patience, then three tries
    bench = bench_with(db, database_url, upstream)
    session = make_session(bench, 1, options='{"call_mode": "background", "max_failed": "100%"}')
    assert bench.run(session)["failed"] == 1
    bench.sessions.reprocess(session)
    assert bench.run(session)["enriched"] == 1
    assert upstream.began == ["resp_1", "resp_2"]


def test_a_session_held_meanwhile_fetches_nothing(db: Database, database_url: str) -> None:
    upstream = Deferred(lambda n: UNFINISHED if n == 1 else None)
    bench = bench_with(db, database_url, upstream)
    session = make_session(bench, 1, options='{"call_mode": "background"}')
    handle(bench, session)
    bench.sessions.pause(session)
    bench.make_due(session)
    handle(bench, session)
    assert upstream.fetched == ["resp_1"]


def test_an_id_that_cannot_be_kept_costs_nothing_but_the_safety(
    db: Database, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    upstream = Deferred()
    bench = bench_with(db, database_url, upstream)
    session = make_session(bench, 1, options='{"call_mode": "background"}')
    rows = Database.rows

    def losing(self: Database, name: str, **params: Any) -> Any:
        if name == "keep_response_id":
            raise LedgerDown("away")
        return rows(self, name, **params)

    monkeypatch.setattr(Database, "rows", losing)
    handle(bench, session)
    assert bench.item(session)["outcome"] == "enriched"


def test_the_option_means_nothing_where_nothing_is_paid(bench: Workbench) -> None:
    from shared.pipelines import pipeline

    with pytest.raises(InputError, match="'call-mode' means nothing to pipeline movies"):
        check_options(Options(call_mode=CallMode.BACKGROUND), pipeline("movies", bench.settings))
