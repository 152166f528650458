"""Results of an earlier run hold the rows of a sheet whose files are all here; the others run, and fetch what lacks."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest

from shared.upstreams.base import ErrorClass
from tests.assets import FILE, PLAYLIST, VIDEO, FakeWeb, assets_bench, basic, drop
from tests.factories import failure
from tests.resumption import keep, results, resumed, summary
from tests.workbench import Workbench

SHEET = basic(f"{VIDEO}|{FILE}", PLAYLIST, FILE)


def going_on(bench: Workbench, first: UUID, **options: str) -> UUID:
    """The session of the same sheet that goes on with the results of the first."""
    bench.upstream.requests.clear()
    return drop(bench, SHEET, "assets/two.csv", resume=keep(bench, results(bench, first)), **options)


def private(what: str) -> Any:
    """A web where everything of one kind is private."""
    lost = failure(ErrorClass.PERMANENT, code="upstream.private")
    return lambda request: lost if str(request.what) == what else None


@pytest.mark.parametrize("mode", ["both", "db", "file"])
def test_rows_whose_files_are_all_here_are_not_run(bench: Workbench, mode: str) -> None:
    assets = assets_bench(bench)
    session = going_on(assets, drop(assets, SHEET, write_mode=mode), write_mode=mode)
    assert assets.upstream.requests == []
    assert resumed(assets, session) == [1, 2, 3]
    found = summary(assets, session)
    assert (found["confirmed"], found["held"], found.get("not_in_upload", 0)) == (3, 3, 0)


@pytest.mark.parametrize("mode", ["both", "db", "file"])
def test_a_row_one_of_whose_files_failed_runs_again(bench: Workbench, mode: str) -> None:
    web = FakeWeb(private("transcript"))
    assets = assets_bench(bench, web)
    first = drop(assets, SHEET, write_mode=mode, max_failed="100%")
    web.script = lambda request: None
    session = going_on(assets, first, write_mode=mode)
    assert resumed(assets, session) == [3]
    asked = {what for what, _ in assets.upstream.asked()}
    # Where the tables say that the other files are here they are left alone; the ledger alone does not say it.
    assert asked == ({"transcript", "video", "file", "listing"} if mode == "file" else {"transcript", "listing"})
    assert assets.sessions.status(session)["failed"] == 0


def test_rows_that_only_were_taken_in_are_fetched_now(bench: Workbench) -> None:
    assets = assets_bench(bench)
    session = going_on(assets, drop(assets, SHEET, mode="basic"))
    assert resumed(assets, session) == []
    assert len(assets.upstream.requests) == 9
