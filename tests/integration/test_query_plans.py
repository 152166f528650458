"""The hot statements find their rows by index however many items are settled."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any
from uuid import UUID, uuid4

import orjson
import pytest

from shared.config import parse_database_url
from shared.db import Database, connector
from shared.messages import ItemsNotice
from shared.results import result_lines
from shared.sql import statement
from tests.conftest import cloned_database
from tests.crowds import Crowd, fill, gather, run_message
from tests.factories import make_session
from tests.movies import diary, drop_files, movies_bench, watched
from tests.workbench import Workbench, artist_id

SETTLED, OPEN = 200_000, 5_000
CONFIGURATION = "artist-bio/1 m"


@pytest.fixture(scope="module")
def crowded(server: str) -> Iterator[tuple[Workbench, UUID]]:
    """A ledger with 200,000 settled items, and a session of it with 5,000 open ones: some out, some running."""
    with cloned_database(server) as url:
        database = Database(connector(parse_database_url(url)), size=2)
        bench = Workbench(db=database, url=url)
        session = make_session(bench, SETTLED + OPEN)
        bench.execute(
            "UPDATE items SET state = 'completed', outcome = 'enriched', finalized_at = now() "
            f"WHERE item_no <= {SETTLED}"
        )
        bench.execute(f"UPDATE items SET dispatched_at = now() WHERE item_no BETWEEN {SETTLED + 1} AND {SETTLED + 500}")
        bench.execute(
            f"UPDATE items SET state = 'running', lease_expires_at = now(), attempt = 1 "
            f"WHERE item_no BETWEEN {SETTLED + 501} AND {SETTLED + 700}"
        )
        bench.execute(
            f"INSERT INTO calls (id, session_id, item_no, attempt, round, try, upstream, reserved, state, finished_at) "
            f"SELECT gen_random_uuid(), '{session}', i, 1, 1, 1, 'openai', 1, 'succeeded', now() "
            f"FROM generate_series(1, {SETTLED // 4}) i"
        )
        bench.execute(
            f"INSERT INTO answers (pipeline, key, input_hash, configuration, result, session_id, item_no) "
            f"SELECT 'artists', lpad(i::text, 36, '0'), decode(md5(i::text), 'hex'), '{CONFIGURATION}', '{{}}', "
            f"'{session}', i FROM generate_series(1, {SETTLED}) i"
        )
        bench.execute("VACUUM ANALYZE answers")
        bench.execute("VACUUM ANALYZE items")
        bench.execute("VACUUM ANALYZE calls")
        bench.execute("ANALYZE sessions")
        yield bench, session
        database.close()


def plan(bench: Workbench, name: str, **params: Any) -> str:
    """The plan of a statement with these parameters; nothing is run."""
    text = statement(name)
    for key, value in params.items():
        text = re.sub(rf"(?<!:):{key}\b", lambda _, v=value: _literal(v), text)
    return "\n".join(row[0] for row in bench.execute(f"EXPLAIN {text}"))


def generic_plan(bench: Workbench, name: str, **params: Any) -> str:
    """The plan a connection keeps once it has run the statement a few times: made without knowing the parameters."""
    text, names = statement(name), list(params)
    for n, key in enumerate(names, 1):
        text = re.sub(rf"(?<!:):{key}\b", f"${n}", text)
    label = f"p{uuid4().hex}"
    with bench.db._checked_out() as connection:
        connection.execute_simple("SET plan_cache_mode = force_generic_plan")
        connection.execute_simple(f"PREPARE {label} AS {text}")
        values = ", ".join(_literal(value) for value in params.values())
        rows = connection.execute_simple(f"EXPLAIN EXECUTE {label} ({values})").rows
        connection.execute_simple("RESET plan_cache_mode")
    return "\n".join(row[0] for row in rows)


def _literal(value: Any) -> str:
    if value is None:
        return "NULL"
    if isinstance(value, bool | int | float):
        return str(value)
    if isinstance(value, list):
        return "'{" + ",".join(map(str, value)) + "}'"
    return "'" + str(value).replace("'", "''") + "'"


BATCH = [
    {"item_no": SETTLED + 501 + i, "attempt": 1, "state": "completed", "outcome": "enriched", "failed": False,
     "result": {"text": "x"}, "domain": {"id": artist_id(i), "name": "x", "bio": "x"}, "call_id": str(uuid4()),
     "call_state": "succeeded", "cost": 1, "reserve": 1, "try": 1, "request_hash": "00"}
    for i in range(8)
]  # fmt: skip
HOT: dict[str, dict[str, Any]] = {
    "claim_items": {"session": 0, "pipeline": "artists", "claim": uuid4(), "lease": 130.0,
                    "configuration": CONFIGURATION, "item_nos": list(range(SETTLED + 1, SETTLED + 9))},
    "fill_window": {"session": 0, "window": 5_000, "token": str(uuid4()), "upstream": "openai", "probes": 8},
    "settle/artists": {"session": 0, "batch": orjson.dumps(BATCH).decode(), "skip_existing": False,
                       "pipeline": "artists", "configuration": CONFIGURATION},
    "settle/none": {"session": 0, "batch": orjson.dumps(BATCH).decode(), "pipeline": "artists", "configuration": ""},
    "start_calls": {"session": 0, "batch": orjson.dumps(BATCH).decode(), "upstream": "openai", "lease": 130.0},
    "standing": {"session": 0},
    "resume_session": {"session": 0, "budget": None},
    "lost_notices": {"session": 0, "pipeline": "artists", "lost_after": 30},
    "leases_to_retire": {"session": 0, "grace": 15},
    "retire_leases": {"session": 0, "grace": 15, "late": 5},
    "make_due": {"session": 0},
    "hand_tries_back": {"pipelines": '["artists"]', "codes": '["upstream.cut"]'},
    "stop_too_many_failed": {"session": 0, "most": 2_000},
    "note_absorbed": {"session": 0, "item_nos": list(range(SETTLED + 1, SETTLED + 9))},
    "take_back": {"session": 0, "item_nos": list(range(SETTLED + 1, SETTLED + 9))},
    "settle_cancelled": {"session": 0},
    "dead_letter": {"session": 0, "reason": "x", "message": "m", "published": None,
                    "item_nos": list(range(SETTLED + 1, SETTLED + 9))},
    "owners_of_keys": {"session": 0, "keys": orjson.dumps([artist_id(i) for i in range(5_000)]).decode()},
    "complete_session": {"session": 0, "epoch": 1, "failed": False, "code": None, "message": None},
    "results/artists": {"session": 0, "after": 100_000, "upto": 105_000, "size": 5_000, "minimal": False},
    "settled_results/artists": {"session": 0, "xid": "700", "after": 100_000, "size": 5_000, "minimal": False,
                                "horizon": "4000000000"},
    "session_stands": {"session": 0},
    "items_page": {"session": 0, "after": 1_000, "size": 100},
    "ended_items_page": {"session": 0, "outcome": "failed", "error_code": None, "after": 0, "size": 100},
    "open_items_page": {"session": 0, "state": "running", "after": 0, "size": 100},
    "items_between": {"session": 0, "after": 1_000, "upto": 21_000, "outcome": None, "state": None, "error_code": None,
                      "text": "x", "size": 100},
    "error_groups": {"session": 0, "most": 1_000, "groups": 201},
    "reprocess_items": {"session": 0, "outcomes": ["enriched"], "error_codes": [], "key": None, "prompt": None,
                        "after": 9},
    "rejects_page": {"session": 0, "after": 0, "size": 5_000, "bytes": 1 << 20},
    "forget_notices": {"session": 0},
    "artists_forecast": {"session": 0, "after": 100_000, "upto": 200_000, "configuration": CONFIGURATION,
                         "skip_existing": False, "must_exist": False},
    "changes": {"session": 0, "earlier": uuid4(), "after": 100_000, "upto": 150_000},
    "gone": {"session": 0, "later": uuid4(), "after": 100_000, "upto": 150_000},
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(HOT))
@pytest.mark.parametrize("planned", [plan, generic_plan])
def test_a_hot_statement_uses_indexes(crowded: tuple[Workbench, UUID], name: str, planned: Any) -> None:
    bench, session = crowded
    params = {key: session if key == "session" else value for key, value in HOT[name].items()}
    text = planned(bench, name, **params)
    assert "items_" in text
    assert not re.search(r"Seq Scan on (items|calls|answers)\b", text), text


@pytest.mark.parametrize("planned", [plan, generic_plan])
def test_what_is_asked_of_calls_reads_those_of_one_session(crowded: tuple[Workbench, UUID], planned: Any) -> None:
    bench, session = crowded
    page = {"session": session, "item_no": None, "state": None, "after": None, "size": 100}
    for text in (planned(bench, "payment", session=session), planned(bench, "calls_page", **page)):
        assert "calls_of_item" in text
        assert "Seq Scan on calls" not in text


def test_the_statements_that_look_for_work_touch_no_settled_item(crowded: tuple[Workbench, UUID]) -> None:
    bench, session = crowded
    for name, index in (("fill_window", "items_dispatchable"), ("lost_notices", "items_out"),
                        ("retire_leases", "items_running"), ("settle_cancelled", "items_dispatchable")):  # fmt: skip
        params = {key: session if key == "session" else value for key, value in HOT[name].items()}
        assert index in plan(bench, name, **params)


@pytest.mark.parametrize(
    ("name", "index"),
    [("settled_results/artists", "items_in_settle_order"), ("items_page", "items_pkey"),
     ("ended_items_page", "items_by_outcome")],
)  # fmt: skip
def test_a_page_is_read_in_its_order_and_no_further(crowded: tuple[Workbench, UUID], name: str, index: str) -> None:
    """As they are planned for good; results in settle order always are."""
    bench, session = crowded
    text = generic_plan(bench, name, **{**HOT[name], "session": session})
    assert re.search(rf"Limit[^\n]*\n\s*->  Index Scan using {index} on items", text), text


def test_a_search_reads_the_numbers_it_is_given(crowded: tuple[Workbench, UUID]) -> None:
    bench, session = crowded
    for planned in (plan, generic_plan):
        text = planned(bench, "items_between", **{**HOT["items_between"], "session": session})
        assert re.search(r"items_pkey.*\n\s*Index Cond: .*item_no > .*item_no <= ", text), text


@pytest.mark.parametrize("state", ["running", "retryable", "available"])
def test_open_items_are_found_by_the_index_of_their_state(crowded: tuple[Workbench, UUID], state: str) -> None:
    bench, session = crowded
    text = generic_plan(bench, "open_items_page", **{**HOT["open_items_page"], "session": session, "state": state})
    for index in ("items_running", "items_retryable", "items_out", "items_dispatchable"):
        assert f"using {index} on items" in text, text


@pytest.mark.parametrize("name", ["changes", "gone"])
@pytest.mark.parametrize("planned", [plan, generic_plan])
def test_a_page_of_changes_reads_its_own_items_alone(crowded: tuple[Workbench, UUID], name: str, planned: Any) -> None:
    """Joined or sorted, each page would read all of both sessions."""
    bench, session = crowded
    text = planned(bench, name, **{**HOT[name], "session": session})
    assert re.search(r"items_pkey.*\n\s*Index Cond: .*item_no >", text), text
    assert re.search(r"items_one_owner_per_key on items other.*\n\s*Index Cond: .*key = items.key", text), text


def test_statistics_say_nothing_of_single_sessions(bench: Workbench) -> None:
    """With them a session the planner had not seen was taken for a row or none: 5,000 films took 50 s and not 0.5."""
    drop_files(movies_bench(bench), {"watched.csv": watched(*range(50))})
    bench.execute("ANALYZE")
    found = bench.execute(
        "SELECT DISTINCT tablename FROM pg_stats WHERE attname = 'session_id' AND schemaname = 'public'"
    )
    assert {table for (table,) in found} <= {"files"}
    assert bench.value("SELECT count(*) FROM pg_stats WHERE tablename = 'film_records'") > 0


FILMS = 8_000


@pytest.fixture(scope="module")
def filmed(server: str) -> Iterator[tuple[Workbench, UUID]]:
    """A ledger without statistics, with two sessions of 8,000 films and as many entries of the diary each."""
    with cloned_database(server) as url:
        database = Database(connector(parse_database_url(url)), size=2)
        films = movies_bench(Workbench(db=database, url=url))
        for table in ("items", "film_records", "movies", "diary_entries", "reviews"):
            films.execute(f"ALTER TABLE {table} SET (autovacuum_enabled = false)")
        files = {"watched.csv": watched(*range(FILMS)), "diary.csv": diary(*range(FILMS))}
        sessions = [drop_files(films, files, export=export) for export in ("one", "two")]
        yield films, sessions[0]
        database.close()


URIS = orjson.dumps([f"https://boxd.it/f{n}" for n in range(6_000)]).decode()
ALIASES = orjson.dumps([f"Film {n} ({1950 + n % 70})" for n in range(6_000)]).decode()
MERGE: dict[str, dict[str, Any]] = {
    "known_films": {"uris": URIS, "aliases": ALIASES},
    "keep_lone_films": {"first": 10_001, "beyond": 16_001, "together": "[10002, 10004]", "domain": True},
    "keep_film_records": {"first": 10_001, "beyond": 16_001, "watchlist": False},
    "supersede_film_records": {"first": 10_001},
    "place_film_records": {"first": 10_001},
    "join_film_records": {"films": URIS},
    "seat_film_owners": {"films": URIS, "first": 10_001},
    "drop_entries": {"films": URIS, "first": 10_001},
    "store_diary": {"films": URIS},
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(MERGE))
@pytest.mark.parametrize("planned", [plan, generic_plan])
def test_a_chunk_of_films_is_merged_by_index_without_statistics(
    filmed: tuple[Workbench, UUID], name: str, planned: Any
) -> None:
    """Compared with each other, the entries of a chunk and those of the session took four fifths of a diary's time."""
    films, session = filmed
    text = planned(films, name, session=session, **MERGE[name])
    assert not re.search(r"Seq Scan on (items|film_records|movies|diary_entries|reviews|match_overrides)\b", text), text
    assert "Join Filter" not in text, text


def test_a_message_reads_its_own_rows_alone_in_a_database_that_was_never_analysed(bench: Workbench) -> None:
    """Joined, each message read every item of its session and every answer there was: six times the work by the sixth
    session of a day, until autovacuum came."""
    session = make_session(bench, 400)
    bench.execute("UPDATE items SET input_hash = decode(md5(item_no::text), 'hex')")
    bench.execute(
        "INSERT INTO answers (pipeline, key, input_hash, configuration, result, session_id, item_no) "
        f"SELECT 'artists', i::text, '\\x00', '', '{{}}', '{session}', i FROM generate_series(1, 2000) i"
    )
    read = "SELECT sum(idx_tup_read) FROM pg_stat_user_indexes WHERE relname IN ('items', 'answers', 'calls')"
    before = _settled_statistics(bench, read)
    for first in range(1, 81, 8):
        bench.processor.handle(ItemsNotice(session=session, items=tuple(range(first, first + 8))))
    per_item = (_settled_statistics(bench, read) - before) / 80
    assert bench.value(f"SELECT count(*) FROM items WHERE session_id = '{session}' AND outcome = 'enriched'") == 80
    assert per_item < 100, per_item  # 500 and more when joined


class Counting(Database):
    """Keeps what each statement read while `counts` is set: index entries, rows of scans without an index, blocks."""

    READ = """
        SELECT (SELECT sum(idx_tup_read) FROM pg_stat_user_indexes),
               (SELECT sum(seq_tup_read) FROM pg_stat_user_tables),
               (SELECT sum(heap_blks_hit + heap_blks_read + coalesce(idx_blks_hit + idx_blks_read, 0))
                  FROM pg_statio_user_tables)"""

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self.counts, self.read = False, dict[str, tuple[int, ...]]()

    def rows(self, name: str, **params: Any) -> list[dict[str, Any]]:
        before = self._read() if self.counts else ()
        found = super().rows(name, **params)
        if self.counts:
            read = tuple(after - then for then, after in zip(before, self._read(), strict=True))
            self.read[name] = tuple(map(max, read, self.read.get(name, read)))
        return found

    def _read(self) -> tuple[int, ...]:
        with self._checked_out() as connection:
            connection.execute_simple("SELECT pg_stat_force_next_flush()")
            connection.execute_simple("SELECT pg_stat_clear_snapshot()")
            return tuple(map(int, connection.execute_simple(self.READ).rows[0]))


MANY, WINDOW = 300_000, 100


@pytest.mark.parametrize("statistics", ["fresh", "stale", "none"])
def test_a_message_among_many_items_reads_its_own_alone(database_url: str, statistics: str) -> None:
    """Half of the items are settled, half wait, and each message is of eight. Stale: plans are kept that were made when
    there were 1,000 of everything; with fewer autovacuum analyses nothing. `fill_window` once read and sorted all that
    waited, to put out eight."""
    bench = Workbench(db=Counting(connector(parse_database_url(database_url)), size=1), url=database_url)
    for table in ("items", "calls", "answers", "sessions", "tallies", "upstreams"):
        bench.execute(f"ALTER TABLE {table} SET (autovacuum_enabled = false)")
    crowd = Crowd(items=MANY, settled=MANY // 2)
    if statistics == "stale":
        young = Crowd(items=1_000, settled=0)
        gather(database_url, [young, Crowd(items=1_000, settled=1_000)], calls=500)
        bench.execute("ANALYZE")
        for first in range(1, 81, 8):
            run_message(bench, young.session, range(first, first + 8), window=WINDOW)
        crowd.join(database_url, calls=10_000)
    else:
        gather(database_url, [crowd], calls=10_000)
    if statistics == "fresh":
        bench.execute("ANALYZE")
    fill(bench, crowd.session, window=WINDOW)
    for first in range(crowd.settled + 1, crowd.settled + 81, 8):  # ten: with the sixth a connection keeps its plans
        bench.db.counts = True
        run_message(bench, crowd.session, range(first, first + 8), window=WINDOW)
    read = bench.db.read
    bench.db.close()
    assert set(read) >= {"fill_window", "claim_items", "reserve_slots", "start_calls", "settle/artists", "standing",
                         "session_stands"}  # fmt: skip
    for name, (entries, rows, blocks) in read.items():
        # 219 of them were seen, and 150,108 where all that waited was read.
        assert entries <= 250, (name, entries, read)
        assert rows <= 100, (name, rows, read)  # of tables as small as `upstreams`
        assert blocks <= 1_000, (name, blocks, read)


def test_a_page_of_results_reads_its_own_numbers_in_a_database_that_was_never_analysed(database_url: str) -> None:
    """A planner without statistics took a session for a few hundred rows, and sorted all that follows for each page."""
    bench = Workbench(db=Counting(connector(parse_database_url(database_url)), size=1), url=database_url)
    bench.execute("ALTER TABLE items SET (autovacuum_enabled = false)")
    crowd = Crowd(items=60_000, settled=60_000)
    gather(database_url, [crowd], calls=0)
    bench.db.counts = True
    pages = result_lines(bench.db, crowd.session, pipeline="artists", minimal=False)
    assert sum(page.count(b"\n") for page in pages) == crowd.items
    bench.db.close()
    entries, rows, _ = bench.db.read["results/artists"]
    assert entries <= 10_000, bench.db.read  # 5,000 items a page; 60,000 were read for the first
    assert rows <= 100, bench.db.read


def _settled_statistics(bench: Workbench, query: str) -> int:
    """What a query of statistics answers once every connection of the bench has handed its own in."""
    bench.db.close()
    bench.execute("SELECT pg_stat_clear_snapshot()")
    return int(bench.value(query))
