"""The commands on a fake deployment: what they send, show, answer as JSON, and their exit status."""

from __future__ import annotations

import json
import os
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest

from cli import batches, demo, local, main, uploading
from cli.inputs import inputs_of
from cli.main import command_first
from cli.saving import save
from shared.errors import LedgerDown, RowliftError, StorageDown
from shared.errors import UsageError as OurUsageError
from shared.sessions import export_session_ids, session_id
from tests.fake_api import (
    LOCAL,
    SESSION,
    FakeApi,
    FakeBucket,
    film_line,
    film_status,
    payment_of,
    problem,
    status_of,
    working,
)
from tests.unit.conftest import Run

ID = str(SESSION)
CSV = b"artist_id,artist_name,artist_data\n5b11f4ce-a62d-471e-81fc-a69a8278c7da,Nirvana,\n"


@pytest.fixture
def interrupt_at(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """A person who presses Ctrl-C while the command waits between two looks."""

    def press(*_: object, **__: object) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        threading.Event().wait(5)

    return lambda: monkeypatch.setattr("cli.watching.Watcher._is_over", press)


# Usage


def test_without_a_command_it_shows_its_help(run: Run) -> None:
    ran = run()
    assert ran.code == 0
    assert "reprocess" in ran.out
    assert "\x1b" not in ran.out


def test_it_tells_its_version(run: Run) -> None:
    assert run("--version").out.startswith("rowlift 0.")


@pytest.mark.parametrize("command", [command.__name__ for _, command, _ in main._COMMANDS])
def test_every_command_has_help_with_an_example_and_knows_json_and_state_dir(run: Run, command: str) -> None:
    ran = run(command, "--help")
    assert ran.code == 0
    assert f"Example: rowlift {command}" in ran.out
    assert "--json" in ran.out
    assert "--state-dir" in ran.out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["bogus"], "No such command 'bogus'. `rowlift --help`"),
        (["status", "--bogus"], "No such option: --bogus. `rowlift status --help`"),
        (["watch"], "Missing argument 'SESSION'. `rowlift watch --help`"),
        (["watch", "nine"], "'nine' is not a session id"),
        (["up", "--pubsub", "kafka"], "choose embedded or gcloud"),
        (["up", "--port-base", "0"], "--port-base"),
        (["up", "--db-url", "mysql://me:secret@h/d"], "begin with postgresql://"),
        (["migrate", "--db-url", "postgresql://me:secret@h:port/d"], "DATABASE_URL must read"),
        (["migrate"], "No database is named"),
        (["reprocess", ID, "--outcome", ","], "--outcome names none"),
        (["resume", ID, "--budget", "lots"], "'lots'; give an amount of dollars"),
        (["resume", ID, "--budget", "-1"], "give an amount of dollars"),
        (["upload", "none.csv", "--pipeline", "artists"], "none.csv does not exist"),
        (["upload", ".", "--pipeline", "artists"], "is a folder"),
        (["upload", "a.csv"], "Missing option '--pipeline'"),
        (["upload", "a.csv", "--pipeline", "poets"], "no pipeline 'poets'; choose from artists"),
        (["upload", "a.csv", "--pipeline", "artists", "--write-mode", "dbx"], "'db', 'file' or 'both'"),
        (["upload", "a.csv", "--pipeline", "artists", "--on-missing", "x"], "'create' or 'error'"),
        (["upload", "a.csv", "--pipeline", "artists", "--approve", "x"], "'auto' or 'ask'"),
        (["upload", "a.csv", "--pipeline", "artists", "--budget", "much"], "an amount of dollars"),
        (["upload", "a.csv", "--pipeline", "artists", "--max-failed", "few"], "a share such as 5%"),
        (["run", "a.csv", "--pipeline", "artists", "--session", "x"], "Option 'session' is 'x'"),
        (["run", "a.csv", "--pipeline", "artists", "--output", "no/where"], "there is no folder"),
        (["status", "--api", "http://example.com"], "not encrypted"),
    ],
)
def test_wrong_usage_ends_with_status_2_and_says_what_is_right(run: Run, words: list[str], said: str) -> None:
    Path("a.csv").write_bytes(CSV)
    ran = run(*words, "--json")
    assert ran.code == 2
    assert said in ran.err
    assert ran.answer["error"]["exit_status"] == 2
    assert said in ran.answer["error"]["message"]
    assert "secret" not in ran.out + ran.err


def test_options_may_stand_before_the_command_before_and_behind_its_arguments(
    run: Run, api: FakeApi, stack: dict[str, Any]
) -> None:
    for words in (["--json", "status", ID], ["status", "--json", ID], ["status", ID, "--json"]):
        assert run(*words).answer == status_of()


@pytest.mark.parametrize(
    ("words", "in_order"),
    [
        ([], []),
        (["--json"], ["--json"]),
        (["--state-dir", "d", "--json", "watch", "x"], ["watch", "--state-dir", "d", "--json", "x"]),
        (["--api=u", "--state-dir=d", "status"], ["status", "--api=u", "--state-dir=d"]),
        (["--version"], ["--version"]),
        (["--state-dir"], ["--state-dir"]),
    ],
)
def test_what_every_command_takes_is_moved_behind_its_name(words: list[str], in_order: list[str]) -> None:
    assert command_first(words) == in_order


# Reaching a deployment


@pytest.mark.parametrize(
    "words",
    [
        ["status"],
        ["watch", ID],
        ["results", ID],
        ["pause", ID],
        ["verify", ID],
        ["upload", "a.csv", "--pipeline", "artists"],
    ],
)
def test_without_a_stack_the_way_to_one_is_named(run: Run, words: list[str]) -> None:
    Path("a.csv").write_bytes(CSV)
    ran = run(*words, "--json")
    assert ran.code == 3
    assert "rowlift up" in ran.err
    assert ran.answer["error"]["exit_status"] == 3


def test_a_deployment_that_is_away_ends_with_status_3(run: Run) -> None:
    ran = run("status", "--api", "http://127.0.0.1:1")
    assert ran.code == 3
    assert "Cannot reach http://127.0.0.1:1" in ran.err


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (StorageDown(), 3),
        (LedgerDown(), 3),
        (OurUsageError("No."), 2),
        (RowliftError("Hm."), 1),
        (ZeroDivisionError("0"), 1),
    ],
)
def test_every_error_becomes_a_sentence_and_a_status(
    run: Run, api: FakeApi, stack: dict[str, Any], error: Exception, code: int
) -> None:
    api.answers["GET /api/health"] = error
    ran = run("status", "--json")
    assert ran.code == code
    assert ran.answer["error"]["message"] == ran.err.strip()


def test_debugging_shows_where_an_error_comes_from(
    run: Run, api: FakeApi, stack: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ROWLIFT_DEBUG", "1")
    api.answers["GET /api/health"] = ZeroDivisionError("0")
    with pytest.raises(ZeroDivisionError):
        run("status")


# Sessions


def test_status_of_a_session_is_the_apis_document(run: Run, api: FakeApi, stack: dict[str, Any]) -> None:
    ran = run("status", ID, "--json")
    assert (ran.code, ran.answer) == (0, status_of())
    assert "10 enriched" in ran.err
    assert len(ran.out.splitlines()) == 1
    assert "10 enriched" in run("status", ID).out


def test_status_of_the_stack_names_its_api_and_newest_sessions(run: Run, api: FakeApi, stack: dict[str, Any]) -> None:
    ran = run("status", "--json")
    assert (ran.answer["running"], ran.answer["api"]) == (True, LOCAL)
    assert ran.answer["sessions"][0]["session_id"] == ID
    assert ran.answer["processes"] == {"api": "running"}
    assert ID in ran.err
    assert "secret" not in ran.out + ran.err


def test_status_of_a_deployment_without_sessions(run: Run, api: FakeApi) -> None:
    api.answers["GET /api/sessions"] = {"sessions": [], "next": None}
    ran = run("status", "--api", LOCAL)
    assert "No sessions yet" in ran.out
    assert LOCAL in ran.out


@pytest.mark.parametrize(
    ("end", "code"), [("completed", 0), ("failed", 1), ("cancelled", 1), ("paused", 1), ("quoted", 0)]
)
def test_watch_ends_as_the_session_does(run: Run, api: FakeApi, stack: dict[str, Any], end: str, code: int) -> None:
    api.statuses[SESSION] = [working(3), status_of(status=end)]
    ran = run("watch", ID, "--json")
    assert ran.code == code
    assert ran.answer["status"] == end


def test_ctrl_c_leaves_a_watched_session_running(
    run: Run, api: FakeApi, stack: dict[str, Any], interrupt_at: Callable[[], None]
) -> None:
    interrupt_at()
    api.statuses[SESSION] = [working(3)]
    ran = run("watch", ID, "--json")
    assert ran.code == 130
    assert f"rowlift watch {ID}" in ran.answer["error"]["message"]
    assert {request.method for request in api.requests} == {"GET"}


def test_results_go_to_standard_output_and_the_account_of_them_last(
    run: Run, api: FakeApi, stack: dict[str, Any]
) -> None:
    assert run("results", ID).out.encode() == api.results
    ran = run("results", ID, "--json")
    assert ran.out.splitlines()[:2] == ['{"item_no":1}', '{"item_no":2}']
    assert ran.answer == {"session_id": ID, "output": None, "lines": 2, "bytes": len(api.results)}


def test_results_and_rejects_go_to_a_file(run: Run, api: FakeApi, stack: dict[str, Any]) -> None:
    ran = run("results", ID, "--output", "r.jsonl", "--json")
    assert Path("r.jsonl").read_bytes() == api.results
    assert ran.answer == {"session_id": ID, "output": str(Path("r.jsonl").absolute()), "lines": 2, "bytes": 28}
    assert "2 lines" in run("rejects", ID, "--output", "r.csv").out
    assert Path("r.csv").read_text() == "artist_id,reason\n,empty\n"
    assert "artist_id,reason" in run("rejects", ID).out


def test_rejects_in_a_folder_have_the_name_by_which_they_find_back(
    run: Run, api: FakeApi, stack: dict[str, Any], bucket: FakeBucket
) -> None:
    Path("mend").mkdir()
    ran = run("rejects", ID, "--output", "mend", "--json")
    name = f"rejects-{ID}.csv"
    assert ran.answer["output"] == str(Path("mend", name).absolute())
    assert [path.name for path in Path("mend").iterdir()] == [name]
    api.statuses[SESSION] = [status_of()]
    ran = run("upload", f"mend/{name}", "--pipeline", "artists", "--json")
    assert bucket.uploaded[0]["name"] == f"artists/{name}"
    assert (ran.code, ran.answer["session_id"]) == (0, ID)
    assert f"goes back to its session {ID}" in ran.err
    api.statuses[SESSION] = [working(9), status_of()]
    ran = run("upload", f"mend/{name}", "--pipeline", "artists", "--watch", "--json")
    assert (ran.code, ran.answer["session_id"]) == (0, ID)


@pytest.mark.parametrize(
    ("changes", "told"), [({"pipeline": "movies"}, "pipeline movies"), ({"status": "cancelled"}, "ended for good")]
)
def test_rejects_of_a_session_that_does_not_take_them_are_not_uploaded(
    run: Run, api: FakeApi, stack: dict[str, Any], bucket: FakeBucket, changes: dict[str, Any], told: str
) -> None:
    name = f"{ID}-rejects (1).csv"
    Path(name).write_bytes(CSV)
    api.statuses.clear()
    ran = run("upload", name, "--pipeline", "artists", "--api", LOCAL)
    assert (ran.code, f"no session {ID}" in ran.err) == (2, True)
    api.statuses[SESSION] = [status_of(**changes)]
    ran = run("run", name, "--pipeline", "artists", "--api", LOCAL)
    assert ran.code == 2
    assert told in ran.err
    assert bucket.uploaded == []


def test_a_stream_that_breaks_leaves_the_old_file(run: Run, api: FakeApi, stack: dict[str, Any]) -> None:
    def pieces() -> Iterator[bytes]:
        yield b"half"
        raise httpx.ReadError("cut")

    Path("r.jsonl").write_text("old")
    api.answers[f"GET /api/session/{ID}/results"] = httpx.Response(200, content=pieces())
    assert run("results", ID, "--output", "r.jsonl").code == 3
    assert [path.name for path in Path().iterdir()] == ["r.jsonl"]
    assert Path("r.jsonl").read_text() == "old"


def test_a_file_that_cannot_be_written_is_wrong_usage(run: Run, api: FakeApi, stack: dict[str, Any]) -> None:
    assert "Cannot write" in run("results", ID, "--output", "no/where.jsonl").err
    Path("folder").mkdir()
    ran = run("results", ID, "--output", "folder")
    assert ran.code == 2
    assert "Cannot write" in ran.err


def test_a_saved_file_has_the_usual_permissions(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        save([b"a\n"], tmp_path / "f")
    finally:
        os.umask(before)
    assert (tmp_path / "f").stat().st_mode & 0o777 == 0o644


def test_reprocess_says_how_many_rows_run_again(run: Run, api: FakeApi, stack: dict[str, Any]) -> None:
    path = f"/api/session/{ID}/reprocess"
    api.answers[f"POST {path}"] = {"opened": 3, "status": working(7)}
    ran = run("reprocess", ID, "--outcome", "failed, not_found", "--key", "k1", "--json")
    assert ran.answer["opened"] == 3
    assert "3 rows run again" in ran.err
    api.answers[f"POST {path}"] = {"opened": 0, "status": status_of()}
    assert "nothing to do" in run("reprocess", ID).out
    assert api.sent("POST", path) == [
        {"outcomes": ["failed", "not_found"], "key": "k1"},
        {},  # what is meant then is the API's to say
    ]


def test_reprocess_by_error_code_and_prompt(run: Run, api: FakeApi, stack: dict[str, Any]) -> None:
    path = f"/api/session/{ID}/reprocess"
    api.answers[f"POST {path}"] = {"opened": 1, "status": working(7)}
    assert run("reprocess", ID, "--error-code", "upstream.timeout, db.refused").code == 0
    assert run("reprocess", ID, "--prompt", "artist-bio/1", "--outcome", "enriched").code == 0
    assert api.sent("POST", path) == [
        {"error_codes": ["upstream.timeout", "db.refused"]},
        {"outcomes": ["enriched"], "prompt": "artist-bio/1"},
    ]
    for option in ("--error-code", "--outcome"):  # an empty list is not the default
        assert run("reprocess", ID, option, " , ").code == 2
    assert len(api.sent("POST", path)) == 2


@pytest.mark.parametrize(
    ("words", "body"),
    [
        (["pause"], {}),
        (["resume"], {}),
        (["resume", "--budget", "$2.50"], {"budget_usd": 2.5}),
        (["cancel"], {}),
        (["approve"], {}),
    ],
)
def test_acting_on_a_session_answers_its_status(
    run: Run, api: FakeApi, stack: dict[str, Any], words: list[str], body: dict[str, Any]
) -> None:
    ran = run(words[0], ID, *words[1:], "--json")
    assert (ran.code, ran.answer) == (0, status_of())
    assert api.sent("POST", f"/api/session/{ID}/{words[0]}") == [body]


def test_a_refusal_of_the_api_is_told_in_its_own_words(run: Run, api: FakeApi, stack: dict[str, Any]) -> None:
    api.answers[f"POST /api/session/{ID}/cancel"] = problem(409, "The session is completed.")
    ran = run("cancel", ID, "--json")
    assert ran.code == 2
    assert ran.err.strip() == "The session is completed."
    assert ran.answer["error"]["problem"]["status"] == 409


def test_verify_of_a_sound_session_shows_what_was_paid(run: Run, api: FakeApi, stack: dict[str, Any]) -> None:
    paid = payment_of(started=2, failed=1, repeated=1, unknown=1, duplicates_absorbed=3, budget_usd=2.5)
    sound = {"session_id": ID, "sound": True, "findings": [], "calls": {"succeeded": 10}, "payment": paid}
    api.answers[f"GET /api/session/{ID}/verify"] = sound
    ran = run("verify", ID, "--json")
    assert (ran.code, ran.answer) == (0, sound)
    shown = " ".join(ran.err.split())
    for words in (
        "10 succeeded, 1 failed, 1 unknown, 2 in flight", "gpt-5-mini 10 calls, 1,000 tokens in, 2,000 out, $0.0125",
        "$0.0125 of a budget of $2.50", "paid more than once 0 items", "perhaps paid twice 1 items", "3 deliveries",
    ):  # fmt: skip
        assert words in shown


def test_verify_of_a_session_without_calls(run: Run, api: FakeApi, stack: dict[str, Any]) -> None:
    paid = payment_of(succeeded=0, by_model=[], spent_usd=0.0)
    api.answers[f"GET /api/session/{ID}/verify"] = {
        "session_id": ID, "sound": True, "findings": [], "calls": {}, "payment": paid,
    }  # fmt: skip
    assert "calls none spent $0.00" in " ".join(run("verify", ID).out.split()).replace("$0.00,", "$0.00")


def test_verify_ends_with_status_1_and_the_findings(run: Run, api: FakeApi, stack: dict[str, Any]) -> None:
    findings = [{"rule": "I5", "finding": "item 3 was paid for 2 times in round 1"}]
    api.answers[f"GET /api/session/{ID}/verify"] = {
        "session_id": ID,
        "sound": False,
        "findings": findings,
        "calls": {},
        "payment": payment_of(),
    }
    ran = run("verify", ID)
    assert ran.code == 1
    assert "item 3 was paid for 2 times" in ran.out


# Files


@pytest.fixture
def files(run: Run) -> list[str]:
    for name in ("a.csv", "b.csv"):
        Path(name).write_bytes(CSV)
    return ["a.csv", "b.csv"]


def test_upload_puts_a_file_with_its_options_and_names_its_session(
    run: Run, api: FakeApi, stack: dict[str, Any], bucket: FakeBucket, files: list[str]
) -> None:
    api.default = [status_of()]
    ran = run(
        "upload", "a.csv", "--pipeline", "artists", "--write-mode", "file", "--skip-existing", "--dry-run", "--budget",
        "2.50", "--approve", "ask", "--on-missing", "error", "--max-failed", "5%", "--json",
    )  # fmt: skip
    assert ran.code == 0
    assert bucket.uploaded == [
        {
            "name": "artists/a.csv",
            "type": "text/csv",
            "metadata": {
                "write-mode": "file", "skip-existing": "true", "dry-run": "true", "budget": "2.50", "approve": "ask",
                "on-missing": "error", "max-failed": "5%",
            },
        }
    ]  # fmt: skip
    assert ran.answer["session_id"] == str(bucket.session())
    assert ran.answer["sessions"] == [
        {
            "session_id": str(bucket.session()),
            "file": "a.csv",
            "object": "gs://up/artists/a.csv",
            "generation": 1001,
            "bytes": len(CSV),
        }
    ]


def test_options_not_given_are_not_sent(
    run: Run, api: FakeApi, stack: dict[str, Any], bucket: FakeBucket, files: list[str]
) -> None:
    api.default = [status_of()]
    assert run("upload", "a.csv", "--pipeline", "artists").code == 0
    assert bucket.uploaded[0]["metadata"] is None


def test_files_of_one_name_stay_apart_and_may_join_a_session(
    run: Run, api: FakeApi, stack: dict[str, Any], bucket: FakeBucket, files: list[str]
) -> None:
    for folder in ("more", "most"):
        Path(folder).mkdir()
        Path(folder, "a.csv").write_bytes(CSV)
    api.default = [status_of()]
    ran = run("upload", "a.csv", "more/a.csv", "most/a.csv", "--pipeline", "artists", "--session", ID, "--json")
    assert [each["name"] for each in bucket.uploaded] == ["artists/a.csv", "artists/2/a.csv", "artists/3/a.csv"]
    assert {each["session_id"] for each in ran.answer["sessions"]} == {ID}


def test_upload_waits_until_the_session_can_be_asked_about_but_not_for_ever(
    run: Run, api: FakeApi, stack: dict[str, Any], bucket: FakeBucket, files: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    api.default = [problem(404, "Not yet."), problem(404, "Not yet."), status_of()]
    assert run("upload", "a.csv", "--pipeline", "artists").code == 0
    assert sum(request.url.path.startswith("/api/session/") for request in api.requests) == 3
    monkeypatch.setattr(batches, "KNOWN_WITHIN", 0.05)
    api.default = None
    assert run("upload", "b.csv", "--pipeline", "artists").code == 0
    api.default = [problem(503, "Restarting.")]
    assert run("upload", "b.csv", "--pipeline", "artists").code == 0


def test_upload_with_watch_ends_as_the_session_does(
    run: Run, api: FakeApi, stack: dict[str, Any], bucket: FakeBucket, files: list[str]
) -> None:
    api.default = [problem(404, "Not yet."), working(1), status_of(status="failed", error_message="No column.")]
    ran = run("upload", "a.csv", "--pipeline", "artists", "--watch", "--json")
    assert ran.code == 1
    assert ran.answer["session_id"] == str(bucket.session())
    assert "failed: No column." in ran.err


def test_ctrl_c_while_an_upload_is_watched_leaves_it_running(
    run: Run,
    api: FakeApi,
    stack: dict[str, Any],
    bucket: FakeBucket,
    files: list[str],
    interrupt_at: Callable[[], None],
) -> None:
    interrupt_at()
    api.default = [working(1)]
    ran = run("upload", "a.csv", "--pipeline", "artists", "--watch")
    assert ran.code == 130
    assert f"rowlift watch {bucket.session()}" in ran.err


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (ConnectionError("refused"), 3, "Is the stack still up?"),
        (uploading.ObjectGone(), 2, "no bucket up"),
        (PermissionError(13, "Permission denied"), 2, "Cannot read a.csv: Permission denied"),
    ],
)
def test_an_upload_that_fails(
    run: Run, api: FakeApi, stack: dict[str, Any], bucket: FakeBucket, files: list[str],
    error: Exception, code: int, words: str,
) -> None:  # fmt: skip
    bucket.error = error
    ran = run("upload", "a.csv", "--pipeline", "artists")
    assert ran.code == code
    assert words in ran.err


def test_a_file_that_may_not_be_read(run: Run, files: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    assert "path 'a.csv' is not readable" in run("upload", "a.csv", "--pipeline", "artists").err


def test_run_writes_the_results_beside_the_file(
    run: Run, api: FakeApi, stack: dict[str, Any], bucket: FakeBucket, files: list[str]
) -> None:
    api.default = [working(1), status_of()]
    ran = run("run", "a.csv", "--pipeline", "artists", "--json")
    assert ran.code == 0
    assert Path("a.csv.results.jsonl").read_bytes() == api.results
    assert ran.answer["status"] == "completed"
    assert ran.answer["output"].endswith("a.csv.results.jsonl")
    assert (ran.answer["lines"], ran.answer["bytes"]) == (2, 28)


def test_run_of_several_files_sums_them(
    run: Run, api: FakeApi, stack: dict[str, Any], bucket: FakeBucket, files: list[str]
) -> None:
    api.default = [status_of()]
    ran = run("run", *files, "--pipeline", "artists", "--output", "all.jsonl", "--json")
    assert ran.code == 0
    assert Path("all.jsonl").read_bytes() == api.results * 2
    assert (ran.answer["total"], ran.answer["enriched"], len(ran.answer["sessions"])) == (20, 20, 2)
    assert "2 sessions: completed" in ran.err
    assert run("run", *files, "--pipeline", "artists").code == 0
    assert Path("a.csv.results.jsonl").exists()
    assert Path("b.csv.results.jsonl").exists()


def test_run_of_a_session_that_pauses_says_how_to_go_on_and_writes_nothing(
    run: Run, api: FakeApi, stack: dict[str, Any], bucket: FakeBucket, files: list[str]
) -> None:
    api.default = [status_of(status="paused", pause_reason="The budget is spent", open=4, budget_usd=0.0125)]
    for words in ([], ["--output", "r.jsonl"]):
        ran = run("run", "a.csv", "--pipeline", "artists", *words, "--json")
        assert ran.code == 1
        assert "rowlift resume" in ran.err
        assert ran.answer["output"] is None
    assert sorted(path.name for path in Path().iterdir()) == files


def test_ctrl_c_during_run_pauses_what_was_uploaded(
    run: Run,
    api: FakeApi,
    stack: dict[str, Any],
    bucket: FakeBucket,
    files: list[str],
    interrupt_at: Callable[[], None],
) -> None:
    interrupt_at()
    api.default = [working(1)]
    ran = run("run", "a.csv", "--pipeline", "artists", "--json")
    assert ran.code == 130
    assert f"rowlift resume {bucket.session()}" in ran.answer["error"]["message"]
    assert len(api.sent("POST", f"/api/session/{bucket.session()}/pause")) == 1


def test_ctrl_c_during_run_of_a_session_that_has_ended_meanwhile(
    run: Run,
    api: FakeApi,
    stack: dict[str, Any],
    bucket: FakeBucket,
    files: list[str],
    interrupt_at: Callable[[], None],
) -> None:
    interrupt_at()
    api.default = [working(1)]
    session = session_id("up", "artists/b.csv", 1001)
    api.answers[f"POST /api/session/{session}/pause"] = problem(409, "It is completed.")
    ran = run("run", "b.csv", "--pipeline", "artists")
    assert ran.code == 130
    assert "nothing was left to pause" in ran.err


def test_run_on_a_deployment_starts_nothing_here(
    run: Run, api: FakeApi, bucket: FakeBucket, files: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local, "start", lambda *_, **__: pytest.fail("started a stack"))
    api.default = [status_of()]
    assert run("run", "a.csv", "--pipeline", "artists", "--api", LOCAL).code == 0


def test_run_refuses_a_malformed_database_before_it_starts_anything(
    run: Run, files: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", "mysql://me:secret@h/d")
    ran = run("run", "a.csv", "--pipeline", "artists")
    assert ran.code == 2
    assert "secret" not in ran.err


def test_the_local_storage_is_reached_past_any_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "intranet")
    monkeypatch.setenv("no_proxy", "intranet")
    client = uploading._client("http://127.0.0.1:5")
    assert client._connection.API_BASE_URL == "http://127.0.0.1:5"
    assert os.environ["no_proxy"] == os.environ["NO_PROXY"] == "intranet,127.0.0.1,localhost"
    client.close()


def test_commands_may_run_in_a_thread_where_no_signal_can_be_caught(run: Run) -> None:
    codes: list[int] = []
    thread = threading.Thread(target=lambda: codes.append(main.main(["--version"])))
    thread.start()
    thread.join(10)
    assert codes == [0]


# Demo


def test_the_demo_shows_bios_films_counts_cost_and_books(
    run: Run, api: FakeApi, stack: dict[str, Any], bucket: FakeBucket
) -> None:
    api.default = [working(5), status_of()]
    bio = {"outcome": "enriched", "db_status": "updated", "artist_name": "Nina Simone", "response_text": "A pianist."}
    api.results = json.dumps(bio).encode() + b"\n"
    [first, *_], _ = inputs_of([demo.EXPORT], "movies")
    films = next(export_session_ids("up", str(first.export)))
    api.statuses[films] = [problem(404, "Not yet."), film_status(films)]
    lines = [film_line("The Matrix"), film_line("Solaris", outcome="needs_review", directors=None)]
    found = httpx.Response(200, content="".join(f"{json.dumps(line)}\n" for line in lines).encode())
    api.answers[f"GET /api/session/{films}/results"] = found
    Path("d").mkdir()
    session = "/api/session/{}/verify"
    known: dict[str, Any] = {"sound": True, "findings": [], "calls": {}}
    real = api._status

    def status(wanted: UUID) -> httpx.Response:
        api.answers[f"GET {session.format(wanted)}"] = known
        return real(wanted)

    api._status = status  # type: ignore[method-assign]
    ran = run("demo", "--state-dir", "d", "--json")
    assert ran.code == 0
    for words in ("Nina Simone", "A pianist.", "10 enriched", "$0.0125", "1 bios in table artists", "sound", "runs on"):
        assert words in ran.err
    for words in ("The Matrix (1999)", "Science Fiction", "Lana Wachowski", "TMDB", "11 enriched", "1 needs a look"):
        assert words in ran.err
    assert "Solaris" not in ran.err
    assert f"`rowlift match {films} --state-dir d`" in ran.err
    assert (ran.answer["sound"], ran.answer["status"], ran.answer["lines"]) == (True, "completed", 1)
    assert (ran.answer["movies"]["total_movies"], ran.answer["movies"]["lines"]) == (12, 2)
    assert sorted(path.name for path in Path("d").iterdir()) == [
        "artists-25.csv.results.jsonl",
        "letterboxd-demo.results.jsonl",
    ]
    known["sound"] = False
    assert run("demo", "--state-dir", "d").code == 1


@pytest.mark.parametrize(("upstream", "name"), [("openai", "OpenAI"), ("tmdb", "TMDB")])
def test_the_demo_never_asks_a_real_upstream(run: Run, stack: dict[str, Any], upstream: str, name: str) -> None:
    stack[upstream] = None
    ran = run("demo")
    assert ran.code == 2
    assert f"asks the real {name}" in ran.err


def test_a_demo_that_ends_early_says_where_to_look(
    run: Run, api: FakeApi, stack: dict[str, Any], bucket: FakeBucket
) -> None:
    api.default = [status_of(status="paused")]
    ran = run("demo")
    assert ran.code == 1
    assert "ended paused. Its log is /s/log" in ran.err
    assert demo.SAMPLE.is_file()
    assert demo.EXPORT.is_dir()


# Migrations


def test_migrate_takes_the_stacks_database(run: Run, stack: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr("cli.stack_commands.migrate_database", lambda url: asked.append(url) or "0002")
    ran = run("migrate")
    assert asked == [stack["database_url"]]
    assert "me:***@127.0.0.1" in ran.out
    assert "secret" not in ran.out


def test_a_database_that_is_away_ends_with_status_3(run: Run) -> None:
    ran = run("migrate", "--db-url", "postgresql://me:secret@127.0.0.1:1/d")
    assert ran.code == 3
    assert "me:***@127.0.0.1:1/d" in ran.err
    assert "secret" not in ran.err


def test_a_file_named_twice_would_be_paid_for_twice(run: Run, stack: dict[str, Any], files: list[str]) -> None:
    ran = run("upload", "a.csv", "./a.csv", "--pipeline", "artists")
    assert ran.code == 2
    assert "named twice" in ran.err


def test_a_session_nobody_knows_takes_no_files(
    run: Run, api: FakeApi, stack: dict[str, Any], bucket: FakeBucket, files: list[str]
) -> None:
    api.default = [problem(404, "There is no such session.")]
    unknown = "00000000-0000-4000-8000-000000000001"
    assert run("upload", "a.csv", "--pipeline", "artists", "--session", unknown).code == 2
    assert bucket.uploaded == []


def test_results_never_replace_their_input(run: Run, stack: dict[str, Any], files: list[str]) -> None:
    ran = run("run", "a.csv", "--pipeline", "artists", "--output", "./a.csv")
    assert (ran.code, "input files" in ran.err) == (2, True)


def test_suggested_commands_reach_the_stack_that_was_meant() -> None:
    from cli.terminal import hinted, speak_of

    text = "`rowlift resume 7` goes on; `rowlift demo` shows all; `rowlift up --state-dir x` too"
    speak_of(["run", "a.csv", "--state-dir", "my dir", "--api=http://h"])
    assert hinted(text) == (
        "`rowlift resume 7 --state-dir 'my dir' --api http://h` goes on; `rowlift demo` shows all; "
        "`rowlift up --state-dir x` too"
    )
    speak_of(["status", "--api", "http://h"])
    assert hinted("Start one with `rowlift up`; `rowlift status S` shows it.") == (
        "Start one with `rowlift up`; `rowlift status S --api http://h` shows it."
    )
    speak_of([])
    assert hinted(text) == text


def test_what_is_written_follows_links_and_leaves_devices_devices(tmp_path: Path) -> None:
    from cli.saving import save, unused

    real, link = tmp_path / "real.jsonl", tmp_path / "link.jsonl"
    real.write_bytes(b"old")
    link.symlink_to(real)
    save([b"new\n"], link)
    assert (real.read_bytes(), link.is_symlink()) == (b"new\n", True)
    assert save([b"x\n"], Path("/dev/null")).lines == 1
    assert not Path("/dev/null").is_file()
    assert unused(real) == tmp_path / "real-2.jsonl"
