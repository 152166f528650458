"""Cold start: from the start of a function's process to its answer to a first real push, and its memory then."""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import statistics
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlsplit
from uuid import UUID

import httpx
import psutil

from infra.local import ports
from infra.local.client import Stack
from shared.messages import Message, finalize_notice, items_notices
from tests.assets import basic
from tests.bench import films
from tests.bench.figure import Figure
from tests.cloud import USER, Cloud
from tests.e2e.stacks import Deck
from tests.sounds import mp3
from tests.workbench import artists_csv

PAID, OTHERS, CONNECTOR = 0.75, 0.45, 0.40  # seconds
MEMORY = 110  # MB
CLOUD_SQL = "through the connector"
# What makes work of its own accord, and would answer in place of the function that is measured.
HELD = ("pusher", "relay", "ticker-rescue")
ROWS = 3  # each a message: a first push that waits for slots of a paced upstream says nothing of the start


def _artists(turn: int) -> bytes:
    return artists_csv(ROWS, first=1 + turn * ROWS)  # others each time: an answer is not asked for twice


def _films(turn: int) -> bytes:
    header, *films_ = films.known_films((turn + 1) * ROWS).splitlines(keepends=True)
    return b"".join((header, *films_[turn * ROWS :]))


FILES: Mapping[str, tuple[str, Callable[[int], bytes]]] = {
    "artists": ("artists/cold-{turn}.csv", _artists),
    "movies": ("movies/cold-{turn}/watched.csv", _films),
    "assets": ("assets/cold-{turn}.csv", lambda _: basic("", "", "")),
    "audio": ("audio/cold-{turn}.mp3", lambda _: mp3(artist="Someone")),
}


class Cold:
    """A stack in which nothing moves by itself, and functions of its started anew on ports of their own."""

    def __init__(self, stack: Stack) -> None:
        self._stack, self._deck = stack, Deck(stack)
        self.seconds: dict[str, list[float]] = {}
        self.megabytes: dict[str, list[float]] = {}

    def turn(self, number: int) -> None:
        """One first push for each function, of what the push before left."""
        for slug, (name, content) in FILES.items():
            session, upload = self._upload(name.format(turn=number), content(number))
            if slug == "artists":
                self._first("ingest", upload)
            else:
                self._push(self._stack.info["functions"]["ingest"], upload)
            *_, rest = messages = [_body(one) for one in self._notices(session, slug)]
            self._first(f"process-{slug}", messages[0])
            for message in messages[1:]:
                self._push(self._stack.info["functions"][f"process-{slug}"], message)
            if slug == "artists":
                self._first("dead-letters", rest)
                self._first("finalize", _body(finalize_notice(session, pipeline=slug, traceparent=None)))
                status = self._deck.status(session)
                assert (status["status"], status["enriched"]) == ("completed", ROWS), status
                self._first("api", None, path=f"/api/session/{session}/status")
        self._first("rescue", b"", environment={"RESCUE_SECONDS": "0.1"})  # one round

    def through_the_connector(self, cloud: Cloud, number: int) -> None:
        """The same for process, whose ledger is reached as Cloud SQL is."""
        session, upload = self._upload(f"artists/cloud-{number}.csv", _artists(100 + number))
        self._push(self._stack.info["functions"]["ingest"], upload)
        name = urlsplit(self._stack.info["environment"]["DATABASE_URL"]).path[1:]
        environment = {**cloud.environment, "DB_NAME": name, "DATABASE_URL": ""}
        message = next(iter(self._notices(session, "artists")))
        self._first("process-artists", _body(message), called=f"process-artists {CLOUD_SQL}", environment=environment)

    def _upload(self, name: str, content: bytes) -> tuple[UUID, bytes]:
        """The session an object will be, and what a bucket says of the object."""
        session = self._deck.drop(content, name)
        bucket = self._stack.info["buckets"]["uploads"]
        resource = httpx.get(f"{self._stack.info['storage']}/storage/v1/b/{bucket}/o/{name.replace('/', '%2F')}").json()
        attributes = {"eventType": "OBJECT_FINALIZE", "bucketId": bucket, "objectId": name,
                      "objectGeneration": str(resource["generation"])}  # fmt: skip
        return session, _body(Message(data=json.dumps(resource).encode(), attributes=attributes))

    def _notices(self, session: UUID, slug: str) -> Iterator[Message]:
        rows = self._deck.execute(f"SELECT item_no FROM items WHERE session_id = '{session}' AND outcome IS NULL")
        return items_notices(session, sorted(row[0] for row in rows), per_message=1, pipeline=slug, traceparent=None)

    def _push(self, url: str, body: bytes) -> None:
        httpx.post(url, content=body, headers={"Content-Type": "application/json"}, timeout=30).raise_for_status()

    def _first(
        self,
        name: str,
        body: bytes | None,
        *,
        path: str = "/",
        called: str | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """Start a function, ask it once, note the time that took, and end it."""
        running = psutil.Process(self._stack.pid_of(name))
        port = ports.choose(1)[0]
        own = str(urlsplit(self._stack.info["functions"][name]).port)
        command = [str(port) if word == own else word for word in running.cmdline()]
        variables = {**running.environ(), **(environment or {})}
        began = time.perf_counter()
        process = subprocess.Popen(
            command, cwd=running.cwd(), env=variables, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            status = _asked(port, "GET" if body is None else "POST", path, body)
            seconds = time.perf_counter() - began
            assert status in (200, 204), (name, status)
            workers = psutil.Process(process.pid).children()
            megabytes = max(one.memory_info().rss for one in workers) / 2**20
        finally:
            process.terminate()
            process.wait(10)
        self.seconds.setdefault(called or name, []).append(seconds)
        self.megabytes.setdefault(called or name, []).append(megabytes)


def _body(message: Message) -> bytes:
    """A push of a message, as Pub/Sub makes it."""
    body = {"data": base64.b64encode(message.data).decode(), "attributes": dict(message.attributes), "messageId": "1",
            "publishTime": "2026-11-14T09:12:31.407Z"}  # fmt: skip
    return json.dumps({"message": body, "subscription": "projects/p/subscriptions/cold"}).encode()


def _asked(port: int, method: str, path: str, body: bytes | None) -> int:
    """The status of the first answer a port gives, asked every few milliseconds until somebody listens."""
    deadline = time.monotonic() + 30
    while True:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        try:
            connection.request(method, path, body, {"Content-Type": "application/json"})
            return connection.getresponse().status
        except ConnectionError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.002)
        finally:
            connection.close()


@contextlib.contextmanager
def _cloud(stack: Stack) -> Iterator[Cloud]:
    """What leads to Cloud SQL, in front of the stack's PostgreSQL."""
    deck = Deck(stack)
    deck.execute(f'CREATE ROLE "{USER}" LOGIN IN ROLE pg_read_all_data, pg_write_all_data')
    rules = Path(deck.execute("SHOW hba_file")[0][0])
    rules.write_text(f'host all "{USER}" 127.0.0.1/32 trust\n{rules.read_text("utf-8")}', "utf-8")
    deck.execute("SELECT pg_reload_conf()")
    address = urlsplit(stack.info["environment"]["DATABASE_URL"])
    with Cloud((address.hostname or "", address.port or 0)).running() as running:
        yield running


def measure(folder: Path, *, quick: bool) -> list[Figure]:
    """Each function's first push, some times over: the median, and the most memory."""
    with ExitStack() as stands:
        stack = stands.enter_context(Stack.start(folder / "cold"))
        for name in HELD:
            stands.enter_context(stack.held(name))
        cold = Cold(stack)
        for number in range(1 if quick else 5):
            cold.turn(number)
        cloud = stands.enter_context(_cloud(stack))
        for number in range(1 if quick else 5):
            cold.through_the_connector(cloud, number)
    most = {name: max(megabytes) for name, megabytes in cold.megabytes.items()}
    direct = [name for name in most if CLOUD_SQL not in name]
    largest = max(direct, key=lambda name: most[name])
    return [
        *(_figure(name, seconds) for name, seconds in cold.seconds.items()),
        Figure(what=f"  memory after it, {largest} the most", text=f"{most[largest]:.0f} MB", value=most[largest],
               at_most=MEMORY),
        *(Figure(what=f"  memory of {name}", text=f"{most[name]:.0f} MB") for name in most if name not in direct),
    ]  # fmt: skip


def _figure(name: str, seconds: Sequence[float]) -> Figure:
    bar = (PAID if name.startswith("process-artists") else OTHERS) + (CONNECTOR if CLOUD_SQL in name else 0)
    return Figure(
        what=f"cold start of {name}", text=f"{statistics.median(seconds):.2f} s", value=statistics.median(seconds),
        at_most=bar,
    )  # fmt: skip
