"""A pipeline from one class, its SQL, a migration and a block of the topology: all that Rowlift does works for it."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from cli.guessing import guessed
from shared.api import choices
from shared.csv_export import csv_pages
from shared.db import Database
from shared.pipelines import PIPELINES
from shared.pipelines.base import Pipeline
from shared.results import result_lines
from tests import words
from tests.resumption import keep, results
from tests.workbench import Workbench

FILE = b"word,note\nhello,greeting\n,nothing\nide?,asked\nhello,again\nsong,\n"


@pytest.fixture
def bench(db: Database, database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Workbench]:
    """Rowlift with the pipeline in it."""
    words.known(monkeypatch, tmp_path / "words")
    ini = words.migrations(tmp_path / "migrations")
    upgrade = [sys.executable, "-m", "alembic", "-c", str(ini), "upgrade", "head"]
    env = {**os.environ, "DATABASE_URL": database_url, "PYTHONPATH": str(words.ROOT)}
    subprocess.run(upgrade, env=env, check=True, capture_output=True)
    with words.read_anew():
        yield Workbench(db=db, url=database_url, slug="words", topology=words.described())


def lines(bench: Workbench, session: UUID) -> list[dict[str, Any]]:
    return [json.loads(line) for line in results(bench, session).splitlines()]


def table(bench: Workbench) -> list[Any]:
    return bench.execute("SELECT key, note, letters, attempt FROM words ORDER BY key")


def test_rows_are_enriched_rejected_repeated_and_failed(bench: Workbench) -> None:
    session = bench.drop(FILE)
    status = bench.run(session)
    assert (status["status"], status["total"]) == ("completed", 5)
    assert (status["enriched"], status["rejected"], status["duplicate"], status["failed"]) == (2, 1, 1, 1)
    found = lines(bench, session)
    assert found[0] == {
        "item_no": 1, "key": "hello", "word": "hello", "note": "greeting", "letters": 5, "db_status": "updated",
        "error": None, "outcome": "enriched", "attempts": 1, "code": None, "error_code": None, "parent": None,
        "line": 2, "expansion": None,
    }  # fmt: skip
    assert (found[1]["outcome"], found[1]["error_code"]) == ("rejected", "input.bad_cell")
    assert "word is ''" in found[1]["error"]
    assert (found[2]["db_status"], found[2]["error"]) == ("error", "ide? is no word.")
    assert found[3]["parent"] == 1
    assert table(bench) == [["hello", "greeting", 5, 1], ["song", "", 4, 1]]
    _, rejects = bench.store.objects["out", f"{session}/rejects.csv"]
    assert b"nothing" in rejects
    bench.assert_sound(session)


def test_the_same_file_again_skips_what_is_there_if_it_is_asked_to(bench: Workbench) -> None:
    bench.run(bench.drop(FILE))
    session = bench.drop(FILE, skip_existing="true")
    status = bench.run(session)
    assert (status["skipped"], status["enriched"], status["failed"]) == (2, 0, 1)
    assert [line["db_status"] for line in lines(bench, session)].count("skipped") == 2
    bench.assert_sound(session)


@pytest.mark.parametrize("mode", ["both", "db", "file"])
def test_answers_go_where_the_write_mode_says(bench: Workbench, mode: str) -> None:
    session = bench.drop(FILE, write_mode=mode)
    assert bench.run(session)["enriched"] == 2
    assert len(table(bench)) == (0 if mode == "file" else 2)
    found = lines(bench, session)
    assert set(found[0]) == set(PIPELINES["words"].columns(minimal=mode == "db"))
    assert found[0]["db_status"] == (None if mode == "file" else "updated")
    bench.assert_sound(session)


def test_failed_rows_run_again_and_rounds_are_kept(bench: Workbench) -> None:
    session = bench.drop(FILE)
    bench.run(session)
    assert bench.sessions.reprocess(session) == 1
    assert bench.run(session)["failed"] == 1
    assert bench.sessions.reprocess(session, outcomes=["enriched"]) == 2
    assert bench.run(session)["enriched"] == 2
    assert {row[3] for row in table(bench)} == {3}
    bench.assert_sound(session)


def test_verify_finds_a_row_that_another_wrote_and_one_that_is_gone(bench: Workbench) -> None:
    session = bench.drop(FILE)
    bench.run(session)
    bench.execute("UPDATE words SET attempt = 7 WHERE key = 'hello'")
    bench.execute("DELETE FROM words WHERE key = 'song'")
    assert [one["finding"] for one in bench.sessions.verify(session)["findings"]] == [
        "row hello names item 1, attempt 7, which did not write it", "the row of item 5, song, is gone",
    ]  # fmt: skip


def test_a_dry_run_says_what_would_be_asked(bench: Workbench) -> None:
    session = bench.drop(FILE, dry_run="true")
    bench.run(session)
    quote = bench.facts(session)["quote"]
    assert quote["to_run"] == 3
    assert quote["preview"]["items"][0]["request"] == {"asked": "hello"}
    assert table(bench) == []


def test_an_earlier_run_is_gone_on_with(bench: Workbench) -> None:
    first = bench.drop(FILE)
    bench.run(first)
    other = results(bench, first).replace(b'"letters":4', b'"letters":9')  # the database says otherwise of song
    session = bench.drop(FILE, resume=keep(bench, other))
    status = bench.run(session)
    assert (status["resumed"]["confirmed"], status["resumed"]["contradicted"]) == (1, 1)
    codes = [line["code"] for line in lines(bench, session)]
    assert codes == ["resumed", "input.bad_cell", "upstream.no_word", "same_key", None]
    bench.assert_sound(session)


def test_a_phrase_expands_into_its_words_and_adds_none_when_it_runs_again(bench: Workbench) -> None:
    session = bench.drop(b"word,note\nhello big world,x\nbig,own\n")
    status = bench.run(session)
    assert (status["status"], status["total"], status["enriched"]) == ("completed", 4, 4)
    found = lines(bench, session)
    assert [(line["key"], line["parent"], line["line"]) for line in found] == [
        ("hello big world", None, 2), ("big", None, 3), ("hello", 1, 2), ("world", 1, 2),
    ]  # fmt: skip
    assert found[0]["expansion"] == {"made": 2, "known": 1, "cut": 0}
    assert bench.sessions.reprocess(session, key="hello big world") == 1
    assert bench.run(session)["total"] == 4
    assert lines(bench, session)[0]["expansion"] == {"made": 0, "known": 3, "cut": 0}
    bench.assert_sound(session)


def test_what_a_resumed_row_expanded_into_is_held_by_its_own_lines(bench: Workbench) -> None:
    first = bench.drop(b"word\nhello wor?d\ncold tea\n")
    assert bench.run(first)["failed"] == 1
    session = bench.drop(b"word\nhello wor?d\ncold tea\n", resume=keep(bench, results(bench, first)))
    assert bench.run(session)["total"] == 6
    assert [(line["key"], line["outcome"], line["code"]) for line in lines(bench, session)] == [
        ("hello wor?d", "enriched", None), ("cold tea", "enriched", None), ("hello", "skipped", "resumed"),
        ("wor?d", "failed", "upstream.no_word"), ("cold", "skipped", "resumed"), ("tea", "skipped", "resumed"),
    ]  # fmt: skip
    bench.assert_sound(session)


def test_a_phrase_of_too_many_words_is_cut_and_says_so(bench: Workbench) -> None:
    bench = Workbench(db=bench.db, url=bench.url, slug="words", topology=bench.topology, changes={"max_expansion": 2})
    session = bench.drop(b"word\na b c d e\n")
    assert bench.run(session)["total"] == 3
    first = lines(bench, session)[0]
    assert (first["code"], first["expansion"]) == ("expansion_cut", {"made": 2, "known": 0, "cut": 3})
    assert first["error"].endswith("the first 2 were made, 3 were not.")
    bench.assert_sound(session)


def test_phrases_of_one_message_with_many_words_together_are_settled_one_by_one(
    bench: Workbench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shared.settling.MADE_AT_ONCE", 2)
    session = bench.drop(b"word\na b\nc d\ne f\n")
    assert bench.run(session)["enriched"] == 9
    transactions = bench.value("SELECT count(DISTINCT settled_in) FROM items WHERE item_no <= 3")
    assert transactions == 3
    bench.assert_sound(session)


def test_items_of_a_paid_pipeline_do_not_expand(bench: Workbench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PIPELINES["words"], "paid", True)
    bench = Workbench(db=bench.db, url=bench.url, slug="words", topology=bench.topology)
    session = bench.drop(b"word\nhello world\nhello\n")
    status = bench.run(session)
    assert (status["total"], status["failed"], status["enriched"]) == (2, 1, 1)
    assert lines(bench, session)[0]["error_code"] == "upstream.unexpected"


def test_a_paid_class_says_itself_what_it_costs() -> None:
    with pytest.raises(TypeError, match="it has to say estimate, cost and forecast itself"):
        type("Dear", (Pipeline,), {"slug": "dear", "paid": True})


def test_its_lines_are_csv_as_well(bench: Workbench) -> None:
    session = bench.drop(FILE)
    bench.run(session)
    columns = PIPELINES["words"].columns(minimal=False)
    text = b"".join(csv_pages(result_lines(bench.db, session, pipeline="words", minimal=False), [*columns], guard=True))
    assert [row["letters"] for row in csv.DictReader(io.StringIO(text.decode()))] == ["5", "", "", "", "4"]


def test_people_are_told_of_it(bench: Workbench, tmp_path: Path) -> None:
    told = next(one for one in choices.pipelines(bench.settings) if one["slug"] == "words")
    assert (told["title"], told["columns"]) == ("Words: how many letters each has", ["word", "note"])
    assert choices.has_effect("skip_existing", "words")
    assert not choices.has_effect("budget", "words")
    (tmp_path / "list.csv").write_bytes(FILE)
    assert guessed([tmp_path / "list.csv"]) == "words"
