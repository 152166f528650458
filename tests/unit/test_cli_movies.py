"""The commands on exports of films: what becomes one session, what is left here, what is shown and decided."""

from __future__ import annotations

import io
import json
import shutil
import zipfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from rich.console import Console

from cli.inputs import inputs_of
from cli.sheets import details, sessions_table
from cli.showing import line_of, name_of, picture
from cli.watching import Pace
from shared.sessions import export_session_ids
from tests.fake_api import SESSION, FakeApi, FakeBucket, film_line, film_status, problem, working
from tests.unit.conftest import Run

DEMO = Path(__file__).parent.parent.parent / "examples" / "letterboxd-demo"
FILM = b"Date,Name,Year,Letterboxd URI\n2024-01-06,The Matrix,1999,https://boxd.it/Ab1x\n"
ID = str(SESSION)

pytestmark = pytest.mark.usefixtures("stack")


@pytest.fixture
def export(run: Run) -> Path:  # it goes to an empty folder
    """A small export, unpacked, with what comes along and is not read."""
    folder = Path("data")
    for name in (
        "watched.csv",
        "diary.csv",
        "likes/films.csv",
        "profile.csv",
        "deleted/diary.csv",
        ".hidden/watched.csv",
    ):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(FILM)
    return folder


def session_of(title: str, *, after: int = 0) -> UUID:
    """The session of an export; with `after` the one behind so many that were ended for good."""
    ids = export_session_ids("up", f"movies/{title}")
    return [next(ids) for _ in range(after + 1)][-1]


def title_of(folder: Path) -> str:
    return inputs_of([folder], "movies")[0][0].title


def shown(what: Any, width: int) -> str:
    screen = io.StringIO()
    Console(file=screen, width=width).print(what)
    return screen.getvalue()


# What becomes an export


def test_a_folder_is_one_export_whose_files_keep_their_place(export: Path) -> None:
    found, left_out = inputs_of([export], "movies")
    title = found[0].title
    assert [one.object for one in found] == [
        f"movies/{title}/watched.csv",
        f"movies/{title}/likes/films.csv",
        f"movies/{title}/diary.csv",
    ]
    assert title.startswith("data-")
    assert {one.export for one in found} == {f"movies/{title}"}
    assert {one.results for one in found} == {Path(f"{title}.results.jsonl")}
    assert left_out == "Left out, for this pipeline does not read them: deleted/diary.csv, profile.csv."


def test_files_of_a_folder_are_of_its_export_wherever_they_are_named_from(
    export: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    title = title_of(export)
    single, _ = inputs_of([export / "likes" / "films.csv"], "movies")
    assert (single[0].object, single[0].results) == (
        f"movies/{title}/likes/films.csv",
        export / "likes" / "films.csv.results.jsonl",
    )
    several, _ = inputs_of([export / "watched.csv", export / "diary.csv"], "movies")
    assert {one.results for one in several} == {Path(f"{title}.results.jsonl")}
    assert {one.export for one in several} == {f"movies/{title}"}
    monkeypatch.chdir(export / "likes")
    assert inputs_of([Path("films.csv")], "movies")[0][0].object == f"movies/{title}/likes/films.csv"


def test_folders_of_one_name_are_two_exports_and_dropping_one_again_is_the_same(export: Path) -> None:
    other = Path("other") / "data"
    shutil.copytree(export, other)
    assert title_of(export) == title_of(export.absolute()) != title_of(other)


def test_a_name_of_ones_own_makes_one_export_of_several_places(export: Path) -> None:
    found, _ = inputs_of([export / "watched.csv", export / "likes"], "movies", export="mine")
    assert [one.object for one in found] == ["movies/mine/watched.csv", "movies/mine/likes/films.csv"]


@pytest.mark.parametrize(("name", "given", "title"), [("me-2024.zip", None, "me-2024"), ("me.ZIP", "mine", "mine")])
def test_an_archive_is_an_export_of_its_name(export: Path, name: str, given: str | None, title: str) -> None:
    with zipfile.ZipFile(export / name, "w") as archive:
        archive.writestr("watched.csv", FILM)
    [one], _ = inputs_of([export / name], "movies", export=given)
    assert (one.object, one.export) == (f"movies/{title}.zip", f"movies/{title}")
    assert one.results == export / f"{title}.results.jsonl"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["data/profile.csv"], "data/profile.csv is not read. profile.csv holds the account"),
        (["data/deleted"], "deleted/ holds what was deleted on Letterboxd"),
        (["data", "data/watched.csv"], "data/watched.csv is named twice"),
        (
            ["data/watched.csv", "more/watched.csv", "--export", "x"],
            "one file of one export; give one export at a time",
        ),
        (["two"], "two/a/watched.csv and two/b/watched.csv would be one file of one export"),
        (["empty"], "empty holds no CSV files"),
        (["none.zip"], "none.zip does not exist"),
        (["data", "--export", "a/b"], "--export is 'a/b'; give a name"),
        (["data", "--export", ".."], "--export is '..'; give a name"),
        (["data", "--output", "data/diary.csv"], "is one of the input files"),
    ],
)
def test_what_cannot_be_one_export_is_refused_before_anything_is_sent(
    run: Run,
    api: FakeApi,
    export: Path,
    words: list[str],
    said: str,
) -> None:
    for folder in ("more", "two/a", "two/b", "empty"):
        Path(folder).mkdir(parents=True)
        if folder != "empty":
            Path(folder, "watched.csv").write_bytes(FILM)
    ran = run("run", *words, "--pipeline", "movies", "--json")
    assert (ran.code, api.requests) == (2, [])
    assert said in ran.answer["error"]["message"]


@pytest.mark.parametrize("option", [["--watchlist"], ["--export", "x"]])
def test_options_of_exports_mean_nothing_to_artists(run: Run, option: list[str]) -> None:
    Path("a.csv").write_bytes(b"artist_id,artist_name\n")
    ran = run("upload", "a.csv", "--pipeline", "artists", *option)
    assert ran.code == 2
    assert f"{option[0]} means nothing to pipeline artists" in ran.err


# Upload and run


def test_all_files_of_an_export_go_into_its_session(
    run: Run,
    api: FakeApi,
    bucket: FakeBucket,
    export: Path,
) -> None:
    title = title_of(export)
    session = session_of(title)
    api.statuses[session] = [problem(404, "Not yet."), film_status(session)]
    ran = run("upload", "data", "--watchlist", "--pipeline", "movies", "--json")
    assert (ran.code, ran.answer["session_id"]) == (0, str(session))
    assert {each["session_id"] for each in ran.answer["sessions"]} == {str(session)}
    assert [each["metadata"] for each in bucket.uploaded] == [{"watchlist": "true"}] * 3
    assert f"3 files of {title} are session {session}." in ran.err
    assert "Left out" in ran.err


@pytest.mark.parametrize("end", ["cancelled", "expired"])
def test_a_session_that_was_ended_for_good_is_followed_by_another(
    run: Run,
    api: FakeApi,
    bucket: FakeBucket,
    export: Path,
    end: str,
) -> None:
    title = title_of(export)
    first, second = session_of(title), session_of(title, after=1)
    past = (datetime.now(UTC) - timedelta(days=1)).isoformat()
    gone = {"status": "cancelled"} if end == "cancelled" else {"expires_at": past}
    api.statuses[first] = [film_status(first, **gone)]
    api.statuses[second] = [problem(404, "Not yet."), film_status(second)]
    assert run("upload", "data", "--pipeline", "movies", "--json").answer["session_id"] == str(second)


def test_an_export_keeps_the_options_it_began_with(
    run: Run,
    api: FakeApi,
    bucket: FakeBucket,
    export: Path,
) -> None:
    session = session_of(title_of(export))
    api.statuses[session] = [film_status(session)]
    api.options = {"watchlist": False, "write_mode": "both"}
    ran = run("run", "data", "--watchlist", "--write-mode", "both", "--pipeline", "movies")
    assert (ran.code, bucket.uploaded) == (2, [])
    assert f"belong to session {session}, which has another watchlist and keeps it" in ran.err
    assert run("run", "data", "--write-mode", "both", "--pipeline", "movies").code == 0


def test_the_end_of_an_earlier_drop_is_not_taken_for_the_end_of_this_one(
    run: Run,
    api: FakeApi,
    bucket: FakeBucket,
    export: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    title = title_of(export)
    session = session_of(title)
    before, opened, after = film_status(session), film_status(session, open=1, status="enriching"), 13
    api.statuses[session] = [before]
    bucket.heard = 0
    looks: list[int] = []
    real = api._session

    def hear(wanted: UUID) -> Any:
        looks.append(len(bucket.uploaded))
        if len(bucket.uploaded) == 3:
            bucket.heard = min(3, (bucket.heard or 0) + 1)
            if bucket.heard == 3:
                api.statuses[session] = [opened, opened, film_status(session, total_movies=after)]
        return real(wanted)

    monkeypatch.setattr(api, "_session", hear)
    api.results = json.dumps(film_line("The Matrix")).encode() + b"\n"
    ran = run("run", "data", "--pipeline", "movies", "--json")
    assert (ran.code, ran.answer["total_movies"]) == (0, after)
    assert looks == [0, 3, 3, 3]
    assert "The Matrix (1999)" in ran.err
    assert "13 films · 11 enriched" in ran.err
    assert Path(f"{title}.results.jsonl").read_bytes() == api.results
    assert ran.answer["output"].endswith(f"{title}.results.jsonl")


def test_a_notification_that_never_comes_ends_the_watch(
    run: Run,
    api: FakeApi,
    bucket: FakeBucket,
    export: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    session = session_of(title_of(export))
    api.statuses[session] = [film_status(session)]
    bucket.heard = 2
    monkeypatch.setattr("cli.watching.APPEARS_WITHIN", 0.05)
    ran = run("run", "data", "--pipeline", "movies")
    assert ran.code == 3
    assert f"Session {session} has not taken up gs://up/movies/{title_of(export)}/diary.csv" in ran.err


# What is shown


def test_a_line_speaks_of_films_and_of_no_money() -> None:
    line = line_of(film_status(total_movies=2604, enriched=2590, needs_review=12, skipped=0, not_found=2))
    assert line == ("letterboxd-me-0123abcd: completed · 2,604 films · 2,590 enriched · 2 not found · 12 need a look")
    assert "3 of 12 films (25 %) · 3 enriched" in line_of(film_status(open=9, enriched=3, status="enriching"))
    assert "29 records read · 11 enriched" in line_of(film_status(total_movies=None, status="processing"))


def test_a_session_of_films_is_called_by_its_export() -> None:
    assert name_of(film_status(source="gs://up/movies/me-2024.zip")) == "me-2024"
    assert "letterboxd-me-0123abcd" in shown(sessions_table([film_status()], 140), 140)
    assert "watched.csv" not in shown(sessions_table([film_status()], 140), 140)


@pytest.mark.parametrize("width", [60, 80])
def test_a_picture_fits_a_narrow_screen(width: int) -> None:
    running = film_status(open=9, enriched=3, status="enriching", items_per_second=20.0, eta_seconds=1.0)
    said = shown(picture([running, film_status()]), width)
    assert "3/12 films" in said
    assert "20.0/s, 1 s left" in said
    assert "11 enriched · 2 skipped · 1 needs a look" in said
    assert len(said.splitlines()) == 4


def test_the_pace_is_that_of_films_not_of_the_records_merged_into_them() -> None:
    pace = Pace()
    pace.seen(film_status(total=5000, open=100, total_movies=100), 0.0)
    assert pace.seen(film_status(total_movies=None), 5.0).get("items_per_second") == 0.0
    seen = pace.seen(film_status(total=9000, open=80, total_movies=100), 2.0)
    assert (seen["items_per_second"], seen["eta_seconds"]) == (10.0, 8.0)


def test_details_count_films_and_every_outcome() -> None:
    said = shown(details(film_status()), 100)
    for words in ("12, 0 open (100 % done)", "29 read, 15 merged into the others", "11 enriched", "1 needs a look"):
        assert words in said
    assert "spent" not in said


def test_what_needs_a_look_is_told_with_what_to_do(run: Run, api: FakeApi) -> None:
    api.statuses[SESSION] = [working(1, pipeline="movies", total_movies=12), film_status()]
    ran = run("watch", ID)
    assert ran.code == 0
    assert f"1 needs a look: `rowlift match {ID[:8]}` says why." in ran.out


# Match

CANDIDATES = [
    {"tmdb_id": 593, "title": "Solaris", "year": 1972, "score": 0.6, "reason": "exact title, year +4"},
    {"tmdb_id": 2103, "title": "Solaris", "year": None, "score": 0.5, "reason": "exact title, year +34"},
]


def item(number: int, outcome: str | None = "needs_review", **changes: Any) -> dict[str, Any]:
    return {
        "item_no": number, "input": {"name": "Solaris", "year": 1968}, "outcome": outcome, "state": "completed",
        "code": "weak_match", "key": "https://boxd.it/Ah6s", "result": {"candidates": CANDIDATES}, "parent": None,
        "error_message": None, **changes,
    }  # fmt: skip


UNRESOLVED = item(
    7, code="unresolved", key=None, result=None, error_message="No film of this export is called Her (2013)."
)


def test_match_lists_what_needs_a_look(run: Run, api: FakeApi) -> None:
    api.items = [item(3, "enriched"), UNRESOLVED, item(12), item(13, code="override_gone", result={"candidates": []})]
    ran = run("match", ID, "--json")
    assert [each["item_no"] for each in ran.answer["items"]] == [7, 12, 13]
    for words in (
        "No film of this export is called Her", "TMDB has 2 that may be meant", "TMDB no longer has what was chosen",
        f"`rowlift match {ID[:8]} 12`",
    ):  # fmt: skip
        assert words in ran.err
    api.items = []
    assert "Nothing needs a look" in run("match", ID).out


def test_match_of_many_says_that_there_are_more(run: Run, api: FakeApi) -> None:
    api.items = [item(number) for number in range(1, 61)]
    assert "These are the first 50." in run("match", ID).out


def test_match_shows_what_an_item_may_be(run: Run, api: FakeApi) -> None:
    api.items = [item(12), item(14, "merged", parent=12, result=None), UNRESOLVED | {"item_no": 20}]
    ran = run("match", ID, "14", "--json")
    assert (ran.answer["item_no"], ran.answer["candidates"]) == (12, CANDIDATES)
    for words in ("Item 12: Solaris (1968), needs review", "593", "0.60", "year +34", f"match {ID[:8]} 12 TMDB_ID"):
        assert words in ran.err
    ran = run("match", ID, "20")
    assert "No film of this export is called Her" in ran.out
    assert "TMDB_ID" not in ran.out


def test_match_of_a_film_that_was_found_says_which(run: Run, api: FakeApi) -> None:
    taken = {"tmdb_id": 593, "title": "Solaris", "release_date": "1972-03-20"}
    api.items = [item(12, "enriched", result=taken), item(13, None, state="available", result=None)]
    assert "It is film 593 of TMDB, Solaris (1972)." in run("match", ID, "12").out
    assert "Item 13: Solaris (1968), available" in run("match", ID, "13").out
    ran = run("match", ID, "99")
    assert ran.code == 2
    assert "has no item 99" in ran.err


@pytest.mark.parametrize(
    ("word", "sent", "ended", "code", "said"),
    [
        ("593", 593, "enriched", 0, "Item 12 is Solaris (1972), film 593 of TMDB, from now on."),
        ("NONE", None, "not_found", 0, "Item 12 is none of the films of TMDB from now on."),
        ("99", 99, "needs_review", 1, f"TMDB has no film 99: item 12 still needs a look. `rowlift match {ID[:8]} 12`"),
        ("99", 99, "failed", 1, "Film 99 could not be taken over: Its answer is broken."),
        ("593", 593, None, 0, f"is film 593 of TMDB from now on; `rowlift watch {ID[:8]}` shows when"),
    ],
)
def test_match_sends_the_decision_and_waits_for_what_comes_of_it(
    run: Run,
    api: FakeApi,
    monkeypatch: pytest.MonkeyPatch,
    word: str,
    sent: int | None,
    ended: str | None,
    code: int,
    said: str,
) -> None:
    monkeypatch.setattr("cli.match_command.TAKEN_OVER_WITHIN", 0.05)
    taken = {"tmdb_id": 593, "title": "Solaris", "release_date": "1972-03-20"} if ended == "enriched" else None
    api.items = [item(12, ended, result=taken, error_message="Its answer is broken." if ended == "failed" else None)]
    path = f"/api/session/{ID}/items/12/match"
    answer = {"item_no": 12, "film_item_no": 12, "status": film_status()}
    api.answers[f"POST {path}"] = answer
    ran = run("match", ID, "12", word, "--json")
    assert (ran.code, ran.answer) == (code, {**answer, "outcome": ended})
    assert api.sent("POST", path) == [{"tmdb_id": sent}]
    assert said in ran.err


@pytest.mark.parametrize("word", ["Solaris", "0", "-1", "5.5", "9" * 30])
def test_a_film_is_a_number_or_none(run: Run, api: FakeApi, word: str) -> None:
    ran = run("match", ID, "12", "--", word)
    assert (ran.code, api.requests) == (2, [])


def test_a_refused_decision_is_told_in_the_apis_words(run: Run, api: FakeApi) -> None:
    api.answers[f"POST /api/session/{ID}/items/7/match"] = problem(409, "Item 7 belongs to no film of the export.")
    ran = run("match", ID, "7", "593")
    assert (ran.code, ran.err.strip()) == (2, "Item 7 belongs to no film of the export.")


def test_the_sample_is_an_export_of_twelve_films() -> None:
    found, left_out = inputs_of([DEMO], "movies")
    assert (len(found), left_out) == (6, "")
