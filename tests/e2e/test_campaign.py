"""A short fault campaign (`make faults` is the long one), and every seed that once found something."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults import campaign
from tests.faults.report import told

SECONDS = 6.0
# Between them: functions and workers killed, PostgreSQL killed, restarted, and away for longer than handlers wait, the
# broker emptied, a worker stopped past its lease, connections cut, answers of PostgreSQL lost, storms, a budget that
# runs out, pauses, a cancel, films.
SEEDS = (29, 16)
REGRESSIONS: tuple[int, ...] = ()  # seeds that once failed, by whatever is mended since


@pytest.mark.slow
def test_no_seed_finds_anything(tmp_path: Path) -> None:
    reports = list(campaign.run((*SEEDS, *REGRESSIONS), folder=tmp_path, seconds=SECONDS, options={}))
    lines = "\n".join(line for report in reports for line in told(report))
    assert [report.plan.seed for report in reports if report.findings] == [], lines
    assert sum(report.calls for report in reports) > 1_000, lines
    # An object taken in twice, by two who found it at once, settles nothing twice.
    put_aside, taken_in = (sum(getattr(report, name) for report in reports) for name in ("put_aside", "taken_in"))
    assert put_aside <= taken_in, lines
    unknown = sum(report.unknown.total() for report in reports)
    assert put_aside + unknown > 0, f"nothing was hit, so nothing is proven:\n{lines}"
