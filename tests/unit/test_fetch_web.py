"""Guarded HTTP and transfers on real sockets: redirects, pinned addresses, hosts that drip, lie, cut and never end."""

from __future__ import annotations

import ssl
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from shared.errors import FetchError
from shared.fetching import transfer, web
from shared.fetching.addresses import Hosts
from shared.fetching.causes import Cause
from shared.fetching.networks import Resolver
from shared.fetching.pace import Pace
from shared.fetching.transfer import Fetcher
from shared.fetching.web import Ask, Web
from tests.web_server import Behave, Handler, Server, serving

BODY = bytes(range(256)) * 2_000


_made: list[Web] = []


@pytest.fixture(autouse=True)
def closed() -> Iterator[None]:
    """No connection outlives its test."""
    yield
    while _made:
        _made.pop().close()


def web_to(*servers: Server, resolver: Resolver | None = None) -> Web:
    _made.append(Web(Hosts.parse(["*"], testing=[server.origin for server in servers]), resolver=resolver))
    return _made[-1]


def fetcher_to(*servers: Server, most: int = 10_000_000) -> Fetcher:
    return Fetcher(web_to(*servers), Pace(at_once=8, per_second=1_000), most_bytes=most)


def soon(seconds: float = 10.0) -> float:
    return time.monotonic() + seconds


def fetched(behave: Behave, *, most: int = 10_000_000, seconds: float = 10.0) -> bytes:
    with serving(behave) as server, fetcher_to(server, most=most).open(f"{server.url}/f", until=soon(seconds)) as file:
        return b"".join(file.pieces())


def failure(behave: Behave, **rest: float) -> FetchError:
    with pytest.raises(FetchError) as raised:
        fetched(behave, **rest)  # type: ignore[arg-type]
    return raised.value


def test_a_file_comes_whole_and_its_connection_is_used_again() -> None:
    with serving(lambda handler: handler.answer(BODY)) as server:
        client = fetcher_to(server)
        for _ in range(3):
            with client.open(f"{server.url}/a b?c=ü", until=soon()) as file:
                assert b"".join(file.pieces()) == BODY
        client.web.close()
    assert server.connections == 1
    assert server.requests == ["/a%20b?c=%C3%BC"] * 3


def test_a_kept_connection_that_was_closed_meanwhile_is_made_anew() -> None:
    def closes(handler: Handler) -> None:
        handler.answer(b"x")
        handler.hang_up()

    with serving(closes) as server:
        client = web_to(server)
        for _ in range(3):
            with client.ask(server.url, until=soon()) as reply:
                assert reply.read(10) == b"x"
    assert server.connections == 3


def test_redirects_are_followed_and_say_where_they_ended() -> None:
    def behave(handler: Handler) -> None:
        step = int(handler.path.rpartition("/")[2] or 0)
        handler.answer(b"end") if step == 5 else handler.answer(b"moved", 302, Location=f"/{step + 1}")

    with serving(behave) as server, web_to(server).ask(server.url, until=soon()) as reply:
        assert (reply.read(10), reply.address.target) == (b"end", "/5")


@pytest.mark.parametrize("target", ["/again", "http://127.0.0.1:{port}/again"])
def test_a_redirect_in_a_circle_ends(target: str) -> None:
    def behave(handler: Handler) -> None:
        handler.answer(b"", 302, Location=target.format(port=handler.server.server_port))

    assert failure(behave).cause == Cause.NETWORK


def test_redirects_without_end_end() -> None:
    error = failure(lambda handler: handler.answer(b"", 307, Location=f"{handler.path}x"))
    assert error.cause == Cause.REFUSED_LINK
    assert "more than 8 times" in str(error)


@pytest.mark.parametrize(
    "target",
    ["http://127.0.0.1:1/", "http://localhost/", "http://169.254.169.254/computeMetadata/v1/", "http://[::1]/",
     "http://[::ffff:169.254.169.254]/", "http://2130706433/", "http://metadata.google.internal/", "file:///etc/passwd",
     "http://user:pw@127.0.0.1/", "http://0/", "http://0.0.0.0/", "http://[64:ff9b::7f00:1]/"],
)  # fmt: skip
def test_no_redirect_leads_inside(target: str) -> None:
    error = failure(lambda handler: handler.answer(b"", 302, Location=target))
    assert error.cause in (Cause.REFUSED_HOST, Cause.REFUSED_LINK)


def test_a_page_to_sign_in_at_means_that_it_is_private() -> None:
    def behave(handler: Handler) -> None:
        handler.answer(b"", 302, Location="https://accounts.google.com/ServiceLogin?continue=x")

    with serving(behave) as server:
        client = Web(Hosts.parse(testing=[server.origin]))
        with pytest.raises(FetchError) as raised, client.ask(server.url, until=soon()):
            pass
    assert raised.value.cause == Cause.PRIVATE


def test_nothing_secret_follows_a_redirect_to_another_host() -> None:
    seen: list[dict[str, str]] = []

    def ends(handler: Handler) -> None:
        seen.append({name.lower(): value for name, value in handler.headers.items()})
        handler.answer(b"")

    secret = {"Authorization": "Bearer t", "Cookie": "a=b", "X-Goog-Api-Key": "k", "Range": "bytes=0-"}
    with (
        serving(ends) as other,
        serving(lambda handler: handler.answer(b"", 302, Location=f"{other.url}/x")) as server,
        web_to(server, other).ask(server.url, Ask(headers=secret), until=soon()),
    ):
        pass
    assert seen[0]["range"] == "bytes=0-"
    assert not {"authorization", "cookie", "x-goog-api-key"} & set(seen[0])
    assert seen[0]["accept-encoding"] == "identity"


def test_nothing_secret_follows_when_the_other_host_s_answer_is_cut_and_read_on() -> None:
    seen: list[set[str]] = []

    def cuts(handler: Handler) -> None:
        seen.append({name.lower() for name in handler.headers})
        begin = int((handler.headers.get("Range") or "bytes=0-")[6:-1])
        head = {"ETag": '"x"', "Content-Length": str(len(BODY) - begin)}
        if begin:
            head["Content-Range"] = f"bytes {begin}-{len(BODY) - 1}/{len(BODY)}"
        handler.begin(206 if begin else 200, **head)
        handler.wfile.write(BODY[begin:] if begin else BODY[:1_000])
        handler.hang_up()

    secret = Ask(headers={"X-Goog-Api-Key": "k", "Cookie": "a=b"})
    with (
        serving(cuts) as other,
        serving(lambda handler: handler.answer(b"", 302, Location=f"{other.url}/x")) as server,
        fetcher_to(server, other).open(server.url, secret, until=soon()) as file,
    ):
        assert b"".join(file.pieces()) == BODY
    assert len(seen) == 2
    assert "range" in seen[1]
    assert not (seen[0] | seen[1]) & {"x-goog-api-key", "cookie"}


def test_a_redirect_written_in_utf_8_leads_where_it_says() -> None:
    def behave(handler: Handler) -> None:
        if handler.path != "/":
            handler.answer(handler.path.encode())
            return
        handler.wfile.write("HTTP/1.1 302 Found\r\nLocation: /ü?é\r\nContent-Length: 0\r\n\r\n".encode())

    with serving(behave) as server, web_to(server).ask(server.url, until=soon()) as reply:
        assert reply.read(100) == b"/%C3%BC?%C3%A9"


def test_a_form_that_was_posted_is_not_posted_again_elsewhere() -> None:
    methods: list[str] = []

    def behave(handler: Handler) -> None:
        handler.rfile.read(int(handler.headers.get("Content-Length") or 0))
        methods.append(handler.command)
        handler.answer(b"") if handler.path == "/end" else handler.answer(b"", 303, Location="/end")

    with serving(behave) as server, web_to(server).ask(server.url, Ask(method="POST", body=b"a=b"), until=soon()):
        pass
    assert methods == ["POST", "GET"]


class TestPinning:
    """What was checked is what is connected to, whatever the name says a moment later."""

    def test_a_name_that_changes_its_mind_is_not_asked_again(self, monkeypatch: pytest.MonkeyPatch) -> None:
        answers = iter([["93.184.216.34"], ["127.0.0.1"], ["127.0.0.1"]])
        dialled: list[tuple[str, int]] = []

        def connect(self: object, host: str, port: int, *_: object) -> None:
            dialled.append((host, port))
            raise web.httpcore2.ConnectError("nobody is there")

        monkeypatch.setattr(web.httpcore2.SyncBackend, "connect_tcp", connect)
        monkeypatch.setattr("socket.getaddrinfo", lambda *_: pytest.fail("resolved by somebody else"))
        client = web_to(resolver=Resolver(lambda host, port: next(answers)))
        with pytest.raises(FetchError) as raised, client.ask("http://rebind.example/", until=soon()):
            pass
        assert raised.value.cause == Cause.NETWORK
        with pytest.raises(FetchError) as raised, client.ask("http://rebind.example/", until=soon()):
            pass
        assert raised.value.cause == Cause.REFUSED_HOST
        assert dialled == [("93.184.216.34", 80)]

    def test_all_addresses_are_tried(self, monkeypatch: pytest.MonkeyPatch) -> None:
        dialled: list[str] = []

        def connect(self: object, host: str, port: int, *_: object) -> None:
            dialled.append(host)
            raise web.httpcore2.ConnectTimeout("nobody is there")

        monkeypatch.setattr(web.httpcore2.SyncBackend, "connect_tcp", connect)
        found = [f"93.184.216.{i}" for i in range(9)]
        client = web_to(resolver=Resolver(lambda host, port: found))
        with pytest.raises(FetchError), client.ask("https://many.example/", until=soon()):
            pass
        assert dialled == found[:3]

    def test_tls_verifies_the_name_and_not_the_address(
        self, certificate: tuple[Path, ssl.SSLContext], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        root, context = certificate
        monkeypatch.setattr(
            "shared.fetching.networks.is_public", lambda address: True
        )  # else no server of ours is asked
        real = web.httpcore2.SyncBackend.connect_tcp
        with serving(lambda handler: handler.answer(b"secret"), tls=context) as server:
            monkeypatch.setattr(
                web.httpcore2.SyncBackend,
                "connect_tcp",
                lambda self, host, port, *rest: real(self, host, server.server_port, *rest),
            )
            client = web_to(resolver=Resolver(lambda host, port: ["127.0.0.1"]))
            client._tls = ssl.create_default_context(cafile=str(root))
            with client.ask("https://files.example/", until=soon()) as reply:
                assert reply.read(10) == b"secret"
            with pytest.raises(FetchError) as raised, client.ask("https://other.example/", until=soon()):
                pass
        assert raised.value.cause == Cause.NETWORK
        assert "certificate of other.example" in str(raised.value)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ssl.SSLContext]:
    folder = tmp_path_factory.mktemp("tls")
    done = subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
         "-subj", "/CN=files.example", "-addext", "subjectAltName=DNS:files.example", "-keyout", folder / "k.pem",
         "-out", folder / "c.pem"], capture_output=True, check=False,
    )  # fmt: skip
    if done.returncode:
        pytest.skip("openssl cannot make a certificate here")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "c.pem", folder / "k.pem")
    return folder / "c.pem", context


class TestHostsThatFail:
    def test_one_that_never_answers_is_left_in_time(self) -> None:
        began = time.monotonic()
        assert failure(lambda handler: handler.server.release.wait(10), seconds=1).cause == Cause.TOO_SLOW  # type: ignore[arg-type,return-value]
        assert time.monotonic() - began < 5

    def test_a_head_that_drips_is_left_in_time(self) -> None:
        def behave(handler: Handler) -> None:
            handler.wfile.write(b"HTTP/1.1 200 OK\r\n")
            while not handler.server.release.wait(0.02):
                handler.wfile.write(b"X: y\r\n")

        assert failure(behave, seconds=1).cause == Cause.TOO_SLOW

    def test_a_body_that_drips_is_left_in_time(self) -> None:
        def behave(handler: Handler) -> None:
            handler.begin(Content_Length="1000000")
            while not handler.server.release.wait(0.02):
                handler.wfile.write(b"x")

        assert failure(behave, seconds=1).cause == Cause.TOO_SLOW

    def test_a_body_slower_than_the_least_is_left_before_that(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(transfer, "GRACE", 0.05)

        def behave(handler: Handler) -> None:
            handler.begin(Content_Length="1000000", ETag='"1"', Accept_Ranges="bytes")
            while not handler.server.release.wait(0.02):
                handler.wfile.write(b"x")

        with (
            serving(behave) as server,
            fetcher_to(server).open(f"{server.url}/f", until=soon(30)) as file,
            pytest.raises(FetchError) as raised,
        ):
            b"".join(file.pieces())
        assert raised.value.cause == Cause.TOO_SLOW
        assert len(server.requests) == 1  # it is not asked to drip on

    def test_a_body_without_end_is_cut_at_the_size_allowed(self) -> None:
        def behave(handler: Handler) -> None:
            handler.begin(Transfer_Encoding="chunked")
            while not handler.server.release.is_set():
                handler.wfile.write(b"2710\r\n" + b"x" * 10_000 + b"\r\n")

        assert failure(behave, most=100_000).cause == Cause.TOO_LARGE

    def test_a_body_without_length_is_cut_at_the_size_allowed(self) -> None:
        def behave(handler: Handler) -> None:
            handler.begin(Connection="close")
            while not handler.server.release.is_set():
                handler.wfile.write(b"x" * 10_000)

        assert failure(behave, most=100_000).cause == Cause.TOO_LARGE

    def test_a_size_told_too_large_is_not_begun(self) -> None:
        assert failure(lambda handler: handler.begin(Content_Length="10000001")).cause == Cause.TOO_LARGE

    def test_a_length_told_too_long_is_no_whole_file(self) -> None:
        def behave(handler: Handler) -> None:
            handler.begin(Content_Length="1000")
            handler.wfile.write(b"x" * 900)
            handler.hang_up()

        assert failure(behave).cause == Cause.NETWORK

    def test_of_a_length_told_too_short_only_that_is_read(self) -> None:
        def behave(handler: Handler) -> None:
            handler.begin(Content_Length="4")
            handler.wfile.write(b"four and more")

        assert fetched(behave) == b"four"

    @pytest.mark.parametrize("told", ["-1", "1e3", "12, 13", "0x10"])
    def test_a_length_that_is_none_is_refused(self, told: str) -> None:
        assert failure(lambda handler: handler.begin(Content_Length=told)).cause == Cause.NETWORK

    def test_what_is_packed_is_not_unpacked(self) -> None:
        import gzip

        bomb = gzip.compress(b"\0" * 5_000_000)
        error = failure(lambda handler: handler.answer(bomb, Content_Encoding="gzip"), most=100_000)
        assert error.cause == Cause.REJECTED

    def test_a_head_without_end_is_left(self) -> None:
        def behave(handler: Handler) -> None:
            handler.wfile.write(b"HTTP/1.1 200 OK\r\n")
            while not handler.server.release.is_set():
                handler.wfile.write(b"X: " + b"y" * 1_000 + b"\r\n")

        assert failure(behave).cause == Cause.NETWORK

    def test_what_speaks_no_http_is_left(self) -> None:
        def behave(handler: Handler) -> None:
            handler.wfile.write(b"220 mail.test ESMTP\r\n")
            handler.hang_up()

        assert failure(behave).cause == Cause.NETWORK

    def test_nobody_listening(self) -> None:
        with serving(lambda handler: None) as server:
            pass
        with pytest.raises(FetchError) as raised, web_to(server).ask(server.url, until=soon()):
            pass
        assert raised.value.cause == Cause.NETWORK

    @pytest.mark.parametrize(
        ("status", "cause", "again"),
        [(401, Cause.PRIVATE, False), (403, Cause.PRIVATE, False), (404, Cause.DELETED, False),
         (410, Cause.DELETED, False),
         (418, Cause.REJECTED, False), (429, Cause.BUSY, True), (451, Cause.NETWORK_RESTRICTED, False),
         (500, Cause.SERVER, True), (503, Cause.SERVER, True), (204, Cause.REJECTED, False),
         (304, Cause.REJECTED, False)],
    )  # fmt: skip
    def test_statuses(self, status: int, cause: Cause, again: bool) -> None:
        from shared.fetching.causes import MEANINGS

        error = failure(lambda handler: handler.answer(b"", status, Retry_After="7"))
        assert (error.cause, MEANINGS[cause].again, error.retry_after) == (cause, again, 7.0)
