"""After thirty days a session's items, inputs and results go; artists, calls and money stay."""

from __future__ import annotations

from typing import Any

import pytest

from shared.errors import Gone, StorageDown
from shared.rescuing import Round
from tests.factories import enriched, settle, started
from tests.workbench import Workbench, artists_csv


def test_an_expired_session_loses_items_and_results_but_not_its_money(bench: Workbench) -> None:
    session = bench.drop(artists_csv(8))
    bench.run(session)
    spent = bench.facts(session)["spent"]
    bench.pass_time(30 * 86_400 + 1)
    assert bench.rescuer.round().expired == 1
    assert bench.value(f"SELECT count(*) FROM items WHERE session_id = '{session}'") == 0
    assert not [key for key in bench.store.objects if key[0] == "out"]
    assert bench.value("SELECT count(*) FROM artists WHERE bio IS NOT NULL") == 8
    assert bench.value("SELECT count(*) FROM calls WHERE state = 'succeeded'") == 8
    assert (bench.facts(session)["status"], bench.facts(session)["spent"]) == ("completed", spent)
    for ask in (bench.sessions.reprocess, bench.sessions.resume, bench.sessions.cancel):
        with pytest.raises(Gone):
            ask(session)
    assert bench.rescuer.round() == Round(open_sessions=0, freed=0, notices=0, dispatched=0, files=0, expired=0)


def test_an_unfinished_session_is_cancelled_when_it_expires(bench: Workbench) -> None:
    session = bench.drop(artists_csv(8))
    call = started(bench, session)
    bench.pass_time(30 * 86_400 + 1)
    bench.rescuer.round()
    status = bench.sessions.status(session)
    assert (status["status"], status["total"], status["open"], status["cancelled"]) == ("cancelled", 8, 0, 8)
    assert settle(bench, enriched(call)) == {1: "gone"}
    assert bench.deliver()
    assert bench.upstream.requests == []
    assert not [key for key in bench.store.objects if key[0] == "out"]


def test_results_that_cannot_be_deleted_now_are_deleted_later(
    bench: Workbench, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = bench.drop(artists_csv(2))
    bench.run(session)
    bench.pass_time(30 * 86_400 + 1)
    with monkeypatch.context() as away:
        away.setattr(bench.store, "delete_prefix", _raise(StorageDown()))
        assert bench.rescuer.round().expired == 0
    assert bench.value("SELECT count(*) FROM items") == 2
    assert bench.rescuer.round().expired == 1
    assert session


def _raise(error: Exception) -> Any:
    def act(*_: Any, **__: Any) -> Any:
        raise error

    return act
