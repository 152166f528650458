"""What people drop as an export: archives good and bad, damaged files, files under other names, all of it read once."""

from __future__ import annotations

import json
import zipfile
from io import BytesIO
from typing import Any
from uuid import UUID

import pytest

from shared import ingest
from shared.config import parse_database_url
from shared.db import connector
from shared.errors import LedgerDown, StatementFailed, StorageDown
from shared.pipelines.movies.exports import Exports
from tests.factories import at_once, blocked_statements, until
from tests.movies import HEADER, csv_of, diary, drop_files, film, movies_bench, ratings, tables, watched, zipped
from tests.workbench import Workbench

PROFILE = b"Date Joined,Username\n2020-01-01,somebody\n"


EXPORT = {"watched.csv": watched(1, 2, 3), "ratings.csv": ratings(1, 2), "diary.csv": diary(1), "profile.csv": PROFILE}


@pytest.fixture
def films(bench: Workbench) -> Workbench:
    """The movies pipeline, with a TMDB that knows every film."""
    return movies_bench(bench)


def files_of(bench: Workbench, session: UUID) -> dict[str, tuple[str, str | None]]:
    """State and error of each file of a session, the last one of a name."""
    found = bench.execute(
        "SELECT coalesce(nullif(member, ''), object_name), state, error FROM files "
        f"WHERE session_id = '{session}' ORDER BY id"
    )
    return {name: (state, error) for name, state, error in found}


def encrypted() -> bytes:
    archive = bytearray(zipped(EXPORT))
    for mark, place in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        archive[archive.index(mark) + place] |= 1
    return bytes(archive)


def crowded() -> bytes:
    written = BytesIO()
    with zipfile.ZipFile(written, "w") as archive:
        for n in range(100_000):
            archive.writestr(zipfile.ZipInfo(f"{n}.csv"), b"")
    return written.getvalue()


BAD = {
    "bomb": (lambda: zipped({"watched.csv": bytes(30 << 20)}), "'watched.csv' would grow from"),
    "path": (lambda: zipped({**EXPORT, "../../ratings.csv": ratings(1)}), "'../../ratings.csv', which is no path"),
    "encrypted": (encrypted, "'watched.csv' in the ZIP archive is encrypted. Pack the files without a password."),
    "damaged": (lambda: zipped(EXPORT)[:-30], "its end is missing, as after a download that broke off"),
    "too_many": (crowded, "100,000 files of 1,000 at most"),
    "nested": (lambda: zipped({**EXPORT, "old.zip": zipped(EXPORT)}), "another archive, 'old.zip'"),
    "not_zip": (lambda: watched(1), "This is no ZIP archive."),
    "empty": (lambda: zipped({}), None),
}


@pytest.mark.parametrize("kind", [*BAD, "only the profile"])
def test_a_bad_archive_fails_with_its_sentence_and_a_good_one_mends_it(films: Workbench, kind: str) -> None:
    make, said = BAD.get(
        kind, (lambda: zipped({"profile.csv": PROFILE}), "no file that movies reads; it holds profile.csv.")
    )
    session = films.drop(make(), "movies/mine.zip")
    status = films.run(session)
    code = f"input.archive_{kind if kind in BAD else 'empty'}"
    assert (status["status"], status["error_code"], status["total"]) == ("failed", code, 0)
    assert (said or "holds no file") in status["error_message"]
    assert films.value("SELECT count(*) FROM items") == 0

    assert films.drop(zipped(EXPORT), "movies/mine.zip") == session
    status = films.run(session)
    assert (status["status"], status["error_message"], status["enriched_count"]) == ("completed", None, 3)
    films.assert_sound(session)


@pytest.mark.parametrize(
    "around",
    [
        lambda path: f"letterboxd-somebody-2024/{path}",
        lambda path: f"a/b/{path.upper()}",
        lambda path: f"mine\\{path}",
    ],
)
def test_a_folder_packed_again_reads_the_same(films: Workbench, around: Any) -> None:
    plain = films.drop(zipped(EXPORT), "movies/plain.zip")
    films.run(plain)
    packed = {around(path): data for path, data in EXPORT.items()}
    junk = {"__MACOSX/._watched.csv": b"\0\1", "mine/.DS_Store": b"Bud1", "Thumbs.db": b"\0"}
    again = films.drop(zipped({**packed, **junk}), "movies/again.zip")
    assert films.run(again)["status"] == "completed"
    assert tables(films, again) == tables(films, plain)
    assert len(files_of(films, again)) == 1 + len(EXPORT), "what archivers leave is not worth a word"


def test_what_holds_no_films_is_ignored_and_said_so(films: Workbench) -> None:
    others = {"deleted/diary.csv": diary(7), "orphaned/reviews.csv": diary(8), "lists/best.csv": watched(9)}
    session = films.drop(zipped({**EXPORT, **others}), "movies/mine.zip")
    status = films.run(session)
    assert (status["status"], status["total_movies"]) == ("completed", 3)
    files = files_of(films, session)
    for name, word in {**dict.fromkeys(others, "not imported"), "profile.csv": "no films"}.items():
        state, reason = files[name]
        assert state == "ignored"
        assert word in (reason or "")
    manifest = json.loads(films.store.text("out", f"{session}/manifest.json"))
    assert {file["member"] for file in manifest["files"] if file["state"] == "ignored"} == {*others, "profile.csv"}


def test_a_file_that_holds_no_films_is_ignored_also_when_it_comes_alone(films: Workbench) -> None:
    session = drop_files(films, {"profile.csv": PROFILE, "deleted/diary.csv": diary(1), "notes.txt": b"?"})
    assert films.run(session)["total"] == 0
    assert {state for state, _ in files_of(films, session).values()} == {"ignored"}


@pytest.mark.parametrize("name", ["likes/films.csv", "likes.csv", "films.csv"])
@pytest.mark.parametrize("alone", [True, False])
def test_likes_are_read_wherever_an_export_has_them(films: Workbench, name: str, alone: bool) -> None:
    files = {"watched.csv": watched(1, 2), name: watched(2)}
    session = drop_files(films, files) if alone else films.drop(zipped(files), "movies/mine.zip")
    films.run(session)
    found = films.execute(f"SELECT title FROM movies WHERE session_id = '{session}' AND liked")
    assert found == [["Film 2"]]


DAMAGED = {
    "a merge conflict": (
        csv_of(
            f"{HEADER},Rating", f"{film(1)},4", "<<<<<<< HEAD", f"{film(2)},3", "=======", f"{film(2)},2", ">>>>>>> x"
        ),
        "Line 3: ",
    ),
    "days before months": (
        csv_of(f"{HEADER},Rating", f"{film(1)},4", "18/3/2024,Film 2,1952,https://boxd.it/f2,4"),
        "Line 3: ",
    ),
    "nothing but NUL": (bytes(5_000), "This is not text but binary data"),
    "a picture": (b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR" + bytes(range(256)) * 20, ""),
    "another header": (b"Position,Title\n1,Heat\n", "The first line names none of the columns"),
}


@pytest.mark.parametrize("damage", DAMAGED)
def test_a_damaged_member_is_refused_and_the_others_are_enriched(films: Workbench, damage: str) -> None:
    data, said = DAMAGED[damage]
    session = films.drop(zipped({**EXPORT, "ratings.csv": data}), "movies/mine.zip")
    status = films.run(session)
    assert (status["status"], status["enriched_count"]) == ("failed", 3)
    assert status["error_message"].startswith(f"movies/mine.zip/ratings.csv: {said}")
    assert {name: state for name, (state, _) in files_of(films, session).items()} == {
        "movies/mine.zip": "read", "watched.csv": "read", "diary.csv": "read", "ratings.csv": "failed",
        "profile.csv": "ignored",
    }  # fmt: skip

    asked = len(films.upstream.requests)
    assert films.drop(EXPORT["ratings.csv"], "movies/mine/ratings.csv") == session
    status = films.run(session)
    assert (status["status"], status["error_message"]) == ("completed", None)
    assert films.value("SELECT count(*) FROM movies WHERE rating = 4") == 2
    assert len(films.upstream.requests) == asked
    films.assert_sound(session)


def test_rows_a_cut_off_save_left_are_rejected_and_the_others_read(films: Workbench) -> None:
    session = drop_files(films, {"watched.csv": watched(1, 2) + bytes(3_000)})
    status = films.run(session)
    assert (status["status"], status["enriched"], status["rejected"]) == ("completed", 2, 1)
    assert films.value("SELECT error_code FROM items WHERE outcome = 'rejected'") == "input.nul"


@pytest.mark.parametrize("name", ["movies/x/my-films.csv", "movies/list-of-mine.csv"])
def test_a_file_under_a_name_of_its_own_is_what_its_header_says(films: Workbench, name: str) -> None:
    kinds = {"watched": watched(1), "rating": ratings(1), "diary": diary(1)}
    for data in kinds.values():
        session = films.drop(data, name)
    status = films.run(session)
    assert (status["status"], status["total_movies"]) == ("completed", 1)
    assert [kind for (kind,) in films.execute("SELECT kind FROM film_records ORDER BY item_no")] == [*kinds]


def test_a_header_that_is_no_films_fails_with_a_sentence(films: Workbench) -> None:
    session = films.drop(csv_of("Position,Name,Year,URL,Description", "1,Heat,1995,,"), "movies/x/best.csv")
    status = films.run(session)
    assert (status["status"], status["error_code"], status["total"]) == ("failed", "input.missing_column", 0)
    assert "none of Letterboxd's" in status["error_message"]


@pytest.mark.parametrize("mark", [";", "\t", "|"])
def test_a_file_that_a_spreadsheet_saved_reads_the_same(films: Workbench, mark: str) -> None:
    plain = drop_files(films, EXPORT)
    films.run(plain)
    saved = {name: data.replace(b",", mark.encode()) for name, data in EXPORT.items()}
    saved["watched.csv"] = csv_of(
        mark.join(HEADER.split(",")),
        *(mark.join([f"1/{n % 28 + 1}/2024", *film(n).split(",")[1:]]) for n in (1, 2, 3)),
    )
    again = drop_files(films, saved, export="saved")
    assert films.run(again)["status"] == "completed"
    assert tables(films, again) == tables(films, plain)


def hurried(bench: Workbench, rows: int) -> Workbench:
    """A bench whose readers have time for one small chunk each."""
    made = movies_bench(bench, changes={"ingest_budget": 1e-9})
    made.ingest._chunk_rows = rows
    return made


def test_an_archive_is_read_over_many_continuations(bench: Workbench) -> None:
    many = range(40)
    files = {"watched.csv": watched(*many), "ratings.csv": ratings(*many), "diary.csv": diary(*many)}
    plain = movies_bench(bench)
    whole = plain.drop(zipped(files), "movies/whole.zip")
    plain.run(whole)

    slow = hurried(bench, 7)
    session = slow.drop(zipped(files), "movies/slow.zip")
    assert slow.value(f"SELECT count(*) FROM items WHERE session_id = '{session}'") == 0, (
        "the archive took all its time"
    )
    readings = 0
    while messages := slow.publisher.take("uploads"):
        for message in messages:
            readings += 1
            slow.ingest.go_on(json.loads(message.data)["file"])
    assert readings > 3 * 40 / 7
    slow.run(session)
    assert tables(slow, session) == tables(plain, whole)
    assert slow.sessions.status(session)["total"] == 120
    slow.assert_sound(session)


@pytest.mark.parametrize("dies", ["before the archive is ended", "between two members", "after a chunk"])
def test_rescue_goes_on_where_a_reader_died(films: Workbench, monkeypatch: pytest.MonkeyPatch, dies: str) -> None:
    films.ingest._chunk_rows = 2
    where: Any = ingest if dies == "between two members" else films.ingest
    name = {"before the archive is ended": "_end", "between two members": "register", "after a chunk": "_write"}[dies]
    really, calls = getattr(where, name), [0]

    def die(*given: Any, **named: Any) -> Any:
        calls[0] += 1
        if calls[0] == (1 if name == "_end" else 3):
            raise RuntimeError("killed")
        return really(*given, **named)

    with monkeypatch.context() as patch:
        patch.setattr(where, name, die)
        with pytest.raises(RuntimeError):
            films.drop(zipped(EXPORT), "movies/mine.zip")
    films.pass_time(ingest.FILE_LEASE + 60)
    session = UUID(str(films.value("SELECT id FROM sessions")))
    assert films.rescuer.round().files > 0
    status = films.run(session)
    assert (status["status"], status["total"], status["enriched_count"]) == ("completed", 6, 3)
    films.assert_sound(session)


def test_a_store_that_goes_away_between_members_costs_a_delivery(films: Workbench) -> None:
    uploaded = films.store.put("up", "movies/mine.zip", zipped(EXPORT))
    left = [2]

    def look(offset: int) -> None:
        left[0] -= 1
        if left[0] < 0:
            raise StorageDown

    films.store.on_read = look
    with pytest.raises(StorageDown):
        films.ingest.take(uploaded)
    films.store.on_read = lambda offset: None
    films.pass_time(60)
    assert films.run(films.ingest.take(uploaded))["enriched_count"] == 3


@pytest.mark.parametrize("same", [True, False], ids=["the same again", "another"])
@pytest.mark.parametrize("packed", [True, False], ids=["ZIP", "CSV"])
def test_an_object_replaced_in_mid_read_is_read_again_from_its_new_version(
    bench: Workbench, packed: bool, same: bool
) -> None:
    slow = hurried(bench, 2)
    first = [*range(9)]
    second = first if same else [*first, 10]
    old, new = (
        (zipped({"watched.csv": watched(*n), "ratings.csv": ratings(*n)}) if packed else watched(*n))
        for n in (first, second)
    )
    name = "movies/mine.zip" if packed else "movies/mine/watched.csv"
    session = slow.drop(old, name)
    slow.ingest.go_on(json.loads(slow.publisher.take("uploads")[0].data)["file"])
    assert slow.drop(new, name) == session
    slow.pass_time(60)
    status = slow.run(session)
    assert (status["status"], status["error_message"]) == ("completed", None)
    assert slow.value("SELECT count(*) FROM movies WHERE tmdb_enriched") == len(second)
    slow.assert_sound(session)


def test_a_version_without_the_damaged_member_completes_the_session(films: Workbench) -> None:
    session = films.drop(zipped({**EXPORT, "reviews.csv": bytes(100)}), "movies/mine.zip")
    assert films.run(session)["status"] == "failed"
    assert films.drop(zipped(EXPORT), "movies/mine.zip") == session
    assert films.run(session)["status"] == "completed"


def test_an_older_version_that_is_announced_after_the_newer_one_fails_nothing(films: Workbench) -> None:
    older = films.store.put("up", "movies/mine.zip", zipped({"watched.csv": watched(1)}))
    newer = films.store.put("up", "movies/mine.zip", zipped({"watched.csv": watched(1, 2)}))
    session = films.ingest.take(newer)
    assert films.ingest.take(older) == session
    status = films.run(session)
    assert (status["status"], status["error_message"], status["enriched_count"]) == ("completed", None, 2)


def test_files_of_one_export_may_be_read_at_once(films: Workbench) -> None:
    many = range(30)
    files = {"watched.csv": watched(*many), "ratings.csv": ratings(*range(15, 45)), "diary.csv": diary(*range(60))}
    wanted = drop_files(films, files)
    films.run(wanted)
    films.ingest._chunk_rows = 7
    for number in range(20):
        put = [films.store.put("up", f"movies/{number}/{path}", data) for path, data in files.items()]
        session = at_once(3, lambda i, put=put: films.ingest.take(put[i]))[0]
        status = films.run(session)
        assert (status["status"], status["error_message"]) == ("completed", None)
        assert tables(films, session) == tables(films, wanted)
        films.assert_sound(session)


def test_files_may_be_read_while_films_are_enriched(films: Workbench) -> None:
    """Names and owners of films change under those that work on them."""
    many = range(60)
    films.ingest._chunk_rows = 5
    for number in range(5):
        session = films.drop(diary(*many), f"movies/{number}/diary.csv")
        put = films.store.put("up", f"movies/{number}/watched.csv", watched(*many))

        def act(i: int, put: Any = put) -> None:
            if i:
                films.deliver()
            else:
                films.ingest.take(put)

        at_once(2, act)
        films.pass_time(200)  # whatever was left behind
        status = films.run(session)
        assert (status["status"], status["enriched_count"]) == ("completed", 60)
        assert (
            films.value(f"SELECT count(*) FROM movies WHERE session_id = '{session}' AND letterboxd_uri IS NULL") == 0
        )
        films.assert_sound(session)


def test_a_chunk_that_falls_to_a_deadlock_is_written_again(films: Workbench) -> None:
    session = films.drop(diary(1, 2), "movies/mine/diary.csv")
    put = films.store.put("up", "movies/mine/watched.csv", watched(1, 2))
    other = connector(parse_database_url(films.url), autocommit=False)()
    cursor = other.cursor()
    cursor.execute("SET deadlock_timeout = '30s'")  # so that it is not the one to give way
    cursor.execute(f"SELECT FROM items WHERE session_id = '{session}' AND item_no = 1 FOR UPDATE")

    def act(i: int) -> None:
        if i == 0:
            films.ingest.take(put)
        else:
            until(lambda: blocked_statements(films, "UPDATE items"))
            cursor.execute(f"UPDATE sessions SET updated_at = now() WHERE id = '{session}'")
            other.rollback()

    at_once(2, act)
    other.close()
    status = films.run(session)
    assert (status["status"], status["enriched_count"]) == ("completed", 2)
    films.assert_sound(session)


@pytest.mark.parametrize("state", ["40P01", "40001", "55P03"])
def test_what_passes_is_no_fault_of_the_file(films: Workbench, monkeypatch: pytest.MonkeyPatch, state: str) -> None:
    def never(*_: Any) -> None:
        raise StatementFailed("try again", sqlstate=state, constraint=None)

    uploaded = films.store.put("up", "movies/mine/watched.csv", watched(1, 2))
    with monkeypatch.context() as patch:
        patch.setattr(Exports, "merge", never)
        with pytest.raises(LedgerDown):
            films.ingest.take(uploaded)
    assert films.run(films.ingest.take(uploaded))["enriched_count"] == 2  # at once, no lease to wait for


def test_option_watchlist_means_nothing_to_artists(bench: Workbench) -> None:
    session = bench.drop(b"artist_id\n", watchlist="true")
    status = bench.run(session)
    assert (status["status"], status["error_code"]) == ("failed", "input.option")
    assert "'watchlist' means nothing to pipeline artists" in status["error_message"]
