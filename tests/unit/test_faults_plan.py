"""Seeds of the fault campaign can be told apart, repeated and read; their files hold what the plan says."""

from __future__ import annotations

import csv
import io
from uuid import UUID

import pytest

from tests.faults.check import STOPS_WITHIN
from tests.faults.plan import KINDS, Drop, Fault, make_plan
from tests.faults.rows import make_file
from tests.faults.stage import DEADLINE

SEEDS = range(1, 201)


def test_a_seed_is_the_same_plan_and_another_is_another() -> None:
    assert make_plan(7) == make_plan(7)
    assert make_plan(7).lines() != make_plan(8).lines()


def test_two_hundred_seeds_hold_everything_there_is() -> None:
    plans = [make_plan(seed) for seed in SEEDS]
    assert {fault.kind for plan in plans for fault in plan.faults} == {*KINDS, "away"}
    drops = [drop for plan in plans for drop in plan.drops]
    assert {len(plan.drops) for plan in plans} == {1, 2, 3}
    assert all(any(getattr(drop, what) for drop in drops) for what in
               ("duplicates", "rejects", "wide", "budget", "again_at", "pause", "cancel_at", "redo"))  # fmt: skip
    assert any(plan.films_at is not None for plan in plans)
    postgres = {fault.target for plan in plans for fault in plan.faults if fault.kind == "postgres"}
    assert postgres == {"fast", "immediate", "kill", "backend"}


@pytest.mark.parametrize("seconds", [5.0, 12.0])
def test_faults_begin_in_time_and_leave_one_worker_running(seconds: float) -> None:
    for plan in (make_plan(seed, seconds) for seed in SEEDS):
        assert plan.faults
        assert all(0 <= fault.at <= seconds for fault in plan.faults)
        assert [fault.at for fault in plan.faults] == sorted(fault.at for fault in plan.faults)
        stops = [fault for fault in plan.faults if fault.kind == "stop_worker"]
        assert len(stops) <= 1
        assert all(fault.lasts > 11 for fault in stops), "shorter than the lease and its grace"


@pytest.mark.parametrize("seconds", [6.0, 12.0])
def test_whoever_is_away_is_away_for_longer_than_handlers_wait_and_nothing_else_happens_then(seconds: float) -> None:
    plans = [plan for seed in SEEDS if (plan := make_plan(seed, seconds)).faults[-1].kind == "away"]
    assert len(plans) > len(SEEDS) / 6
    for plan in plans:
        *others, away = plan.faults
        assert away.lasts > DEADLINE + 2
        assert all(fault.at <= away.at - 1 and fault.kind not in ("away", "stop_worker") for fault in others)


def test_pauses_are_longer_than_calls_may_go_on_for() -> None:
    pauses = [drop.pause for seed in SEEDS for drop in make_plan(seed).drops if drop.pause]
    assert pauses
    assert all(ended - began > STOPS_WITHIN for began, ended in pauses)


def test_a_plan_says_what_happens_when() -> None:
    fault = Fault(at=1.5, kind="storm", target="openai", lasts=2.0, details={"429": 0.6})
    assert str(fault) == "  1.5 s  storm openai for 2 s 429=0.6"
    plan = make_plan(3)
    said = "\n".join(plan.lines())
    assert all(drop.name in said for drop in plan.drops)
    assert said.count("\n") >= len(plan.faults) + len(plan.drops)


def test_a_file_holds_its_artists_duplicates_and_rejects() -> None:
    drop = Drop(at=0, name="x", first=10, unique=50, duplicates=12, rejects=5)
    file = make_file(1, drop)
    assert file == make_file(1, drop)
    rows = list(csv.DictReader(io.StringIO(file.data.decode())))
    assert len(rows) == file.lines == drop.rows == 67
    seen: set[str] = set()
    for line, row in enumerate(rows, start=2):
        if line in file.rejects:
            with pytest.raises(ValueError, match="UUID"):
                UUID(row["artist_id"])
        elif line in file.duplicates:
            assert row["artist_id"] in seen, "the artist's own row comes first"
        else:
            assert row["artist_name"] == file.artists[line]
            assert row["artist_id"] not in seen
            seen.add(row["artist_id"])
    assert len(seen) == 50


def test_no_two_drops_or_seeds_share_an_artist() -> None:
    names: list[str] = []
    for seed in range(1, 30):
        for drop in make_plan(seed).drops:
            names += make_file(seed, drop).artists.values()
    assert len(names) == len(set(names))


def test_wide_rows_make_a_file_of_several_chunks() -> None:
    drop = Drop(at=0, name="wide", first=0, unique=400, wide=True)
    assert len(make_file(1, drop).data) > 1 << 18
