"""Google's side of one Cloud SQL instance, on loopback: what the real connector talks to when it opens a connection.

The Admin API tells where the instance is and signs certificates, the metadata server gives tokens to default
credentials, and a TLS 1.3 front that demands such a certificate stands before a real PostgreSQL. Each misbehaves when
asked to.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import errno
import os
import random
import select
import socket
import ssl
import struct
import tempfile
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

PROXY_PORT = 3307  # the connector knows no other
PROJECT, REGION, NAME = "rowlift-test", "europe-west1", "ledger"
INSTANCE = f"{PROJECT}:{REGION}:{NAME}"
USER = f"process@{PROJECT}.iam"
ADMIN_SCOPE, LOGIN_SCOPE = (f"https://www.googleapis.com/auth/sqlservice.{what}" for what in ("admin", "login"))
_TLS_REQUEST, _PROTOCOL = 80877103, 196608


class Authority:
    """Signs certificates, as each Cloud SQL instance does with its own."""

    def __init__(self, name: str) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _name(name)
        self.certificate = self._signed(self._name, self._key.public_key(), datetime.timedelta(days=1), authority=True)

    def signed(self, name: str, public_key: object, lifetime: datetime.timedelta) -> x509.Certificate:
        """A certificate for `name` that ends after `lifetime`."""
        return self._signed(_name(name), public_key, lifetime, authority=False)

    def _signed(self, name: x509.Name, public_key, lifetime, *, authority: bool) -> x509.Certificate:
        now = datetime.datetime.now(datetime.UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(self._name)
            .public_key(public_key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(minutes=1))
            .not_valid_after(now + lifetime)
            .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
            .sign(self._key, hashes.SHA256())
        )


class Cloud:
    """One instance, and the APIs that lead to it; the attributes say how it behaves and may be changed at any time."""

    def __init__(self, postgres: tuple[str, int]) -> None:
        self.lifetime = datetime.timedelta(hours=1)  # of the certificates signed from now on
        self.failures: list[int] = []  # what the Admin API answers its next calls with, one each
        self.refusal: int | None = None  # what it answers every call with
        self.silent = False  # whether it leaves calls unanswered
        self.calls: Counter[str] = Counter()
        self.certificates: list[str] = []  # serial numbers, one for each connection that came through
        self._postgres = postgres
        self._authority = Authority("ledger")
        self._tokens: dict[str, str] = {}
        self._tunnels: set[asyncio.StreamWriter] = set()
        self._listener = _listener()
        self.proxy_address: str = self._listener.getsockname()[0]
        self.address = self.proxy_address  # what the Admin API says
        self.address_kind = "PRIMARY"  # or PRIVATE, of an instance that has one in its own network only
        self._loop = asyncio.new_event_loop()

    @property
    def endpoint(self) -> str:
        """Where the Admin API is."""
        return f"http://{self.metadata_host}"

    @property
    def environment(self) -> Mapping[str, str]:
        """The variables under which a function finds all of it, and no other credentials."""
        return {
            "CLOUD_SQL_INSTANCE": INSTANCE,
            "CLOUD_SQL_API_ENDPOINT": self.endpoint,
            "DB_USER": USER,
            "GCE_METADATA_HOST": self.metadata_host,
            "GCE_METADATA_IP": self.metadata_host,
            "CLOUDSDK_CONFIG": os.devnull,
        }

    def cut(self) -> int:
        """End every connection there is without a word, and say how many there were."""
        return self._in_loop(self._cut)

    @contextlib.contextmanager
    def running(self) -> Iterator[Cloud]:
        """It answers while the block lasts."""
        thread = threading.Thread(target=self._loop.run_forever, name="cloud")
        thread.start()
        try:
            runner = asyncio.run_coroutine_threadsafe(self._start(), self._loop).result(10)
            yield self
            asyncio.run_coroutine_threadsafe(self._stop(runner), self._loop).result(10)
        finally:
            self._loop.call_soon_threadsafe(self._loop.stop)
            thread.join(10)
            self._listener.close()
            self._loop.close()

    async def _start(self) -> web.AppRunner:
        app = web.Application()
        instance = f"/sql/v1beta4/projects/{PROJECT}/instances/{NAME}"
        account = "/computeMetadata/v1/instance/service-accounts/{account}"
        app.router.add_get(f"{instance}/connectSettings", self._connect_settings)
        app.router.add_post(f"{instance}:generateEphemeralCert", self._ephemeral_certificate)
        app.router.add_get(f"{account}/token", self._token)
        app.router.add_get(f"{account}/", self._account)
        app.router.add_get("/computeMetadata/v1/project/project-id", self._project)
        app.router.add_get("/", self._presence)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        self.metadata_host = "{}:{}".format(*runner.addresses[0])
        await asyncio.start_server(self._tunnel, sock=self._listener, ssl=self._tls(), ssl_handshake_timeout=5)
        return runner

    async def _stop(self, runner: web.AppRunner) -> None:
        self._cut()
        await runner.cleanup()
        rest = asyncio.all_tasks() - {asyncio.current_task()}
        for task in rest:
            task.cancel()
        await asyncio.gather(*rest, return_exceptions=True)

    def _tls(self) -> ssl.SSLContext:
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = self._authority.signed("instance", key.public_key(), datetime.timedelta(days=1))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(cadata=_pem(self._authority.certificate))
        with tempfile.TemporaryDirectory() as folder:
            chain = Path(folder) / "chain.pem"
            private = key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
            chain.write_text(private.decode() + _pem(certificate))
            context.load_cert_chain(chain)
        return context

    # --- the metadata server ---

    async def _presence(self, request: web.Request) -> web.Response:
        return _from_metadata(text="computeMetadata/\n")

    async def _project(self, request: web.Request) -> web.Response:
        return _from_metadata(text=PROJECT)

    async def _account(self, request: web.Request) -> web.Response:
        email = f"{USER}.gserviceaccount.com"
        return _from_metadata(data={"email": email, "scopes": [ADMIN_SCOPE], "aliases": ["default"]})

    async def _token(self, request: web.Request) -> web.Response:
        self.calls["token"] += 1
        token = f"token-{len(self._tokens)}"
        self._tokens[token] = request.query.get("scopes", "")
        return _from_metadata(data={"access_token": token, "expires_in": 3600, "token_type": "Bearer"})

    # --- the Admin API ---

    async def _connect_settings(self, request: web.Request) -> web.Response:
        if (refused := await self._refused(request)) is not None:
            return refused
        return web.json_response(
            {
                "region": REGION,
                "databaseVersion": "POSTGRES_16",
                "ipAddresses": [{"type": self.address_kind, "ipAddress": self.address}],
                "serverCaCert": {"cert": _pem(self._authority.certificate)},
            }
        )

    async def _ephemeral_certificate(self, request: web.Request) -> web.Response:
        if (refused := await self._refused(request)) is not None:
            return refused
        wish = await request.json()
        if self._tokens.get(wish.get("access_token")) != LOGIN_SCOPE:
            return _api_error(400, "the token of an IAM login has the scope sqlservice.login and no other")
        public_key = serialization.load_pem_public_key(wish["public_key"].encode())
        return web.json_response(
            {"ephemeralCert": {"cert": _pem(self._authority.signed(USER, public_key, self.lifetime))}}
        )

    async def _refused(self, request: web.Request) -> web.Response | None:
        self.calls[request.path.rpartition("/")[2].rpartition(":")[2]] += 1
        if self.silent:
            await asyncio.sleep(3600)
        if status := self.failures.pop(0) if self.failures else self.refusal:
            return _api_error(status, "as the test wishes")
        token = request.headers.get("Authorization", "").removeprefix("Bearer ")
        return None if self._tokens.get(token) == ADMIN_SCOPE else _api_error(401, "no token for sqlservice.admin")

    # --- the instance ---

    async def _tunnel(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._tunnels.add(writer)
        with contextlib.suppress(OSError, asyncio.IncompleteReadError), contextlib.closing(writer):
            await self._carry(reader, writer)
        self._tunnels.discard(writer)

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer = writer.get_extra_info("peercert")
        identity = next(value for part in peer["subject"] for key, value in part if key == "commonName")
        head = await reader.readexactly(8)
        length, protocol = struct.unpack("!ii", head)
        assert protocol != _TLS_REQUEST, "the tunnel is TLS already"
        assert protocol == _PROTOCOL, protocol
        startup = await reader.readexactly(length - 8)
        words = startup.decode().split("\0")
        user = dict(zip(words[::2], words[1::2], strict=False))["user"]
        if user != identity:
            writer.write(_startup_refused(f'Cloud SQL IAM service account authentication failed for user "{user}"'))
            await writer.drain()
            return
        self.certificates.append(peer["serialNumber"])
        inner_reader, inner = await asyncio.open_connection(*self._postgres)
        with contextlib.closing(inner):
            inner.write(head + startup)
            ways = [asyncio.ensure_future(_copy(reader, inner)), asyncio.ensure_future(_copy(inner_reader, writer))]
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)

    def _cut(self) -> int:
        for writer in self._tunnels:
            writer.transport.abort()
        return len(self._tunnels)

    def _in_loop(self, ask: Callable[[], int]) -> int:
        async def asked() -> int:
            return ask()

        return asyncio.run_coroutine_threadsafe(asked(), self._loop).result(10)


@contextlib.contextmanager
def unreachable() -> Iterator[str]:
    """An address on which connects to the instance's port neither succeed nor fail: its queue is full for good."""
    with _listener(backlog=0) as listener, contextlib.ExitStack() as held:
        where = listener.getsockname()
        while True:
            one = held.enter_context(socket.socket())
            one.setblocking(False)
            one.connect_ex(where)
            if not select.select([], [one], [], 0.2)[1]:
                break
        yield where[0]


@contextlib.contextmanager
def mute() -> Iterator[str]:
    """An address where connects succeed and nobody ever answers, as when the instance is stuck."""
    with _listener() as listener:
        yield listener.getsockname()[0]


def _listener(backlog: int = 128) -> socket.socket:
    """A socket on the proxy's port of an address nobody else has; the port is fixed, and other runs have theirs."""
    for last in random.sample(range(2, 255), 50):
        one = socket.socket()
        try:
            one.bind((f"127.0.0.{last}", PROXY_PORT))
        except OSError as error:
            one.close()
            if error.errno != errno.EADDRINUSE:
                raise
        else:
            one.listen(backlog)
            return one
    raise OSError(errno.EADDRINUSE, f"port {PROXY_PORT} is taken on 50 addresses of 127.0.0.0/24")


async def _copy(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    while block := await source.read(65_536):
        sink.write(block)
        await sink.drain()


def _startup_refused(message: str) -> bytes:
    fields = b"".join(kind + value.encode() + b"\0" for kind, value in _fields(message)) + b"\0"
    return b"E" + struct.pack("!i", len(fields) + 4) + fields


def _fields(message: str) -> list[tuple[bytes, str]]:
    return [(b"S", "FATAL"), (b"V", "FATAL"), (b"C", "28000"), (b"M", message)]


def _from_metadata(*, data: object = None, text: str | None = None) -> web.Response:
    headers = {"Metadata-Flavor": "Google"}
    return web.Response(text=text, headers=headers) if text else web.json_response(data, headers=headers)


def _api_error(status: int, message: str) -> web.Response:
    return web.json_response({"error": {"code": status, "message": message}}, status=status)


def _name(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(serialization.Encoding.PEM).decode()
