"""The same rows through each peer and through Rowlift, one after the other, on one PostgreSQL and one simulated OpenAI.

Each one warms up with rows of its own. Then its clock runs from the first call that arrives at the simulated OpenAI to
the last record; CPU is counted from the moment the rows are handed over until everything is done.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import httpx
import pg8000.native
import yaml

from infra.local.client import Stack
from infra.local.topology import ROOT
from shared.config import parse_database_url
from tests.bench import running
from tests.bench.cpu import cpu_of
from tests.bench.peers.figures import LATENCY, Measured, Turn
from tests.bench.peers.peer import Peer
from tests.bench.peers.script import started
from tests.bench.peers.work import Row, request, rows
from tests.e2e.stacks import Deck

WARM_UP = 200  # rows
_TABLE = """
    CREATE TABLE rows (
        id text PRIMARY KEY, input text NOT NULL,
        text text, response_id text, output_tokens integer, done_at timestamptz
    )
"""
_FILL = "INSERT INTO rows (id, input) SELECT * FROM unnest(cast(:ids AS text[]), cast(:inputs AS text[]))"
_RECORDS = (
    "SELECT count(*) FILTER (WHERE text <> '' AND response_id <> ''), extract(epoch FROM max(done_at))::float FROM rows"
)


class WrongWorkError(Exception):
    """What was done is not the work that was given, so that its figures mean nothing."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Worker:
    """Somebody ready to work: what to give rows to, and whose CPU it takes."""

    # Given rows and the first one's number: how many records have text, and when the last was made.
    work: Callable[[list[Row], int], tuple[int, float]]
    pids: Sequence[int]


class Bench:
    """A stack, and peers measured on it."""

    def __init__(self, stack: Stack, folder: Path) -> None:
        self._stack, self._folder, self._deck, self._request = stack, folder, Deck(stack), request()
        self._url = stack.info["environment"]["DATABASE_URL"]
        # Rowlift keeps to the limit that the answers' headers name, 485 rows a second of 30,000 a minute; peers do not.
        self._deck.misbehave(limit_requests=10_000_000, limit_tokens=10**11)

    def close(self) -> None:
        """Close what is open to the stack."""
        self._deck.api.close()
        self._deck.db.close()

    def measured(self, peer: Peer, n: int, n_slow: int) -> Measured:
        """A peer's figures: a warm-up, n rows at 0 ms, n_slow at 200 ms; raises WrongWorkError, ScriptError."""
        with self._script(peer) if peer.script else self._rowlift() as worker:
            self._turn(worker, WARM_UP, 1)
            at_0 = self._turn(worker, n, 1_000_000)
            self._deck.misbehave(latency=LATENCY)
            try:
                at_200 = self._turn(worker, int(n_slow * peer.share), 2_000_000)
            finally:
                self._deck.misbehave(latency=0)
        return Measured(peer=peer, at_0=at_0, at_200=at_200)

    def _turn(self, worker: Worker, n: int, first: int) -> Turn:
        """One run, checked: every row has its answer and was asked for once."""
        given, postgres = rows(n, first), self._stack.pid_of("postgres")
        assert postgres is not None
        with self._connected(self._url) as connection:
            connection.run("CHECKPOINT")  # else a peer writes what the one before has left
        self._deck.openai.forget()
        used, used_postgres = sum(map(cpu_of, worker.pids)), cpu_of(postgres)
        handed_over = time.monotonic()
        kept, ended = worker.work(given, first)
        whole = time.monotonic() - handed_over
        used, used_postgres = sum(map(cpu_of, worker.pids)) - used, cpu_of(postgres) - used_postgres
        if kept != n:
            raise WrongWorkError(f"{kept} of {n} rows have a record with text")
        seconds = ended - self._began(given)
        return Turn(rows=n, seconds=seconds, around=whole - seconds, cpu=used, cpu_postgres=used_postgres)

    def _began(self, given: Sequence[Row]) -> float:
        """When the first call arrived; raises WrongWorkError unless each row was asked for once, and answered."""
        told = httpx.get(f"{self._deck.openai.url}/control/log").raise_for_status().json()
        answered = [call["input"] for call in told["calls"] if call["state"] == "answered"]
        if told["total"] != len(given) or sorted(answered) != sorted(row.digest for row in given):
            raise WrongWorkError(
                f"{told['total']} calls for {len(given)} rows; {len(set(answered))} inputs were answered"
            )
        return float(min(call["started"] for call in told["calls"]))

    @contextmanager
    def _rowlift(self) -> Iterator[Worker]:
        """The stack's own functions: a file is dropped, and followed to its end."""

        def work(given: list[Row], first: int) -> tuple[int, float]:
            session = running.run(self._deck, len(given), first)["session"]
            kept, ended = self._deck.execute(
                f"SELECT (SELECT count(*) FROM artists WHERE session_id = '{session}' AND bio <> ''),"
                f" (SELECT extract(epoch FROM max(finalized_at))::float FROM items WHERE session_id = '{session}')"
            )[0]
            return kept, ended

        functions = yaml.safe_load((ROOT / "infra/topology.yaml").read_text("utf-8"))["functions"]
        yield Worker(work=work, pids=[pid for name in functions if (pid := self._stack.pid_of(name))])

    @contextmanager
    def _script(self, peer: Peer) -> Iterator[Worker]:
        """A peer's script with a database of its own."""
        name = f"peer_{peer.script}"
        url = self._url.rpartition("/")[0] + f"/{name}"
        openai = str(self._stack.info["openai"])
        with (
            self._database(name),
            self._connected(url) as connection,
            started(peer, database=url, openai=openai, request=self._request) as script,
        ):
            connection.run(_TABLE)

            def work(given: list[Row], first: int) -> tuple[int, float]:
                path = self._folder / f"{peer.script}-{first}.jsonl"
                path.write_text("".join(json.dumps(asdict(row)) + "\n" for row in given), "utf-8")
                if not peer.in_table:
                    script.do(path)
                    return _texts(answers := path.with_suffix(".answers")), answers.stat().st_mtime
                connection.run("TRUNCATE rows")
                connection.run(_FILL, ids=[row.id for row in given], inputs=[row.input for row in given])
                script.do(path)
                kept, ended = connection.run(_RECORDS)[0]
                return kept, ended

            yield Worker(work=work, pids=[script.pid])

    @contextmanager
    def _database(self, name: str) -> Iterator[None]:
        """A new database beside Rowlift's, dropped at the end."""
        with self._connected(self._url) as connection:
            connection.run(f"CREATE DATABASE {name}")
            try:
                yield
            finally:
                connection.run(f"DROP DATABASE {name} WITH (FORCE)")

    @contextmanager
    def _connected(self, url: str) -> Iterator[pg8000.native.Connection]:
        """A connection to a database of the stack's server."""
        where = parse_database_url(url)
        password = where.password.get_secret_value() if where.password else None
        with pg8000.native.Connection(
            where.user, host=where.host or "", port=where.port, password=password, database=where.database
        ) as connection:
            yield connection


def _texts(path: Path) -> int:
    """How many different rows have an answer with text in a file of the cookbook's form: request, answer, id."""
    found = set()
    for line in path.read_text("utf-8").splitlines():
        _, answer, row_id = json.loads(line)
        if isinstance(answer, dict) and any(
            part.get("text") for item in answer["output"] for part in item.get("content", ())
        ):
            found.add(row_id)
    return len(found)
