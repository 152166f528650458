"""Guarded HTTP: every hop's link and addresses checked, connections made to what was checked, all times bounded.

Nothing is decoded on the way: no content encoding is accepted, so an answer is never larger than what was sent for it.
"""

from __future__ import annotations

import os
import ssl
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, Final

import httpcore2

from shared.errors import FetchError
from shared.fetching.addresses import Address, Hosts, joined, refused
from shared.fetching.causes import Cause
from shared.fetching.networks import Resolver
from shared.upstreams.connections import IDLE_SECONDS, Clock, TimedStream
from shared.upstreams.verdicts import by_exception

MOST_HOPS: Final = 8
CONNECT_SECONDS: Final = 10.0
SILENT_SECONDS: Final = 30.0  # no byte for so long ends an exchange
MOST_IDLE_HOSTS: Final = 32
MOST_TRIED: Final = 3  # addresses of one host
USER_AGENT: Final = "Mozilla/5.0 (compatible; rowlift)"
_SIGN_IN: Final = frozenset({"accounts.google.com", "accounts.youtube.com"})
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
# Never sent on to another host.
_OWN: Final = frozenset({"authorization", "cookie", "x-goog-api-key", "x-goog-drive-resource-keys"})

# httpcore2's errors by name; the nearest ancestor listed decides.
_BY_EXCEPTION: Final[Mapping[str, Cause]] = {
    "TimeoutException": Cause.TOO_SLOW,
    "ConnectTimeout": Cause.NETWORK,
    "NetworkError": Cause.NETWORK,
    "ProtocolError": Cause.NETWORK,
    "SSLError": Cause.NETWORK,
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Ask:
    """One request to come: what is sent beside the address."""

    method: str = "GET"
    headers: Mapping[str, str] | None = None
    body: bytes | None = None
    redirects: bool = True  # whether they are followed


PLAIN: Final = Ask()


class Reply:
    """A host's answer: its body is read once, in pieces."""

    def __init__(self, address: Address, ask: Ask, answer: httpcore2.Response) -> None:
        self.address, self._answer = address, answer
        self.asked = ask  # what this host was sent, after redirects
        self.status = answer.status
        self.headers: dict[str, str] = {}
        self.set_cookies: list[str] = []
        for name, value in answer.headers:
            key, text = name.decode("latin-1").lower(), value.decode("latin-1").strip()
            if key == "set-cookie":
                self.set_cookies.append(text)
            self.headers[key] = f"{self.headers[key]}, {text}" if key in self.headers else text

    @property
    def length(self) -> int | None:
        """How long its body is said to be."""
        told = self.headers.get("content-length", "")
        return int(told) if told.isascii() and told.isdigit() and len(told) < 19 else None

    @property
    def content_type(self) -> str:
        """The type without parameters, in lower case; empty where none is told."""
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()

    def pieces(self) -> Iterator[bytes]:
        """The body as it comes; raises FetchError when it breaks off."""
        with translated(self.address):
            yield from self._answer.iter_stream()

    def read(self, most: int) -> bytes:
        """The body, no more than `most` bytes of it."""
        found = bytearray()
        for piece in self.pieces():
            found += piece
            if len(found) >= most:
                break
        return bytes(found[:most])


class Web:
    """Asks hosts of the allow list; shared by threads, and after a fork each process makes its own connections.

    `stand_in` names a server on this machine that is asked instead of everybody: the simulated web of tests and of the
    local stack. Links are judged as ever.
    """

    def __init__(
        self, hosts: Hosts, *, resolver: Resolver | None = None, stand_in: tuple[str, int] | None = None
    ) -> None:
        self.hosts = hosts
        self._resolver = resolver or Resolver()
        self._stand_in = stand_in
        self._lock = threading.Lock()
        self._idle: dict[tuple[str, str, int], deque[_Connection]] = {}
        self._made_by: int | None = None
        self._tls: ssl.SSLContext | None = None

    @contextmanager
    def ask(self, url: str | Address, ask: Ask = PLAIN, *, until: float) -> Iterator[Reply]:
        """The answer at the end of all redirects, whatever its status; `until` is when all must be over (monotonic).

        Raises FetchError.
        """
        address = self.hosts.read(str(url))
        seen = {(ask.method, address.url)}
        for _ in range(MOST_HOPS):
            with self._hop(address, ask, until) as reply:
                target = reply.headers.get("location") if reply.status in _REDIRECTS and ask.redirects else None
                if target is None:
                    yield reply
                    return
            following = self._following(_as_written(target), address)
            ask = _redirected(ask, reply.status, leaves=_origin(following) != _origin(address))
            address = following
            if (ask.method, address.url) in seen:
                raise FetchError(Cause.NETWORK, f"{address.host} redirects in a circle")
            seen.add((ask.method, address.url))
        raise refused(f"{address.host} redirects more than {MOST_HOPS} times")

    def _following(self, target: str, base: Address) -> Address:
        """Where a redirect leads; raises FetchError, for a page to sign in at too."""
        if joined(target, base).host in _SIGN_IN:
            raise FetchError(Cause.PRIVATE, f"{base.host} wants somebody to sign in")
        return self.hosts.read(target, base=base)

    def close(self) -> None:
        """Close this process's idle connections."""
        with self._lock:
            kept, self._idle = self._idle, {}
        for connections in kept.values():
            for connection in connections:
                connection.http.close()

    @contextmanager
    def _hop(self, address: Address, ask: Ask, until: float) -> Iterator[Reply]:
        connection, fresh = self._take(address, until)
        connection.clock.deadline = until
        answer: httpcore2.Response | None = None
        try:
            with translated(address):
                try:
                    answer = connection.http.handle_request(self._request(address, ask))
                except (httpcore2.NetworkError, httpcore2.ProtocolError):
                    if fresh or ask.method != "GET":
                        raise
                    connection.http.close()  # it was closed while it lay idle
                    connection = self._connect(address, until)
                    connection.clock.deadline = until
                    answer = connection.http.handle_request(self._request(address, ask))
            yield Reply(address, ask, answer)
        finally:
            if answer is not None:
                _close_quietly(answer)
            self._give_back(address, connection)

    def _request(self, address: Address, ask: Ask) -> httpcore2.Request:
        headers = {
            "Host": address.authority, "User-Agent": USER_AGENT, "Accept": "*/*", "Accept-Encoding": "identity",
            **(ask.headers or {}),
        }  # fmt: skip
        body = ask.body or b""
        if ask.body is not None:
            headers["Content-Length"] = str(len(body))
        dialled = self._dialled(address)
        target = address.target if dialled is address else address.url
        return httpcore2.Request(
            method=ask.method.encode("ascii"),
            url=httpcore2.URL(scheme=dialled.scheme, host=dialled.host, port=dialled.port, target=target),
            headers=[(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()],
            content=body,
        )

    def _dialled(self, address: Address) -> Address:
        """What is connected to: the address itself unless the web is simulated."""
        if self._stand_in is None or self.hosts.is_test(address):
            return address
        return Address("http", self._stand_in[0], self._stand_in[1], address.target)

    def _take(self, address: Address, until: float) -> tuple[_Connection, bool]:
        """An idle connection to the address's origin, or a new one, and whether it is new."""
        origin = _origin(self._dialled(address))
        while True:
            with self._lock:
                if self._made_by != os.getpid():  # whatever was inherited through a fork belongs to the parent
                    self._idle, self._made_by = {}, os.getpid()
                connection = self._idle[origin].pop() if self._idle.get(origin) else None
            if connection is None:
                return self._connect(address, until), True
            if not connection.http.has_expired():
                return connection, False
            connection.http.close()

    def _connect(self, address: Address, until: float) -> _Connection:
        dialled = self._dialled(address)
        if dialled is not address or self.hosts.is_test(address):
            pinned: Sequence[str] = [dialled.host]
        else:
            pinned = self._resolver.public(address.host, address.port, seconds=max(0.1, until - time.monotonic()))
        return _Connection(_http_origin(dialled), pinned[:MOST_TRIED], self._context())

    def _context(self) -> ssl.SSLContext:
        with self._lock:
            if self._tls is None:
                self._tls = httpcore2.default_ssl_context()
            return self._tls

    def _give_back(self, address: Address, connection: _Connection) -> None:
        if not connection.http.is_idle():
            connection.http.close()
            return
        with self._lock:
            if self._made_by != os.getpid():
                return
            self._idle.setdefault(_origin(self._dialled(address)), deque()).append(connection)
            expired = self._sweep() if len(self._idle) > MOST_IDLE_HOSTS else []
        for old in expired:
            old.http.close()

    def _sweep(self) -> list[_Connection]:
        """The idle connections of hosts nobody asks any more, taken out."""
        idle, self._idle = self._idle, {}
        found: list[_Connection] = []
        for origin, connections in idle.items():
            if all(connection.http.has_expired() for connection in connections):
                found += connections
            else:
                self._idle[origin] = connections
        return found


class _Connection:
    """One connection to checked addresses, and its clock."""

    def __init__(self, origin: httpcore2.Origin, pinned: Sequence[str], context: ssl.SSLContext) -> None:
        self.clock = Clock(SILENT_SECONDS)
        self.http = httpcore2.HTTPConnection(
            origin, ssl_context=context, keepalive_expiry=IDLE_SECONDS, network_backend=_Pinned(pinned, self.clock)
        )


class _Pinned(httpcore2.NetworkBackend):
    """Sockets to addresses that were checked; the name is what TLS verifies, and nothing resolves it again."""

    def __init__(self, addresses: Sequence[str], clock: Clock) -> None:
        self._addresses, self._clock = addresses, clock
        self._inner = httpcore2.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore2.NetworkStream:
        failed: Exception = httpcore2.ConnectError("there is no address")
        for address in self._addresses:
            left = self._clock.left(httpcore2.ConnectTimeout)
            seconds = CONNECT_SECONDS if left is None else min(left, CONNECT_SECONDS)
            try:
                stream = self._inner.connect_tcp(address, port, seconds, local_address, socket_options)
                return _Tls(stream, self._clock)
            except (httpcore2.ConnectError, httpcore2.ConnectTimeout) as error:
                failed = error
        raise failed


class _Tls(TimedStream):
    """A timed socket whose handshake is timed too."""

    def start_tls(
        self, ssl_context: Any, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore2.NetworkStream:
        return super().start_tls(ssl_context, server_hostname, self._clock.left(httpcore2.ConnectTimeout))


@contextmanager
def translated(address: Address) -> Iterator[None]:
    """The library's errors as ours."""
    try:
        yield
    except FetchError:
        raise
    except Exception as error:
        cause = by_exception(error, _BY_EXCEPTION)
        if cause is None and not isinstance(error, OSError):
            raise
        if "certificate" in str(error).lower():
            raise FetchError(Cause.NETWORK, f"the certificate of {address.host} is not its own") from error
        raise FetchError(cause or Cause.NETWORK, f"{address.host}: {type(error).__name__}") from error


def _redirected(ask: Ask, status: int, *, leaves: bool) -> Ask:
    """What is sent to where an answer leads: nothing secret to another host, no body where GET takes its place."""
    headers = {name: value for name, value in (ask.headers or {}).items() if not (leaves and name.lower() in _OWN)}
    if status in (307, 308):
        return Ask(method=ask.method, headers=headers, body=ask.body)
    kept = {name: value for name, value in headers.items() if name.lower() != "content-type"}
    return Ask(method="HEAD" if ask.method == "HEAD" else "GET", headers=kept)


def _as_written(target: str) -> str:
    """A redirect's target as the host wrote it: headers come as Latin-1, and hosts write UTF-8."""
    try:
        return target.encode("latin-1").decode("utf-8")
    except UnicodeError:
        return target


def _origin(address: Address) -> tuple[str, str, int]:
    return address.scheme, address.host, address.port


def _http_origin(address: Address) -> httpcore2.Origin:
    scheme, host, port = _origin(address)
    return httpcore2.Origin(scheme.encode(), host.encode(), port)


def _close_quietly(answer: httpcore2.Response) -> None:
    """A body that is left unread costs its connection, and nothing else."""
    with suppress(Exception):  # its connection is closed next
        answer.close()
