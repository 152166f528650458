"""Results, rejects and manifest: complete, the same whenever written, and proven before the session ends."""

from __future__ import annotations

import csv
import hashlib
import io
import json
from typing import Any

import pytest

from shared.errors import StorageDown
from shared.states import SessionStatus
from shared.upstreams.base import ErrorClass
from tests.factories import claim, enriched, failure, make_session, settle, started
from tests.workbench import Workbench, artist_id, artists_csv

HEADER = b"artist_id,artist_name,artist_data\n"


def output(bench: Workbench, session: Any) -> dict[str, bytes]:
    """What stands in the results bucket for a session, by name."""
    prefix = f"{session}/"
    return {name.removeprefix(prefix): data for (bucket, name), (_, data) in bench.store.objects.items()
            if bucket == "out" and name.startswith(prefix)}  # fmt: skip


def mixed(bench: Workbench) -> Any:
    """A session with an item of most outcomes, ended."""
    bench.upstream._script = lambda n, request: failure(ErrorClass.PERMANENT) if "Gone" in str(request) else None
    bench.execute(f"INSERT INTO artists (id, name, bio) VALUES ('{artist_id(1)}', 'A', 'Mine.')")
    rows = [
        f"{artist_id(1)},Has one,x",
        f"{artist_id(2)},Gone,x",
        f"{artist_id(2)},Again,x",
        "no id,Nobody,x",
        f'{artist_id(3)},"Quoted ""name""\nin two lines",x',
    ]
    session = bench.drop(HEADER + "\n".join(rows).encode(), skip_existing="true")
    assert bench.run(session)["status"] == "completed"
    return session


def test_results_hold_one_line_per_item_in_order(bench: Workbench) -> None:
    session = mixed(bench)
    lines = [json.loads(line) for line in output(bench, session)["results.jsonl"].splitlines()]
    assert [(line["outcome"], line["db_status"]) for line in lines] == [
        ("skipped", "skipped"), ("failed", "error"), ("duplicate", None), ("rejected", None), ("enriched", "updated"),
    ]  # fmt: skip
    assert {"artist_id", "artist_name", "artist_data", "response_text", "response_id", "created", "db_status", "error",
            "outcome", "attempts"} <= set(lines[0])  # fmt: skip
    assert lines[4]["artist_name"] == 'Quoted "name"\nin two lines'
    assert lines[4]["response_text"].startswith("A bio")
    assert lines[4]["created"].startswith("2026-11-01T00:00:00")
    assert [line["attempts"] for line in lines] == [1, 1, 0, 0, 1]
    assert lines[1]["error"] == "It went wrong."


def test_the_manifest_proves_what_was_written(bench: Workbench) -> None:
    session = mixed(bench)
    written = output(bench, session)
    manifest = json.loads(written["manifest.json"])
    for name in ("results.jsonl", "rejects.csv"):
        assert manifest[name] == {"bytes": len(written[name]), "sha256": hashlib.sha256(written[name]).hexdigest()}
    counts = {name: n for name, n in manifest["counts"].items() if n}
    assert counts == {"skipped": 1, "failed": 1, "duplicate": 1, "rejected": 1, "enriched": 1}
    assert manifest["total"] == 5
    (file,) = manifest["files"]
    assert (file["generation"], file["records_read"], file["state"]) == ("1001", 5, "read")
    assert manifest["code_version"] == bench.settings.code_version


def test_a_second_run_writes_the_same_bytes(bench: Workbench) -> None:
    session = mixed(bench)
    first = output(bench, session)
    for key in [key for key in bench.store.objects if key[0] == "out"]:
        del bench.store.objects[key]
    bench.execute("UPDATE sessions SET completed_epoch = NULL")
    assert bench.finalizer.finalize(session) is SessionStatus.COMPLETED
    assert output(bench, session) == first
    assert set(first) == {"results.jsonl", "rejects.csv", "manifest.json"}
    assert bench.finalizer.finalize(session) is None


def test_pages_do_not_show_in_the_results(bench: Workbench) -> None:
    from shared.rejects import reject_lines
    from shared.results import result_lines

    session = bench.drop(HEADER + b"".join(b"x,y,z\n" for _ in range(7)))
    for lines in (result_lines, lambda *a, pipeline, minimal, page=5_000: reject_lines(*a, page=page)):
        whole = b"".join(lines(bench.db, session, pipeline="artists", minimal=False))
        assert b"".join(lines(bench.db, session, pipeline="artists", minimal=False, page=2)) == whole
        assert whole.count(b"\n") >= 7


def test_rejects_have_the_users_header_order_and_delimiter(bench: Workbench) -> None:
    text = f"Born;ARTIST_NAME; artist_id \n1933;Nina;{artist_id(1)}\n1938;Fela;not an id\n1940;;{artist_id(2)}\n"
    session = bench.drop(text.encode())
    bench.run(session)
    rows = list(csv.reader(io.StringIO(output(bench, session)["rejects.csv"].decode(), newline=""), delimiter=";"))
    assert rows[0][-3:] == ["reason", "column", "line"]
    assert [cell.strip() for cell in rows[0][:3]] == ["Born", "ARTIST_NAME", "artist_id"]
    assert [row[:3] for row in rows[1:]] == [["1938", "Fela", "not an id"], ["1940", "", artist_id(2)]]
    assert [row[-2:] for row in rows[1:]] == [["artist_id", "3"], ["artist_name", "4"]]


def test_rejects_of_rows_that_are_too_long_keep_their_columns(bench: Workbench) -> None:
    session = bench.drop(HEADER + f"{artist_id(1)},Nina,a,b,c\n".encode() + f"{artist_id(2)},Fela,x\n".encode())
    bench.run(session)
    header, row = csv.reader(io.StringIO(output(bench, session)["rejects.csv"].decode(), newline=""))
    assert row[:3] == [artist_id(1), "Nina", "a,b,c"]
    assert row[header.index("line")] == "2"
    assert row[header.index("column")] == "4"


@pytest.mark.parametrize(
    ("max_failed", "status"),
    [("50%", "failed"), ("3", "completed"), ("2", "failed"), ("75%", "completed"), ("0", "failed")],
)
def test_more_failures_than_tolerated_fail_the_session(bench: Workbench, max_failed: str, status: str) -> None:
    bench.upstream._script = lambda n, _: failure(ErrorClass.PERMANENT) if n <= 3 else None
    session = bench.drop(artists_csv(4), max_failed=max_failed)
    ended = bench.run(session)
    assert (ended["status"], ended["failed"]) == (status, 3)
    assert (ended["error_code"] == "input.too_many_failed") is (status == "failed")
    assert output(bench, session)["results.jsonl"].count(b"\n") == 4
    assert bench.sessions.reprocess(session) == 3
    assert bench.facts(session)["status"] == "enriching"
    ended = bench.run(session)
    assert (ended["status"], ended["enriched"], ended["error_message"]) == ("completed", 4, None)
    bench.assert_sound(session)


def test_sums_that_do_not_add_up_fail_the_session_naming_the_file(bench: Workbench) -> None:
    session = make_session(bench, 3)
    bench.execute("DELETE FROM items WHERE item_no = 2")
    status = bench.run(session)
    assert (status["status"], status["error_code"]) == ("failed", "db.sums")
    assert f"artists/{session}.csv" in status["error_message"]
    assert bench.sessions.verify(session)["findings"][0]["rule"] == "I1"


def test_what_is_added_while_results_are_written_is_published_again(bench: Workbench) -> None:
    session = bench.drop(artists_csv(2), session=artist_id(77))
    for message in bench.publisher.take("artists"):
        bench.publisher.messages.append(("artists", message))
    write, added = bench.store.write, []

    def write_slowly(*args: Any) -> Any:
        if not added:
            added.append(bench.drop(artists_csv(1, first=3), name="artists/b.csv", session=artist_id(77)))
        return write(*args)

    bench.store.write = write_slowly  # type: ignore[method-assign]
    status = bench.run(session)
    assert added == [session]
    assert (status["status"], status["enriched"]) == ("completed", 3)
    assert output(bench, session)["results.jsonl"].count(b"\n") == 3
    bench.assert_sound(session)


def test_reopened_while_results_are_written_is_not_completed(bench: Workbench) -> None:
    bench.upstream._script = lambda n, _: failure(ErrorClass.PERMANENT) if n == 1 else None
    session = make_session(bench, 2)
    write, opened = bench.store.write, []

    def write_slowly(*args: Any) -> Any:
        if not opened:
            opened.append(bench.sessions.reprocess(session))
        return write(*args)

    bench.store.write = write_slowly  # type: ignore[method-assign]
    assert bench.run(session)["enriched"] == 2
    assert opened == [1]
    bench.assert_sound(session)


def test_cancelled_sessions_have_results_too(bench: Workbench) -> None:
    session = bench.drop(artists_csv(3))
    settle(bench, enriched(started(bench, session)))
    bench.sessions.cancel(session)
    bench.deliver()
    lines = [json.loads(line) for line in output(bench, session)["results.jsonl"].splitlines()]
    assert [line["outcome"] for line in lines] == ["enriched", "cancelled", "cancelled"]
    assert json.loads(output(bench, session)["manifest.json"])["counts"]["cancelled"] == 2
    assert bench.facts(session)["status"] == "cancelled"


def test_nothing_is_written_while_an_item_runs(bench: Workbench) -> None:
    session = make_session(bench, 1)
    claim(bench, session, [1])
    assert bench.finalizer.finalize(session) is None
    assert output(bench, session) == {}


def test_a_store_that_is_down_leaves_the_session_for_the_next_notice(
    bench: Workbench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def down(*_: Any) -> Any:
        raise StorageDown

    session = make_session(bench, 1)
    settle(bench, enriched(started(bench, session)))
    with monkeypatch.context() as patch:
        patch.setattr(bench.store, "write", down)
        with pytest.raises(StorageDown):
            bench.finalizer.finalize(session)
    assert bench.facts(session)["status"] == "enriching"
    assert bench.run(session)["status"] == "completed"
