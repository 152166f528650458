"""What came of a seed, and of many, for people."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from tests.faults.inflict import Struck
from tests.faults.plan import Plan

SHOWN = 30  # findings of one seed; one fault of ours can make hundreds


@dataclass(kw_only=True)
class Report:
    """What came of a seed."""

    plan: Plan
    options: Mapping[str, str] = field(default_factory=dict)
    findings: list[str] = field(default_factory=list)
    struck: list[Struck] = field(default_factory=list)
    items: int = 0
    calls: int = 0
    unknown: Counter[str] = field(default_factory=Counter)
    lost: int = 0
    repeated: int = 0
    losses: Counter[str] = field(default_factory=Counter)  # requests without a booked success, by reason
    put_aside: int = 0  # answers
    taken_in: int = 0
    left_aside: int = 0  # objects nobody took in
    in_flight: int = 0
    busiest: int = 0  # requests in any second
    idle: int = 0  # faults that began when no call was under way or to come
    raised: int = 0  # budgets that had run out
    redone: int = 0  # sessions whose failed items were run again
    seconds: float = 0.0

    def line(self) -> str:
        """The seed in a line."""
        return (
            f"seed {self.plan.seed}: {'FAILED' if self.findings else 'sound'} in {self.seconds:.0f} s: {self.items} "
            f"items, {self.calls} calls, {self.unknown.total()} unknown, {self.lost} answers lost, "
            f"{self.repeated} repeated, {_counted(self.losses)}, {self.in_flight} in flight at kills, "
            f"{self.put_aside} put aside, {self.taken_in} taken in, "
            f"{self.busiest} requests in a second, {self.idle} of {len(self.struck)} faults hit no call"
        )


def _counted(losses: Counter[str]) -> str:
    """Requests without a booked success by reason, in words."""
    reasons = ", ".join(f"{n} {reason}" for reason, n in sorted(losses.items()))
    return f"{losses.total()} without a booked success{f' ({reasons})' if reasons else ''}"


def told(report: Report) -> list[str]:
    """A report in lines: what happened when, what was found, and how to have it again."""
    began = min((one.began - one.fault.at for one in report.struck), default=0.0)
    return [
        report.line(),
        *(f"  {line}" for line in report.plan.lines()),
        *(
            f"  struck at {one.began - began:4.1f}: {one.fault.kind} {one.fault.target} -> {one.reached}"
            for one in report.struck
        ),
        *(f"  FOUND {finding}" for finding in report.findings[:SHOWN]),
        *([f"  and {len(report.findings) - SHOWN} more"] if len(report.findings) > SHOWN else []),
        *([f"  again: {again(report)}"] if report.findings else []),
    ]


def again(report: Report) -> str:
    """The command that plays a seed again."""
    plan, options = report.plan, "".join(f" --option {name}={value}" for name, value in report.options.items())
    command = ".venv/bin/python -m tests.faults --verbose --seeds 1"
    return f"{command} --first-seed {plan.seed} --seconds {plan.seconds:g}{options}"


def summary(reports: Sequence[Report]) -> str:
    """All seeds in a few lines."""
    kinds = Counter(one.fault.kind for report in reports for one in report.struck)
    unknown: Counter[str] = sum((report.unknown for report in reports), Counter())
    failed = [report.plan.seed for report in reports if report.findings]
    return "\n".join(
        [
            f"{len(reports)} seeds, {len(failed)} failed{f': {failed}' if failed else ''}",
            "faults: " + ", ".join(f"{n} {kind}" for kind, n in kinds.most_common()),
            f"{sum(r.raised for r in reports)} budgets raised, {sum(r.redone for r in reports)} sessions partly redone",
            f"{sum(r.items for r in reports)} items, {sum(r.calls for r in reports)} calls, {unknown.total()} unknown ("
            + ", ".join(f"{n} {code}" for code, n in unknown.most_common())
            + f"), {sum(r.lost for r in reports)} answers lost, {sum(r.repeated for r in reports)} calls repeated, "
            f"{sum(r.in_flight for r in reports)} in flight at kills",
            f"{_counted(sum((r.losses for r in reports), Counter()))}; {sum(r.put_aside for r in reports)} answers put "
            f"aside, {sum(r.taken_in for r in reports)} taken in, {sum(r.left_aside for r in reports)} objects left",
        ]
    )
