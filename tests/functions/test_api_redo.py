"""What the API says of one item, of what was paid, and takes to run rows again."""

from __future__ import annotations

import csv
import io
from typing import Any
from uuid import UUID, uuid4

import pytest
from werkzeug.test import Client

from tests.factories import broken, enriched, make_session, settle, started
from tests.functions.asking import items_of, problem
from tests.functions.test_api_upload import accepted, ingested, sent
from tests.workbench import Workbench, artist_id, artists_csv

MIXED = b"artist_id,artist_name\r\nnot-an-id,Nina\r\n" + artist_id(2).encode() + b",Fela\r\n"


class TestOneItem:
    def test_says_what_it_was_before_and_what_was_paid(self, http: Client, bench: Workbench) -> None:
        session = bench.drop(artists_csv(2))
        bench.run(session)
        http.post(f"/api/session/{session}/reprocess", json={"key": artist_id(2)})
        bench.run(session)
        found = http.get(f"/api/session/{session}/items/2").json
        assert (found["item_no"], found["outcome"], found["round"], found["key"]) == (2, "enriched", 2, artist_id(2))
        (before,) = found["history"]
        assert (before["round"], before["outcome"]) == (1, "enriched")
        assert before["result"]["text"] != found["result"]["text"]
        assert [(call["round"], call["state"]) for call in found["calls"]] == [(1, "succeeded"), (2, "succeeded")]
        assert set(found["calls"][0]) >= {
            "id", "attempt", "round", "try", "state", "started_at", "finished_at", "model", "tokens_in", "tokens_out",
            "reserved_usd", "cost_usd", "response_id", "error_code",
        }  # fmt: skip
        listed = items_of(http, session)["items"][1]
        assert {name: found[name] for name in listed} == listed

    def test_is_not_found_where_there_is_none(self, http: Client, bench: Workbench) -> None:
        session = bench.drop(artists_csv(1))
        assert "no item 2" in problem(http.get(f"/api/session/{session}/items/2"), 404, "not-found")["detail"]
        problem(http.get(f"/api/session/{uuid4()}/items/1"), 404, "not-found")
        problem(http.get(f"/api/session/{session}/items/x"), 404)
        problem(http.get(f"/api/session/{session}/items/{2**63}"), 404)
        problem(http.get(f"/api/session/{session}/items/1?x=1"), 422, "invalid-request")
        bench.execute(f"UPDATE sessions SET expires_at = now() WHERE id = '{session}'")
        problem(http.get(f"/api/session/{session}/items/1"), 410, "expired")


class TestCalls:
    def test_the_report_alone_names_no_call(self, http: Client, bench: Workbench) -> None:
        session = bench.drop(artists_csv(3), budget="1")
        bench.run(session)
        found = http.get(f"/api/session/{session}/calls").json
        assert (found["succeeded"], found["started"], found["items_paid_more_than_once"]) == (3, 0, 0)
        (model,) = found["by_model"]
        assert (model["calls"], model["tokens_in"], model["tokens_out"]) == (3, 30, 60)
        assert model["cost_usd"] == found["spent_usd"] > 0
        assert found["budget_usd"] == 1
        assert "calls" not in found
        assert http.get(f"/api/session/{session}/verify").json["payment"] == found

    def test_the_list_is_paged_and_filtered(self, http: Client, bench: Workbench) -> None:
        session = make_session(bench, 4)
        for number in (1, 2, 3):
            settle(bench, enriched(started(bench, session, number)))
        settle(bench, broken(started(bench, session, 4)))
        seen: list[int] = []
        query = "list=true&limit=3"
        while True:
            found = http.get(f"/api/session/{session}/calls?{query}").json
            seen += [call["item_no"] for call in found["calls"]]
            if found["next"] is None:
                break
            query = f"list=true&limit=3&after={found['next']}"
        assert seen == [1, 2, 3, 4]
        failed = http.get(f"/api/session/{session}/calls?list=true&state=failed").json["calls"]
        assert [(call["item_no"], call["error_code"]) for call in failed] == [(4, "upstream.server_error")]

    def test_what_is_asked_amiss_is_refused(self, http: Client, bench: Workbench) -> None:
        session = make_session(bench, 1)
        for query in ("list=perhaps", "state=lost", "limit=0", "after=17", "x=1"):
            problem(http.get(f"/api/session/{session}/calls?{query}"), 422, "invalid-request")
        problem(http.get(f"/api/session/{session}/calls?list=true&after={uuid4()}"), 404, "not-found")
        problem(http.get(f"/api/session/{uuid4()}/calls"), 404, "not-found")

    def test_what_was_paid_is_known_after_the_session_has_expired(self, http: Client, bench: Workbench) -> None:
        session = bench.drop(artists_csv(1))
        bench.run(session)
        bench.execute(f"UPDATE sessions SET expires_at = now() - interval '1 s' WHERE id = '{session}'")
        bench.rescuer.round()
        assert http.get(f"/api/session/{session}/calls?list=true").json["calls"][0]["state"] == "succeeded"


class TestReprocess:
    def test_takes_error_codes_and_prompts(self, http: Client, bench: Workbench) -> None:
        session = bench.drop(artists_csv(3))
        bench.run(session)
        path = f"/api/session/{session}/reprocess"
        assert http.post(path, json={"prompt": "artist-bio/9"}).json["opened"] == 0
        assert http.post(path, json={"error_codes": ["upstream.timeout"]}).json["opened"] == 0
        assert http.post(path).json["opened"] == 0  # none failed
        assert http.post(path, json={"prompt": "artist-bio/1", "key": artist_id(3)}).json["opened"] == 1
        assert http.post(path, json={"prompt": "artist-bio/1", "outcomes": ["enriched"]}).json["opened"] == 2

    @pytest.mark.parametrize(("body", "field"), [
        ({"error_codes": []}, "error_codes"), ({"error_codes": "x"}, "error_codes"),
        ({"error_codes": [""]}, "error_codes.0"),
        ({"prompt": ""}, "prompt"), ({"prompts": "x"}, "prompts"), ({"error_codes": ["x"] * 101}, "error_codes"),
    ])  # fmt: skip
    def test_refuses_what_it_does_not_understand(self, away: Client, body: dict[str, Any], field: str) -> None:
        found = problem(away.post(f"/api/session/{uuid4()}/reprocess", json=body), 422, "invalid-request")
        assert [fault["field"] for fault in found["errors"]] == [field]


class TestRejectsSentBack:
    def mended(self, http: Client, session: UUID) -> tuple[str, bytes]:
        """rejects.csv as a browser saves it, its one row mended."""
        response = http.get(f"/api/session/{session}/rejects")
        name = response.headers["Content-Disposition"].partition('filename="')[2].rstrip('"')
        (header, row) = csv.reader(io.StringIO(response.text, newline=""))
        text = io.StringIO()
        csv.writer(text).writerows([header, [artist_id(1), *row[1:]]])
        return name.replace(".csv", " (2).csv"), text.getvalue().encode()

    def test_join_their_session_by_their_name(self, http: Client, bench: Workbench) -> None:
        session = bench.drop(MIXED)
        bench.run(session)
        found = accepted(sent(http, self.mended(http, session), pipeline="artists"))
        assert found["session_id"] == str(session)
        assert ingested(bench) == {session}
        status = bench.run(session)
        assert (status["status"], status["total"], status["enriched"], status["rejected"]) == ("completed", 3, 2, 1)
        bench.assert_sound(session)

    def test_or_by_the_option_under_any_name(self, http: Client, bench: Workbench) -> None:
        session = bench.drop(MIXED)
        _, body = self.mended(http, session)
        accepted(sent(http, ("mended.csv", body), pipeline="artists", session=str(session)))
        assert ingested(bench) == {session}
        assert bench.run(session)["enriched"] == 2

    def test_are_refused_where_they_cannot_join(self, http: Client, bench: Workbench) -> None:
        session = bench.drop(MIXED)
        mended = self.mended(http, session)
        stranger = uuid4()
        found = problem(sent(http, (f"rejects-{stranger}.csv", mended[1]), pipeline="artists"), 422, "input")
        assert str(stranger) in found["detail"]
        found = problem(sent(http, mended, ("b.csv", artists_csv(1)), pipeline="artists"), 422, "input")
        assert "by themselves" in found["detail"]
        problem(sent(http, mended, pipeline="artists", **{"write-mode": "file"}), 422, "input")
        bench.sessions.cancel(session)
        assert "is cancelled" in problem(sent(http, mended, pipeline="artists"), 422, "input")["detail"]
        assert bench.store.written == []
