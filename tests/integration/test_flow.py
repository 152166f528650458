"""From a dropped file to its results, on a real ledger with faked edges."""

from __future__ import annotations

import json

from tests.workbench import Workbench, artist_id, artists_csv


def test_every_artist_gets_a_bio(bench: Workbench) -> None:
    session = bench.drop(artists_csv(50))
    status = bench.run(session)
    assert status["status"] == "completed"
    assert (status["total"], status["enriched"], status["open"]) == (50, 50, 0)
    assert bench.value("SELECT count(*) FROM artists WHERE bio LIKE 'A bio%'") == 50
    lines = [json.loads(line) for line in bench.store.text("out", f"{session}/results.jsonl").splitlines()]
    assert [line["artist_id"] for line in lines] == [artist_id(i) for i in range(1, 51)]
    assert {line["db_status"] for line in lines} == {"updated"}
    manifest = json.loads(bench.store.text("out", f"{session}/manifest.json"))
    assert manifest["counts"]["enriched"] == 50
    assert bench.sessions.verify(session)["findings"] == []
    assert len(bench.upstream.requests) == 50
