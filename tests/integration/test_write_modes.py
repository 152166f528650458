"""Write modes mean the same for every pipeline: where answers go, and what the lines of the results hold."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import pytest

from shared.audio.listing import track_id
from shared.db import Row
from shared.links import parse_link
from shared.options import Mode, WriteMode
from shared.pipelines import PIPELINES
from shared.pipelines.assets import Assets
from shared.pipelines.assets.plan import wants_of
from shared.pipelines.audio import Audio
from tests.assets import assets_bench, basic
from tests.audio import audio_bench, songs
from tests.movies import diary, movies_bench, ratings, watched, zipped
from tests.workbench import Workbench, artist_id, artists_csv


@dataclass(frozen=True, kw_only=True)
class Case:
    """One pipeline's rows, and where their answers land."""

    bench: Callable[[Workbench], Workbench]
    name: str  # of the object, its folder left out, `{}` for what tells one from the other
    data: bytes
    answered: int  # rows that are answered
    table: str
    landed: str  # of the table's rows: that the answer is there
    brief: set[str]  # the keys of a line in write mode db
    key: str  # of them, what names the row
    again: str  # the outcome of a row whose answer is known
    refusal: str  # a condition that the first answered row breaks, and only with its answer
    has: str  # a statement that makes the first row's answer be there already
    skips: bool  # whether skip-existing means anything
    mine: str = "SELECT true"  # that what `has` put there is as it was
    remembers: bool = True  # whether a known answer needs no request


def own(bench: Workbench) -> Workbench:
    """The bench as it is."""
    return bench


FILES = [f"https://drive.google.com/file/d/1AbCdEfGhIjKlMnOpQrStUvWxYz0000{n:02}/view" for n in range(4)]
WANTED = wants_of(parse_link(FILES[0]), Mode.FULL)[0]
HAS = f"""
    WITH mine AS (INSERT INTO people (row_id, name, sheet, sheet_at, session_id, item_no, attempt)
                  SELECT '4', 'Person 4', u, '2020-01-01', u, 1, 1 FROM gen_random_uuid() u RETURNING *)
    INSERT INTO assets (asset_id, person_row_id, asset_type, what, source, cloud_storage_url, download_status, origin,
                        session_id, item_no, attempt)
    SELECT '{WANTED.asset_id("4")}', '4', 'drive_file', 'file', '{WANTED.source}', 'gs://media/mine',
           'uploaded', 'fetch', session_id, 1, 1 FROM mine RETURNING 1"""
CASES = {
    "artists": Case(
        bench=own,
        name="{}.csv",
        data=artists_csv(4) + artists_csv(1).split(b"\r\n", 1)[1] + b"not an id,Nobody,\r\n",
        answered=4,
        table="artists",
        landed="bio LIKE 'A bio, number%'",
        brief={"artist_id", "db_status", "response_id", "error"},
        key="artist_id",
        again="unchanged",
        refusal=f"id <> '{artist_id(1)}' OR bio IS NULL",
        has=f"INSERT INTO artists (id, name, bio) VALUES ('{artist_id(1)}', 'Mine', 'My own.')",
        skips=True,
        mine=f"SELECT bio = 'My own.' FROM artists WHERE id = '{artist_id(1)}'",
    ),
    "assets": Case(
        bench=assets_bench,
        name="{}.csv",
        data=basic(*FILES)
        + b",Nobody,,,\r\n"
        + basic(*FILES[:1]).split(b"\r\n", 1)[1].replace(b"1,Person 1", b"4,Person 4"),
        answered=4,
        table="assets",
        landed="download_status = 'uploaded' AND sha256 IS NOT NULL",
        brief={*Assets.short},
        key="row_id",
        again="enriched",
        refusal="person_row_id <> '4' OR download_status = 'pending'",
        has=HAS,
        skips=True,
        mine="SELECT cloud_storage_url = 'gs://media/mine' FROM assets WHERE person_row_id = '4'",
        remembers=False,
    ),
    "audio": Case(
        bench=audio_bench,
        name="{}.csv",
        data=songs(1, 2, 3, 4, 1) + b"gs://elsewhere/x.mp3\r\n",
        answered=4,
        table="audio_tracks",
        landed="status = 'COMPLETED' AND title LIKE 'Song %'",
        brief={*Audio.short},
        key="audio_path",
        again="enriched",
        refusal="title <> 'Song 1'",
        has=f"""INSERT INTO audio_tracks (id, status, audio_path, title)
                VALUES ('{track_id("gs://up/m/1.mp3")}', 'COMPLETED', 'gs://up/m/1.mp3', 'Mine')""",
        skips=True,
        mine="SELECT title = 'Mine' FROM audio_tracks WHERE audio_path = 'gs://up/m/1.mp3'",
        remembers=False,
    ),
    "movies": Case(
        bench=movies_bench,
        name="{}.zip",
        data=zipped({"watched.csv": watched(1, 2, 3, 4), "ratings.csv": ratings(1, 2), "diary.csv": diary(1)}),
        answered=4,
        table="movies",
        landed="tmdb_enriched AND genres IS NOT NULL",
        brief={"item_no", "letterboxd_uri", "tmdb_id", "db_status", "error"},
        key="letterboxd_uri",
        again="enriched",
        refusal="title <> 'Film 1' OR tmdb_id IS NULL",
        has="SELECT 1",
        skips=False,
    ),
}
MODES = list(WriteMode)


@pytest.fixture(params=sorted(PIPELINES))
def case(request: pytest.FixtureRequest) -> Case:
    """The case of each pipeline there is."""
    assert request.param in CASES, "a new pipeline needs a case here"
    return CASES[request.param]


@pytest.fixture
def made(bench: Workbench, case: Case) -> Workbench:
    """The bench of the pipeline."""
    return case.bench(bench)


def drop(bench: Workbench, case: Case, name: str, **options: str) -> UUID:
    return bench.drop(case.data, f"{bench.slug}/{case.name.format(name)}", **options)


def landed(bench: Workbench, case: Case, session: UUID | None = None) -> int:
    """How many rows of the domain table hold an answer, of all or of those a session wrote."""
    which = f" AND session_id = '{session}'" if session else ""
    return int(bench.value(f"SELECT count(*) FROM {case.table} WHERE {case.landed}{which}"))


def domain(bench: Workbench) -> list[Any]:
    """Everything in the domain tables."""
    tables = ("artists", "movies", "diary_entries", "reviews", "people", "assets", "sheet_rows", "audio_tracks")
    return [bench.execute(f"SELECT t::text FROM {table} t ORDER BY 1") for table in tables]


def lines(bench: Workbench, session: UUID) -> list[Row]:
    return [json.loads(line) for line in bench.store.text("out", f"{session}/results.jsonl").splitlines()]


def asked(bench: Workbench) -> int:
    """How often the upstream was asked since the last time."""
    n, bench.upstream.requests = len(bench.upstream.requests), []
    return n


def test_both_is_what_an_object_without_the_option_gets(made: Workbench, case: Case) -> None:
    session = drop(made, case, "one")
    assert made.run(session)["status"] == "completed"
    assert made.facts(session)["options"]["write_mode"] == "both"
    assert landed(made, case, session) == case.answered
    assert case.brief < set(lines(made, session)[0])


@pytest.mark.parametrize("mode", MODES)
def test_answers_go_where_the_mode_says(made: Workbench, case: Case, mode: WriteMode) -> None:
    made.run(drop(made, case, "earlier"))
    made.execute("DELETE FROM answers")
    made.execute("DELETE FROM tmdb_answers")
    made.execute(f"UPDATE {case.table} SET updated_at = '2020-01-01'")
    asked(made)
    before = domain(made)
    session = drop(made, case, "one", write_mode=mode)
    status = made.run(session)
    assert (status["status"], status["enriched"]) == ("completed", case.answered)
    assert asked(made) >= case.answered
    if mode is WriteMode.FILE:
        assert domain(made) == before
    else:
        assert landed(made, case, session) == case.answered

    found = lines(made, session)
    assert len(found) == status["total"]
    keys = {frozenset(line) for line in found}
    assert len(keys) == 1
    (shown,) = keys
    assert case.brief == shown if mode is WriteMode.DB else case.brief < shown
    expected = None if mode is WriteMode.FILE else "updated"
    answered = [line for line in found if line["db_status"] == "updated" or line.get("outcome") == "enriched"]
    assert [line["db_status"] for line in answered] == [expected] * case.answered
    assert all(line[case.key] and line["error"] is None for line in answered)
    made.assert_sound(session)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("first", [WriteMode.FILE, WriteMode.BOTH])
def test_a_known_answer_lands_where_the_mode_says_though_nothing_is_asked(
    made: Workbench, case: Case, first: WriteMode, mode: WriteMode
) -> None:
    made.run(drop(made, case, "earlier", write_mode=first))
    made.execute(f"DELETE FROM {case.table}")
    asked(made)
    session = drop(made, case, "one", write_mode=mode)
    status = made.run(session)
    assert (status["status"], status[case.again]) == ("completed", case.answered)
    assert not case.remembers or asked(made) == 0
    assert landed(made, case, session) == (0 if mode is WriteMode.FILE else case.answered)
    told = next(name for name in ("response_id", "tmdb_id", "asset_id", "track_id") if name in case.brief)
    assert sum(line[told] is not None for line in lines(made, session)) >= case.answered
    made.assert_sound(session)


@pytest.mark.parametrize("mode", MODES)
def test_a_new_round_writes_where_the_first_did(made: Workbench, case: Case, mode: WriteMode) -> None:
    session = drop(made, case, "one", write_mode=mode)
    made.run(session)
    attempts = made.execute(f"SELECT attempt FROM {case.table} WHERE {case.landed}")
    before, first = domain(made), asked(made)
    assert made.sessions.reprocess(session, outcomes=["enriched"]) == case.answered
    status = made.run(session)
    assert (status["status"], status["enriched"], asked(made)) == ("completed", case.answered, first)
    if mode is WriteMode.FILE:
        assert domain(made) == before
    else:
        later = made.execute(f"SELECT attempt FROM {case.table} WHERE {case.landed}")
        assert [attempt for (attempt,) in later] == [attempt + 2 for (attempt,) in attempts]
    made.assert_sound(session)


@pytest.mark.parametrize("mode", MODES)
def test_skip_existing_looks_at_the_table_only_where_it_would_be_written(
    made: Workbench, case: Case, mode: WriteMode
) -> None:
    made.execute(case.has)
    before = domain(made)
    session = drop(made, case, "one", write_mode=mode, skip_existing="true")
    status = made.run(session)
    left_alone = int(case.skips and mode is not WriteMode.FILE)
    assert (status["status"], status["skipped"]) == ("completed", left_alone)
    assert status["enriched"] == case.answered - left_alone
    assert [line["db_status"] for line in lines(made, session)].count("skipped") == left_alone
    if mode is WriteMode.FILE:
        assert domain(made) == before
    assert made.value(case.mine)
    made.assert_sound(session)


@pytest.mark.parametrize("mode", MODES)
def test_a_dry_run_writes_nothing_in_any_mode_and_its_lines_are_whole(
    made: Workbench, case: Case, mode: WriteMode
) -> None:
    session = drop(made, case, "one", write_mode=mode, dry_run="true")
    status = made.run(session)
    assert (status["status"], status["skipped"], asked(made)) == ("completed", case.answered, 0)
    assert not any(domain(made))
    assert all(case.brief < set(line) for line in lines(made, session))


@pytest.mark.parametrize("mode", MODES)
def test_a_table_that_refuses_a_row_fails_that_row_where_it_is_written(
    made: Workbench, case: Case, mode: WriteMode
) -> None:
    made.execute(f"ALTER TABLE {case.table} ADD CONSTRAINT never CHECK ({case.refusal}) NOT VALID")
    session = drop(made, case, "one", write_mode=mode, max_failed="1")
    status = made.run(session)
    failed = int(mode is not WriteMode.FILE)
    assert (status["status"], status["failed"], status["enriched"]) == ("completed", failed, case.answered - failed)
    errors = [line for line in lines(made, session) if line["db_status"] == "error"]
    assert len(errors) == failed
    assert all("23514" in line["error"] and line[case.key] for line in errors)
    made.assert_sound(session)

    made.execute(f"ALTER TABLE {case.table} DROP CONSTRAINT never")
    asked(made)
    if failed:
        made.sessions.reprocess(session)
        assert made.run(session)["enriched"] == case.answered
        assert landed(made, case, session) == case.answered
        assert not made.pipeline.paid or asked(made) == 0, "an answer that was paid for is written when it can be"
        made.assert_sound(session)


@pytest.mark.parametrize("mode", MODES)
def test_a_table_that_is_not_there_holds_the_session_where_it_is_written(bench: Workbench, mode: WriteMode) -> None:
    bench.execute("ALTER TABLE artists RENAME TO elsewhere")
    session = drop(bench, CASES["artists"], "one", write_mode=mode)
    assert bench.run(session)["status"] == ("completed" if mode is WriteMode.FILE else "paused")
    bench.execute("ALTER TABLE elsewhere RENAME TO artists")
    if mode is not WriteMode.FILE:
        bench.sessions.resume(session)
    assert bench.run(session)["enriched"] == len(bench.upstream.requests) == CASES["artists"].answered
    bench.assert_sound(session)
