"""`make faults`: seeds of the campaign, or one of the measured runs (`--pace`, `--crash`)."""

from __future__ import annotations

import argparse
import contextlib
import sys
from pathlib import Path

from tests.faults import campaign, crash, pace
from tests.faults.report import Report, summary, told


def main(arguments: list[str] | None = None) -> int:
    """The exit status: 1 when any seed found something."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description="Rowlift under faults.")
    parser.add_argument("--seeds", type=int, default=10, help="how many (default 10)")
    parser.add_argument("--first-seed", type=int, default=1, help="they count from here (default 1)")
    parser.add_argument("--seconds", type=float, default=12.0, help="as long faults go on in a seed (default 12)")
    parser.add_argument("--option", action="append", default=[], metavar="NAME=VALUE", help="of every file dropped")
    parser.add_argument("--folder", type=Path, default=Path(".rowlift-faults"), help="logs and evidence go here")
    parser.add_argument("--verbose", action="store_true", help="the plan of sound seeds too")
    parser.add_argument("--pace", action="store_true", help="time of a run with and without duplicates and kills")
    parser.add_argument("--crash", action="store_true", help="kill -9 at half of 2,000 rows: lost and repeated calls")
    chosen = parser.parse_args(arguments)
    options = dict(pair.split("=", 1) for pair in chosen.option)
    folder = chosen.folder.absolute()
    if chosen.pace or chosen.crash:
        measured = (pace if chosen.pace else crash).measure(folder, options=options, seed=chosen.first_seed)
        print("\n".join(measured.lines()), flush=True)
        return int(bool(measured.findings))
    seeds = range(chosen.first_seed, chosen.first_seed + chosen.seeds)
    reports: list[Report] = []
    with contextlib.suppress(KeyboardInterrupt):  # what was found until then is told
        for report in campaign.run(seeds, folder=folder, seconds=chosen.seconds, options=options):
            reports.append(report)
            lines = told(report)
            print("\n".join(lines if chosen.verbose or report.findings else lines[:1]), flush=True)
    print(summary(reports))
    return int(len(reports) < chosen.seeds or any(report.findings for report in reports))


if __name__ == "__main__":
    sys.exit(main())
