"""A dropped file becomes items once, whatever happens to its reader, its object, or its notices."""

from __future__ import annotations

import json
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shared import ingest
from shared.db import Database
from shared.errors import LedgerDown, StorageDown
from shared.events import UploadedObject
from tests.factories import at_once
from tests.workbench import Workbench, artist_id, artists_csv


def lines_of(bench: Workbench, session: Any) -> list[int]:
    """The lines of the file items were made of, in item order."""
    found = bench.execute(f"SELECT line FROM items WHERE session_id = '{session}' ORDER BY item_no")
    return [int(row[0]) for row in found]


def read_on(bench: Workbench, session: Any) -> None:
    """Let rescue find the file whose reader is gone, and read it to its end."""
    bench.pass_time(3600)
    assert bench.rescuer.round().files == 1
    for message in bench.publisher.take("uploads"):
        bench.ingest.go_on(json.loads(message.data)["file"])


def dying(bench: Workbench, *, reads: int, error: Exception) -> None:
    """Let the reader die at its nth look at the object from now on."""
    left = [reads]

    def look(offset: int) -> None:
        left[0] -= 1
        if left[0] < 0:
            raise error

    bench.store.on_read = look


def test_the_same_event_three_times_at_once_makes_each_item_once(bench: Workbench) -> None:
    uploaded = bench.store.put("up", "artists/list.csv", artists_csv(300))
    bench.ingest._chunk_rows = 50
    first, *others = at_once(3, lambda i: bench.ingest.take(uploaded))
    assert others == [first, first]
    assert lines_of(bench, first) == list(range(2, 302))
    assert bench.run(first)["enriched"] == 300
    assert len(bench.upstream.requests) == 300
    bench.ingest.take(uploaded)  # once more after the end
    assert bench.facts(first)["status"] == "completed"
    assert len(bench.upstream.requests) == 300


def test_many_readers_of_one_file_write_each_record_once(bench: Workbench) -> None:
    bench.ingest._chunk_rows = 10
    uploaded = bench.store.put("up", "artists/list.csv", artists_csv(400))
    bench.store.on_read = lambda offset: bench.execute("UPDATE files SET lease_expires_at = now() - interval '1 s' "
                                                       "WHERE state = 'reading'")  # fmt: skip
    session = at_once(6, lambda i: bench.ingest.take(uploaded))[0]
    bench.store.on_read = lambda offset: None
    bench.pass_time(3600)
    bench.run(session)
    assert lines_of(bench, session) == list(range(2, 402))
    bench.assert_sound(session)


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Objects are looked at two kilobytes at a time."""
    monkeypatch.setattr(ingest, "HEAD", 2_048)
    monkeypatch.setattr(ingest, "CHUNK_BYTES", 2_048)


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("reads", [0, 1, 2, 4])
def test_a_reader_that_died_is_followed_by_one_at_its_cursor(bench: Workbench, reads: int) -> None:
    bench.ingest._chunk_rows = 7
    uploaded = bench.store.put("up", "artists/list.csv", artists_csv(200))
    dying(bench, reads=reads, error=RuntimeError("killed"))
    with pytest.raises(RuntimeError):
        bench.ingest.take(uploaded)
    bench.store.on_read = lambda offset: None
    session = bench.ingest.take(uploaded)  # the notification comes again: another still holds the file
    assert (len(lines_of(bench, session)) > 0) is (reads > 1)
    read_on(bench, session)
    assert lines_of(bench, session) == list(range(2, 202))
    assert bench.run(session)["status"] == "completed"
    bench.assert_sound(session)


def test_a_continuation_reads_on_when_the_time_budget_ends(db: Database, database_url: str) -> None:
    bench = Workbench(db=db, url=database_url, changes={"ingest_budget": 1e-9})
    bench.ingest._chunk_rows = 20
    session = bench.drop(artists_csv(100))
    assert len(lines_of(bench, session)) == 20
    assert bench.facts(session)["status"] == "processing"
    rounds = 0
    while messages := bench.publisher.take("uploads"):
        rounds += 1
        bench.ingest.go_on(json.loads(messages[0].data)["file"])
    assert rounds == 5  # the last finds nothing left
    assert lines_of(bench, session) == list(range(2, 102))
    assert bench.run(session)["status"] == "completed"
    bench.assert_sound(session)


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("fate", ["replaced", "deleted"])
def test_an_object_that_goes_in_mid_read_fails_its_file_and_what_was_read_runs(bench: Workbench, fate: str) -> None:
    bench.ingest._chunk_rows = 10
    uploaded = bench.store.put("up", "artists/list.csv", artists_csv(200))
    reads = [0]

    def look(offset: int) -> None:
        reads[0] += 1
        if reads[0] == 4 and fate == "replaced":
            bench.store.put("up", "artists/list.csv", b"other")
        elif reads[0] == 4:
            del bench.store.objects["up", "artists/list.csv"]

    bench.store.on_read = look
    session = bench.ingest.take(uploaded)
    made = len(lines_of(bench, session))
    assert 8 < made < 200
    assert bench.facts(session)["status"] == "enriching"
    (state, code, error), = bench.execute("SELECT state, error_code, error FROM files")  # fmt: skip
    assert (state, code) == ("failed", "input.object_gone")
    assert "replaced or deleted" in error
    status = bench.run(session)
    assert (status["status"], status["enriched"], status["error_code"]) == ("failed", made, "input.object_gone")
    bench.assert_sound(session)


def test_a_store_that_is_down_refuses_the_push_and_leaves_the_file_free(bench: Workbench) -> None:
    uploaded = bench.store.put("up", "artists/list.csv", artists_csv(5))
    dying(bench, reads=0, error=StorageDown())
    with pytest.raises(StorageDown):
        bench.ingest.take(uploaded)
    bench.store.on_read = lambda offset: None
    session = bench.ingest.take(uploaded)  # at once, no lease to wait for
    assert bench.run(session)["enriched"] == 5


def test_a_ledger_that_goes_away_in_mid_file_loses_and_doubles_nothing(
    bench: Workbench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.ingest._chunk_rows = 10
    uploaded = bench.store.put("up", "artists/list.csv", artists_csv(50))
    really, n = bench.db.transaction, [0]

    def sometimes() -> Any:
        n[0] += 1
        if n[0] == 3:
            raise LedgerDown
        return really()

    with monkeypatch.context() as patch:
        patch.setattr(bench.db, "transaction", sometimes)
        with pytest.raises(LedgerDown):
            bench.ingest.take(uploaded)
    session = bench.ingest.take(uploaded)
    assert lines_of(bench, session) == list(range(2, 52)), "the next delivery reads on without waiting for a lease"


@pytest.mark.parametrize(
    ("name", "data", "named"),
    [
        ("elsewhere/list.csv", artists_csv(1), "artists/"),
        ("list.csv", artists_csv(1), "artists/"),
        ("artists/empty.csv", b"", "empty"),
        ("artists/header.csv", b"artist_id,artist_name,artist_data\n", "header"),
        ("artists/picture.csv", b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR" + bytes(range(256)) * 20, "PNG"),
        ("artists/other.csv", b"artist_id,nickname\n" + artist_id(1).encode() + b",Nina\n", "artist_name"),
    ],
)
def test_what_cannot_be_read_fails_with_the_remedy(bench: Workbench, name: str, data: bytes, named: str) -> None:
    session = bench.drop(data, name=name)
    status = bench.run(session)
    assert status["status"] == "failed"
    assert named in status["error_message"]
    assert status["error_code"].startswith("input.")
    assert status["total"] == 0
    assert ("up", name) in bench.store.objects
    assert f'"{session}"' in bench.store.text("out", f"{session}/manifest.json")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"colour": "red"}, ["'colour'", "write-mode", "skip-existing", "budget"]),
        ({"write_mode": "paper"}, ["write-mode", "paper", "'db'", "'file'", "'both'"]),
        ({"budget": "a lot"}, ["budget", "a lot", "dollars"]),
        ({"approve": "maybe"}, ["approve", "'auto'", "'ask'"]),
        ({"max_failed": "half"}, ["max-failed", "5%"]),
        ({"session": "mine"}, ["session", "mine"]),
    ],
)
def test_a_bad_option_fails_naming_the_choices(bench: Workbench, options: dict[str, str], words: list[str]) -> None:
    session = bench.drop(artists_csv(2), **options)
    status = bench.run(session)
    assert (status["status"], status["error_code"], status["total"]) == ("failed", "input.option", 0)
    assert [word for word in words if word not in status["error_message"]] == []
    assert bench.upstream.requests == []


def test_a_refused_file_never_runs_although_its_reader_died(bench: Workbench, monkeypatch: pytest.MonkeyPatch) -> None:
    uploaded = bench.store.put("up", "artists/list.csv", artists_csv(2), budget="none")
    died = RuntimeError("killed")

    def die(*_: Any, **__: Any) -> Any:
        raise died

    with monkeypatch.context() as patch:  # right after its first statement
        patch.setattr(bench.dispatcher, "nudge", die)
        with pytest.raises(RuntimeError):
            bench.ingest.take(uploaded)
    bench.pass_time(3600)
    session = bench.ingest.take(uploaded)
    assert bench.run(session)["status"] == "failed"
    assert bench.upstream.requests == []


def test_files_that_name_a_session_are_one(bench: Workbench) -> None:
    mine = str(uuid4())
    one = bench.drop(artists_csv(3), name="artists/a.csv", session=mine)
    bench.run(one)
    two = bench.drop(artists_csv(3, first=3), name="artists/b.csv", session=mine)
    assert str(one) == str(two) == mine
    status = bench.run(one)
    assert (status["status"], status["total"]) == ("completed", 6)
    assert (status["enriched"], status["duplicate"]) == (5, 1)
    assert bench.value(f"SELECT parent FROM items WHERE outcome = 'duplicate' AND session_id = '{mine}'") == 3
    assert bench.store.text("out", f"{mine}/results.jsonl").count("\n") == 6
    bench.assert_sound(one)


def test_two_files_of_one_session_read_at_once_share_their_keys(bench: Workbench) -> None:
    mine = str(uuid4())
    bench.ingest._chunk_rows = 20
    files = [bench.store.put("up", f"artists/{i}.csv", artists_csv(200), session=mine) for i in range(4)]
    session = at_once(4, lambda i: bench.ingest.take(files[i]))[0]
    status = bench.sessions.status(session)
    assert (status["total"], status["open"], status["duplicate"]) == (800, 200, 600)
    bench.assert_sound(session)


def test_a_file_of_the_same_checksum_adds_nothing(bench: Workbench) -> None:
    mine = str(uuid4())
    for name in ("a", "b"):
        put = bench.store.put("up", f"artists/{name}.csv", artists_csv(3), session=mine)
        session = bench.ingest.take(_with_checksum(put))
    assert bench.execute("SELECT state FROM files ORDER BY id") == [["read"], ["repeated"]]
    status = bench.run(session)
    assert (status["status"], status["total"]) == ("completed", 3)
    bench.assert_sound(session)


def _with_checksum(uploaded: UploadedObject) -> UploadedObject:
    from dataclasses import replace

    return replace(uploaded, checksum="1B2M2Y8AsgTpgAmY7PhCfg==")


_cell = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=12)
_id = st.one_of(st.integers(1, 6).map(artist_id), st.sampled_from(["", "x", "{" + artist_id(1) + "}"]))


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.lists(st.tuples(_id, _cell, _cell), min_size=1, max_size=12), chunk=st.integers(1, 5))
def test_counts_add_up_whatever_the_table(bench: Workbench, rows: list[tuple[str, str, str]], chunk: int) -> None:
    import csv
    import io

    text = io.StringIO()
    csv.writer(text, quoting=csv.QUOTE_ALL).writerows([("artist_id", "artist_name", "artist_data"), *rows])
    bench.ingest._chunk_rows = chunk
    session = bench.drop(text.getvalue().encode(), dry_run="true")
    status = bench.run(session)
    assert status["total"] == len(rows)
    assert status["open"] == 0
    assert status["total"] == status["skipped"] + status["rejected"] + status["duplicate"]
    *results, end = bench.store.text("out", f"{session}/results.jsonl").split("\n")
    assert (len([json.loads(line) for line in results]), end) == (len(rows), "")
    bench.assert_sound(session)
