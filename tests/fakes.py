"""Stand-ins for the edges: Pub/Sub, the object store, an upstream. The ledger is never faked."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from io import BytesIO
from typing import Any

from shared.errors import ObjectGone
from shared.events import UploadedObject
from shared.messages import Message
from shared.upstreams.base import Answer, Failure, JsonAnswer, TextAnswer, Usage
from shared.upstreams.tmdb import Details, Search


class FakePublisher:
    """Keeps what was published, by the last part of the topic's name; `refuse` makes it take nothing."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.messages: list[tuple[str, Message]] = []
        self.refuse = False

    def publish(self, topic: str, messages: Sequence[Message]) -> int:
        if self.refuse:
            return 0
        with self._lock:
            self.messages += [(topic.rsplit("/rowlift-", 1)[1], message) for message in messages]
        return len(messages)

    def take(self, topic: str) -> list[Message]:
        """What was published to a topic since the last call."""
        with self._lock:
            found = [message for name, message in self.messages if name == topic]
            self.messages = [one for one in self.messages if one[0] != topic]
        return found


class FakeStore:
    """Objects in memory, by bucket and name, one generation each."""

    def __init__(self) -> None:
        self.objects: dict[tuple[str, str], tuple[int, bytes]] = {}
        self.generation = 1000
        self.checksums = False  # whether objects have one, as they have in the bucket
        self.signs = False
        self.written: list[UploadedObject] = []  # what announces each object that was written and not put
        self.addresses: dict[str, dict[str, Any]] = {}  # of uploads that go straight to the bucket, and for what
        self.on_read: Callable[[int], None] = lambda offset: None

    def put(self, bucket: str, name: str, data: bytes, **metadata: str) -> UploadedObject:
        """A new generation of an object, and what announces it."""
        self.generation += 1
        self.objects[bucket, name] = (self.generation, data)
        return UploadedObject(
            bucket=bucket,
            name=name,
            generation=self.generation,
            size=len(data),
            checksum=hashlib.md5(data).hexdigest() if self.checksums else None,
            metadata={key.replace("_", "-"): value for key, value in metadata.items()},
        )

    def ranges(self, bucket: str, name: str, generation: int | None) -> Any:
        store = self
        if (bucket, name) not in self.objects:
            raise ObjectGone
        pinned = self.objects[bucket, name][0] if generation is None else generation
        held = store._pinned(bucket, name, pinned)

        class Ranges:
            size = len(held)

            def read(self, offset: int, length: int) -> bytes:
                store.on_read(offset)
                return store._pinned(bucket, name, pinned)[offset : offset + length]

        return Ranges()

    def open(self, bucket: str, name: str, generation: int, *, offset: int, size: int) -> Any:
        store = self

        class Stream:
            def __init__(self) -> None:
                self.data, self.at = store._pinned(bucket, name, generation), offset

            def read(self, n: int = -1) -> bytes:
                store.on_read(self.at)
                store._pinned(bucket, name, generation)
                piece = self.data[self.at :] if n < 0 else self.data[self.at : self.at + n]
                self.at += len(piece)
                return piece

        return Stream()

    @contextmanager
    def write(
        self, bucket: str, name: str, content_type: str, *, metadata: Mapping[str, str] | None = None
    ) -> Iterator[BytesIO]:
        writer = BytesIO()
        yield writer
        self.written.append(self.put(bucket, name, writer.getvalue(), **(metadata or {})))

    def upload_address(
        self, bucket: str, name: str, content_type: str, size: int, *, metadata: Mapping[str, str], origin: str | None
    ) -> str:
        asked = {"content_type": content_type, "size": size, "metadata": dict(metadata), "origin": origin}
        self.addresses[f"https://storage.test/{bucket}/{name}"] = asked
        return f"https://storage.test/{bucket}/{name}"

    def download_address(self, bucket: str, name: str, *, seconds: float, disposition: str) -> str | None:
        return f"https://storage.test/{bucket}/{name}?signed" if self.signs else None

    def find(self, bucket: str, name: str) -> UploadedObject:
        found = next((one for one in reversed(self.written) if (one.bucket, one.name) == (bucket, name)), None)
        if found is None:
            raise ObjectGone
        return found

    def names(self, bucket: str, prefix: str) -> list[str]:
        return sorted(name for where, name in self.objects if where == bucket and name.startswith(prefix))

    def read(self, bucket: str, name: str) -> bytes:
        if (bucket, name) not in self.objects:
            raise ObjectGone
        return self.objects[bucket, name][1]

    def delete_prefix(self, bucket: str, prefix: str) -> int:
        gone = [key for key in self.objects if key[0] == bucket and key[1].startswith(prefix)]
        for key in gone:
            del self.objects[key]
        return len(gone)

    def text(self, bucket: str, name: str) -> str:
        """An object's content as text."""
        return self.objects[bucket, name][1].decode()

    def _pinned(self, bucket: str, name: str, generation: int) -> bytes:
        found = self.objects.get((bucket, name))
        if found is None or found[0] != generation:
            raise ObjectGone
        return found[1]


class FakeUpstream:
    """Answers with a bio that names the prompt, or with what `script` says for the nth call."""

    name = "openai"

    def __init__(self, script: Callable[[int, Any], Answer | Failure | Exception | None] | None = None) -> None:
        self._lock = threading.Lock()
        self._script = script
        self.requests: list[Any] = []

    def call(self, request: Any, *, timeout: float) -> Answer | Failure:
        with self._lock:
            self.requests.append(request)
            n = len(self.requests)
        scripted = self._script(n, request) if self._script else None
        if isinstance(scripted, Exception):
            raise scripted
        return scripted or answer(f"A bio, number {n}.", response_id=f"resp_{n}")


def answer(text: str, *, response_id: str = "resp_1") -> Answer:
    """A complete answer of ten tokens in and twenty out."""
    return TextAnswer(
        text=text,
        response_id=response_id,
        created=datetime(2026, 11, 1, tzinfo=UTC),
        model="gpt-5-mini",
        usage=Usage(input_tokens=10, output_tokens=20),
        limits=None,
        request_id=None,
    )


class FakeTmdb:
    """Finds every film it is asked for under the asked title and year, but those in `unknown`; counts requests."""

    name = "tmdb"

    def __init__(self, *unknown: str) -> None:
        self._lock = threading.Lock()
        self.unknown = set(unknown)
        self.requests: list[Any] = []
        self.script: Callable[[Any], Answer | Failure | None] = lambda request: None

    def call(self, request: Any, *, timeout: float) -> Answer | Failure:
        with self._lock:
            self.requests.append(request)
        if scripted := self.script(request):
            return scripted
        match request:
            case Search(title=title) if title in self.unknown:
                return JsonAnswer(body={"results": [], "total_results": 0})
            case Search(title=title, year=year):
                return JsonAnswer(body={"results": [tmdb_film(title, year or 2000)], "total_results": 1})
            case Details(tmdb_id=number):
                return JsonAnswer(body=_tmdb_facts(number))
        return JsonAnswer(body={"titles": []})


_films: dict[int, tuple[str, int]] = {}


def tmdb_film(title: str, year: int) -> dict[str, Any]:
    """A result of a search of TMDB."""
    number = int.from_bytes(hashlib.sha256(f"{title}|{year}".encode()).digest()[:4], "big") >> 1
    _films[number] = title, year
    return {
        "id": number, "title": title, "original_title": title, "original_language": "en",
        "release_date": f"{year}-05-01", "popularity": 1.5, "vote_count": 10, "poster_path": None,
    }  # fmt: skip


def _tmdb_facts(number: int) -> dict[str, Any]:
    title, year = _films[number]
    return {
        "tmdb_id": number, "imdb_id": f"tt{number}", "title": title, "original_title": title, "original_language": "en",
        "release_date": f"{year}-05-01", "runtime": 90, "genres": ["Drama"], "directors": ["A. Director"],
        "cast": [{"name": "An Actor", "role": "A Role"}], "tmdb_rating": 7.5, "tmdb_votes": 10,
        "overview": "What happens.", "poster_path": None, "popularity": 1.5,
    }  # fmt: skip
