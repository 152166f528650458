"""What was paid for once is used again: next month's file pays only for what is new or changed."""

from __future__ import annotations

from typing import Any

import pytest

from shared.db import Database
from shared.upstreams.base import ErrorClass
from tests.factories import failure
from tests.fakes import FakeUpstream
from tests.workbench import Workbench, artist_id, artists_csv


def changed(data: bytes, i: int) -> bytes:
    """The file with another text in the row of one artist."""
    lines = data.split(b"\r\n")
    found = next(n for n, line in enumerate(lines) if line.startswith(artist_id(i).encode()))
    lines[found] = lines[found].replace(b"type: Person", b"type: Group")
    return b"\r\n".join(lines)


def test_the_same_rows_again_are_unchanged_and_cost_nothing(bench: Workbench) -> None:
    first = bench.drop(artists_csv(20), "artists/november.csv")
    assert bench.run(first)["enriched"] == 20
    bench.execute("DELETE FROM artists")
    second = bench.drop(artists_csv(20), "artists/december.csv")
    status = bench.run(second)
    assert (status["status"], status["unchanged"], status["enriched"], status["spent_usd"]) == ("completed", 20, 0, 0)
    assert len(bench.upstream.requests) == 20
    assert bench.calls(second) == []
    assert bench.value("SELECT count(*) FROM artists WHERE bio LIKE 'A bio%'") == 20  # written where the mode says
    assert bench.value(f"SELECT count(*) FROM artists WHERE session_id = '{second}'") == 20
    lines = bench.store.text("out", f"{second}/results.jsonl").splitlines()
    assert len(lines) == 20
    assert all('"response_text":"A bio' in line and '"outcome":"unchanged"' in line for line in lines)
    bench.assert_sound(first)
    bench.assert_sound(second)


def test_new_and_changed_rows_are_paid_for(bench: Workbench) -> None:
    bench.run(bench.drop(artists_csv(10)))
    second = bench.drop(changed(artists_csv(12), 3), "artists/more.csv")
    status = bench.run(second)
    assert (status["unchanged"], status["enriched"]) == (9, 3)
    assert {call[0] for call in bench.calls(second)} == {3, 11, 12}


def test_what_was_changed_and_changed_back_is_known_again(bench: Workbench) -> None:
    first, other = artists_csv(1), changed(artists_csv(1), 1)
    outcomes = [bench.run(bench.drop(data, f"artists/{n}.csv")) for n, data in enumerate((first, other, first, other))]
    assert [one["enriched"] for one in outcomes] == [1, 1, 0, 0]


def test_reuse_never_pays_again(bench: Workbench) -> None:
    bench.run(bench.drop(artists_csv(3)))
    again = bench.drop(artists_csv(3), "artists/again.csv", reuse="never")
    assert bench.run(again)["enriched"] == 3
    assert len(bench.upstream.requests) == 6


@pytest.mark.parametrize(
    "change", [{"openai_model": "gpt-5.4-mini"}, {"prompt": "artist-bio/1", "openai_model": "gpt-5"}]
)
def test_another_model_is_another_answer(db: Database, database_url: str, change: dict[str, Any]) -> None:
    bench = Workbench(db=db, url=database_url)
    bench.run(bench.drop(artists_csv(2)))
    other = Workbench(db=db, url=database_url, changes=change)
    assert other.run(other.drop(artists_csv(2), "artists/other.csv"))["enriched"] == 2


def test_a_failure_leaves_nothing_to_reuse(db: Database, database_url: str) -> None:
    refused = failure(ErrorClass.PERMANENT, code="upstream.refused")
    bench = Workbench(db=db, url=database_url, upstream=FakeUpstream(lambda n, _: refused if n == 1 else None))
    assert bench.run(bench.drop(artists_csv(1)))["failed"] == 1
    assert bench.run(bench.drop(artists_csv(1), "artists/again.csv"))["enriched"] == 1


def test_a_deliberate_new_round_asks_anew_and_leaves_the_newer_answer(bench: Workbench) -> None:
    session = bench.drop(artists_csv(1))
    bench.run(session)
    bench.sessions.reprocess(session, outcomes=("enriched",))
    assert bench.run(session)["enriched"] == 1
    later = bench.drop(artists_csv(1), "artists/later.csv")
    assert bench.run(later)["unchanged"] == 1
    assert bench.item(later)["result"]["text"] == "A bio, number 2."


def test_answers_outlive_their_session(bench: Workbench) -> None:
    session = bench.drop(artists_csv(2))
    bench.run(session)
    bench.execute(f"UPDATE sessions SET expires_at = now() - interval '1 day' WHERE id = '{session}'")
    bench.rescuer.round()
    assert bench.value(f"SELECT count(*) FROM items WHERE session_id = '{session}'") == 0
    assert bench.run(bench.drop(artists_csv(2), "artists/later.csv"))["unchanged"] == 2


def test_a_file_only_session_reuses_and_leaves_the_table_alone(bench: Workbench) -> None:
    bench.run(bench.drop(artists_csv(2), write_mode="file"))
    later = bench.drop(artists_csv(2), "artists/later.csv", write_mode="file")
    assert bench.run(later)["unchanged"] == 2
    assert bench.value("SELECT count(*) FROM artists") == 0


def test_an_existing_bio_is_skipped_before_it_is_reused(bench: Workbench) -> None:
    bench.run(bench.drop(artists_csv(2)))
    later = bench.drop(artists_csv(2), "artists/later.csv", skip_existing="true")
    assert bench.run(later)["skipped"] == 2


def test_reuse_needs_no_budget(bench: Workbench) -> None:
    bench.run(bench.drop(artists_csv(5)))
    later = bench.drop(artists_csv(5), "artists/later.csv", budget="0")
    assert bench.run(later)["unchanged"] == 5
