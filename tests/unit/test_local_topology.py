"""infra/topology.yaml as the local stack reads it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from infra.local.plan import Options, Plan
from infra.local.topology import DEFAULT_TOPOLOGY, ROOT, Topology, TopologyError
from shared.config import Settings

TOY = ROOT / "tests" / "fixtures" / "topology-toy.yaml"


@pytest.fixture
def topology() -> Topology:
    return Topology.load()


def plan(topology: Topology, environ: dict[str, str]) -> Plan:
    options = Options(state_dir=Path("/nowhere"), db_url="postgresql://u:p@127.0.0.1/x")
    names = Plan.port_names(options, topology, environ)
    ports = {name: 7_000 + number for number, name in enumerate(names)}
    return Plan(options=options, topology=topology, ports=ports, database_url=options.db_url or "", environ=environ)


def test_every_function_gets_settings_that_its_settings_accept(topology: Topology) -> None:
    deployment = plan(topology, {})
    for name, function in topology.functions.items():
        settings = Settings.from_env(env=deployment.function(name).env)
        assert settings.topic_prefix == "rowlift-"
        assert settings.threads == function.threads
        assert settings.db_pool_size == function.pool_size
        assert settings.pipelines.keys() == topology.pipelines.keys()
        assert settings.pipeline == (function.pipeline or "")


def test_secrets_and_buckets_reach_only_those_who_are_listed(topology: Topology) -> None:
    deployment = plan(topology, {"OPENAI_API_KEY": "sk-real", "SECRET": "x", "UPLOAD_BUCKET": "somebody's"})
    for name, function in topology.functions.items():
        env = deployment.function(name).env
        assert ("OPENAI_API_KEY" in env) == ("OPENAI_API_KEY" in function.secrets)
        assert env.get("UPLOAD_BUCKET") == ("rowlift-uploads" if "UPLOAD_BUCKET" in function.env else None)
        assert "SECRET" not in env


@pytest.mark.parametrize(
    ("name", "function", "secret", "address", "path"),
    [
        ("openai", "process-artists", "OPENAI_API_KEY", "OPENAI_BASE_URL", "/v1"),
        ("tmdb", "process-movies", "TMDB_API_TOKEN", "TMDB_BASE_URL", "/3"),
    ],
)
def test_an_upstream_is_simulated_only_without_its_secret(
    topology: Topology, name: str, function: str, secret: str, address: str, path: str
) -> None:
    simulated, real = plan(topology, {}), plan(topology, {secret: "real"})
    assert [spec.name for spec in simulated.tools()] == ["storage", "pubsub", "openai", "tmdb"]
    assert {spec.name for spec in simulated.tools()} - {spec.name for spec in real.tools()} == {name}
    given = simulated.function(function).env
    assert "simulated" in given[secret]
    assert given[address] == simulated.simulated()[name] == f"{simulated.url(name)}{path}"
    assert real.function(function).env[secret] == "real"
    assert address not in real.function(function).env
    assert real.simulated()[name] is None


def test_an_address_of_ones_own_reaches_the_function_with_ones_own_secret(topology: Topology) -> None:
    own = {"TMDB_API_TOKEN": "real", "TMDB_BASE_URL": "http://mirror/3", "TMDB_CACHE_DAYS": "7"}
    assert plan(topology, own).function("process-movies").env.items() >= own.items()
    assert not plan(topology, own).function("process-artists").env.keys() & own.keys()


def test_the_simulated_upstreams_are_as_slow_as_the_caller_chose(topology: Topology) -> None:
    deployment = plan(topology, {})
    slow = replace(deployment, options=replace(deployment.options, simulate_latency=0.3))
    for spec in slow.tools():
        wanted = spec.name in ("openai", "tmdb")
        assert (spec.argv[-2:] == ("--latency", "0.3")) == wanted
        assert (f"infra.local.upstreams.{spec.name}" in spec.argv) == wanted


def test_a_proxy_is_kept_and_never_used_for_this_machine(topology: Topology) -> None:
    env = plan(topology, {"HTTPS_PROXY": "http://proxy:3128", "no_proxy": "intra"}).function("api").env
    assert env["HTTPS_PROXY"] == "http://proxy:3128"
    assert env["NO_PROXY"] == env["no_proxy"] == "intra,127.0.0.1,localhost"
    assert "NO_PROXY" not in plan(topology, {}).function("api").env


def test_coverage_variables_reach_functions_and_nothing_else(topology: Topology) -> None:
    deployment = plan(topology, {"COVERAGE_PROCESS_START": "x"})
    assert deployment.function("ingest").env["COVERAGE_PROCESS_START"] == "x"
    assert all("COVERAGE_PROCESS_START" not in spec.env for spec in deployment.tools())


def test_the_pusher_is_told_of_every_subscription(topology: Topology) -> None:
    deployment = plan(topology, {})
    config = deployment.push_config()
    assert {entry.name for entry in config.subscriptions} == {f"rowlift-{name}" for name in topology.subscriptions}
    artists = next(entry for entry in config.subscriptions if entry.name == "rowlift-artists")
    assert artists.endpoint == deployment.url("process-artists") + "/"
    assert artists.dead_letter_topic == "rowlift-dead-letters"
    assert artists.parallel == 2 * topology.functions["process-artists"].threads


def test_the_api_has_the_first_port(topology: Topology) -> None:
    assert plan(topology, {}).ports["api"] == 7_000


@pytest.mark.parametrize(
    ("path", "value", "complaint"),
    [
        (("subscriptions", "letters", "topic"), "nowhere", "subscription letters: topic 'nowhere' is not described"),
        (
            ("subscriptions", "letters", "dead_letter"),
            "dead-letters",
            "max_delivery_attempts and dead_letter go together",
        ),
        (("subscriptions", "uploads", "max_delivery_attempts"), 3, "greater than or equal to 5"),
        (("subscriptions", "uploads", "ack_deadline"), 601, "less than or equal to 600"),
        (("buckets", "uploads", "notify_topic"), "nowhere", "bucket uploads: topic 'nowhere'"),
        (("functions", "worker", "pipeline"), "nothing", "function worker: pipeline 'nothing'"),
        (("schedules", "rescue", "function"), "nobody", "schedule rescue: function 'nobody'"),
        (("functions", "worker", "threads"), 0, "greater than or equal to 1"),
        (("functions", "worker", "memory"), 512, "functions.worker.memory: Extra inputs are not permitted"),
        (("functions", "worker", "publishes"), ["nowhere"], "function worker: topic 'nowhere'"),
        (("functions", "worker", "buckets"), {"nowhere": "read"}, "function worker: bucket 'nowhere'"),
        (("functions", "worker", "buckets"), {"uploads": "own"}, "Input should be 'read', 'create' or 'write'"),
        (
            ("functions", "api", "buckets"),
            {"uploads": "read"},
            "api may read bucket uploads and is not given UPLOAD_BUCKET",
        ),
        (("functions", "api", "tables"), ["songs"], "function api has tables and no pipeline"),
        (("buckets", "uploads", "delete_after_days"), 0, "greater than or equal to 1"),
    ],
)
def test_a_contradiction_is_named(tmp_path: Path, path: tuple[str, ...], value: object, complaint: str) -> None:
    document = yaml.safe_load(TOY.read_text(encoding="utf-8"))
    place = document
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    wrong = tmp_path / "topology.yaml"
    wrong.write_text(json.dumps(document), encoding="utf-8")
    with pytest.raises(TopologyError, match=complaint):
        Topology.load(wrong)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(TopologyError, match="cannot be read"):
        Topology.load(tmp_path / "absent.yaml")
    (tmp_path / "broken.yaml").write_text("a: [")
    with pytest.raises(TopologyError, match="is not YAML"):
        Topology.load(tmp_path / "broken.yaml")


def test_the_real_one_names_sources_that_lie_in_the_project(topology: Topology) -> None:
    assert DEFAULT_TOPOLOGY.is_file()
    assert {Path(function.source).parts[0] for function in topology.functions.values()} == {"functions"}


def test_only_one_function_is_for_people(tmp_path: Path) -> None:
    document = yaml.safe_load(TOY.read_text(encoding="utf-8"))
    for name in ("worker", "api"):
        document["functions"][name]["people"] = True
    (tmp_path / "topology.yaml").write_text(json.dumps(document), encoding="utf-8")
    with pytest.raises(TopologyError, match="more than one function is for people"):
        Topology.load(tmp_path / "topology.yaml")


def test_functions_of_pipelines_have_their_own_topic_and_tables_alone(topology: Topology) -> None:
    for function in topology.functions.values():
        if function.pipeline is not None:
            assert set(function.publishes) == {topology.pipelines[function.pipeline]["topic"], "finalize"}
            assert function.tables
    tables = [table for function in topology.functions.values() for table in function.tables]
    assert len(tables) == len(set(tables))
