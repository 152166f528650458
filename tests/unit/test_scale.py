"""The model of runs of any size: what it is fed with, what it says, and that the papers say the same."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from math import ceil
from pathlib import Path

import pytest
import yaml

from infra.scale import bill
from infra.scale.bill import Prices, PricesError
from infra.scale.deployment import Deployment
from infra.scale.growth import grow
from infra.scale.model import Resource, Run, limits, simulate, walls
from infra.scale.papers import PaperError, Papers, put, write
from infra.scale.recorded import compared
from infra.scale.work import FIGURES, Figures, FiguresError, Work
from shared.config import PipelineSettings, Settings, UpstreamLimits, parse_database_url
from shared.db import STARTUP
from shared.forecasts import BYTES_PER_TOKEN, PACE
from shared.pipelines import artists, movies
from tests.conftest import ROOT
from tests.workbench import artists_csv

AS_RECORDED = 0.15  # how far the model may be off what was measured on a local stack
PAPERS = Papers()
FIGURES_READ = PAPERS.figures
PLATFORM = FIGURES_READ.platform
WORK = FIGURES_READ.pipelines["artists"]
DEPLOYED = Deployment.of("artists", FIGURES_READ.shapes[0])
WIDE = replace(
    DEPLOYED, requests=None, instances=1_000, sessions=1_000, readers=1_000, database=FIGURES_READ.shapes[-1]
)


def run(rows: float, on: Deployment = DEPLOYED, work: Work = WORK) -> Run:
    return simulate(rows, on, work, PLATFORM)


class TestAgainstWhatWasMeasured:
    @pytest.mark.parametrize("one", compared(FIGURES_READ), ids=lambda one: one.what)
    def test_it_says_how_long_a_local_run_took(self, one: object) -> None:
        assert abs(one.off) < AS_RECORDED, one  # type: ignore[attr-defined]

    def test_recorded_figures_are_those_of_the_benchmarks(self) -> None:
        told = " ".join((ROOT / "tests/bench/README.md").read_text("utf-8").split())
        recorded = FIGURES_READ.recorded
        assert "| 10,000 rows, upstream at 0 ms | 1,015 rows/s" in told
        assert recorded["10,000 artists, upstream at 0 ms"]["seconds"] == pytest.approx(10_000 / 1_015, abs=0.01)
        assert "80 at once | 1.09 times the ideal" in told
        assert recorded["4,000 artists, upstream at 200 ms"]["seconds"] == pytest.approx(1.09 * 10, abs=0.01)
        assert "254 s for 9,798 requests" in told
        assert "5.1 s for 180 requests" in told
        assert f"{1 / WORK.reading:,.0f}"[:3] == "82,"
        assert "ingest of 1,000,000 rows | 82,300 rows/s" in told

    def test_the_bound_is_what_the_benchmark_was_made_to_show(self) -> None:
        local = replace(DEPLOYED, machine=2, instances=1, threads=10, requests=None)
        assert run(2_000, local, replace(WORK, latency=0)).bound_by is Resource.MACHINE
        assert run(1_000, local, replace(WORK, latency=0.2)).bound_by is Resource.CALLS


class TestFigures:
    def test_they_are_what_the_code_says(self) -> None:
        assert PLATFORM.pace == PACE
        assert PLATFORM.statement == int(STARTUP["statement_timeout"]) / 1_000
        assert WORK.latency == artists.USUAL_SECONDS
        assert WORK.tokens_out == artists.USUAL_TOKENS
        assert FIGURES_READ.pipelines["movies"].latency == 2 * movies.REQUEST_SECONDS
        prompt = (ROOT / "shared/prompts/artist-bio/1.md").stat().st_size
        assert WORK.tokens_in == pytest.approx((prompt + len(artists_csv(1))) / BYTES_PER_TOKEN, rel=0.1)
        topology = yaml.safe_load((ROOT / "infra/topology.yaml").read_text("utf-8"))
        assert PLATFORM.call == topology["functions"]["finalize"]["timeout"]
        assert PLATFORM.call == topology["subscriptions"]["finalize"]["ack_deadline"]
        schema = (ROOT / "migrations/schema.sql").read_text("utf-8")
        assert f"interval '{PLATFORM.session / 86_400:.0f} days'" in schema

    @pytest.mark.parametrize(
        ("of", "to", "said"),
        [
            ("    wal: {", "    wall: {", "artists: ['wal', 'wall']"),
            ("sure: measured, from: footprint }", "from: footprint }", "say `from`, and `sure`"),
            ("  pace: {", "  # pace: {", "platform: ['pace']"),
        ],
    )
    def test_one_that_is_missing_or_from_nowhere_is_refused(self, tmp_path: Path, of: str, to: str, said: str) -> None:
        text = FIGURES.read_text("utf-8")
        assert of in text
        (tmp_path / "figures.yaml").write_text(text.replace(of, to, 1), "utf-8")
        with pytest.raises(FiguresError) as refused:
            Figures.load(tmp_path / "figures.yaml")
        assert said in str(refused.value)

    def test_instances_only_grow(self) -> None:
        for smaller, larger in pairwise(FIGURES_READ.shapes):
            assert smaller.vcpus < larger.vcpus
            assert (smaller.memory, smaller.connections, smaller.iops) <= (
                larger.memory,
                larger.connections,
                larger.iops,
            )


class TestDeployment:
    def test_it_is_read_from_the_topology(self, tmp_path: Path) -> None:
        content = yaml.safe_load((ROOT / "infra/topology.yaml").read_text("utf-8"))
        content["upstreams"]["openai"] |= {"requests": 600, "tokens": 90_000}
        content["functions"]["process-artists"] |= {"max_instances": 3, "threads": 5}
        (tmp_path / "topology.yaml").write_text(yaml.safe_dump(content), "utf-8")
        found = Deployment.of("artists", DEPLOYED.database, tmp_path / "topology.yaml")
        assert (found.requests, found.tokens, found.instances, found.threads) == (10, 1_500, 3, 5)
        assert found.out == 300
        assert found.connections == DEPLOYED.connections - 7 * DEPLOYED.pool_size

    def test_all_connections_are_counted_as_performance_says(self) -> None:
        assert f"that is {DEPLOYED.connections} in the worst case" in (ROOT / "docs/performance.md").read_text("utf-8")

    @pytest.mark.parametrize("pipeline", ["artists", "movies"])
    def test_the_window_is_that_of_the_functions(self, pipeline: str) -> None:
        topology = yaml.safe_load((ROOT / "infra/topology.yaml").read_text("utf-8"))
        settings = Settings(
            connection=parse_database_url("postgresql://u:p@h/d"),
            project="test",
            pipelines={slug: PipelineSettings(**one) for slug, one in topology["pipelines"].items()},
            upstreams={name: UpstreamLimits(**one) for name, one in topology["upstreams"].items()},
            upload_bucket="up", results_bucket="out", pipeline=pipeline, threads=4,
        )  # fmt: skip
        assert Deployment.of(pipeline, DEPLOYED.database).out == settings.window(pipeline)


class TestModel:
    def test_a_run_bound_by_requests_takes_what_division_says(self) -> None:
        found = run(1e6)
        assert found.bound_by is Resource.REQUESTS
        assert found.seconds == pytest.approx(1e6 / (0.97 * 10_000 / 60) + 1e6 * PLATFORM.finalizing, rel=0.01)

    @pytest.mark.parametrize("rows", [1, 7, 1e3, 1e6, 1e9])
    def test_every_row_goes_through(self, rows: float) -> None:
        found = run(rows)
        assert sum(phase.rows for phase in found.phases) == pytest.approx(rows, abs=0.51)
        assert found.asked == pytest.approx(rows, abs=0.51)
        assert all(phase.seconds >= 0 for phase in found.phases)

    def test_nothing_is_worked_on_faster_than_it_is_read(self) -> None:
        slow = replace(WORK, reading=0.1)
        found = run(1_000, DEPLOYED, slow)
        assert found.bound_by is Resource.READING
        assert found.seconds == pytest.approx(100, rel=0.01)

    @pytest.mark.parametrize(
        ("change", "binds"),
        [
            ({"tokens": 1_000.0}, Resource.TOKENS),
            ({"requests": 1.0}, Resource.REQUESTS),
            ({"instances": 1, "threads": 1}, Resource.CALLS),
            ({"window": 1, "sessions": 10}, Resource.WINDOW),
            ({"sessions": 1}, Resource.SESSION_ROW),
            ({"database": FIGURES_READ.shapes[0]}, Resource.DATABASE_CPU),
            ({"database": replace(FIGURES_READ.shapes[-1], throughput=1e6)}, Resource.DISK),
            ({"instances": 1_000, "items_per_message": 8}, Resource.PUSH),
        ],
    )
    def test_what_is_scarce_binds(self, change: dict[str, object], binds: Resource) -> None:
        assert run(1e7, replace(WIDE, **change)).bound_by is binds  # type: ignore[arg-type]

    def test_processors_of_functions_bind_where_answers_are_instant(self) -> None:
        rates = limits(replace(WIDE, instances=2), replace(WORK, latency=0), PLATFORM)
        assert min(rates, key=lambda one: rates[one]) is Resource.FUNCTION_CPU

    def test_indexes_that_outgrow_memory_slow_it_down(self) -> None:
        small = replace(WIDE, database=replace(FIGURES_READ.shapes[2], iops=3_000))
        new, full = (limits(small, WORK, PLATFORM, settled=n)[Resource.SCATTERED] for n in (1e6, 1e9))
        assert new == float("inf")
        assert full < 1_000
        phases = [phase.bound_by for phase in run(1e9, small).phases]
        assert phases.index(Resource.DATABASE_CPU) < phases.index(Resource.SCATTERED)

    def test_what_was_asked_before_is_not_asked_again(self) -> None:
        films = FIGURES_READ.pipelines["movies"]
        found = run(1e7, Deployment.of("movies", DEPLOYED.database), films)
        assert found.asked == pytest.approx(films.different * films.requests, rel=0.01)

    def test_the_largest_session_is_the_one_whose_end_still_fits_its_timeouts(self) -> None:
        nearest, further = walls(PLATFORM)
        assert nearest.rows * PLATFORM.counting == pytest.approx(PLATFORM.statement)
        assert further.rows * PLATFORM.finalizing == pytest.approx(PLATFORM.call)


class TestGrowth:
    @pytest.mark.parametrize(("rows", "within"), [(1e6, 3_600), (1e8, 86_400), (1e9, 604_800), (1e9, 86_400)])
    def test_what_is_raised_is_enough_and_stays_within_limits(self, rows: float, within: float) -> None:
        grown = grow(rows, within, DEPLOYED, WORK, FIGURES_READ)
        assert grown.short is None
        assert grown.run.seconds <= within
        assert grown.on.connections <= grown.on.database.connections
        assert rows / grown.on.sessions <= walls(PLATFORM)[0].rows
        assert grown.on.sessions >= ceil(rows / walls(PLATFORM)[0].rows)

    def test_nothing_is_raised_where_there_is_time(self) -> None:
        assert grow(1e6, 86_400, DEPLOYED, WORK, FIGURES_READ).steps == ()

    def test_where_one_instance_is_not_enough_it_says_so(self) -> None:
        grown = grow(1e9, 3_600, DEPLOYED, WORK, FIGURES_READ)
        assert grown.short is not None
        assert grown.run.seconds > 3_600
        alone = replace(FIGURES_READ, shapes=FIGURES_READ.shapes[:1])
        assert "CPU of the database" in str(grow(2e8, 86_400, DEPLOYED, WORK, alone).short)


class TestBill:
    def test_what_is_free_is_free_once_a_month(self) -> None:
        prices = Prices.load()
        half = {"run_requests": 1_500_000.0}
        assert prices.bill(half)["Cloud Run functions"] == 0
        both = prices.bill(bill.together(half, half))
        assert both["Cloud Run functions"] == pytest.approx(1_000_000 * 0.4 / 1e6)

    def test_an_instance_in_two_zones_costs_twice(self) -> None:
        prices, shape = Prices.load(), FIGURES_READ.shapes[0]
        one, two = (prices.bill(bill.instance(shape, hours=730, zones=zones))["Cloud SQL"] for zones in (1, 2))
        assert one == pytest.approx(730 * (2 * 0.0413 + 7.5 * 0.007))
        assert two == 2 * one

    def test_more_rows_never_cost_less(self) -> None:
        prices = Prices.load()
        of = [
            bill.of_run(run(rows), DEPLOYED, WORK, prices, finalizing=PLATFORM.finalizing) for rows in (1e4, 1e6, 1e8)
        ]
        for fewer, more in pairwise(map(prices.bill, of)):
            assert all(more[service] >= fewer[service] for service in fewer)

    def test_openai_costs_what_its_price_file_says_and_tmdb_nothing(self) -> None:
        assert bill.upstream(run(1e6), WORK, "artists") == pytest.approx(1e6 * (354 * 0.1 + 300 * 0.5) / 1e6, rel=0.01)
        assert bill.upstream(run(1e6), WORK, "movies") == 0

    def test_a_price_from_nowhere_is_refused(self, tmp_path: Path) -> None:
        content = yaml.safe_load(bill.PRICES.read_text("utf-8"))
        del content["prices"]["logs"]["from"]
        (tmp_path / "prices.yaml").write_text(yaml.safe_dump(content), "utf-8")
        with pytest.raises(PricesError, match="from"):
            Prices.load(tmp_path / "prices.yaml")

    def test_every_price_says_how_sure_it_is(self) -> None:
        assert {one.sure for one in Prices.load().of.values()} <= {"page", "told", "guess"}
        assert f"Put together on {Prices.load().read_on}" in (ROOT / "docs/deploy.md").read_text("utf-8")


class TestPapers:
    def test_the_papers_hold_what_the_model_says(self) -> None:
        for paper, tables in PAPERS.tables().items():
            told = (ROOT / paper).read_text("utf-8")
            assert told == put(told, tables), f"{paper} is out of date; run: make simulate ARGS=--write"

    def test_another_price_makes_them_disagree(self) -> None:
        prices = PAPERS.prices
        dearer = replace(prices, of={**prices.of, "sql_vcpu": replace(prices.of["sql_vcpu"], usd=1.0)})
        told = (ROOT / "docs/deploy.md").read_text("utf-8")
        assert put(told, Papers(prices=dearer).tables()["docs/deploy.md"]) != told

    def test_a_paper_without_the_place_is_refused(self) -> None:
        with pytest.raises(PaperError, match="0 places for the table 'cost'"):
            put("# Deploy\n", {"cost": "| |"})

    def test_tables_go_between_their_marks_and_nowhere_else(self, tmp_path: Path) -> None:
        text = "a\n<!-- t: made by make simulate -->\nold\n<!-- end of t -->\nz\n"
        (tmp_path / "p.md").write_text(text, "utf-8")
        write({"p.md": {"t": r"new \1"}}, tmp_path)
        assert (tmp_path / "p.md").read_text("utf-8") == (
            "a\n<!-- t: made by make simulate -->\n\nnew \\1\n\n<!-- end of t -->\nz\n"
        )
