"""The simulated OpenAI against the service's own document and recordings, and our upstream against the simulation.

The server is a process of its own, as in the local stack; one serves the whole module.
"""

from __future__ import annotations

import json
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from shared.upstreams.base import Answer, ErrorClass, Failure
from shared.upstreams.openai import OpenAIUpstream
from tests.conformance.simulated_openai import DATA, PROMPT, ROOT, Document, Server, needs_recordings, until, wanted

T, P, S = ErrorClass.TRANSIENT, ErrorClass.PERMANENT, ErrorClass.SYSTEMIC


@pytest.fixture(scope="module")
def running() -> Iterator[Server]:
    server = Server()
    yield server
    server.stop()


@pytest.fixture
def server(running: Server) -> Server:
    running.control(
        latency=0.0,
        faults={},
        named={},
        key_ok=True,
        quota=True,
        seed=0,
        slow=5.0,
        retry_after=1,
        limit_requests=30_000,
    )
    running.http.post("/control/reset")
    return running


@pytest.fixture
def upstream(server: Server) -> Iterator[OpenAIUpstream]:
    made = OpenAIUpstream(api_key="sk-simulated", base_url=f"{server.url}/v1", request_timeout=5.0)
    yield made
    made.close()


def ask(upstream: OpenAIUpstream, name: str, *, timeout: float = 5.0) -> Answer | Failure:
    return upstream.call(PROMPT.render(artist_name=name, artist_data="from Oslo"), timeout=timeout)


@needs_recordings
@pytest.mark.parametrize(
    "fault", [None, "refusal", "incomplete", "content_filter", "failed", "empty", "surrogates", "slow"]
)
def test_answers_are_what_the_document_says(server: Server, fault: str | None) -> None:
    document = Document()
    server.control(faults={fault: 1.0} if fault else {}, slow=0.01)
    seen = set()
    for number in range(12):
        answer = server.post(**wanted(f"Artist {number}"))
        body = json.loads(answer.content)
        assert answer.status_code == 200
        assert document.faults(body, {"$ref": "#/components/schemas/Response"}) == []
        seen.add(tuple(item["type"] for item in body["output"]))
    assert not fault or len(seen) <= 2
    if fault is None:
        assert seen == {("message",), ("reasoning", "message")}


@needs_recordings
def test_the_check_on_the_document_finds_faults(server: Server) -> None:
    body = json.loads(server.post(**wanted("A")).content)
    del body["output"][-1]["content"][0]["annotations"]
    body["status"] = "finished"
    del body["usage"]["total_tokens"]
    assert len(Document().faults(body, {"$ref": "#/components/schemas/Response"})) == 3


@needs_recordings
def test_answers_have_the_members_of_recorded_ones(server: Server) -> None:
    recorded = [json.loads(path.read_text()) for path in (DATA / "responses").glob("*message-*.json")]
    answer = server.post(**wanted("A"))
    body = json.loads(answer.content)
    in_all = set.intersection(*(set(file["body"]) for file in recorded))
    assert in_all - set(body) == set()
    for file in recorded:
        for name in set(file["body"]) & set(body):
            ours, theirs = body[name], file["body"][name]
            assert ours is None or theirs is None or isinstance(ours, type(theirs)) or name == "instructions", name
    headers = [name for name in recorded[0]["headers"] if name.startswith("x-ratelimit")]
    assert "x-request-id" in answer.headers
    assert all(name in answer.headers for name in headers)


@needs_recordings
@pytest.mark.parametrize("fault", ["429", "429_bare", "quota", "500", "policy", "bad_parameter", "forbidden"])
def test_error_bodies_are_what_the_document_says(server: Server, fault: str) -> None:
    server.control(faults={fault: 1.0})
    answer = server.post(**wanted("A"))
    assert answer.status_code >= 400
    assert Document().faults(answer.json(), {"$ref": "#/components/schemas/ErrorResponse"}) == []
    assert ("retry-after" in answer.headers) == (fault == "429")


@pytest.mark.parametrize(
    ("change", "status", "code", "param"),
    [
        ({"nonsense": 1}, 400, "unknown_parameter", "nonsense"),
        ({"model": "llama"}, 400, "model_not_found", "model"),
        ({"model": None}, 400, "missing_required_parameter", "model"),
        ({"max_output_tokens": 3}, 400, "integer_below_min_value", "max_output_tokens"),
        ({"input": None}, 400, "missing_required_parameter", "input"),
        ({"key": "sk-wrong"}, 401, "invalid_api_key", None),
        ({"key": "nokey"}, 401, "invalid_api_key", None),
    ],
)
def test_requests_are_checked(
    server: Server, change: dict[str, Any], status: int, code: str, param: str | None
) -> None:
    answer = server.post(**{**wanted("A"), **change})
    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["param"]) == (status, code, param)


def test_a_missing_key_a_broken_body_and_a_wrong_path(server: Server) -> None:
    assert server.http.post("/v1/responses", json=wanted("A")).status_code == 401
    headers = {"authorization": "Bearer sk-x"}
    assert server.http.post("/v1/responses", content=b"{", headers=headers).status_code == 400
    assert server.http.post("/v1/completions", json={}).status_code == 404
    assert server.http.post("/v1/responses", content=iter([b"{}"]), headers=headers).status_code == 411


def test_every_bio_says_that_it_is_simulated_and_is_the_same_again(server: Server, upstream: OpenAIUpstream) -> None:
    first, second, other = ask(upstream, "Sigur Rós"), ask(upstream, "Sigur Rós"), ask(upstream, "초음파")
    assert isinstance(first, Answer)
    assert isinstance(second, Answer)
    assert isinstance(other, Answer)
    assert first.text == second.text != other.text
    assert first.response_id != second.response_id
    assert "SIMULATED" in first.text
    assert "Sigur Rós" in first.text
    assert "초음파" in other.text
    assert 120 <= len(first.text.split()) <= 180
    assert first.model == upstream.model
    assert first.limits is not None
    assert first.limits.requests == 30_000
    assert first.usage.input_tokens > 100


MISBEHAVIOUR = [
    ("429", T, "upstream.rate_limited", "failed", 1.0),
    ("429_bare", T, "upstream.rate_limited", "failed", 1.12),
    ("quota", S, "upstream.quota_exhausted", "failed", None),
    ("500", T, "upstream.server_error", "failed", None),
    ("503", T, "upstream.server_error", "failed", None),
    ("cut", T, "upstream.cut", "unknown", None),
    ("malformed", T, "upstream.malformed", "unknown", None),
    ("refusal", P, "upstream.refused", "failed", None),
    ("incomplete", P, "upstream.incomplete", "failed", None),
    ("content_filter", P, "upstream.content_filter", "failed", None),
    ("failed", T, "upstream.server_error", "failed", None),
    ("empty", T, "upstream.empty_answer", "failed", None),
    ("policy", P, "upstream.content_policy", "failed", None),
    ("bad_parameter", S, "upstream.bad_configuration", "failed", None),
    ("forbidden", S, "upstream.forbidden", "failed", None),
]


@pytest.mark.parametrize(("fault", "kind", "code", "call_state", "retry_after"), MISBEHAVIOUR)
def test_every_misbehaviour_by_name_once(
    server: Server,
    upstream: OpenAIUpstream,
    fault: str,
    kind: ErrorClass,
    code: str,
    call_state: str,
    retry_after: float | None,
) -> None:
    name = f"Band fault={fault}:1"
    outcome = ask(upstream, name)
    assert isinstance(outcome, Failure)
    assert (outcome.kind, outcome.code, outcome.call_state) == (kind, code, call_state)
    assert outcome.retry_after == retry_after
    assert isinstance(ask(upstream, name), Answer), "the second try goes well, on the same client"
    # A cut connection is noticed when it is closed, which may be after the next answer has arrived.
    until(lambda: server.log()["open"] == 0)
    calls = server.log()["calls"]
    assert [call["fault"] for call in calls] == [fault, None]
    assert calls[1]["response_id"].startswith("resp_sim")


def test_a_scrubbed_answer(upstream: OpenAIUpstream) -> None:
    outcome = ask(upstream, "fault=surrogates")
    assert isinstance(outcome, Answer)
    assert outcome.text.endswith("?")
    assert "\x00" not in outcome.text
    outcome.text.encode()


def test_no_answer_ends_at_the_timeout(server: Server, upstream: OpenAIUpstream) -> None:
    for fault in ("hang", "slow"):
        began = time.monotonic()
        outcome = ask(upstream, f"fault={fault}", timeout=0.3)
        assert 0.25 < time.monotonic() - began < 1.5
        assert isinstance(outcome, Failure)
        assert (outcome.kind, outcome.code, outcome.call_state) == (T, "upstream.timeout", "unknown")
    until(lambda: server.log()["open"] == 0)
    assert [call["state"] for call in server.log()["calls"]] == ["abandoned", "abandoned"]


def test_an_answer_that_drips_ends_at_the_timeout() -> None:
    """Each read gets its bytes in time, the whole does not."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def drip() -> None:
            connection, _ = listening.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n")
                ended = threading.Event()
                for _ in range(100):
                    try:
                        connection.sendall(b"x")
                    except OSError:
                        return
                    ended.wait(0.05)

        thread = threading.Thread(target=drip)
        thread.start()
        url = f"http://127.0.0.1:{listening.getsockname()[1]}/v1"
        dripped = OpenAIUpstream(api_key="sk-x", base_url=url, request_timeout=0.4)
        began = time.monotonic()
        outcome = ask(dripped, "A")
        assert time.monotonic() - began < 1.5
        dripped.close()
        thread.join(6)
    assert isinstance(outcome, Failure)
    assert (outcome.code, outcome.call_state) == ("upstream.timeout", "unknown")


def test_a_refused_connection_cost_nothing() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    nobody = OpenAIUpstream(api_key="sk-x", base_url=f"http://127.0.0.1:{port}/v1", request_timeout=2.0)
    outcome = ask(nobody, "A")
    assert isinstance(outcome, Failure)
    assert (outcome.kind, outcome.code, outcome.call_state) == (T, "upstream.unreachable", "failed")


def test_a_server_without_tls_is_unreachable_over_tls(server: Server) -> None:
    url = f"https://127.0.0.1:{server.port}/v1"
    outcome = ask(OpenAIUpstream(api_key="sk-x", base_url=url, request_timeout=0.5), "A")
    assert isinstance(outcome, Failure)
    assert (outcome.kind, outcome.code, outcome.call_state) == (T, "upstream.unreachable", "failed")
    assert server.log()["total"] == 0


def certificate(folder: Path) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 signed by itself, and its key."""
    private = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "simulated")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(private.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(private, hashes.SHA256())
    )
    pem, key = folder / "cert.pem", folder / "key.pem"
    pem.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    kind, none = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    key.write_bytes(private.private_bytes(serialization.Encoding.PEM, kind, none))
    return pem, key


def test_over_tls_connections_are_kept_and_certificates_checked(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As with the real service; a thread ends TLS in front of the simulation and counts handshakes."""
    pem, key = certificate(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem, key)
    handshakes = []
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve_one() -> None:
            accepted, _ = listening.accept()
            try:
                client = context.wrap_socket(accepted, server_side=True)
            except ssl.SSLError as refused:
                accepted.close()
                handshakes.append(type(refused).__name__)
                return
            handshakes.append("good")
            with client, socket.create_connection(("127.0.0.1", server.port)) as behind:
                while request := client.recv(65536):
                    behind.sendall(request)
                    client.sendall(behind.recv(65536))

        url = f"https://127.0.0.1:{listening.getsockname()[1]}/v1"
        codes = []
        for trusted in (False, True):
            if trusted:
                monkeypatch.setenv("SSL_CERT_FILE", str(pem))
            thread = threading.Thread(target=serve_one)
            thread.start()
            secure = OpenAIUpstream(api_key="sk-x", base_url=url, request_timeout=5.0)
            for _ in range(3 if trusted else 1):
                outcome = ask(secure, "A")
                codes.append(outcome.code if isinstance(outcome, Failure) else "answer")
            secure.close()
            thread.join(5)
    assert codes == ["upstream.unreachable", "answer", "answer", "answer"]
    assert handshakes == ["SSLError", "good"]


def test_a_server_that_was_started_again_is_found_again() -> None:
    first = Server()
    port = first.port
    again = OpenAIUpstream(api_key="sk-x", base_url=f"{first.url}/v1", request_timeout=5.0)
    assert isinstance(ask(again, "A"), Answer)
    first.stop()
    down = ask(again, "A")
    assert isinstance(down, Failure)
    assert down.code == "upstream.unreachable", "the idle connection must be seen to be closed before anything is sent"
    second = Server("--port", str(port))
    assert isinstance(ask(again, "A"), Answer)
    again.close()
    second.stop()


def test_key_and_quota_are_switched_while_it_runs(server: Server, upstream: OpenAIUpstream) -> None:
    codes = []
    for state in ({"key_ok": False}, {"key_ok": True, "quota": False}, {"quota": True}):
        server.control(**state)
        outcome = ask(upstream, "A")
        codes.append(outcome.code if isinstance(outcome, Failure) else "answer")
    assert codes == ["upstream.bad_key", "upstream.quota_exhausted", "answer"]


def test_eighty_calls_at_once(server: Server, upstream: OpenAIUpstream) -> None:
    server.control(latency=0.3)
    began = time.monotonic()
    with ThreadPoolExecutor(80) as pool:
        outcomes = list(pool.map(lambda number: ask(upstream, f"Artist {number % 80}"), range(160)))
    taken = time.monotonic() - began
    assert all(isinstance(outcome, Answer) for outcome in outcomes)
    assert len({outcome.response_id for outcome in outcomes}) == 160
    log = server.log()
    assert (log["total"], log["answered"], log["failed"], log["open"]) == (160, 160, 0, 0)
    assert log["most_open"] >= 60
    assert taken < 3.0, "two waves of 0.3 s"
    assert log["keys"]["Artist 7"] == {"started": 2, "answered": 2, "failed": 0}
    for call in log["calls"]:
        assert call["ended"] - call["started"] >= 0.29


def test_shares_of_faults_are_kept_and_repeat_with_the_seed(server: Server) -> None:
    def round_of(seed: int) -> list[str | None]:
        server.control(faults={"429": 0.1, "500": 0.1}, seed=seed)
        server.http.post("/control/reset")
        for number in range(300):
            server.post(**wanted(f"Artist {number}"))
        return [call["fault"] for call in server.log()["calls"]]

    first = round_of(1)
    assert 15 <= first.count("429") <= 50
    assert 15 <= first.count("500") <= 50
    assert first == round_of(1) != round_of(2)


def test_faults_for_artists_of_a_name(server: Server, upstream: OpenAIUpstream) -> None:
    server.control(named={"Björk": "refusal", "Metallica": "500:1"})
    outcomes = [ask(upstream, name) for name in ("Björk Guðmundsdóttir", "Metallica", "Metallica", "Nirvana")]
    codes = [outcome.code if isinstance(outcome, Failure) else "answer" for outcome in outcomes]
    assert codes == ["upstream.refused", "upstream.server_error", "answer", "answer"]
    log = server.log()
    assert log["keys"]["Metallica"] == {"started": 2, "answered": 1, "failed": 1}
    assert [call["state"] for call in log["calls"]] == ["answered", "failed", "answered", "answered"]


def test_headers_can_be_left_out_and_the_wait_changed(server: Server, upstream: OpenAIUpstream) -> None:
    server.control(limit_requests=None, retry_after=7)
    limited, answer = ask(upstream, "A fault=429:1"), ask(upstream, "A fault=429:1")
    assert isinstance(limited, Failure)
    assert limited.retry_after == 7.0
    assert isinstance(answer, Answer)
    assert answer.limits is None
    assert answer.request_id


def test_a_wrong_control_changes_nothing(server: Server) -> None:
    for wrong in ({"faults": {"explode": 1}}, {"latancy": 1}, {"named": {"A": "explode:2"}}, [], 7):
        answer = server.http.post("/control", json=wrong)
        assert answer.status_code == 400, wrong
        assert answer.json()["error"]
    assert server.http.get("/control").json()["faults"] == {}
    assert server.http.get("/control/nothing").status_code == 404
    assert server.http.get("/health").json()["simulated"] is True


def test_requests_that_arrive_in_pieces_or_two_at_once(server: Server) -> None:
    body = json.dumps(wanted("A")).encode()
    head = b"POST /v1/responses HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer sk-x\r\nContent-Length: %d\r\n\r\n" % len(
        body
    )
    server.control(latency=0.02)
    with socket.create_connection(("127.0.0.1", server.port), timeout=5) as client:
        for piece in (head[:20], head[20:] + body[:7], body[7:] + head + body):
            client.sendall(piece)
        received = b""
        while received.count(b"resp_sim") < 2:
            received += client.recv(65536)
    assert received.count(b"HTTP/1.1 200 OK") == 2


def test_the_log_file_and_the_end_by_signal(tmp_path: Path) -> None:
    path = tmp_path / "calls.jsonl"
    server = Server("--log", str(path), "--faults", '{"500": 1.0}', "--latency", "0.01")
    held = socket.create_connection(("127.0.0.1", server.port))
    assert server.post(**wanted("A")).status_code == 500
    began = time.monotonic()
    assert server.stop() == 0
    assert time.monotonic() - began < 1.0
    held.close()
    (line,) = path.read_text().splitlines()
    assert {**json.loads(line), "started": 0, "ended": 0, "input": ""} == {
        "key": "A", "input": "", "started": 0, "ended": 0, "state": "failed", "status": 500, "fault": "500",
        "response_id": None,
    }  # fmt: skip


def test_wrong_options_end_at_once() -> None:
    command = [sys.executable, "-m", "infra.local.upstreams.openai", "--faults", '{"explode": 1}']
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=20)
    assert ended.returncode == 2
    assert "explode" in ended.stderr
