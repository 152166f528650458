"""Every function as deployed: its own process under gunicorn, fed what the platform sends."""

from __future__ import annotations

import base64
import http.client
import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest

from infra.local.topology import DEFAULT_TOPOLOGY, Topology
from shared.config import parse_database_url
from shared.db import Database, connector
from shared.sessions import session_id
from tests.conftest import _administer
from tests.functions.running import Running
from tests.workbench import artists_csv

ENVELOPES = Path(__file__).parents[1] / "fixtures" / "envelopes"
PUSHED = ("ingest", "process-artists", "finalize", "dead-letters")
EVENT_FUNCTIONS = (*PUSHED, "rescue")
ALL = tuple(Topology.load(DEFAULT_TOPOLOGY).functions)


@pytest.fixture(scope="module")
def running(server: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """All functions on a database of this module's own, each started once."""
    name = f"functions_{os.getpid()}"
    _administer(server, f"CREATE DATABASE {name} TEMPLATE template")
    functions = Running(tmp_path_factory.mktemp("functions"), server.replace("/template", f"/{name}"))
    try:
        functions.start()
        yield functions
    finally:
        functions.stop()
        _administer(server, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture(scope="module")
def ledger(running: Running, server: str) -> Iterator[Database]:
    """The functions' database, reached without the gate in front of it."""
    database = Database(connector(parse_database_url(server.replace("/template", f"/functions_{os.getpid()}"))), size=2)
    yield database
    database.close()


def envelope(name: str) -> Any:
    """A captured envelope."""
    return json.loads((ENVELOPES / f"{name}.json").read_text("utf-8"))


def with_data(captured: Any, data: Any) -> Any:
    """A push with other data."""
    raw = data if isinstance(data, bytes) else json.dumps(data).encode()
    return {**captured, "message": {**captured["message"], "data": base64.b64encode(raw).decode()}}


def asked(ledger: Database, statement: str) -> list[Any]:
    """The rows of any statement."""
    with ledger._checked_out() as connection:
        return list(connection.execute_simple(statement).rows or [])


def new_lines(running: Running, name: str, act: Callable[[], Any]) -> list[dict[str, Any]]:
    """The log lines a function writes while something is done; every line has to be one JSON object."""
    before = len(running.lines(name))
    act()
    return [json.loads(line) for line in running.lines(name)[before:]]


def answers_204(running: Running, name: str, body: Any) -> Callable[[], None]:
    def act() -> None:
        assert running.push(name, body).status == 204

    return act


class TestStart:
    @pytest.mark.parametrize("name", EVENT_FUNCTIONS)
    def test_get_says_that_it_is_up(self, running: Running, name: str) -> None:
        answer = running.send(name, method="GET")
        assert (answer.status, answer.body) == (200, b"ok")

    def test_a_missing_variable_ends_the_process_which_names_every_one(self, running: Running) -> None:
        own = {
            "ingest": ["UPLOAD_BUCKET"],
            "process-artists": ["PIPELINE", "OPENAI_API_KEY"],
            "process-movies": ["PIPELINE", "TMDB_API_TOKEN"],
            "process-assets": ["PIPELINE", "MEDIA_BUCKET"],
            "process-audio": ["PIPELINE", "UPLOAD_BUCKET", "MEDIA_BUCKET"],
            "finalize": ["RESULTS_BUCKET"],
            "rescue": ["RESULTS_BUCKET", "UPLOAD_BUCKET"],
            "dead-letters": [],
            "api": ["UPLOAD_BUCKET", "RESULTS_BUCKET"],
        }
        assert set(own) == set(ALL)

        def ended(name: str) -> tuple[int, str]:
            process = running.start_without(name, (*own[name], "DATABASE_URL", "GOOGLE_CLOUD_PROJECT"))
            try:
                said = process.communicate(timeout=30)[0].decode()
            except subprocess.TimeoutExpired:
                process.kill()
                said = process.communicate()[0].decode()
            return process.returncode, said

        with ThreadPoolExecutor(2) as pool:
            for name, (status, said) in zip(own, pool.map(ended, own), strict=True):
                assert status > 0, (name, said)
                for variable in (*own[name], "DATABASE_URL", "GOOGLE_CLOUD_PROJECT"):
                    assert f"{variable} is not set" in said, (name, said)


class TestBrokenMessages:
    """No repeat would mend them: they are acknowledged, and one line says what was wrong."""

    @pytest.mark.parametrize("name", PUSHED)
    @pytest.mark.parametrize("body", [
        b"", b"hello", b"null", b"[]", b"\xff\xfe", b'{"message": null}', b'{"message": {"data": "%%%"}}',
        b'{"message": {"data": "e30=", "attributes": ["a"]}}',
    ])  # fmt: skip
    def test_what_is_no_push(self, running: Running, name: str, body: bytes) -> None:
        (line,) = new_lines(running, name, answers_204(running, name, body))
        assert (line["severity"], line["error_code"]) == ("ERROR", "input.envelope")
        assert line["reason"]

    @pytest.mark.parametrize("name", PUSHED)
    @pytest.mark.parametrize("data", [
        b"not JSON", [], {"session_id": "yesterday", "items": [1]}, {"items": [1]}, {"session_id": 7},
    ])  # fmt: skip
    def test_data_that_is_no_notice(self, running: Running, name: str, data: Any) -> None:
        body = with_data(envelope("push-items"), data)
        (line,) = new_lines(running, name, answers_204(running, name, body))
        assert line["severity"] == "ERROR"
        assert line["reason"]

    @pytest.mark.parametrize("name", PUSHED)
    def test_a_message_without_data(self, running: Running, name: str) -> None:
        (line,) = new_lines(running, name, answers_204(running, name, envelope("push-without-data")))
        assert line["severity"] == "ERROR"

    @pytest.mark.parametrize("items", [[], ["1"], [1.5], [True], [0], [2**63], "1", None])
    def test_items_that_are_no_numbers(self, running: Running, items: Any) -> None:
        body = with_data(envelope("push-items"), {"session_id": str(uuid4()), "items": items})
        (line,) = new_lines(running, "process-artists", answers_204(running, "process-artists", body))
        assert (line["severity"], line["error_code"]) == ("ERROR", "input.message")

    @pytest.mark.parametrize(("name", "captured"), [
        ("process-artists", "push-items"), ("finalize", "push-finalize"), ("dead-letters", "dead-letter"),
        ("dead-letters", "push-finalize"),
    ])  # fmt: skip
    def test_a_session_nobody_knows(self, running: Running, name: str, captured: str) -> None:
        *_, line = lines = new_lines(running, name, answers_204(running, name, envelope(captured)))
        assert all(one["severity"] == "ERROR" for one in lines)
        assert (line["error_code"], line["session_id"]) == (
            "input.unknown_session", "6f1d1c62-2a0c-5c55-9c1b-0f5e6f1f8a11",
        )  # fmt: skip
        assert len(lines) == 1 or captured == "push-finalize"

    def test_a_file_nobody_knows_is_left_alone(self, running: Running) -> None:
        assert new_lines(running, "ingest", answers_204(running, "ingest", envelope("push-continuation"))) == []


class TestLedgerAway:
    def test_pushes_are_refused_until_it_is_back(self, running: Running, ledger: Database) -> None:
        captured = {
            "ingest": "bucket-notification", "process-artists": "push-items", "finalize": "push-finalize",
            "dead-letters": "dead-letter",
        }  # fmt: skip
        bodies = {name: envelope(file) for name, file in captured.items()}
        with running.ledger.closed():
            for name, body in bodies.items():
                lines = new_lines(running, name, lambda name=name, body=body: refused(running.push(name, body)))
                assert [line["severity"] for line in lines] == ["WARNING"], name
            refused(running.send("rescue", body=b""))
            answer = running.send("api", "/health", method="GET")
            refused(answer)
            assert answer.headers["Retry-After"]
            assert answer.json["type"] == "urn:rowlift:problem:ledger-down"
        assert asked(ledger, "SELECT FROM sessions WHERE source LIKE 'gs://rowlift-uploads/artists/list.csv%'") == []
        assert running.push("finalize", bodies["finalize"]).status == 204
        assert running.send("api", "/health", method="GET").status == 200


def refused(answer: Any) -> None:
    assert answer.status == 503


class TestIngest:
    def test_a_bucket_notification_makes_a_session(self, running: Running, ledger: Database) -> None:
        resource = running.upload("artists/pushed.csv", artists_csv(5))
        body = with_data(envelope("bucket-notification"), resource)
        for _ in range(2):
            assert running.push("ingest", body).status == 204
        self.assert_read(ledger, resource, items=5)

    def test_three_deliveries_at_once_make_one_session(self, running: Running, ledger: Database) -> None:
        resource = running.upload("artists/thrice.csv", artists_csv(3))
        body = with_data(envelope("bucket-notification"), resource)
        with ThreadPoolExecutor(3) as pool:
            assert {answer.status for answer in pool.map(lambda _: running.push("ingest", body), range(3))} == {204}
        self.assert_read(ledger, resource, items=3)

    @pytest.mark.parametrize("mode", ["binary", "structured"])
    def test_a_direct_cloud_event_makes_one_too(self, running: Running, ledger: Database, mode: str) -> None:
        resource = running.upload(f"artists/{mode}.csv", artists_csv(4))
        captured = envelope(f"cloudevent-{mode}")
        body = resource if mode == "binary" else {**captured["body"], "data": resource}
        answer = running.send("ingest", body=json.dumps(body).encode(), headers=captured["headers"])
        assert answer.status == 204
        self.assert_read(ledger, resource, items=4)

    def test_another_event_of_the_bucket_is_acknowledged_and_nothing_more(
        self, running: Running, ledger: Database
    ) -> None:
        resource = running.upload("artists/deleted.csv", artists_csv(1))
        body = with_data(envelope("bucket-notification-delete"), resource)
        assert new_lines(running, "ingest", answers_204(running, "ingest", body)) == []
        captured = envelope("cloudevent-binary")
        headers = {**captured["headers"], "ce-type": "google.cloud.storage.object.v1.archived"}
        assert running.send("ingest", body=json.dumps(resource).encode(), headers=headers).status == 204
        assert asked(ledger, f"SELECT FROM sessions WHERE id = '{session_of(resource)}'") == []

    def test_a_broken_cloud_event_is_acknowledged(self, running: Running) -> None:
        headers = envelope("cloudevent-binary")["headers"]

        def act() -> None:
            assert running.send("ingest", body=b"{", headers=headers).status == 204

        (line,) = new_lines(running, "ingest", act)
        assert line["severity"] == "ERROR"

    def assert_read(self, ledger: Database, resource: dict[str, Any], *, items: int) -> None:
        session = session_of(resource)
        found = asked(ledger, f"SELECT state, records_read FROM files WHERE session_id = '{session}'")
        assert found == [["read", items]]
        assert asked(ledger, f"SELECT count(*) FROM items WHERE session_id = '{session}'") == [[items]]


def session_of(resource: dict[str, Any]) -> UUID:
    return session_id(resource["bucket"], resource["name"], int(resource["generation"]))


def given_up_again(letter: Any, number: int) -> None:
    """Make a captured dead letter that of a notice published just now."""
    letter["message"]["messageId"] = f"letter-{number}"
    letter["message"]["attributes"]["CloudPubSubDeadLetterSourceTopicPublishTime"] = datetime.now(UTC).isoformat()


class TestDeadLetters:
    def test_put_the_items_back_and_say_who_gave_them_up(self, running: Running, ledger: Database) -> None:
        resource = running.upload("artists/letters.csv", artists_csv(2))
        running.push("ingest", with_data(envelope("bucket-notification"), resource))
        session = session_of(resource)
        body = with_data(envelope("dead-letter"), {"session_id": str(session), "items": [1, 2]})
        for number in range(2):
            given_up_again(body, number)
            lines = new_lines(running, "dead-letters", answers_204(running, "dead-letters", body))
            given_up = [line for line in lines if line["message"] == "Message given up"]
            assert [(line["item_no"], line["state"]) for line in given_up] == [(1, "available"), (2, "available")]
            assert {(line["source"], line["deliveries"]) for line in given_up} == {("rowlift-artists", "50")}
        running.push("dead-letters", body)  # delivered a second time
        assert asked(ledger, f"SELECT outcome FROM items WHERE session_id = '{session}'") == [[None]] * 2
        given_up_again(body, 3)
        running.push("dead-letters", body)
        found = asked(ledger, f"SELECT outcome, error_code FROM items WHERE session_id = '{session}' ORDER BY item_no")
        assert found == [["failed", "db.undeliverable"]] * 2


class TestApi:
    def test_answers_under_gunicorn(self, running: Running) -> None:
        assert running.send("api", "/health", method="GET").json["upload_bucket"] == "rowlift-uploads"
        head = running.send("api", "/api/sessions", method="HEAD")
        assert (head.status, head.body) == (200, b"")
        refusal = running.send("api", "/api/sessions", method="DELETE")
        assert (refusal.status, refusal.headers["Allow"]) == (405, "GET, HEAD")
        assert refusal.headers["Content-Type"] == "application/problem+json"

    @pytest.mark.parametrize("chunked", [False, True])
    def test_a_large_body_is_a_problem_document(self, running: Running, chunked: bool) -> None:
        body = b" " * 200_000
        connection = http.client.HTTPConnection("127.0.0.1", running.plan.ports["api"], timeout=20)
        pieces: Any = (body[at : at + 50_000] for at in range(0, len(body), 50_000)) if chunked else body
        connection.request("POST", f"/api/session/{uuid4()}/pause", body=pieces, encode_chunked=chunked,
                           headers={"Transfer-Encoding": "chunked"} if chunked else {})  # fmt: skip
        response = connection.getresponse()
        assert response.status == 413
        assert json.loads(response.read())["status"] == 413
        connection.close()

    def test_a_stream_that_breaks_is_cut_and_not_ended(self, running: Running, ledger: Database) -> None:
        session = uuid4()
        asked(
            ledger,
            "INSERT INTO sessions (id, pipeline, source, next_item_no) "
            f"VALUES ('{session}', 'artists', 'gs://b/artists/x', 5002)",
        )
        # Two pages of 5,000 lines; the first is larger than every buffer between the function and its reader.
        asked(ledger, f"""
            INSERT INTO items (session_id, item_no, file, line, input, state, outcome, finalized_at)
            SELECT '{session}', i, 1, i, jsonb_build_object('artist_name', repeat('x', 4000)),
                   'completed', 'skipped', now()
              FROM generate_series(1, 5001) AS i""")  # fmt: skip
        connection = http.client.HTTPConnection("127.0.0.1", running.plan.ports["api"], timeout=30)
        connection.request("GET", f"/api/session/{session}/results")
        response = connection.getresponse()
        assert (response.status, response.headers["Transfer-Encoding"]) == (200, "chunked")
        assert response.read(100)
        asked(ledger, "ALTER TABLE items RENAME TO hidden")
        try:
            with pytest.raises(http.client.IncompleteRead):
                response.read()
        finally:
            asked(ledger, "ALTER TABLE hidden RENAME TO items")
            connection.close()
        wait_until(lambda: any("Stream was cut" in line for line in running.lines("api")))
        whole = running.send("api", f"/api/session/{session}/results", method="GET")
        assert whole.body.count(b"\n") == 5001


def wait_until(condition: Callable[[], object], timeout: float = 10) -> None:
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_rescue_answers_at_once_when_nothing_is_left_to_do(running: Running, ledger: Database) -> None:
    asked(ledger, "UPDATE sessions SET completed_epoch = epoch")
    answer = running.send("rescue", body=b"")
    assert (answer.status, answer.body) == (204, b"")
