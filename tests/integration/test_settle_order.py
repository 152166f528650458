"""Results in settle order: whatever commits when, a follower sees every line, and none is passed over."""

from __future__ import annotations

import threading
from uuid import UUID

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shared.config import parse_database_url
from shared.db import connector
from shared.errors import Conflict, InputError
from shared.progress import progress, standing
from shared.results import Cursor, result_lines, settled_lines
from tests.factories import make_session
from tests.movies import drop_files, movies_bench, ratings, watched
from tests.workbench import Workbench, artist_id, artists_csv

SETTLE = """
    UPDATE items SET state = 'completed', outcome = 'enriched', finalized_at = clock_timestamp()
     WHERE item_no = ANY ('{{{}}}')
"""


def followed(bench: Workbench, session: UUID, cursor: Cursor, limit: int | None = None) -> tuple[list[int], Cursor]:
    """The numbers of the items settled since a cursor, and the next cursor."""
    found = settled_lines(bench.db, session, pipeline="artists", minimal=False, after=cursor, limit=limit)
    text = b"".join(found.pages)
    assert text.endswith(b"\n") or not text
    return [orjson.loads(line)["item_no"] for line in text.splitlines()], found.next


def settle(bench: Workbench, *items: int) -> None:
    bench.execute(SETTLE.format(",".join(map(str, items))))


def test_rows_of_a_transaction_that_commits_late_are_not_passed_over(bench: Workbench) -> None:
    session = make_session(bench, 6)
    late = connector(parse_database_url(bench.url), autocommit=False)()
    late.execute_simple("BEGIN")
    late.execute_simple(SETTLE.format("1,2"))
    settle(bench, 3, 4)  # begun later, committed earlier
    seen, cursor = followed(bench, session, Cursor())
    assert seen == []
    late.execute_simple("COMMIT")
    late.close()
    assert followed(bench, session, cursor)[0] == [1, 2, 3, 4]


def test_pages_of_any_size_give_every_line_once(bench: Workbench) -> None:
    session = make_session(bench, 40)
    for start in range(1, 41, 5):
        settle(bench, *range(start, start + 5))
    for limit in (1, 3, 7, 5_000):
        cursor, seen = Cursor(), []
        while True:
            found, after = followed(bench, session, cursor, limit)
            seen += found
            if not found:
                break
            assert after > cursor
            cursor = after
        assert seen == list(range(1, 41))
    assert followed(bench, session, Cursor())[0] == seen


def test_an_item_settled_again_comes_again(bench: Workbench) -> None:
    session = bench.drop(artists_csv(4))
    bench.run(session)
    seen, cursor = followed(bench, session, Cursor())
    assert sorted(seen) == [1, 2, 3, 4]
    bench.sessions.reprocess(session, outcomes=["enriched"], key=artist_id(2))
    assert followed(bench, session, cursor)[0] == []
    bench.run(session)
    assert followed(bench, session, cursor)[0] == [2]
    assert sorted(followed(bench, session, Cursor())[0]) == [1, 2, 3, 4]


def test_it_is_final_when_the_session_has_ended_and_every_line_is_below_the_horizon(bench: Workbench) -> None:
    def final() -> bool:
        return settled_lines(bench.db, session, pipeline="artists", minimal=False, after=Cursor()).final

    session = bench.drop(artists_csv(3))
    assert not final()
    older = connector(parse_database_url(bench.url), autocommit=False)()
    older.execute_simple("BEGIN")
    older.execute_simple("SELECT pg_current_xact_id()")  # another session's transaction, open for long
    assert bench.run(session)["status"] == "completed"
    assert not final()
    older.execute_simple("ROLLBACK")
    older.close()
    assert final()


def test_cursors_of_another_database_and_nonsense_are_refused(bench: Workbench) -> None:
    session = make_session(bench, 1)
    with pytest.raises(Conflict, match="begin again with s0"):
        settled_lines(bench.db, session, pipeline="artists", minimal=False, after=Cursor(xid=10**15))
    for text in ("", "s", "7", "s-1", "s1.2.3", "s" + "9" * 20, "s1;drop", "٣"):
        with pytest.raises(InputError, match="is no cursor"):
            Cursor.parse(text)
    for cursor in (Cursor(), Cursor(xid=7), Cursor(xid=7, item=3)):
        assert Cursor.parse(str(cursor)) == cursor


def test_a_follower_beside_eight_writers_misses_nothing(bench: Workbench) -> None:
    session = make_session(bench, 400)
    waiting = list(range(1, 401))
    lock = threading.Lock()

    def write() -> None:
        connection = connector(parse_database_url(bench.url))()
        while True:
            with lock:
                taken = [waiting.pop() for _ in range(min(4, len(waiting)))]
            if not taken:
                break
            connection.execute_simple(SETTLE.format(",".join(map(str, taken))))
        connection.close()

    writers = [threading.Thread(target=write) for _ in range(8)]
    for writer in writers:
        writer.start()
    seen: list[int] = []
    cursor = Cursor()
    while any(writer.is_alive() for writer in writers):
        found, cursor = followed(bench, session, cursor, 50)
        seen += found
    for writer in writers:
        writer.join()
    while found := followed(bench, session, cursor, 50):
        seen += found[0]
        cursor = found[1]
        if not found[0]:
            break
    assert sorted(seen) == list(range(1, 401))
    assert standing(bench.db, session).counts["enriched"] == 400


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    moves=st.lists(st.tuples(st.integers(1, 12), st.sampled_from(["enriched", "failed", "skipped", None])), max_size=25)
)
def test_counters_say_what_the_items_say(bench: Workbench, moves: list[tuple[int, str | None]]) -> None:
    session = make_session(bench, 12)
    states = {"enriched": "completed", "skipped": "completed", "failed": "discarded", None: "available"}
    for number, outcome in moves:
        word, time = (f"'{outcome}'", "clock_timestamp()") if outcome else ("NULL", "NULL")
        bench.execute(
            f"UPDATE items SET state = '{states[outcome]}', outcome = {word}, finalized_at = {time} "
            f"WHERE session_id = '{session}' AND item_no = {number}"
        )
        bench.execute(f"UPDATE tallies SET at = at - interval '1 minute' WHERE session_id = '{session}'")
        bench.db.rows("fold_tallies", session=session, quiet=40)
    stands = standing(bench.db, session)
    rows = bench.execute(
        f"SELECT outcome, count(*) FROM items WHERE session_id = '{session}' AND outcome IS NOT NULL GROUP BY 1"
    )
    assert {name: n for name, n in stands.counts.items() if n} == dict(rows)
    assert stands.open == 12 - sum(n for _, n in rows)
    assert sum(point["settled"] for point in progress(bench.db, session)["points"]) >= stands.settled
    bench.assert_sound(session)


def test_item_order_and_settle_order_hold_the_same_lines(bench: Workbench) -> None:
    session = bench.drop(artists_csv(30) + b"x,y,z\n")
    bench.run(session)
    whole = b"".join(result_lines(bench.db, session, pipeline="artists", minimal=False))
    settled = settled_lines(bench.db, session, pipeline="artists", minimal=False, after=Cursor())
    assert sorted(b"".join(settled.pages).splitlines()) == sorted(whole.splitlines())


def test_reopened_rows_make_no_rate_negative(bench: Workbench) -> None:
    session = bench.drop(artists_csv(20))
    bench.run(session)
    bench.execute("UPDATE tallies SET at = at - interval '1 minute'")
    bench.sessions.reprocess(session, outcomes=["enriched"])
    status = bench.sessions.status(session)
    assert (status["open"], status["items_per_second"], status["eta_seconds"]) == (20, 0, None)


@pytest.mark.parametrize("age", ["1 minute", "3 hours"])
def test_folded_counters_count_the_same(bench: Workbench, age: str) -> None:
    session = make_session(bench, 40)
    for item in range(1, 41):
        settle(bench, item)
    bench.execute(f"UPDATE tallies SET at = at - interval '{age}' - floor(random() * 6) * interval '5 seconds'")
    before = bench.value("SELECT count(*) FROM tallies")
    bench.db.rows("fold_tallies", session=session, quiet=40)
    assert bench.value("SELECT count(*) FROM tallies") < before == 40
    assert standing(bench.db, session).counts["enriched"] == 40
    points = progress(bench.db, session)
    assert sum(point["settled"] for point in points["points"]) == 40
    assert points["seconds_per_point"] % (60 if age == "3 hours" else 5) == 0


def test_films_that_learn_more_come_again(bench: Workbench) -> None:
    films = movies_bench(bench)
    session = drop_files(films, {"watched.csv": watched(1, 2)})
    films.run(session)

    def lines(after: Cursor) -> tuple[list[bytes], Cursor]:
        found = settled_lines(films.db, session, pipeline="movies", minimal=False, after=after)
        return b"".join(found.pages).splitlines(), found.next

    first, cursor = lines(Cursor())
    assert len(first) == 2
    drop_files(films, {"ratings.csv": ratings(1)})
    films.run(session)
    more, _ = lines(cursor)
    assert {orjson.loads(line)["item_no"] for line in more} == {1, 3}
    last = {orjson.loads(line)["item_no"]: line for line in [*first, *more]}
    whole = b"".join(result_lines(films.db, session, pipeline="movies", minimal=False))
    assert sorted(last.values()) == sorted(whole.splitlines())
