"""The API in this process: its routes, documents and refusals, on a real ledger."""

from __future__ import annotations

import csv
import io
import itertools
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from werkzeug.test import Client

from shared import errors, problems
from shared.api.routing import Api
from shared.config import parse_database_url
from shared.db import Database, connector
from shared.upstreams.base import ErrorClass
from tests.factories import failure
from tests.functions.asking import client_of, items_of, problem
from tests.workbench import Workbench, artist_id, artists_csv

NOBODY = "00000000-0000-4000-8000-000000000000"  # no session has this id

BAD_ROWS = b"artist_id,artist_name,artist_data\r\nnot-an-id,Nina Simone,\r\n%s,,x\r\n" % artist_id(9).encode()


class TestFrame:
    def test_every_answer_is_kept_out_of_caches_and_is_what_it_says_it_is(self, away: Client) -> None:
        for path in ("/openapi.json", "/health", "/api/sessions", "/nothing", "/api/session/x/status"):
            headers = away.get(path).headers
            assert (headers["Cache-Control"], headers["X-Content-Type-Options"]) == ("no-store", "nosniff")
            assert headers["Referrer-Policy"] == "no-referrer"
            assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]

    def test_unknown_paths_are_problems_that_point_to_what_there_is(self, away: Client) -> None:
        assert "/api/nothing" in problem(away.get("/api/nothing"), 404)["detail"]

    @pytest.mark.parametrize(("method", "path", "allow"), [
        ("DELETE", "/api/sessions", "GET, HEAD"),
        ("OPTIONS", "/health", "GET, HEAD"),
        ("POST", f"/api/session/{NOBODY}/status", "GET, HEAD"),
        ("GET", f"/api/session/{NOBODY}/cancel", "POST"),
        ("PUT", f"/api/session/{NOBODY}/reprocess", "POST"),
    ])  # fmt: skip
    def test_a_wrong_method_names_the_right_ones(self, away: Client, method: str, path: str, allow: str) -> None:
        response = away.open(path, method=method)
        assert method in problem(response, 405)["detail"]
        assert response.headers["Allow"] == allow

    def test_a_trailing_slash_changes_nothing(self, http: Client) -> None:
        assert http.get("/api/sessions/").status_code == 200

    def test_head_gives_the_headers_of_get_and_no_body(self, http: Client, bench: Workbench) -> None:
        session = bench.drop(artists_csv(2))
        one = f"/api/session/{session}"
        paths = ["", "/status", "/items", "/results", "/rejects", "/verify"]
        for path in ["/", "/health", "/api/health", "/api/sessions", *(one + end for end in paths)]:
            head, get = http.head(path), http.get(path)
            assert (head.status_code, head.data) == (200, b"")
            assert head.mimetype == get.mimetype

    def test_what_nobody_foresaw_is_a_problem_that_tells_nothing_and_a_log_line_that_tells_all(
        self, bench: Workbench, capsys: pytest.CaptureFixture[str]
    ) -> None:
        class Broken:
            def newest(self, **_: Any) -> Any:
                raise ValueError("the secret inner life")

        api: Any = Api(bench.db, Broken(), bench.store, bench.settings)  # type: ignore[arg-type]
        traceparent = f"00-{'ab' * 16}-{'cd' * 8}-01"
        response = client_of(api).get("/api/sessions", headers={"traceparent": traceparent})
        problem(response, 500)
        assert "secret" not in response.text
        assert "Traceback" not in response.text
        line = json.loads(capsys.readouterr().out.splitlines()[-1])
        assert line["severity"] == "ERROR"
        assert "ValueError: the secret inner life" in line["message"]
        assert "test_api.py" in line["message"]
        assert line["path"] == "/api/sessions"


class TestProblems:
    @pytest.mark.parametrize(("error", "status"), [
        (errors.NotFound(), 404), (errors.Conflict(), 409), (errors.Gone(), 410), (errors.UsageError("no"), 422),
        (errors.InputError("no"), 422), (errors.InputError("no", code=problems.NOT_JSON), 400),
        (errors.LedgerDown(), 503), (errors.StorageDown(), 503), (errors.ConfigError(), 500),
        (errors.ObjectGone(), 500), (KeyError("x"), 500),
        (errors.StatementFailed("no", sqlstate="42P01", constraint=None), 500),
    ])  # fmt: skip
    def test_each_error_has_its_status(self, error: Exception, status: int) -> None:
        found = problems.problem_of(error)
        assert found.status == status
        assert ("Retry-After" in found.headers) == (status == 503)
        assert str(error) in found.detail or status == 500

    def test_only_a_failure_of_ours_hides_what_it_says(self) -> None:
        found = problems.problem_of(errors.StatementFailed("SELECT secret", sqlstate="42P01", constraint=None))
        assert "SELECT" not in found.detail


class TestHealth:
    @pytest.mark.parametrize("path", ["/health", "/api/health"])
    def test_says_that_the_ledger_answers(self, http: Client, bench: Workbench, path: str) -> None:
        found = http.get(path).json
        assert found["status"] == "ok"
        assert found["version"] == bench.settings.code_version
        pool = found["database"]["pool"]
        assert (pool["size"], pool["checked_out"], pool["failures"]) == (20, 0, 0)
        assert pool["queries"] >= 1
        assert pool["created"] - pool["closed"] >= 1
        assert found["database"]["checked_at"].startswith("20")
        assert int(found["database"]["version"].split(".")[0]) >= 15
        assert (found["upload_bucket"], found["results_bucket"]) == ("up", "out")

    def test_a_ledger_that_is_away_is_told_with_a_time_to_try_again(
        self, away: Client, capsys: pytest.CaptureFixture[str]
    ) -> None:
        response = away.get("/health")
        assert "Try again" in problem(response, 503, "ledger-down")["detail"]
        assert response.headers["Retry-After"] == "5"
        line = json.loads(capsys.readouterr().out.splitlines()[-1])
        assert line["severity"] == "WARNING"
        assert "secret" not in json.dumps(line) + response.text

    def test_a_ledger_that_refuses_the_login_is_away_too(self, bench: Workbench) -> None:
        place = parse_database_url(bench.url)
        for change in ({"database": "nowhere"}, {"user": "nobody-we-know"}):
            refusing = Database(connector(place.model_copy(update=change)), size=1)
            problem(
                client_of(Api(refusing, bench.sessions, bench.store, bench.settings)).get("/health"), 503, "ledger-down"
            )


class TestSessions:
    def test_are_paged_newest_first(self, http: Client, bench: Workbench) -> None:
        made = [bench.drop(artists_csv(1, first=i), f"artists/{i}.csv") for i in range(1, 6)]
        seen: list[str] = []
        query, pages = "limit=2", 0
        while query:
            page = http.get(f"/api/sessions?{query}").json
            seen += [one["session_id"] for one in page["sessions"]]
            query = page["next"] and f"limit=2&before={page['next']}"
            pages += 1
        assert seen == [str(one) for one in reversed(made)]
        assert pages == 3

    def test_a_full_last_page_has_no_next(self, http: Client, bench: Workbench) -> None:
        for i in range(2):
            bench.drop(artists_csv(1), f"artists/{i}.csv")
        assert http.get("/api/sessions?limit=2").json["next"] is None

    def test_without_any_the_list_is_empty(self, http: Client) -> None:
        assert http.get("/api/sessions?limit=&before=").json == {"sessions": [], "next": None}

    @pytest.mark.parametrize(("query", "field"), [
        ("limit=0", "limit"), ("limit=101", "limit"), ("limit=many", "limit"), ("before=yesterday", "before"),
        ("limit=1&limit=2", "limit"), ("page=2", "page"),
    ])  # fmt: skip
    def test_a_bad_query_names_what_is_wrong(self, away: Client, query: str, field: str) -> None:
        found = problem(away.get(f"/api/sessions?{query}"), 422, "invalid-request")
        assert [fault["field"] for fault in found["errors"]] == [field]
        assert field in found["detail"]

    def test_all_faults_of_a_query_are_told_at_once(self, away: Client) -> None:
        found = problem(away.get("/api/sessions?limit=0&before=x&after=1"), 422, "invalid-request")
        assert sorted(fault["field"] for fault in found["errors"]) == ["after", "before", "limit"]

    def test_a_page_after_an_unknown_session_is_not_an_empty_last_page(self, http: Client) -> None:
        problem(http.get(f"/api/sessions?before={uuid4()}"), 404, "not-found")


class TestSession:
    def test_shows_options_and_files(self, http: Client, bench: Workbench) -> None:
        data = artists_csv(3)
        session = bench.drop(data, skip_existing="true", budget="2.50")
        found = http.get(f"/api/session/{session}").json
        assert found["session_id"] == str(session)
        assert (found["total"], found["open"], found["budget_usd"]) == (3, 3, 2.5)
        assert found["options"]["skip_existing"] is True
        generation = bench.store.objects["up", "artists/list.csv"][0]
        assert found["files"] == [{
            "object": "gs://up/artists/list.csv", "generation": str(generation), "checksum": None, "bytes": len(data),
            "records_read": 3, "ignored": 0, "state": "read", "error": None,
        }]  # fmt: skip

    def test_a_file_that_cannot_be_read_says_why(self, http: Client, bench: Workbench) -> None:
        session = bench.drop(b"")
        found = http.get(f"/api/session/{session}").json
        assert found["status"] == "failed"
        assert found["files"][0]["state"] == "failed"
        assert found["files"][0]["error"] == found["error_message"]
        assert found["error_message"]

    def test_status_is_that_of_the_session(self, http: Client, bench: Workbench) -> None:
        session = bench.drop(artists_csv(2))
        before = http.get(f"/api/session/{session}/status").json
        assert (before["status"], before["open"], before["progress_percent"]) == ("enriching", 2, 0.0)
        bench.run(session)
        after = http.get(f"/api/session/{session}/status").json
        assert (after["status"], after["enriched"], after["eta_seconds"]) == ("completed", 2, 0.0)

    def test_unknown_sessions_are_not_found(self, http: Client) -> None:
        for path in ("", "/status", "/items", "/results", "/rejects", "/verify"):
            assert "no session" in problem(http.get(f"/api/session/{uuid4()}{path}"), 404, "not-found")["detail"]
            assert "'17'" in problem(http.get(f"/api/session/17{path}"), 404, "not-found")["detail"]

    def test_verify_finds_a_sound_session_sound_and_a_broken_one_not(self, http: Client, bench: Workbench) -> None:
        session = bench.drop(artists_csv(2))
        bench.run(session)
        found = http.get(f"/api/session/{session}/verify").json
        assert (found["sound"], found["findings"], found["calls"]) == (True, [], {"succeeded": 2})
        bench.execute(f"UPDATE files SET records_read = 5 WHERE session_id = '{session}'")
        found = http.get(f"/api/session/{session}/verify").json
        assert found["sound"] is False
        assert [one["rule"] for one in found["findings"]] == ["I1"]


class TestItems:
    def test_are_paged_with_everything_known_of_them(self, http: Client, bench: Workbench) -> None:
        session = bench.drop(artists_csv(3))
        bench.run(session)
        page = items_of(http, session, "limit=2")
        assert ([one["item_no"] for one in page["items"]], page["next"]) == ([1, 2], 2)
        last = items_of(http, session, f"limit=2&after={page['next']}")
        assert ([one["item_no"] for one in last["items"]], last["next"]) == ([3], None)
        one = page["items"][0]
        assert set(one) == {
            *("item_no", "file", "line", "key", "input", "state", "outcome", "code", "attempt", "failures", "round"),
            *("due_at", "finalized_at", "result", "error_code", "error_message", "parent"),
        }
        assert (one["key"], one["state"], one["outcome"], one["attempt"]) == (artist_id(1), "completed", "enriched", 1)
        assert one["input"]["artist_id"] == artist_id(1)
        assert one["result"]["db_status"] == "updated"
        assert one["finalized_at"].endswith("+00:00")

    def test_are_chosen_by_outcome_and_state(self, http: Client, bench: Workbench) -> None:
        session = bench.drop(BAD_ROWS + f"{artist_id(1)},Björk,\r\n".encode())
        assert [one["item_no"] for one in items_of(http, session, "outcome=rejected")["items"]] == [1, 2]
        assert [one["item_no"] for one in items_of(http, session, "state=available")["items"]] == [3]
        assert items_of(http, session, "state=available&outcome=rejected")["items"] == []
        assert len(items_of(http, session, "state=&outcome=&after=&limit=")["items"]) == 3

    @pytest.mark.parametrize(("query", "choice"), [("outcome=won", "enriched"), ("state=asleep", "retryable")])
    def test_an_unknown_word_names_the_choices(self, away: Client, query: str, choice: str) -> None:
        found = problem(away.get(f"/api/session/{uuid4()}/items?{query}"), 422, "invalid-request")
        assert choice in found["detail"]

    @pytest.mark.parametrize("query", ["limit=1001", "after=-1", f"after={2**63}"])
    def test_numbers_have_bounds(self, away: Client, query: str) -> None:
        problem(away.get(f"/api/session/{uuid4()}/items?{query}"), 422, "invalid-request")


class TestResults:
    def test_while_running_hold_what_is_settled_in_item_order(self, http: Client, bench: Workbench) -> None:
        session = bench.drop(BAD_ROWS + artists_csv(3).split(b"\r\n", 1)[1])
        response = http.get(f"/api/session/{session}/results")
        assert response.mimetype == "application/x-ndjson"
        assert [json.loads(line)["outcome"] for line in response.text.splitlines()] == ["rejected"] * 2
        bench.run(session)
        response = http.get(f"/api/session/{session}/results")
        assert response.text == bench.store.text("out", f"{session}/results.jsonl")
        assert response.text.endswith("}\n")
        assert response.text.count("\n") == 5

    def test_leave_page_by_page_and_hold_no_connection_in_between(
        self, http: Client, bench: Workbench, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        session = bench.drop(artists_csv(7))
        bench.run(session)
        smaller_pages(monkeypatch, 3)
        response = http.get(f"/api/session/{session}/results", buffered=False)
        sizes = []
        for piece in response.iter_encoded():
            assert bench.db.state()["checked_out"] == 0
            sizes.append(piece.count(b"\n"))
        assert sizes == [3, 3, 1]

    def test_after_goes_on_behind_an_item_once_the_session_has_ended(self, http: Client, bench: Workbench) -> None:
        session = bench.drop(artists_csv(4))
        found = problem(http.get(f"/api/session/{session}/results?after=2"), 409, "conflict")
        assert "passed over" in found["detail"]
        bench.run(session)
        response = http.get(f"/api/session/{session}/results?after=2")
        lines = [json.loads(line) for line in response.text.splitlines()]
        assert [line["artist_id"] for line in lines] == [artist_id(3), artist_id(4)]
        assert http.get(f"/api/session/{session}/results?after=4").data == b""

    @pytest.mark.parametrize("end", ["failed", "cancelled"])
    def test_after_works_for_other_ends_too(self, http: Client, bench: Workbench, end: str) -> None:
        if end == "failed":
            bench.upstream._script = lambda n, request: failure(ErrorClass.PERMANENT)
        session = bench.drop(artists_csv(2), max_failed="0")
        if end == "cancelled":
            bench.sessions.cancel(session)
        assert bench.run(session)["status"] == end
        response = http.get(f"/api/session/{session}/results?after=1")
        assert [json.loads(line)["outcome"] for line in response.text.splitlines()] == [end]

    def test_reprocessing_makes_them_provisional_again(self, http: Client, bench: Workbench) -> None:
        session = bench.drop(artists_csv(2))
        bench.run(session)
        bench.sessions.reprocess(session, outcomes=["enriched"], key=artist_id(1))
        problem(http.get(f"/api/session/{session}/results?after=1"), 409, "conflict")

    def test_a_session_of_no_pipeline_has_none(self, http: Client, bench: Workbench) -> None:
        session = bench.drop(artists_csv(1), "cats/list.csv")
        response = http.get(f"/api/session/{session}/results")
        assert (response.status_code, response.data) == (200, b"")

    @pytest.mark.parametrize("path", ["results", "rejects", "items"])
    @pytest.mark.parametrize("how", ["expires_at = now() - interval '1 second'", "expired_at = now()"])
    def test_are_gone_after_expiry(self, http: Client, bench: Workbench, path: str, how: str) -> None:
        session = bench.drop(artists_csv(1))
        bench.execute(f"UPDATE sessions SET {how} WHERE id = '{session}'")
        problem(http.get(f"/api/session/{session}/{path}"), 410, "expired")
        assert http.get(f"/api/session/{session}/status").status_code == 200

    def test_an_error_before_the_first_byte_is_a_problem(
        self, http: Client, bench: Workbench, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        session = bench.drop(artists_csv(1))
        breaking(monkeypatch, bench, at=1)
        problem(http.get(f"/api/session/{session}/results"), 503, "ledger-down")

    def test_an_error_after_it_cuts_the_stream(
        self, http: Client, bench: Workbench, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        session = bench.drop(artists_csv(7))
        bench.run(session)
        smaller_pages(monkeypatch, 3)
        breaking(monkeypatch, bench, at=2)
        response = http.get(f"/api/session/{session}/results", buffered=False)
        assert response.status_code == 200
        pieces = response.iter_encoded()
        assert next(pieces).count(b"\n") == 3
        with pytest.raises(errors.LedgerDown):
            next(pieces)
        line = json.loads(capsys.readouterr().out.splitlines()[-1])
        assert (line["severity"], line["session_id"]) == ("ERROR", str(session))


class TestRejects:
    def test_are_the_users_rows_with_the_reason_behind(self, http: Client, bench: Workbench) -> None:
        session = bench.drop(BAD_ROWS)
        response = http.get(f"/api/session/{session}/rejects")
        assert response.content_type == "text/csv; charset=utf-8"
        assert response.headers["Content-Disposition"] == f'attachment; filename="rejects-{session}.csv"'
        rows = list(csv.reader(io.StringIO(response.text, newline="")))
        assert rows[0] == ["artist_id", "artist_name", "artist_data", "reason", "column", "line"]
        assert [(row[0], row[-2], row[-1]) for row in rows[1:]] == [
            ("not-an-id", "artist_id", "2"), (artist_id(9), "artist_name", "3"),
        ]  # fmt: skip

    def test_without_any_the_file_is_empty(self, http: Client, bench: Workbench) -> None:
        session = bench.drop(artists_csv(1))
        assert http.get(f"/api/session/{session}/rejects").data == b""


def smaller_pages(monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    """Have results leave in pages of `size` lines."""
    from shared.api import streaming

    whole: Callable[..., Iterator[bytes]] = streaming.result_lines
    monkeypatch.setattr(streaming, "result_lines", lambda *args, **named: whole(*args, **{**named, "page": size}))


def breaking(monkeypatch: pytest.MonkeyPatch, bench: Workbench, *, at: int) -> None:
    """Have the ledger fail at the nth page of results."""
    pages, ask = itertools.count(1), bench.db.row

    def row(name: str, **params: Any) -> Any:
        if name == "results/artists" and next(pages) == at:
            raise errors.LedgerDown
        return ask(name, **params)

    monkeypatch.setattr(bench.db, "row", row)


def test_the_entry_is_thin() -> None:
    text = (Path(__file__).parents[2] / "functions/api/main.py").read_text("utf-8")
    assert len(text.splitlines()) < 30
