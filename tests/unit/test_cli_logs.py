"""rowlift logs: one session's lines out of a stack's log, in order, for people and for programs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, ClassVar
from uuid import UUID

import pytest

from cli import log_commands, main
from cli.log_commands import cloud_filter
from cli.log_lines import HELD, Reader

SESSION, OTHER = UUID(int=1), UUID(int=2)
TRACE, OTHERS = "ab" * 16, "cd" * 16


def at(second: float) -> str:
    return f"2026-11-21T09:00:{second:09.6f}Z"


def written(source: str, second: float, message: str, *, trace: str = "", severity: str = "INFO", **fields: Any) -> str:
    line = {"severity": severity, "message": message, "time": at(second), "instance": "local-1-abc", **fields}
    if trace:
        line["logging.googleapis.com/trace"] = f"projects/rowlift-local/traces/{trace}"
    return f"{source} | {json.dumps(line)}\n"


LOG = "".join((
    "stack | postgres: up\n",
    # Of the session's trace, written before any line that names the session.
    written("ingest", 1, "Early", trace=TRACE),
    written("process-artists", 4, "Item settled", trace=TRACE, session_id=str(SESSION), item_no=1, outcome="enriched"),
    written("process-artists", 3.5, "Item settled", trace=OTHERS, session_id=str(OTHER), item_no=1),
    written("ingest", 2, "File read", trace=TRACE, session_id=str(SESSION), file="a b.csv"),
    f'process-artists | Traceback of something that names {SESSION}\n',
    f'process-artists | {{"session_id": "{SESSION}" torn\n',
    # Another upload of the same caller's trace.
    written("ingest", 3, "File read", trace=TRACE, session_id=str(OTHER)),
    written("api", 5, "Unforeseen error\nTraceback (most recent call last):\n  boom", severity="ERROR",
            session_id=str(SESSION)),
    written("rescue", 6, "Rescue found something", trace=OTHERS),
))  # fmt: skip


@pytest.fixture
def state_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "log").write_text(LOG, encoding="utf-8")
    monkeypatch.setenv("ROWLIFT_STATE_DIR", str(tmp_path))
    return tmp_path


def read(reader: Reader) -> list[tuple[str, str]]:
    return [(line.source, line.sentence) for line in reader.lines()]


OWN = [("ingest", "Early"), ("ingest", "File read"), ("process-artists", "Item settled"), ("api", "Unforeseen error")]


class TestReading:
    def test_it_finds_the_session_s_lines_and_those_of_its_trace_that_name_no_other(self, state_dir: Path) -> None:
        reader = Reader(state_dir / "log", SESSION)
        assert read(reader) == OWN
        assert reader.traces == {TRACE}

    def test_the_run_before_comes_first_and_its_torn_end_disturbs_nothing(self, state_dir: Path) -> None:
        before = written("api", 0.5, "Session changed on request", session_id=str(SESSION)) + "api | {torn"
        (state_dir / "log.1").write_text(before, encoding="utf-8")
        assert read(Reader(state_dir / "log", SESSION)) == [("api", "Session changed on request"), *OWN]

    def test_what_is_added_later_is_told_once_and_when_it_is_whole(self, state_dir: Path) -> None:
        reader = Reader(state_dir / "log", SESSION)
        assert len(read(reader)) == 4
        assert read(reader) == []
        line = written("finalize", 7, "Session finalized", session_id=str(SESSION))
        with (state_dir / "log").open("a", encoding="utf-8") as file:
            file.write(line[:50])
            file.flush()
            assert read(reader) == []
            file.write(line[50:])
            file.flush()
        assert read(reader) == [("finalize", "Session finalized")]

    def test_a_stack_that_was_started_again_is_followed_into_its_new_log(self, state_dir: Path) -> None:
        reader = Reader(state_dir / "log", SESSION)
        assert len(read(reader)) == 4
        with (state_dir / "log").open("a", encoding="utf-8") as file:
            file.write(written("api", 7, "Last of the old", session_id=str(SESSION)))
        (state_dir / "log").rename(state_dir / "log.1")
        assert read(reader) == [("api", "Last of the old")]  # between the two there is no log
        (state_dir / "log").write_text(written("api", 8, "First of the new", session_id=str(SESSION)), encoding="utf-8")
        assert read(reader) == [("api", "First of the new")]

    def test_order_is_restored_within_what_is_held_and_nothing_is_lost_beyond_it(self, tmp_path: Path) -> None:
        order = list(range(3 * HELD))
        for start in range(0, len(order), HELD // 2):  # each piece of half as many backwards
            order[start : start + HELD // 2] = reversed(order[start : start + HELD // 2])
        text = "".join(written("x", n / 100, "Line", session_id=str(SESSION), n=n) for n in order)
        (tmp_path / "log").write_text(text, encoding="utf-8")
        reader = Reader(tmp_path / "log", SESSION)
        assert [line.document["n"] for line in reader.lines()] == list(range(3 * HELD))

    def test_a_line_without_a_time_keeps_its_place(self, tmp_path: Path) -> None:
        own = {"session_id": str(SESSION)}
        timeless = f"x | {json.dumps({'message': 'Two', **own})}\n"
        text = written("x", 1, "One", **own) + timeless + written("x", 2, "Three", **own)
        (tmp_path / "log").write_text(text, encoding="utf-8")
        assert [sentence for _, sentence in read(Reader(tmp_path / "log", SESSION))] == ["One", "Two", "Three"]


class TestTheCommand:
    def test_people_read_time_function_severity_sentence_and_fields(
        self, state_dir: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert main.main(["logs", str(SESSION)]) == 0
        said = capsys.readouterr().out
        assert "\x1b" not in said
        rows = said.splitlines()
        assert rows[1].split()[1:] == ["ingest", "INFO", "File", "read", "file=a", "b.csv"]
        assert rows[2].endswith("process-artists  INFO     Item settled  item_no=1 outcome=enriched")
        assert rows[3].split()[1:] == ["api", "ERROR", "Unforeseen", "error"]
        assert rows[4:] == ["    Traceback (most recent call last):", "      boom"]

    def test_programs_get_the_lines_and_then_a_sum(self, state_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert main.main(["logs", str(SESSION), "--json"]) == 0
        *found, answer = [json.loads(row) for row in capsys.readouterr().out.splitlines()]
        assert [(line["function"], line["time"]) for line in found] == [
            ("ingest", at(1)), ("ingest", at(2)), ("process-artists", at(4)), ("api", at(5)),
        ]  # fmt: skip
        assert answer == {
            "session_id": str(SESSION), "trace_ids": [TRACE], "lines": 4, "severities": {"INFO": 3, "ERROR": 1},
        }  # fmt: skip

    def test_only_what_is_bad_enough(self, state_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert main.main(["logs", str(SESSION), "--severity", "warning", "--json"]) == 0
        *found, answer = [json.loads(row) for row in capsys.readouterr().out.splitlines()]
        assert [line["severity"] for line in found] == ["ERROR"]
        assert answer["lines"] == 1

    def test_following_ends_with_ctrl_c(
        self, state_dir: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        looks: list[float] = []

        def sleep(seconds: float) -> None:
            looks.append(seconds)
            if len(looks) == 1:
                with (state_dir / "log").open("a", encoding="utf-8") as file:
                    file.write(written("finalize", 7, "Session finalized", session_id=str(SESSION)))
                return
            raise KeyboardInterrupt

        monkeypatch.setattr(log_commands, "time", type("Clock", (), {"sleep": staticmethod(sleep)}))
        assert main.main(["logs", str(SESSION), "--follow", "--json"]) == 0
        rows = [json.loads(row) for row in capsys.readouterr().out.splitlines()]
        assert rows[-2]["message"] == "Session finalized"
        assert rows[-1]["lines"] == 5

    def test_wrong_words_are_told(self, state_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert main.main(["logs", str(SESSION), "--severity", "loud"]) == 2
        assert "choose from DEBUG, INFO" in capsys.readouterr().err
        assert main.main(["logs", str(UUID(int=5)), "--json"]) == 0
        said = capsys.readouterr()
        assert json.loads(said.out)["lines"] == 0
        assert "No line of session" in said.err
        (state_dir / "log").unlink()
        assert main.main(["logs", str(SESSION)]) == 2
        assert "no stack has run there" in capsys.readouterr().err


class TestACloudDeployment:
    STATUS: ClassVar = {"trace_id": TRACE, "created_at": "2026-11-21T09:00:00+00:00"}

    def test_the_query_asks_for_the_session_and_for_its_trace(self) -> None:
        assert cloud_filter(SESSION, self.STATUS, "WARNING") == (
            'resource.type="cloud_run_revision" AND '
            f'(jsonPayload.session_id="{SESSION}" OR (trace:"{TRACE}" AND NOT jsonPayload.session_id:*)) AND '
            'timestamp>="2026-11-21T09:00:00+00:00" AND severity>=WARNING'
        )

    @pytest.fixture
    def deployment(self, monkeypatch: pytest.MonkeyPatch) -> None:
        class Api:
            local = False

            def __init__(self, base: str) -> None:
                assert base == "https://api.example"

            def status(self, session: UUID) -> dict[str, Any]:
                assert session == SESSION
                return TestACloudDeployment.STATUS

        monkeypatch.setattr(log_commands, "Api", Api)
        monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", "my-project")

    @pytest.mark.usefixtures("deployment")
    def test_it_is_told_how_to_ask(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert main.main(["logs", str(SESSION), "--api", "https://api.example", "--json"]) == 0
        said = capsys.readouterr()
        answer = json.loads(said.out)
        assert answer["filter"] == cloud_filter(SESSION, self.STATUS, "DEBUG")
        assert answer["command"].startswith("gcloud logging read 'resource.type=")
        assert answer["command"].endswith("--project=my-project")
        assert answer["filter"] in said.err

    @pytest.mark.usefixtures("deployment")
    def test_following_is_another_command_of_gcloud(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert main.main(["logs", str(SESSION), "--api", "https://api.example", "--follow", "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["command"].startswith("gcloud beta logging tail 'resource.type=")


def test_a_large_log_is_read_in_little_memory(tmp_path: Path) -> None:
    """All of the log would be 9 MB, and its lines as objects several times that."""
    import tracemalloc

    with (tmp_path / "log").open("w", encoding="utf-8") as file:
        for n in range(30_000):
            file.write(written("x", 1, "Item settled", trace=OTHERS, session_id=str(OTHER), item_no=n))
            if n % 5 == 0:
                file.write(written("x", 1, "Item settled", trace=TRACE, session_id=str(SESSION), item_no=n))
    tracemalloc.start()
    assert sum(1 for _ in Reader(tmp_path / "log", SESSION).lines()) == 6_000
    assert tracemalloc.get_traced_memory()[1] < 8_000_000
    tracemalloc.stop()
