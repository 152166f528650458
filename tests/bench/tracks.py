"""Tracks: words looked for among a million of them, and 140 sound files read, many of them broken."""

from __future__ import annotations

import contextlib
import itertools
import json
import random
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import psutil

from shared.audio.prober import Prober
from shared.audio.search import search_audio_tracks_advanced
from shared.audio.tags import NoSound
from shared.config import parse_database_url
from shared.db import Database, connector
from tests.bench.figure import Figure
from tests.conftest import SHARED_DATA, running_server

SYLLABLES = (
    "ba", "ko", "ri", "ta", "lu", "me", "no", "shi", "va", "zen", "dor", "pel", "quo", "fin", "gra", "hus", "jal",
    "kem", "lor", "mit",
)  # fmt: skip
GENRES = ("Rock", "Pop", "Jazz", "Electronic", "Hip-Hop", "Classical", "Folk", "Metal", "Blues", "Ambient")
WORDS, ARTISTS, ALBUMS = 60_000, 60_000, 120_000
PIECE = 2_000
COLUMNS = "id, status, title, artist, album, genre, year, duration, channels, format, audio_path"
TIMES = 20
COMMON_BAR, RARE_BAR = 50, 10  # ms, p95


def measure(folder: Path, *, quick: bool) -> list[Figure]:
    """Searches of common, rarer and rare words, and files from the suites of four libraries."""
    return [*_searching(100_000 if quick else 1_000_000), *_probing()]


def _searching(tracks: int) -> list[Figure]:
    with running_server("-c", "shared_buffers=512MB") as url:
        db = Database(connector(parse_database_url(url)), size=1)
        _fill(db, tracks)
        by_share = _words_by_share(db, tracks)
        found = [
            _figure(db, "words that 5 % to a quarter of them have", tracks, by_share(0.05, 1.0), COMMON_BAR),
            _figure(db, "words that 0.5 % to 5 % have", tracks, by_share(0.005, 0.05), COMMON_BAR),
            _figure(db, "words that fewer than 0.02 % have", tracks, by_share(0.0, 0.0002), RARE_BAR),
            _figure(db, "beginnings of one to four letters", tracks, ["r", "ba", "sh", "zen", "bako"], prefix=True),
            _figure(db, "two of the commonest words", tracks, _pairs(by_share(0.05, 1.0)), None),
        ]
        db.close()
        return found


def _figure(
    db: Database, what: str, tracks: int, asked: Sequence[str], bar: int | None = COMMON_BAR, **more: Any
) -> Figure:
    took = []
    for query in asked:
        search_audio_tracks_advanced(db, query, **more)  # warm
        for _ in range(TIMES):
            began = time.perf_counter()
            search_audio_tracks_advanced(db, query, **more)
            took.append((time.perf_counter() - began) * 1000)
    took.sort()
    p95 = took[int(len(took) * 0.95)]
    return Figure(
        what=f"search of {tracks:,} tracks, {what}",
        text=f"p95 {p95:.1f} ms, median {took[len(took) // 2]:.1f} ms, {len(asked)} questions",
        value=p95 if bar else None,
        at_most=bar,
    )


def _fill(db: Database, tracks: int) -> None:
    """Tracks whose words are as common as words are (Zipf); the indexes are made behind, as one would for so many."""
    with db._checked_out() as connection:
        connection.execute_simple("SET statement_timeout = 0")
        made = (
            "SELECT indexname, indexdef FROM pg_indexes WHERE tablename = 'audio_tracks' AND indexname NOT LIKE '%key'"
        )
        indexes = [row for row in connection.execute_simple(made).rows if row[0] != "audio_tracks_one_for_each_path"]
        for name, _ in indexes:
            connection.execute_simple(f"DROP INDEX {name}")
        connection.execute_unnamed(f"COPY audio_tracks ({COLUMNS}) FROM STDIN", stream=_rows(tracks))
        connection.execute_simple("SET maintenance_work_mem = '512MB'")
        for _, definition in indexes:
            connection.execute_simple(definition)
        connection.execute_simple("VACUUM ANALYZE audio_tracks")


def _rows(tracks: int) -> Iterator[bytes]:
    chance = random.Random(1)
    words = [_word(number) for number in range(WORDS)]
    cumulated = list(itertools.accumulate(1 / (n + 2.7) for n in range(WORDS)))
    genres = list(itertools.accumulate(1 / (n + 1) for n in range(len(GENRES))))

    def name(longest: int) -> str:
        return " ".join(chance.choices(words, cum_weights=cumulated, k=chance.randint(1, longest))).title()

    artists, albums = [name(3) for _ in range(ARTISTS)], [name(4) for _ in range(ALBUMS)]
    for first in range(0, tracks, PIECE):
        yield "".join(
            f"{number:032x}\tCOMPLETED\t{name(5)}\t{artists[int(ARTISTS * chance.random() ** 2)]}\t"
            f"{chance.choice(albums)}\t{chance.choices(GENRES, cum_weights=genres)[0]}\t{chance.randint(1950, 2026)}\t"
            f"{chance.uniform(60, 500):.1f}\t2\tmp3\tgs://bench/{number:08d}.mp3\n"
            for number in range(first, min(first + PIECE, tracks))
        ).encode()


def _word(number: int) -> str:
    digits = [number % 20, number // 20 % 20, number // 400 % 20, *([number // 8_000] if number >= 8_000 else [])]
    return "".join(SYLLABLES[digit] for digit in digits)


def _words_by_share(db: Database, tracks: int) -> Any:
    """A function: up to ten words that at least and at most such a share of the tracks have."""
    statement = "SELECT word, ndoc FROM ts_stat('SELECT search_vector FROM audio_tracks') ORDER BY ndoc DESC, word"
    with db._checked_out() as connection:
        connection.execute_simple("SET statement_timeout = 0")
        counted = [(word, n / tracks) for word, n in connection.execute_simple(statement).rows]

    def between(least: float, most: float) -> list[str]:
        fitting = [word for word, share in counted if least <= share <= most]
        return fitting[:: max(1, len(fitting) // 10)][:10]

    return between


def _pairs(words: Sequence[str]) -> list[str]:
    return [f"{one} {other}" for one, other in itertools.pairwise(words)]


def _probing() -> list[Figure]:
    folder = SHARED_DATA / "audio"
    if not folder.is_dir():
        return []
    prober, took, memory = Prober(), [], 0
    names = sorted(json.loads((folder / "reference-readings.json").read_text("utf-8")))
    for name in names:
        data, began = (folder / "files" / name).read_bytes(), time.perf_counter()
        with contextlib.suppress(NoSound):
            prober.probe(lambda offset, length, data=data: data[offset : offset + length], len(data), name)
        took.append(time.perf_counter() - began)
        memory = max([memory, *(psutil.Process(one._process.pid).memory_info().rss for one in prober._idle)])
    prober.close()
    return [
        Figure(
            what=f"{len(names)} sound files read, many of them broken",
            text=f"{sum(took):.2f} s in all, the slowest {max(took) * 1000:.0f} ms",
            value=max(took),
            at_most=3,
        ),
        Figure(what="  memory", text=f"{memory / 2**20:.0f} MB", value=memory / 2**20, at_most=200),
    ]
