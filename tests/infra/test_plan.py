"""What Terraform plans, held against what the local stack starts and what the code reads: any difference fails."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from infra.local.plan import Options, Plan
from infra.local.topology import DEFAULT_TOPOLOGY, ROOT, Topology
from shared import config
from shared.pipelines import needs
from tests import papers
from tests.infra.conftest import Terraform
from tests.infra.planned import functions, grants, member, resources, variable_names

TOPOLOGY = Topology.load()
# How functions find their ledger and their services, where each is the other's counterpart.
OF_THE_STACK = {"DATABASE_URL", "PUBSUB_EMULATOR_HOST", "STORAGE_EMULATOR_HOST", "K_SERVICE", "PYTHONUNBUFFERED"}
OF_THE_CLOUD = {"CLOUD_SQL_INSTANCE", "DB_USER", "DB_NAME", "LOG_EXECUTION_ID"}
OF_BOTH = {"PYTHONPATH"}
# Variables of shared/config.py that no function of a deployment is given, and why.
NEVER_SET = {
    "DATABASE_URL": "functions reach Cloud SQL through the connector",
    "CLOUD_SQL_API_ENDPOINT": "only tests have another than Google's",
    "FETCH_STAND_IN": "only a local stack has a simulated web",
    "FETCH_TEST_ORIGINS": "only tests fetch from their own machine",
}
LISTED = {name for function in TOPOLOGY.functions.values() for name in (*TOPOLOGY.common_env, *function.env)}
DERIVED = {
    "GOOGLE_CLOUD_PROJECT", "TOPIC_PREFIX", "PIPELINES", "UPSTREAMS", "DB_POOL_SIZE", "THREADS", "PIPELINE",
    "CODE_VERSION",
    *(bucket.env for bucket in TOPOLOGY.buckets.values()),
}  # fmt: skip
# Every setting that can be chosen is, so that a variable is not missing on both sides for want of a value.
CHOSEN = {name: "0.5" if name == "TRACE_SAMPLE" else "1" for name in sorted(LISTED - DERIVED)}


@pytest.fixture(scope="session")
def plan(planner: Terraform) -> dict[str, Any]:
    """A deployment with every setting chosen."""
    return planner.planned(settings=CHOSEN)


@pytest.fixture(scope="session")
def private(planner: Terraform) -> dict[str, Any]:
    """One whose database has no public address, its dashboard behind a proxy, everything encrypted with its key."""
    budget = {"billing_account": "012345-6789AB-CDEF01", "monthly_usd": 100}
    return planner.planned(
        private_ip=True, customer_managed_keys=True, dashboard_domain="rowlift.example.com", budget=budget,
        settings={"TRACE_SAMPLE": "0.5"}, alerts={"emails": ["somebody@example.com"]},
    )  # fmt: skip


@pytest.fixture(scope="session")
def stack() -> Plan:
    """The local stack with the same settings and every secret."""
    secrets = {name: "real" for function in TOPOLOGY.functions.values() for name in function.secrets}
    environ = {**CHOSEN, **secrets, "CODE_VERSION": "1"}
    options = Options(state_dir=Path("/nowhere"), db_url="postgresql://u:p@127.0.0.1/x")
    names = Plan.port_names(options, TOPOLOGY, environ)
    ports = {name: 7_000 + number for number, name in enumerate(names)}
    return Plan(options=options, topology=TOPOLOGY, ports=ports, database_url=options.db_url or "", environ=environ)


class TestAgainstTheLocalStack:
    def test_the_functions_are_the_same(self, plan: dict[str, Any]) -> None:
        assert functions(plan).keys() == TOPOLOGY.functions.keys()

    @pytest.mark.parametrize("name", TOPOLOGY.functions)
    def test_a_function_is_given_the_same_variables(self, plan: dict[str, Any], stack: Plan, name: str) -> None:
        here, there = set(stack.function(name).env), variable_names(plan)[name]
        assert there >= OF_THE_CLOUD | OF_BOTH
        assert here >= OF_THE_STACK | OF_BOTH
        assert here - OF_THE_STACK == there - OF_THE_CLOUD

    @pytest.mark.parametrize("name", TOPOLOGY.functions)
    def test_what_both_know_is_the_same(self, plan: dict[str, Any], stack: Plan, name: str) -> None:
        here, there = stack.function(name).env, functions(plan)[name]["environment_variables"]
        for variable in ("TOPIC_PREFIX", "THREADS", "DB_POOL_SIZE", "PIPELINE", *CHOSEN):
            assert here.get(variable) == there.get(variable)
        assert json.loads(here["UPSTREAMS"]) == json.loads(there["UPSTREAMS"])
        deployed = json.loads(there["PIPELINES"])
        for slug, about in json.loads(here["PIPELINES"]).items():
            (instances,) = (one.max_instances for one in TOPOLOGY.functions.values() if one.pipeline == slug)
            assert deployed.pop(slug) == {**about, "instances": instances}
        assert deployed == {}

    @pytest.mark.parametrize("name", TOPOLOGY.functions)
    def test_a_function_starts_from_the_same_entry(self, plan: dict[str, Any], name: str) -> None:
        (found,) = (
            one
            for one in resources(plan, "google_cloudfunctions2_function").values()
            if one["name"] == f"rowlift-{name}"
        )
        build = found["build_config"][0]
        assert build["entry_point"] == TOPOLOGY.functions[name].entry_point
        assert build["environment_variables"] == {"GOOGLE_FUNCTION_SOURCE": TOPOLOGY.functions[name].source}

    def test_the_subscriptions_are_the_same(self, plan: dict[str, Any], stack: Plan) -> None:
        planned = resources(plan, "google_pubsub_subscription")
        there = {
            one["name"]: (
                address.partition('"')[2].partition('"')[0],
                one["ack_deadline_seconds"],
                one["retry_policy"][0]["minimum_backoff"],
                one["retry_policy"][0]["maximum_backoff"],
                one["dead_letter_policy"][0]["max_delivery_attempts"] if one["dead_letter_policy"] else None,
            )
            for address, one in planned.items()
        }  # fmt: skip
        here = {
            one.name: (
                one.topic.removeprefix("rowlift-"), one.ack_deadline, f"{one.min_backoff:g}s", f"{one.max_backoff:g}s",
                one.max_delivery_attempts,
            )
            for one in stack.push_config().subscriptions
        }  # fmt: skip
        assert here == there

    def test_the_topics_are_the_same(self, plan: dict[str, Any]) -> None:
        there = {one["name"] for one in resources(plan, "google_pubsub_topic").values()}
        assert there == {TOPOLOGY.full_name(name) for name in TOPOLOGY.topics}

    def test_the_same_buckets_are_watched(self, plan: dict[str, Any], stack: Plan) -> None:
        relay = stack.relay()
        assert relay is not None
        here = {one.partition("=")[0].removeprefix("rowlift-") for one in relay.argv if "=" in one}
        assert here == {
            one["bucket"].rpartition("-")[2] for one in resources(plan, "google_storage_notification").values()
        }

    def test_the_same_functions_are_called_by_the_clock(self, plan: dict[str, Any], stack: Plan) -> None:
        there = {one["name"]: one["schedule"] for one in resources(plan, "google_cloud_scheduler_job").values()}
        here = {
            spec.argv[spec.argv.index("--job") + 1]: spec.argv[spec.argv.index("--every") + 1]
            for spec in stack.tickers()
        }
        assert {name: f"*/{int(every) // 60} * * * *" for name, every in here.items()} == there


class TestAgainstTheCode:
    def test_every_variable_the_code_reads_is_set_for_somebody(
        self, plan: dict[str, Any], private: dict[str, Any]
    ) -> None:
        given = set().union(*variable_names(plan).values(), *variable_names(private).values())
        read = set(_read_by_config())
        assert len(read) > 25
        nobody = {
            name for name in read if name == "MEDIA_BUCKET" and name not in LISTED
        }  # of pipelines that keep files
        assert read - given == NEVER_SET.keys() | nobody
        assert given - read == {"LOG_EXECUTION_ID", "PYTHONPATH"}

    @pytest.mark.parametrize("name", TOPOLOGY.functions)
    def test_a_function_is_given_what_the_topology_lists_and_no_other(self, plan: dict[str, Any], name: str) -> None:
        function = TOPOLOGY.functions[name]
        wanted = {*TOPOLOGY.common_env, *function.env, *function.secrets, *OF_THE_CLOUD, *OF_BOTH}
        assert variable_names(plan)[name] == wanted

    @pytest.mark.parametrize("name", TOPOLOGY.functions)
    def test_a_function_is_given_what_it_cannot_start_without(self, planner: Terraform, name: str) -> None:
        bare = _bare_plan(planner)
        function = TOPOLOGY.functions[name]
        wanted = {*_needs(ROOT / function.source), *(needs(function.pipeline) if function.pipeline else ())}
        assert wanted <= variable_names(bare)[name]
        given = dict.fromkeys(function.secrets, "1") | functions(bare)[name]["environment_variables"]
        settings = config.Settings.from_env(needs=tuple(wanted), env={**given, "CLOUD_SQL_INSTANCE": "p:r:i"})
        assert settings.connection.user == f"rowlift-{name}@my-project.iam"
        assert settings.topic_path("x") == "projects/my-project/topics/rowlift-x"

    def test_what_a_pipeline_leaves_out_is_the_same_for_both(self) -> None:
        (line,) = re.findall(r"pipeline_times += \{ (.+) \}", (ROOT / "infra/checks.tf").read_text("utf-8"))
        said = {name: float(value) for name, value in (one.split(" = ") for one in line.split(", "))}
        defaults = config.PipelineSettings.model_fields
        assert said == {name: defaults[name].default for name in said}

    def test_the_private_address_is_used_where_there_is_no_other(self, private: dict[str, Any]) -> None:
        for one in functions(private).values():
            assert (
                config.connection_settings({**one["environment_variables"], "CLOUD_SQL_INSTANCE": "p:r:i"}).ip_type
                == "private"
            )

    def test_lines_that_raise_an_alert_are_written_by_somebody(self, plan: dict[str, Any]) -> None:
        filters = [one["filter"] for one in resources(plan, "google_logging_metric").values()]
        sentences = [
            found[1]
            for one in filters
            if (found := re.search(r'message=~?"\^?([^"]+)"$|message="([^"]+)"', one)) and found[1]
        ]
        sources = "".join(path.read_text("utf-8") for path in (ROOT / "shared").rglob("*.py"))
        assert len(sentences) > 5
        assert [line for line in sentences if f'"{line}"' not in sources] == []


class TestGrants:
    def test_no_grant_escapes_the_list_that_is_checked(self, plan: dict[str, Any], private: dict[str, Any]) -> None:
        for one in (plan, private):
            listed = one["planned_values"]["outputs"]["grants"]["value"]
            assert len(grants(one)) == len(listed)
        assert len(grants(private)) > len(grants(plan)) > 40

    def test_each_is_made_to_the_account_it_is_written_down_for(self, plan: dict[str, Any]) -> None:
        checked = 0
        for address, one in grants(plan).items():
            if found := re.match(
                r'module\.(?:queue|dead_letters)\["[^"]+"\]\.google_pubsub_topic_iam_member\.publisher\["([^"]+)"\]',
                address,
            ):
                expected = None if found[1] in ("storage", "pubsub") else member(found[1])
            elif found := re.match(r'module\.function\["([^"]+)"\]\.google_(storage|secret|project)', address):
                expected = member(found[1])
            elif found := re.match(r'module\.(?:queue|dead_letters)\["([^"]+)"\]\.google_cloud_run', address):
                expected = member(f"q-{found[1]}")
            else:
                continue
            if expected is not None:
                checked += 1
                assert one["member"] == expected, address
        assert checked > 30

    def test_only_what_cannot_be_bound_lower_is_bound_on_the_project(self, private: dict[str, Any]) -> None:
        bound = {
            (one["role"], bool(one["condition"])) for one in resources(private, "google_project_iam_member").values()
        }
        assert bound == {
            ("roles/cloudsql.client", True), ("roles/cloudsql.instanceUser", True), ("roles/logging.logWriter", False),
            ("roles/cloudtrace.agent", False),
        }  # fmt: skip
        for one in resources(private, "google_project_iam_member").values():
            for condition in one["condition"]:
                assert 'resource.name == "projects/my-project/instances/rowlift-ledger"' in condition["expression"]

    def test_there_are_no_keys_no_basic_roles_and_nobody_unknown(self, private: dict[str, Any]) -> None:
        assert not resources(private, "google_service_account_key", "google_storage_hmac_key")
        for address, one in grants(private).items():
            assert one["role"] not in ("roles/owner", "roles/editor", "roles/viewer"), address
            assert one.get("member") not in ("allUsers", "allAuthenticatedUsers"), address
        authoritative = [one for one in grants(private) if "_iam_binding" in one or "_iam_policy" in one]
        assert authoritative == []  # they would take away what others granted

    def test_the_readme_says_why_for_every_role(self, private: dict[str, Any]) -> None:
        told = (ROOT / "infra/README.md").read_text("utf-8")
        assert (
            sorted({one["role"] for one in grants(private).values()} - set(re.findall(r"`(roles/[\w.]+)`", told))) == []
        )


class TestANewPipeline:
    def test_it_needs_a_block_in_the_topology_and_no_line_of_terraform(
        self, planner: Terraform, plan: dict[str, Any]
    ) -> None:
        (block,) = (one.text for one in papers.blocks("docs/pipelines.md") if one.kind == "yaml")
        whole = yaml.safe_load(DEFAULT_TOPOLOGY.read_text("utf-8"))
        for part, added in yaml.safe_load(block).items():
            whole[part] |= added
        grown = planner.planned(settings=CHOSEN, topology=json.dumps(whole))
        assert functions(grown).keys() - functions(plan).keys() == {"process-tracks"}
        new = {address for address in resources(grown) if address not in resources(plan)}
        assert all("tracks" in one or "LYRICS_KEY" in one for one in new), new
        kinds = {address.partition("[")[0] for address in new} | {a.rpartition("].")[2].partition("[")[0] for a in new}
        assert {
            "google_pubsub_topic.this",
            "google_pubsub_subscription.this",
            "google_cloudfunctions2_function.this",
        } <= kinds
        assert json.loads(functions(grown)["api"]["environment_variables"]["PIPELINES"])["tracks"]["instances"]


_bare: dict[str, Any] = {}


def _bare_plan(planner: Terraform) -> dict[str, Any]:
    """A deployment with no setting chosen; planned once."""
    if not _bare:
        _bare.update(planner.planned())
    return _bare


def _read_by_config() -> Iterator[str]:
    """The variables that shared/config.py reads, and the settings of fetching that are a part of its."""
    trees = [
        ast.parse((ROOT / path).read_text("utf-8")) for path in ("shared/config.py", "shared/fetching/settings.py")
    ]
    for node in (node for tree in trees for node in ast.walk(tree)):
        if (
            isinstance(node, ast.Constant)
            and isinstance(node.value, str)
            and re.fullmatch(r"[A-Z][A-Z_]{4,}", node.value)
        ):
            yield node.value


def _needs(source: Path) -> set[str]:
    """The variables an entry names as those it cannot do without."""
    for node in ast.walk(ast.parse(source.read_text("utf-8"))):
        if isinstance(node, ast.keyword) and node.arg == "needs":
            return {
                one.value
                for one in ast.walk(node.value)
                if isinstance(one, ast.Constant) and isinstance(one.value, str)
            }
    return set()
