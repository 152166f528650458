"""Results as they happen: cursors, bounds, CSV, the manifest."""

from __future__ import annotations

import csv
import io
import json
from uuid import UUID

import pytest
from werkzeug.test import Client, TestResponse

from tests.functions.asking import problem
from tests.workbench import Workbench, artist_id, artists_csv

ODD = b"artist_id,artist_name,artist_data\r\n%s,=1+1,-2\r\n%s,'@x,\"a,\nb\"\r\n" % (
    artist_id(1).encode(), artist_id(2).encode(),
)  # fmt: skip


def results(http: Client, session: UUID, query: str = "") -> TestResponse:
    response = http.get(f"/api/session/{session}/results?{query}")
    assert response.status_code == 200, response.text
    return response


class TestCursors:
    def test_lead_through_everything_once_and_say_when_it_is_over(self, http: Client, bench: Workbench) -> None:
        session = bench.drop(artists_csv(5))
        first = results(http, session, "after=s0")
        assert (first.data, first.headers["Rowlift-Final"]) == (b"", "false")
        bench.run(session)
        cursor, seen, rounds = first.headers["Rowlift-Next"], [], 0
        while True:
            page = results(http, session, f"after={cursor}&limit=2")
            lines = page.text.splitlines()
            assert len(lines) <= 2
            seen += lines
            cursor, rounds = page.headers["Rowlift-Next"], rounds + 1
            if page.headers["Rowlift-Final"] == "true":
                break
            assert rounds < 10
        assert sorted(seen) == sorted(bench.store.text("out", f"{session}/results.jsonl").splitlines())
        assert results(http, session, f"after={cursor}").data == b""

    def test_asked_again_they_give_the_same(self, http: Client, bench: Workbench) -> None:
        session = bench.drop(artists_csv(5))
        bench.run(session)
        one, two = (results(http, session, "after=s0&limit=3") for _ in range(2))
        assert (one.data, one.headers["Rowlift-Next"]) == (two.data, two.headers["Rowlift-Next"])

    def test_of_another_database_are_refused(self, http: Client, bench: Workbench) -> None:
        session = bench.drop(artists_csv(1))
        found = problem(http.get(f"/api/session/{session}/results?after=s999999999999999"), 409, "conflict")
        assert "s0" in found["detail"]

    def test_of_a_session_of_no_pipeline_lead_nowhere(self, http: Client, bench: Workbench) -> None:
        session = bench.drop(artists_csv(1), "cats/list.csv")
        response = results(http, session, "after=s0")
        assert (response.data, response.headers["Rowlift-Next"]) == (b"", "s0")

    @pytest.mark.parametrize("query", ["after=s", "after=x", "after=-1", "after=s1.", "after=1.2", "after=s-1",
                                       f"after={'9' * 19}", "limit=0", "limit=5001", "format=xml", "formulas=yes",
                                       "after=s0%0a"])  # fmt: skip
    def test_what_is_none_is_refused(self, away: Client, query: str) -> None:
        path = f"/api/session/00000000-0000-4000-8000-000000000000/results?{query}"
        problem(away.get(path), 422, "invalid-request")


class TestLimit:
    def test_bounds_item_order_too(self, http: Client, bench: Workbench) -> None:
        session = bench.drop(artists_csv(7))
        bench.run(session)
        whole = results(http, session).text.splitlines()
        assert results(http, session, "limit=3").text.splitlines() == whole[:3]
        assert results(http, session, "limit=3&after=3").text.splitlines() == whole[3:6]
        assert results(http, session, "limit=5000").text.splitlines() == whole
        assert "Rowlift-Next" not in results(http, session).headers


class TestCsv:
    def rows(self, response: TestResponse) -> list[dict[str, str]]:
        assert response.content_type == "text/csv; charset=utf-8"
        assert response.text.endswith("\r\n")
        return list(csv.DictReader(io.StringIO(response.text, newline="")))

    def test_has_the_keys_of_the_lines_as_columns(self, http: Client, bench: Workbench) -> None:
        session = bench.drop(artists_csv(3))
        bench.run(session)
        lines = [json.loads(line) for line in results(http, session).text.splitlines()]
        response = results(http, session, "format=csv")
        rows = self.rows(response)
        assert [*rows[0]] == [*lines[0]]
        assert [row["artist_name"] for row in rows] == [line["artist_name"] for line in lines]
        assert json.loads(rows[0]["usage"]) == lines[0]["usage"]
        assert f"results-{session}.csv" in response.headers["Content-Disposition"]

    def test_guards_formulas_unless_told_not_to(self, http: Client, bench: Workbench) -> None:
        session = bench.drop(ODD)
        bench.run(session)
        guarded, kept = (self.rows(results(http, session, f"format=csv&formulas={how}")) for how in ("guard", "keep"))
        assert [(row["artist_name"], row["artist_data"]) for row in guarded] == [("'=1+1", "-2"), ("''@x", "a,\nb")]
        assert [(row["artist_name"], row["artist_data"]) for row in kept] == [("=1+1", "-2"), ("'@x", "a,\nb")]

    def test_goes_with_cursors_and_limits_and_is_a_header_at_least(self, http: Client, bench: Workbench) -> None:
        session = bench.drop(artists_csv(3))
        empty = results(http, session, "format=csv&after=s0")
        assert self.rows(empty) == []
        assert empty.text.startswith("item_no,") or empty.text.startswith("artist_id,")
        bench.run(session)
        page = results(http, session, "format=csv&after=s0&limit=2")
        assert len(self.rows(page)) == 2
        assert page.headers["Rowlift-Next"].startswith("s")

    def test_of_a_session_that_writes_to_tables_is_short(self, http: Client, bench: Workbench) -> None:
        session = bench.drop(artists_csv(1), write_mode="db")
        bench.run(session)
        (row,) = self.rows(results(http, session, "format=csv"))
        (line,) = results(http, session).text.splitlines()
        assert [*row] == [*json.loads(line)] == ["artist_id", "db_status", "response_id", "error"]

    def test_rejects_are_guarded_as_well(self, http: Client, bench: Workbench) -> None:
        session = bench.drop(b"artist_id,artist_name,artist_data\r\nno-id,=1+1,\r\n")
        guarded, kept = (http.get(f"/api/session/{session}/rejects?formulas={how}").text for how in ("guard", "keep"))
        assert "'=1+1" in guarded
        assert http.get(f"/api/session/{session}/rejects").text == guarded
        assert "=1+1" in kept
        assert "'=1+1" not in kept


class TestManifest:
    def test_is_the_one_in_the_bucket_once_the_session_has_ended(self, http: Client, bench: Workbench) -> None:
        session = bench.drop(artists_csv(2))
        path = f"/api/session/{session}/manifest"
        assert "when it ends" in problem(http.get(path), 409, "conflict")["detail"]
        bench.run(session)
        response = http.get(path)
        assert response.mimetype == "application/json"
        assert response.data == bench.store.read("out", f"{session}/manifest.json")
        bench.sessions.reprocess(session, outcomes=["enriched"])
        problem(http.get(path), 409, "conflict")

    def test_that_somebody_deleted_is_not_found(self, http: Client, bench: Workbench) -> None:
        session = bench.drop(artists_csv(1))
        bench.run(session)
        bench.store.delete_prefix("out", str(session))
        problem(http.get(f"/api/session/{session}/manifest"), 404, "not-found")

    def test_is_gone_after_expiry(self, http: Client, bench: Workbench) -> None:
        session = bench.drop(artists_csv(1))
        bench.execute(f"UPDATE sessions SET expires_at = now() WHERE id = '{session}'")
        for end in ("manifest", "errors", "resumed", "results?after=s0"):
            problem(http.get(f"/api/session/{session}/{end}"), 410, "expired")
