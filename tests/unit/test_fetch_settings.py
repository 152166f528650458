"""Settings of fetching: what they refuse, and that no deployment can be told to ask servers of tests."""

from __future__ import annotations

import pytest

from infra.local.topology import Topology
from shared.config import Settings
from shared.errors import ConfigError
from shared.fetching.addresses import DEFAULT_HOSTS
from shared.fetching.settings import VARIABLES, FetchSettings

BASE = {"GOOGLE_CLOUD_PROJECT": "p", "DATABASE_URL": "postgresql://u@h/d", "PIPELINES": "{}", "UPSTREAMS": "{}"}


def read(**env: str) -> FetchSettings:
    return Settings.from_env(env={**BASE, **env}).fetch


def test_defaults() -> None:
    settings = read()
    assert settings.hosts == DEFAULT_HOSTS
    assert settings.test_origins == ()
    assert settings.stand_in_address is None


def test_all_of_them_are_read() -> None:
    settings = read(
        FETCH_HOSTS="example.org, *.example.org *", FETCH_MAX_BYTES="5", FETCH_AT_ONCE="2", FETCH_PER_SECOND="0.5",
        FETCH_CAPTION_LANGUAGES="de,en", FETCH_NAME_FILE="{id} {original name}", GOOGLE_DRIVE_API_KEY="secret",
        FETCH_STAND_IN="http://127.0.0.1:80", FETCH_TEST_ORIGINS="127.0.0.1:8080",
    )  # fmt: skip
    assert settings.hosts == ("example.org", "*.example.org", "*")
    assert (settings.max_bytes, settings.at_once, settings.per_second) == (5, 2, 0.5)
    assert settings.caption_languages == ("de", "en")
    assert settings.stand_in_address == ("127.0.0.1", 80)
    assert "secret" not in repr(settings)
    assert "secret" in Settings.from_env(env={**BASE, "GOOGLE_DRIVE_API_KEY": "secret"}).secrets()


def test_a_secret_that_a_deployment_was_not_given_is_none() -> None:
    assert read(GOOGLE_DRIVE_API_KEY="not set").drive_key.get_secret_value() == ""


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("FETCH_HOSTS", "https://example.org"), ("FETCH_HOSTS", "a b/c"), ("FETCH_MAX_BYTES", "0"),
        ("FETCH_AT_ONCE", "no"),
        ("FETCH_PER_SECOND", "0"), ("FETCH_NAME_VIDEO", "{who}.mp4"), ("FETCH_NAME_FILE", "file"),
        ("FETCH_STAND_IN", "http://example.org:80"), ("FETCH_STAND_IN", "http://127.0.0.1.nip.io:80"),
        ("FETCH_TEST_ORIGINS", "10.0.0.1:80"), ("FETCH_TEST_ORIGINS", "127.0.0.1"),
        ("FETCH_TEST_ORIGINS", "example.org:80"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told_by_its_variable(name: str, value: str) -> None:
    with pytest.raises(ConfigError, match=name):
        read(**{name: value})


def test_no_topology_opens_the_guard_for_tests() -> None:
    for name, function in Topology.load().functions.items():
        assert not {"FETCH_STAND_IN", "FETCH_TEST_ORIGINS"} & {*function.env, *function.secrets}, name


def test_a_deployment_can_be_told_everything_else() -> None:
    function = Topology.load().functions["process-assets"]
    assert set(VARIABLES) - {"FETCH_STAND_IN", "FETCH_TEST_ORIGINS"} <= {*function.env, *function.secrets}
