"""Log lines: one JSON object and one write each, what is bound on each of them, and never a secret."""

from __future__ import annotations

import io
import json
import threading
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any
from urllib.parse import quote
from uuid import UUID

import pytest
from pydantic import SecretStr

from shared import logs
from shared.config import ConnectionSettings, Settings
from shared.logs import bind, bound, log, mask
from shared.tracing import apart


class Output(io.StringIO):
    """Standard output that remembers each write."""

    def __init__(self) -> None:
        super().__init__()
        self.writes: list[str] = []

    def write(self, text: str) -> int:
        self.writes.append(text)
        return len(text)

    @property
    def lines(self) -> list[dict[str, Any]]:
        assert all(write.endswith("\n") and write.count("\n") == 1 for write in self.writes)
        return [json.loads(write) for write in self.writes]


@pytest.fixture
def out(monkeypatch: pytest.MonkeyPatch) -> Output:
    output = Output()
    monkeypatch.setattr(logs, "sys", SimpleNamespace(stdout=output))  # pytest puts its own back before the test
    return output


@pytest.fixture
def secrets(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """No secret of another test's."""
    found: list[str] = []
    monkeypatch.setattr(logs, "_secrets", found)
    return found


def test_a_line_is_one_object_and_one_write(out: Output) -> None:
    before = datetime.now(UTC)
    session = UUID(int=7)
    log("INFO", "Item settled", session_id=session, item_no=3, outcome=None, counts={"enriched": 1})
    (line,) = out.lines
    assert list(line)[:2] == ["severity", "message"]
    assert (line["severity"], line["message"], line["item_no"]) == ("INFO", "Item settled", 3)
    assert (line["session_id"], line["counts"]) == (str(session), {"enriched": 1})
    assert "outcome" not in line
    assert before <= datetime.fromisoformat(line["time"]) <= datetime.now(UTC)


def test_a_traceback_is_part_of_the_message(out: Output) -> None:
    try:
        raise KeyError("x")
    except KeyError as error:
        log("ERROR", "Unforeseen error", error=error, reason=error)
    (line,) = out.lines
    assert line["message"].startswith("Unforeseen error\nTraceback")
    assert line["message"].rstrip().endswith("KeyError: 'x'")
    assert line["reason"] == "'x'"


def test_what_is_no_json_is_told_all_the_same(out: Output) -> None:
    log("WARNING", "Odd", text="lone \ud800", moment=datetime(2026, 1, 2, tzinfo=UTC), what={1: {2}})
    (line,) = out.lines
    assert (line["text"], line["moment"], line["what"]) == ("lone \ud800", "2026-01-02T00:00:00+00:00", {"1": "{2}"})
    assert datetime.fromisoformat(line["time"]).tzinfo is not None


class TestBinding:
    def test_what_is_bound_is_on_every_line_and_a_line_may_say_otherwise(self, out: Output) -> None:
        def work() -> None:
            bind(session_id="a", pipeline="artists")
            log("INFO", "One")
            with bound(session_id="b", pipeline=None):
                log("INFO", "Two")
            log("INFO", "Three", session_id="c")

        apart(work)
        log("INFO", "Four")
        assert [(line.get("session_id"), line.get("pipeline")) for line in out.lines] == [
            ("a", "artists"), ("b", None), ("c", "artists"), (None, None),
        ]  # fmt: skip

    def test_threads_know_it_when_they_are_handed_the_context_and_not_otherwise(self, out: Output) -> None:
        def work() -> None:
            bind(session_id="a")
            with ThreadPoolExecutor(1) as pool:
                pool.submit(copy_context().run, log, "INFO", "Handed").result()
                pool.submit(log, "INFO", "Not handed").result()

        apart(work)
        assert [line.get("session_id") for line in out.lines] == ["a", None]

    def test_many_threads_write_whole_lines_each_with_its_own(self, out: Output) -> None:
        start = threading.Barrier(8)

        def work(name: int) -> None:
            start.wait()
            for _ in range(50):
                with bound(session_id=name):
                    log("INFO", "Line", also=name)

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(work, range(8)))
        assert len(out.lines) == 400
        assert all(line["session_id"] == line["also"] for line in out.lines)


class TestSecrets:
    @pytest.mark.parametrize("secret", ["sk-abcdef", 'pa"ss\\word', "pass/w?rd&1", "geheim-ü-ß"])
    def test_no_line_holds_one_however_it_came_there(self, secret: str, out: Output, secrets: list[str]) -> None:
        mask([secret])
        try:
            raise ValueError(f"401 for key {secret}")
        except ValueError as error:
            log("ERROR", "Failed", error=error, reason=f"key {secret}!", deep={"list": [secret]}, odd="\ud800")
        log("ERROR", "Failed", url=f"postgresql://me:{quote(secret, safe='')}@db/x", **{secret: 1})
        for write in out.writes:
            assert secret not in json.dumps(json.loads(write), ensure_ascii=False).replace('\\"', '"')
            assert quote(secret, safe="") not in write
        assert out.lines[0]["reason"] == "key ***!"
        assert out.lines[1]["url"] == "postgresql://me:***@db/x"

    def test_one_that_begins_another_gives_nothing_of_it_away(self, out: Output, secrets: list[str]) -> None:
        mask(["abcdef", "abcdefXYZ1", "abcdefXY"])
        log("INFO", "The key abcdefXYZ1 is refused")
        assert out.lines[0]["message"] == "The key *** is refused"

    def test_what_could_be_a_part_of_any_word_is_left(self, out: Output, secrets: list[str]) -> None:
        mask(["", "abc"])
        log("INFO", "abcabc")
        assert out.lines[0]["message"] == "abcabc"

    def test_the_settings_know_every_secret_of_theirs(self) -> None:
        def secret_fields(model: Any) -> set[str]:
            return {name for name, field in model.model_fields.items() if "SecretStr" in str(field.annotation)}

        env = {"GOOGLE_CLOUD_PROJECT": "p", "DATABASE_URL": "postgresql://me:of-connection@db/x",
               "PIPELINES": "{}", "UPSTREAMS": "{}",
               "OPENAI_API_KEY": "of-openai", "TMDB_API_TOKEN": "of-tmdb",
               "GOOGLE_DRIVE_API_KEY": "of-drive"}  # fmt: skip
        settings = Settings.from_env(env=env)
        assert sorted(settings.secrets()) == ["of-connection", "of-drive", "of-openai", "of-tmdb"]
        # A new secret has to be found as well: it is one of these two models' own fields.
        assert len(secret_fields(Settings) | secret_fields(ConnectionSettings)) == 3
        assert isinstance(settings.openai_api_key, SecretStr)
