"""The `rowlift` command as people run it: processes of their own, on a real local stack."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pyarrow.parquet as pq
import pytest

from cli import local
from infra.local import ports
from tests.workbench import artists_csv

ROOT = Path(__file__).parent.parent.parent
ROWLIFT = Path(sys.executable).parent / "rowlift"
SAMPLE = ROOT / "examples" / "artists-25.csv"
REJECTIONS = ROOT / "examples" / "artists-rejections.csv"
LEFT_OUT = ("DATABASE_URL", "OPENAI_API_KEY", "OPENAI_BASE_URL", "ROWLIFT_STATE_DIR")

pytestmark = pytest.mark.slow


def environment(**changes: str) -> dict[str, str]:
    return {**{name: value for name, value in os.environ.items() if name not in LEFT_OUT}, **changes}


def start(*words: str, cwd: Path, **env: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [ROWLIFT, *words], cwd=cwd, env=environment(**env), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def ran(*words: str, cwd: Path, code: int = 0, timeout: float = 90, **env: str) -> Any:
    """The JSON answer of a command that must end with `code`."""
    process = start(*words, "--json", cwd=cwd, **env)
    out, err = process.communicate(timeout=timeout)
    assert process.returncode == code, f"{words}: {process.returncode}\n{out}\n{err}"
    return json.loads(out.splitlines()[-1])


def wait_until(condition: Callable[[], object], what: str, timeout: float = 30) -> None:
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, f"waited {timeout} s in vain until {what}"
        time.sleep(0.05)


def listening(info: dict[str, Any]) -> list[int]:
    return [facts["port"] for facts in info["processes"].values() if facts["port"] and ports.answers(facts["port"])]


def is_gone(process: psutil.Process) -> bool:
    return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder on whose `.rowlift` a stack runs, slow enough to be interrupted."""
    folder = tmp_path_factory.mktemp("cli")
    try:
        up = ran("up", "--detach", cwd=folder)
        assert up["running"] is True
        yield folder
    finally:
        ran("down", cwd=folder)


def test_a_file_is_run_and_its_results_lie_beside_it(place: Path) -> None:
    (place / "list.csv").write_bytes(SAMPLE.read_bytes())
    answer = ran("run", "list.csv", "--pipeline", "artists", cwd=place)
    assert (answer["status"], answer["total"], answer["enriched"], answer["open"]) == ("completed", 25, 25, 0)
    assert answer["output"] == str(place / "list.csv.results.jsonl")
    lines = [json.loads(line) for line in (place / "list.csv.results.jsonl").read_text("utf-8").splitlines()]
    with SAMPLE.open(newline="", encoding="utf-8") as file:
        assert [line["artist_name"] for line in lines] == [row["artist_name"] for row in csv.DictReader(file)]
    assert {line["db_status"] for line in lines} == {"updated"}
    session = answer["session_id"]
    assert ran("verify", session, cwd=place)["sound"] is True
    status = ran("status", session[:8], cwd=place)
    assert (status["session_id"], status["enriched"]) == (session, 25)
    paper = (ROOT / "docs" / "cli-json.md").read_text("utf-8").partition("### status SESSION\n\n```json\n")[2]
    assert set(json.loads(paper.partition("```")[0])) == set(status)
    assert {each["name"]: each["level"] for each in ran("doctor", cwd=place)["checks"]}["stack"] == "ok"
    known = ran("status", cwd=place)
    assert session in {each["session_id"] for each in known["sessions"]}
    saved = ran("results", session, "--output", "again.jsonl", cwd=place)
    assert saved["lines"] == 25
    assert (place / "again.jsonl").read_bytes() == (place / "list.csv.results.jsonl").read_bytes()


def test_uploads_are_watched_mended_and_run_again(place: Path) -> None:
    (place / "bad.csv").write_bytes(REJECTIONS.read_bytes())
    uploaded = ran("upload", "bad.csv", "--pipeline", "artists", "--write-mode", "file", cwd=place)
    session = uploaded["session_id"]
    status = ran("watch", session, cwd=place)
    assert (status["status"], status["enriched"], status["rejected"]) == ("completed", 2, 11)
    rejects = ran("rejects", session, "--output", "mend.csv", cwd=place)
    assert rejects["lines"] >= 12
    with (place / "mend.csv").open(newline="", encoding="utf-8", errors="replace") as file:
        assert len(list(csv.reader(file))) == 12
    again = ran("reprocess", session, "--outcome", "enriched", cwd=place)
    assert again["opened"] == 2
    assert ran("watch", session, cwd=place)["enriched"] == 2
    assert ran("verify", session, cwd=place)["sound"] is True


def test_an_unapproved_session_waits_and_then_runs(place: Path) -> None:
    (place / "asked.csv").write_bytes(SAMPLE.read_bytes())
    words = ("upload", "asked.csv", "--pipeline", "artists", "--approve", "ask", "--reuse", "never", "--watch")
    quoted = ran(*words, cwd=place, code=1)
    assert (quoted["status"], quoted["open"], quoted["spent_usd"]) == ("quoted", 25, 0)
    ran("approve", quoted["session_id"], cwd=place)
    ended = ran("watch", quoted["session_id"], cwd=place)
    assert ended["status"] == "completed"
    usd = quoted["quote"]["usd"]
    assert usd["low"] <= ended["spent_usd"] <= usd["high"]
    assert usd["likely"] / 2 <= ended["spent_usd"] <= 2 * usd["likely"]
    assert quoted["quote"]["limits"]["concurrency"] == 16 * 8  # one instance runs here


def test_a_session_is_paused_resumed_and_cancelled(place: Path) -> None:
    (place / "held.csv").write_bytes(SAMPLE.read_bytes())
    words = ("upload", "held.csv", "--pipeline", "artists", "--approve", "ask", "--watch")
    session = ran(*words, cwd=place, code=1)["session_id"]
    assert ran("pause", session, cwd=place)["status"] == "paused"
    assert ran("watch", session, cwd=place, code=1)["pause_reason"]
    assert ran("resume", session, "--budget", "5", cwd=place)["budget_usd"] == 5
    assert ran("cancel", session, cwd=place)["status"] == "cancelled"
    ended = ran("watch", session, cwd=place, code=1)
    assert (ended["cancelled"], ended["open"]) == (25, 0)
    assert "cancelled" in ran("reprocess", session, cwd=place, code=2)["error"]["message"]


def test_a_budget_that_is_spent_pauses_and_a_new_one_goes_on(place: Path) -> None:
    (place / "dear.csv").write_bytes(SAMPLE.read_bytes())
    answer = ran(
        "run", "dear.csv", "--pipeline", "artists", "--budget", "0.0001", "--reuse", "never", cwd=place, code=1
    )
    assert answer["status"] == "paused"
    assert answer["spent_usd"] + answer["reserved_usd"] <= 0.0001
    ran("resume", answer["session_id"], "--budget", "1", cwd=place)
    assert ran("watch", answer["session_id"], cwd=place)["status"] == "completed"


def test_a_file_that_cannot_be_read_ends_with_status_1(place: Path) -> None:
    (place / "wrong.csv").write_text("artist_name,born\nNina Simone,1933\n")
    answer = ran("run", "wrong.csv", "--pipeline", "artists", cwd=place, code=1)
    assert answer["status"] == "failed"
    assert "artist_id" in answer["error_message"]


def test_migrate_finds_the_running_stacks_database(place: Path) -> None:
    assert ran("migrate", cwd=place)["revision"]


def test_unknown_sessions_end_with_status_2(place: Path) -> None:
    error = ran("watch", "00000000-0000-4000-8000-000000000000", cwd=place, code=2)["error"]
    assert error["problem"]["status"] == 404


def test_results_into_a_closed_pipe_end_quietly(place: Path) -> None:
    session = ran("status", cwd=place)["sessions"][0]["session_id"]
    done = subprocess.run(
        f"{ROWLIFT} results {session} | head -c 1",
        cwd=place,
        env=environment(),
        shell=True,
        capture_output=True,
        text=True,
    )
    assert "Traceback" not in done.stderr


def test_results_are_followed_through_kills_and_end_as_results_jsonl(place: Path) -> None:
    (place / "many.csv").write_bytes(artists_csv(600, first=70_000_000))
    session = ran("upload", "many.csv", "--pipeline", "artists", cwd=place)["session_id"]
    output, words = place / "followed.jsonl", ("results", session, "--follow", "--output", "followed.jsonl")
    for _ in range(2):
        process = start(*words, cwd=place)
        size = output.stat().st_size if output.exists() else 0
        wait_until(lambda size=size: output.exists() and output.stat().st_size > size, "lines come")  # type: ignore[misc]
        process.kill()
        process.communicate()
        if len(output.read_bytes().splitlines()) == 600:  # on a quick machine it is over by now
            break
    answer = ran(*words, cwd=place)
    assert (answer["status"], answer["lines"], answer["differed"]) == ("completed", 600, 0)
    saved = ran("results", session, "--output", "whole.jsonl", cwd=place)
    assert saved["lines"] == 600
    assert sorted(output.read_bytes().splitlines()) == sorted((place / "whole.jsonl").read_bytes().splitlines())
    lines = [json.loads(line) for line in (place / "whole.jsonl").read_text("utf-8").splitlines()]
    ran("results", session, "--output", "whole.parquet", cwd=place)
    assert pq.read_table(place / "whole.parquet").to_pylist() == lines
    ran("results", session, "--output", "whole.csv", cwd=place)
    with (place / "whole.csv").open(newline="", encoding="utf-8") as file:
        assert [row["response_text"] for row in csv.DictReader(file)] == [line["response_text"] for line in lines]


@pytest.mark.parametrize("pipeline", ["artists", "movies"])
def test_a_run_goes_on_with_a_torn_file_and_writes_a_whole_one(place: Path, pipeline: str) -> None:
    """What the earlier file holds is not asked for again; the new one has every row's answer."""
    films = pipeline == "movies"
    if films:
        given, export = str(ROOT / "examples/letterboxd-demo"), ("--export", "first")
    else:
        (place / "resumed.csv").write_bytes(artists_csv(40, first=80_000_000))
        given, export = "resumed.csv", ()
    first = ran("run", given, *export, "--pipeline", pipeline, "--output", f"{pipeline}-1.jsonl", cwd=place)
    whole = (place / f"{pipeline}-1.jsonl").read_bytes()
    (place / f"{pipeline}-torn.jsonl").write_bytes(whole[: len(whole) * 2 // 3])
    words = ("--resume", f"{pipeline}-torn.jsonl", "--output", f"{pipeline}-2.jsonl", "--reuse", "never")
    export = ("--export", "second") if films else ()
    again = ran("run", given, *export, "--pipeline", pipeline, *words, cwd=place)
    assert again["status"] == "completed"
    assert again["resumed"]["held"] > 0
    assert again["resumed"]["torn"] == 1
    assert [finding["finding"] for finding in again["resumed_findings"]] == ["torn"]
    assert again["skipped"] == again["resumed"]["held"] + first["skipped"]
    if not films:
        assert 0 < again["spent_usd"] < first["spent_usd"]
    old, new = (_answers(place / f"{pipeline}-{number}.jsonl") for number in (1, 2))
    assert new == old
    assert ran("verify", again["session_id"], cwd=place)["sound"] is True


def _answers(file: Path) -> set[tuple[Any, ...]]:
    """What each line of a file says of its row, whichever session it is of."""
    lines = [json.loads(line) for line in file.read_text("utf-8").splitlines()]
    fields = ("artist_id", "response_text", "letterboxd_uri", "title", "tmdb_id", "overview", "rating")
    owners = [line for line in lines if line["outcome"] != "merged"]
    return {(line["outcome"], *(line.get(name) for name in fields)) for line in owners}


def test_run_starts_a_stack_where_none_runs_and_stops_it_again(tmp_path: Path) -> None:
    for number in (1, 2):
        (tmp_path / f"{number}.csv").write_text(f"00000000-0000-4000-8000-00000000000{number},Artist {number}\n")
    answer = ran("run", "1.csv", "2.csv", "--pipeline", "artists", "--output", "both.jsonl", cwd=tmp_path)
    assert (answer["status"], answer["total"], answer["enriched"], answer["lines"]) == ("completed", 2, 2, 2)
    assert (tmp_path / "both.jsonl").read_bytes().count(b"\n") == 2
    assert local.find(tmp_path / ".rowlift") is None
    assert "rowlift up" in ran("status", cwd=tmp_path, code=3)["error"]["message"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_an_interrupted_run_leaves_no_process_behind(tmp_path: Path, number: signal.Signals) -> None:
    """Ctrl-C pauses the session and stops the stack that was started for it; a kill stops it all the same."""
    (tmp_path / "list.csv").write_bytes(SAMPLE.read_bytes())
    process = start("run", "list.csv", "--pipeline", "artists", cwd=tmp_path)
    state_dir = tmp_path / ".rowlift"
    wait_until(lambda: local.find(state_dir), "the stack runs")
    info = local.require(state_dir)
    supervisor = psutil.Process(info["pid"])
    family = [supervisor, *supervisor.children(recursive=True)]
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == (130 if number == signal.SIGINT else -signal.SIGKILL), err
    wait_until(lambda: all(map(is_gone, family)), "every process is gone")
    assert listening(info) == []
    assert local.find(state_dir) is None


def test_the_demo_takes_seconds_and_leaves_nothing_running(tmp_path: Path) -> None:
    """With a key and a database of one's own set outside: neither is touched."""
    began = time.monotonic()
    env = {"OPENAI_API_KEY": "sk-mine", "DATABASE_URL": "postgresql://me:secret@127.0.0.1:1/precious"}
    process = start("demo", cwd=tmp_path, **env)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, out + err
    assert "Nina Simone" in out
    assert "[SIMULATED]" in out
    assert "25 enriched" in out
    assert "secret" not in out + err
    assert (tmp_path / ".rowlift-demo" / "artists-25.csv.results.jsonl").read_bytes().count(b"\n") == 25
    assert local.find(tmp_path / ".rowlift-demo") is None
    assert time.monotonic() - began < 60  # 12 s on two free cores
