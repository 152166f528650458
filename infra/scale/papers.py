"""The tables that docs/scale.md and docs/deploy.md hold, as text: made here, so that they say what the model says."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from math import ceil
from pathlib import Path

from infra.local.topology import ROOT
from infra.scale import bill
from infra.scale.bill import Prices
from infra.scale.deployment import Deployment
from infra.scale.growth import Grown, grow
from infra.scale.model import Resource, limits, simulate, walls
from infra.scale.recorded import compared
from infra.scale.work import Figures, Shape

HOUR, DAY = 3_600.0, 86_400.0
SIZES = (1e6, 1e8, 1e9)
GOALS = ((1e6, HOUR), (1e8, DAY), (1e9, 7 * DAY), (1e9, DAY))
LEDGER = (Resource.DATABASE_CPU, Resource.DISK, Resource.SCATTERED, Resource.LIMITER_ROW)
SCALE, DEPLOY = "docs/scale.md", "docs/deploy.md"


class PaperError(Exception):
    """A paper has no place for a table."""


class Papers:
    """Every table of the papers, from one reading of figures and prices."""

    def __init__(self, figures: Figures | None = None, prices: Prices | None = None) -> None:
        self.figures, self.prices = figures or Figures.load(), prices or Prices.load()

    def tables(self) -> dict[str, dict[str, str]]:
        """By paper and name of the table."""
        return {
            SCALE: {
                "sizes": self.sizes(),
                "raising": self.raising(),
                "instances": self.instances(),
                "ends": self.ends(),
                "checked": self.checked(),
            },
            DEPLOY: {"cost": self.cost(), "standing": self.standing(), "prices": self.price_list()},
        }

    def sizes(self) -> str:
        """What a run takes on the deployment as infra/topology.yaml has it."""
        rows = [self._size(size, slug) for slug in self.figures.pipelines for size in SIZES]
        return _table(("rows", "sessions at least", "takes", "rows/s", "bound by", "and next by", "disk"), rows)

    def _size(self, size: float, slug: str) -> tuple[str, ...]:
        work, platform, on = self.figures.pipelines[slug], self.figures.platform, self._on(slug)
        sessions = ceil(size / self._wall)
        on = replace(on, sessions=sessions)
        run = simulate(size, on, work, platform)
        rates = limits(on, work, platform, settled=size, calling=run.asked / size)
        later = min((one for one in rates if one != run.bound_by), key=lambda one: rates[one])
        takes = _span(run.seconds)
        return (
            f"{_count(size)} {slug}",
            str(sessions),
            takes if run.seconds <= platform.session else f"{takes}, more than the 30 days a session is kept",
            f"{size / run.seconds:,.0f}",
            run.bound_by,
            f"{later}, at {rates[later]:,.0f} rows/s",
            _bytes(run.stored),
        )

    def raising(self) -> str:
        """For each goal what to raise, why, and what it costs."""
        return "\n\n".join(self._raised(size, within) for size, within in GOALS)

    def instances(self) -> str:
        """How many artists a second each size of instance stands, and its disk then."""
        rows = [self._instance(shape) for shape in self.figures.shapes]
        head = (
            "instance",
            "a month",
            "rows/s",
            "rows a day",
            "indexes fit in memory up to",
            "disk operations/s at 1 billion rows",
        )
        return _table(head, rows)

    def _instance(self, shape: Shape) -> tuple[str, ...]:
        work, platform = self.figures.pipelines["artists"], self.figures.platform
        on = replace(self._on("artists"), database=shape)
        new, full = (limits(on, work, platform, settled=settled) for settled in (0, 1e9))
        rate = min(new[one] for one in LEDGER)
        asked = rate / full[Resource.SCATTERED] * shape.iops
        return (
            f"{shape.vcpus} vCPUs, {shape.memory:g} GB",
            f"${self._monthly(shape):,.0f}",
            f"{rate:,.0f}",
            _count(rate * DAY),
            f"{_count(platform.index_memory * shape.memory * 1e9 / work.scattered)} rows",
            f"{asked:,.0f} of {shape.iops:,.0f}",
        )

    def ends(self) -> str:
        """Where the largest single instance ends."""
        work, platform = self.figures.pipelines["artists"], self.figures.platform
        largest = self.figures.shapes[-1]
        on = replace(self._on("artists"), database=largest)
        rates = limits(on, work, platform)
        rows = [
            ("CPU of the largest instance", f"{rates[Resource.DATABASE_CPU]:,.0f} rows/s", "statements"),
            ("writes to its disk", f"{rates[Resource.DISK]:,.0f} rows/s", "WAL and pages"),
            ("the upstream's row", f"{rates[Resource.LIMITER_ROW]:,.0f} rows/s", "one limiter for all instances"),
            ("pushes under way", f"{rates[Resource.PUSH]:,.0f} rows/s", "of Pub/Sub, not of the database"),
            ("one session's row", f"{rates[Resource.SESSION_ROW]:,.0f} rows/s", "for each session"),
            ("its disk, rows of the last 30 days", f"{_count(platform.largest_disk / work.disk)} rows", "64 TB"),
            (
                "its disk, rows of all times",
                f"{_count(platform.largest_disk / work.kept)} rows",
                "answers and artists stay",
            ),
        ]
        return _table(("what ends", "at", "because of"), rows)

    def checked(self) -> str:
        """The model beside what was measured on a local stack."""
        rows = [
            (one.what, f"{one.recorded:,.1f} s", f"{one.predicted:,.1f} s", f"{one.off:+.0%}")
            for one in compared(self.figures)
        ]
        return _table(("run", "measured", "model", "off"), rows)

    def cost(self) -> str:
        """Dollars of a month, by service, for a deployment that is idle or used."""
        months = self._months()
        rows = [(name, *(_dollars(one[name]) for one in months.values())) for name in months["nothing"]]
        rows.append(("**together**", *(f"**{_dollars(sum(one.values()))}**" for one in months.values())))
        return _table(("a month of", *months), rows)

    def standing(self) -> str:
        """What the three kinds of database cost while nothing happens."""
        small = bill.standing(self.prices, replace(self._shape, vcpus=0, memory=0), disk_gb=10)
        kinds = {
            "`trial`: db-g1-small, a shared core": {**small, "sql_small": bill.HOURS},
            f"the default: {self._shape.vcpus} vCPUs, {self._shape.memory:g} GB": self._idle(),
            "`production`: the same twice, in two zones": bill.standing(
                self.prices, self._shape, disk_gb=self.prices.instance["disk_gb"], zones=2
            ),
        }
        rows = [(what, _dollars(sum(self.prices.bill(amounts).values()))) for what, amounts in kinds.items()]
        return _table(("database", "a month, idle"), rows)

    def price_list(self) -> str:
        """Every price with its date and how sure it is."""
        rows = [
            (one.service, f"${one.usd:.8f}".rstrip("0").rstrip("."), one.unit, f"{one.free:,.10g}" if one.free else "",
             one.of, one.sure)
            for one in self.prices.of.values()
        ]  # fmt: skip
        return _table(("service", "price", "for a", "free a month", "as of", "how sure"), rows)

    def _raised(self, size: float, within: float) -> str:
        work = self.figures.pipelines["artists"]
        grown = grow(size, within, self._on("artists"), work, self.figures)
        lines = [f"**{_count(size)} artists within {_span(within)}** ({size / within:,.0f} rows/s)", ""]
        lines += [
            f"{n}. {step.raised[0].upper()}{step.raised[1:]}, because {step.because}."
            for n, step in enumerate(grown.steps, 1)
        ]
        end = f"It then takes {_span(grown.run.seconds)}, bound by {grown.run.bound_by}"
        short = f"; {grown.short}, so it is not reached" if grown.short else ""
        return "\n".join([*lines, "", f"{end}{short}. {self._cost_of(grown)}"])

    def _cost_of(self, grown: Grown) -> str:
        work = self.figures.pipelines["artists"]
        hours = grown.run.seconds / HOUR
        lines = self.prices.bill(
            bill.together(
                bill.instance(grown.on.database, hours=hours),
                bill.of_run(grown.run, grown.on, work, self.prices, finalizing=self.figures.platform.finalizing),
            )
        )
        asked = bill.upstream(grown.run, work, "artists")
        largest = sorted(lines, key=lambda name: -lines[name])[:3]
        named = ", ".join(f"{name} ${lines[name]:,.0f}" for name in largest)
        whole = sum(lines.values())
        return f"It costs ${asked:,.0f} for OpenAI and ${whole:,.0f} for Google Cloud ({named})."

    def _months(self) -> dict[str, Mapping[str, float]]:
        found: dict[str, Mapping[str, float]] = {"nothing": {**self.prices.bill(self._idle()), "OpenAI": 0.0}}
        for slug, work in self.figures.pipelines.items():
            for what, size, times in (
                (f"10,000 {slug} a day", 1e4, bill.DAYS),
                (f"1,000,000 {slug} once", 1e6, 1.0),
            ):
                on = self._on(slug)
                run = simulate(size, on, work, self.figures.platform)
                used = bill.of_run(run, on, work, self.prices, finalizing=self.figures.platform.finalizing, times=times)
                lines = self.prices.bill(bill.together(self._idle(), used))
                found[what] = {**lines, "OpenAI": bill.upstream(run, work, slug) * times}
        return found

    def _idle(self) -> dict[str, float]:
        return bill.standing(self.prices, self._shape, disk_gb=self.prices.instance["disk_gb"])

    def _monthly(self, shape: Shape) -> float:
        return sum(self.prices.bill(bill.instance(shape, hours=bill.HOURS)).values())

    def _on(self, slug: str) -> Deployment:
        return Deployment.of(slug, self._shape)

    @property
    def _shape(self) -> Shape:
        return next(one for one in self.figures.shapes if one.vcpus == self.prices.instance["vcpus"])

    @property
    def _wall(self) -> float:
        return walls(self.figures.platform)[0].rows


def put(paper: str, tables: Mapping[str, str]) -> str:
    """A paper's text with these tables in their places; raises PaperError."""
    for name, table in tables.items():
        begin, end = f"<!-- {name}: made by make simulate -->\n", f"<!-- end of {name} -->"
        places = re.findall(f"{re.escape(begin)}.*?{re.escape(end)}", paper, re.DOTALL)
        if len(places) != 1:
            raise PaperError(f"there are {len(places)} places for the table {name!r}")
        paper = paper.replace(places[0], f"{begin}\n{table}\n\n{end}")
    return paper


def write(tables: Mapping[str, Mapping[str, str]], folder: Path = ROOT) -> None:
    """Put the tables in their papers."""
    for paper, made in tables.items():
        path = folder / paper
        path.write_text(put(path.read_text("utf-8"), made), "utf-8")


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *rows))


def _count(n: float) -> str:
    for size, word in ((1e9, "billion"), (1e6, "million")):
        if n >= size:
            return f"{n / size:,.3g} {word}"
    return f"{n:,.0f}"


def _span(seconds: float) -> str:
    for size, word in ((DAY, "day"), (HOUR, "hour"), (60.0, "minute")):
        if seconds >= size:
            amount = f"{seconds / size:,.1f}".removesuffix(".0")
            return f"{amount} {word}{'' if amount == '1' else 's'}"
    return f"{seconds:,.0f} seconds"


def _bytes(n: float) -> str:
    return f"{n / 1e12:,.1f} TB" if n >= 1e12 else f"{n / 1e9:,.1f} GB"


def _dollars(amount: float) -> str:
    return f"${amount:,.2f}"
