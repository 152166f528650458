"""What a session's options change: dry run, skip-existing, on-missing, write-mode."""

from __future__ import annotations

import json

from tests.workbench import Workbench, artist_id, artists_csv


def test_a_dry_run_calls_nobody_and_writes_nothing(bench: Workbench) -> None:
    session = bench.drop(artists_csv(9), dry_run="true")
    status = bench.run(session)
    assert (status["status"], status["skipped"]) == ("completed", 9)
    assert bench.upstream.requests == []
    assert bench.item(session)["code"] == "dry_run"
    assert bench.value("SELECT count(*) FROM artists") == 0


def test_existing_bios_are_skipped_before_anything_is_paid(bench: Workbench) -> None:
    bench.execute(
        f"INSERT INTO artists (id, name, bio) VALUES ('{artist_id(1)}', 'A', 'Mine.'), ('{artist_id(2)}', 'B', NULL)"
    )
    session = bench.drop(artists_csv(3), skip_existing="true")
    status = bench.run(session)
    assert (status["skipped"], status["enriched"]) == (1, 2)
    assert len(bench.upstream.requests) == 2
    assert len(bench.calls(session)) == 2
    assert bench.value(f"SELECT bio FROM artists WHERE id = '{artist_id(1)}'") == "Mine."
    lines = [json.loads(line) for line in bench.store.text("out", f"{session}/results.jsonl").splitlines()]
    assert [line["db_status"] for line in lines] == ["skipped", "updated", "updated"]
    assert [line["outcome"] for line in lines] == ["skipped", "enriched", "enriched"]


def test_unknown_artists_fail_unpaid_where_they_must_exist(bench: Workbench) -> None:
    bench.execute(f"INSERT INTO artists (id, name) VALUES ('{artist_id(2)}', 'B')")
    session = bench.drop(artists_csv(2), on_missing="error", max_failed="2")
    status = bench.run(session)
    assert (status["status"], status["failed"], status["enriched"]) == ("completed", 1, 1)
    assert bench.item(session)["error_code"] == "db.unknown_artist"
    assert len(bench.upstream.requests) == 1


def test_write_mode_file_leaves_artists_untouched(bench: Workbench) -> None:
    session = bench.drop(artists_csv(3), write_mode="file")
    assert bench.run(session)["enriched"] == 3
    assert bench.value("SELECT count(*) FROM artists") == 0
    assert "A bio, number" in bench.store.text("out", f"{session}/results.jsonl")
