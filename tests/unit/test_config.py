"""Settings from the environment: every fault at once, contradictions found, secrets never shown."""

from __future__ import annotations

import json
from typing import Any

import pytest
from pydantic import SecretStr

from infra.local.topology import Topology
from shared.config import (
    MAX_WINDOW,
    MIN_WINDOW,
    Settings,
    connection_settings,
    parse_database_url,
)
from shared.errors import ConfigError

URL = "postgresql://me:hunter2@db.example:6543/rowlift"
TOPOLOGY = Topology.load()
ENV = {
    "GOOGLE_CLOUD_PROJECT": "p", "DATABASE_URL": URL,
    "PIPELINES": json.dumps(TOPOLOGY.pipelines), "UPSTREAMS": json.dumps(TOPOLOGY.upstreams),
}  # fmt: skip


def settings(**changes: str) -> Settings:
    return Settings.from_env(env={**ENV, **changes})


def faults(env: dict[str, str], *needs: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        Settings.from_env(needs=needs, env=env)
    first, *rest = str(caught.value).splitlines()
    assert first.endswith(":")
    return [line.strip() for line in rest]


def pipelines(**changes: Any) -> str:
    return json.dumps({"artists": {"topic": "artists", "upstream": "openai", **changes}})


class TestFaults:
    def test_every_missing_variable_is_named_at_once(self) -> None:
        found = faults({}, "UPLOAD_BUCKET", "OPENAI_API_KEY")
        assert [line.split()[0] for line in found] == [
            "GOOGLE_CLOUD_PROJECT", "UPLOAD_BUCKET", "OPENAI_API_KEY", "DATABASE_URL", "PIPELINES", "UPSTREAMS",
        ]  # fmt: skip
        assert all("is not set" in line for line in found)

    def test_an_empty_variable_is_missing(self) -> None:
        assert faults({**ENV, "UPLOAD_BUCKET": ""}, "UPLOAD_BUCKET") == ["UPLOAD_BUCKET is not set"]

    def test_missing_contradictory_and_malformed_are_told_together(self) -> None:
        found = "\n".join(faults({
            "DATABASE_URL": "mysql://x", "PIPELINES": pipelines(deadline=10),
            "UPSTREAMS": '{"openai": {"requests": 0}}',
        }, "RESULTS_BUCKET"))  # fmt: skip
        for name in ("GOOGLE_CLOUD_PROJECT", "RESULTS_BUCKET", "DATABASE_URL", "PIPELINES: artists", "UPSTREAMS"):
            assert name in found

    @pytest.mark.parametrize(("name", "value"), [
        ("DB_POOL_SIZE", "many"), ("DB_POOL_SIZE", "0"), ("THREADS", "-1"), ("INGEST_BUDGET", "0"),
        ("LEASE_GRACE", "-1"), ("NOTICE_LOST_AFTER", "soon"), ("RESCUE_SECONDS", "0"),
        ("OPENAI_MAX_OUTPUT_TOKENS", "1.5"),
    ])  # fmt: skip
    def test_a_bad_number_is_named_by_its_variable(self, name: str, value: str) -> None:
        (line,) = faults({**ENV, name: value})
        assert line.startswith(f"{name}: ")

    def test_two_bad_numbers_are_both_named(self) -> None:
        assert len(faults({**ENV, "THREADS": "x", "DB_POOL_SIZE": "x"})) == 2

    @pytest.mark.parametrize(("name", "value", "hint"), [
        ("PIPELINES", "{", "JSON"), ("PIPELINES", "[]", "object"), ("PIPELINES", '{"a": {"upstream": "u"}}', "a.topic"),
        ("PIPELINES", '{"a": {"topic": "ab", "upstream": "u"}}', "a.topic"),
        ("PIPELINES", pipelines(colour="red"), "artists.colour"),
        ("UPSTREAMS", '{"openai": {"period": 0}}', "openai.period"),
    ])  # fmt: skip
    def test_a_broken_json_variable_is_named_with_the_place(self, name: str, value: str, hint: str) -> None:
        (line,) = faults({**ENV, name: value})
        assert line.startswith(f"{name}: ")
        assert hint in line

    def test_a_pipeline_nobody_describes_is_named_with_those_there_are(self) -> None:
        described = ", ".join(sorted(TOPOLOGY.pipelines))
        assert faults({**ENV, "PIPELINE": "songs"}) == [f"PIPELINE is 'songs'; PIPELINES describes {described}"]


class TestContradictions:
    def test_a_deadline_shorter_than_request_and_wait(self) -> None:
        (line,) = faults({**ENV, "PIPELINES": pipelines(request_timeout=60, max_wait=50)})
        assert "deadline 100 s" in line
        assert "110 s" in line

    def test_fewer_calls_at_once_than_a_message_makes(self) -> None:
        (line,) = faults({**ENV, "PIPELINES": pipelines(calls=7)})
        assert "artists: calls 7 must be at least items_per_message (8)" in line

    def test_a_lease_shorter_than_the_deadline(self) -> None:
        (line,) = faults({**ENV, "PIPELINES": pipelines(lease=100)})
        assert "lease 100 s" in line

    def test_both_at_once(self) -> None:
        assert len(faults({**ENV, "PIPELINES": pipelines(deadline=70, lease=50)})) == 2

    def test_what_the_topology_says_agrees_with_itself(self) -> None:
        assert settings().pipelines.keys() == TOPOLOGY.pipelines.keys()


class TestReading:
    def test_plain_variables_arrive(self) -> None:
        found = settings(
            UPLOAD_BUCKET="up", RESULTS_BUCKET="out", MEDIA_BUCKET="media", PIPELINE="artists", THREADS="3",
            DB_POOL_SIZE="2", INGEST_BUDGET="12.5", CODE_VERSION="1.2", TOPIC_PREFIX="x-", OPENAI_MODEL="m",
            PROMPT="p/1", OPENAI_BASE_URL="http://127.0.0.1/v1", OPENAI_MAX_OUTPUT_TOKENS="99", OPENAI_API_KEY="sk-1",
        )  # fmt: skip
        assert (found.upload_bucket, found.results_bucket, found.media_bucket) == ("up", "out", "media")
        assert (found.pipeline, found.threads, found.db_pool_size, found.ingest_budget) == ("artists", 3, 2, 12.5)
        assert (found.code_version, found.openai_model, found.prompt) == ("1.2", "m", "p/1")
        assert (found.openai_base_url, found.openai_max_output_tokens) == ("http://127.0.0.1/v1", 99)
        assert found.openai_api_key.get_secret_value() == "sk-1"
        assert found.topic_path("artists") == "projects/p/topics/x-artists"

    def test_the_process_environment_is_read_where_none_is_given(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in ("CLOUD_SQL_INSTANCE", "DATABASE_URL", "PIPELINES", "UPSTREAMS", "PIPELINE", "THREADS"):
            monkeypatch.delenv(name, raising=False)
        for name, value in {**ENV, "GOOGLE_CLOUD_PROJECT": "from-outside"}.items():
            monkeypatch.setenv(name, value)
        assert Settings.from_env().project == "from-outside"
        assert connection_settings().host == "db.example"

    def test_settings_cannot_be_changed(self) -> None:
        with pytest.raises(ValueError, match="frozen"):
            settings().threads = 5  # type: ignore[misc]

    @pytest.mark.parametrize(("limits", "window"), [
        ({"requests": 10_000}, 5_000), ({"requests": 600}, 300), ({"requests": 10}, MIN_WINDOW),
        ({"requests": 10**9}, MAX_WINDOW), ({"requests": None}, MAX_WINDOW), ({"requests": 100, "period": 1}, 3_000),
    ])  # fmt: skip
    def test_the_window_is_what_the_upstream_allows_in_half_a_minute(self, limits: Any, window: int) -> None:
        assert settings(UPSTREAMS=json.dumps({"openai": limits})).window("artists") == window

    def test_an_upstream_without_limits_has_the_widest_window_unless_one_is_set(self) -> None:
        assert settings(UPSTREAMS="{}").window("artists") == MAX_WINDOW
        assert settings(PIPELINES=pipelines(window=7)).window("artists") == 7

    def test_calls_at_once_are_those_of_all_messages_in_hand_unless_fewer_are_set(self) -> None:
        usual = settings().pipelines["artists"]
        fewer = usual.model_copy(update={"calls": 80, "threads": 12, "instances": 2})
        assert (usual.calls_of(10), fewer.calls_of(10), fewer.calls_of(9)) == (80, 80, 72)
        assert fewer.concurrency == 160


class TestDatabaseUrl:
    @pytest.mark.parametrize(("url", "expected"), [
        (URL, ("me", "hunter2", "db.example", 6543, "rowlift", None)),
        ("postgres://u@h/d", ("u", None, "h", 5432, "d", None)),
        ("postgresql://h/d", ("postgres", None, "h", 5432, "d", None)),
        ("postgresql://u:p%40%2F%3A@h/my%20db", ("u", "p@/:", "h", 5432, "my db", None)),
        ("postgresql://u:p@[::1]:5433/d", ("u", "p", "::1", 5433, "d", None)),
        ("postgresql:///d?host=/run/pg", ("postgres", None, None, 5432, "d", "/run/pg/.s.PGSQL.5432")),
        ("postgresql://u@:5433/d?host=/run/pg", ("u", None, None, 5433, "d", "/run/pg/.s.PGSQL.5433")),
        ("postgresql://u@/d?host=db.example", ("u", None, "db.example", 5432, "d", None)),
    ])  # fmt: skip
    def test_is_read_in_every_shape(self, url: str, expected: tuple[Any, ...]) -> None:
        found = parse_database_url(url)
        password = found.password and found.password.get_secret_value()
        assert (found.user, password, found.host, found.port, found.database, found.unix_sock) == expected
        assert found.instance is None

    @pytest.mark.parametrize(("url", "hint"), [
        ("mysql://u:hunter2@h/d", "begin with"), ("hunter2", "begin with"),
        ("postgresql://u:hunter2@h", "database's name"),
        ("postgresql://u:hunter2@h/", "database's name"), ("postgresql://u:hunter2@h/a/b", "database's name"),
        ("postgresql://u:hunter2@/d", "host"), ("postgresql://u:hunter2@h:port/d", "port"),
        ("postgresql://u:hunter2@h:99999/d", "port"), ("postgresql://u:hunter2@[::1/d", "host"),
        ("postgresql+psycopg://u:hunter2@h/d", "begin with"),
    ])  # fmt: skip
    def test_a_malformed_one_is_refused_without_being_repeated(self, url: str, hint: str) -> None:
        with pytest.raises(ConfigError) as caught:
            parse_database_url(url)
        assert "postgresql://user:password@host:port/database" in str(caught.value)
        assert hint in str(caught.value)
        assert "hunter2" not in str(caught.value)


CLOUD_SQL = {"CLOUD_SQL_INSTANCE": "p:r:i", "DB_USER": "me@p.iam", "DB_NAME": "rowlift"}


class TestCloudSql:
    def test_an_instance_is_an_address_too(self) -> None:
        found = connection_settings(CLOUD_SQL)
        assert (found.instance, found.user, found.database, found.host, found.password) == (
            "p:r:i", "me@p.iam", "rowlift", None, None,
        )  # fmt: skip

    def test_a_direct_address_comes_first(self) -> None:
        assert connection_settings({**CLOUD_SQL, "DATABASE_URL": URL}).host == "db.example"

    @pytest.mark.parametrize("left_out", sorted(CLOUD_SQL))
    def test_its_three_variables_go_together(self, left_out: str) -> None:
        env = {name: value for name, value in CLOUD_SQL.items() if name != left_out}
        with pytest.raises(ConfigError, match=f"^{left_out} is not set"):
            connection_settings(env)

    def test_which_address_it_is_reached_at_may_be_said(self) -> None:
        assert connection_settings(CLOUD_SQL).ip_type == "public"
        assert connection_settings({**CLOUD_SQL, "CLOUD_SQL_IP_TYPE": "PRIVATE"}).ip_type == "private"
        with pytest.raises(ConfigError, match="CLOUD_SQL_IP_TYPE is 'psc'; choose public or private"):
            connection_settings({**CLOUD_SQL, "CLOUD_SQL_IP_TYPE": "psc"})

    def test_neither_names_both_ways(self) -> None:
        with pytest.raises(ConfigError) as caught:
            connection_settings({})
        assert all(name in str(caught.value) for name in ("DATABASE_URL", *CLOUD_SQL))


class TestSecrets:
    def test_are_never_shown(self) -> None:
        found = settings(OPENAI_API_KEY="sk-very-secret")
        for shown in (repr(found), str(found), repr(found.connection), str(found.connection), found.model_dump_json()):
            assert "hunter2" not in shown
            assert "sk-very-secret" not in shown
        assert isinstance(found.connection.password, SecretStr)

    def test_are_not_part_of_a_refusal(self) -> None:
        env = {"DATABASE_URL": "postgresql://u:hunter2@/d", "OPENAI_API_KEY": "sk-very-secret", "THREADS": "x"}
        assert "hunter2" not in "".join(faults(env))
        assert "sk-very-secret" not in "".join(faults({**ENV, **env, "DATABASE_URL": URL}))


def test_the_example_lists_every_variable() -> None:
    from pathlib import Path

    from shared.config import _PLAIN

    listed = (Path(__file__).parent.parent.parent / ".env.example").read_text("utf-8")
    others = {"DATABASE_URL", "CLOUD_SQL_INSTANCE", "DB_USER", "DB_NAME", "GOOGLE_CLOUD_PROJECT"}
    others |= {
        "CLOUD_SQL_IP_TYPE",
        "PIPELINES",
        "UPSTREAMS",
        "PUBSUB_EMULATOR_HOST",
        "STORAGE_EMULATOR_HOST",
        "CLOUD_SQL_API_ENDPOINT",
    }
    assert [name for name in sorted({*_PLAIN, *others}) if f"{name}=" not in listed] == []
