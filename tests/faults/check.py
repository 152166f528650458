"""What must hold when a seed is over: of each session, of each line of its file, of every call."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import httpx

from tests.e2e.stacks import Deck
from tests.faults.compare import Booked, Comparison, Sent, compare
from tests.faults.person import Watched

STOPS_WITHIN = 5.0  # seconds after the answer to pause or cancel
DONE = ("enriched", "unchanged")


def booked_calls(deck: Deck, sessions: Sequence[Watched]) -> list[Booked]:
    """The calls table's rows of these sessions."""
    ids = ", ".join(f"'{one.session}'" for one in sessions)
    rows = deck.execute(
        "SELECT i.input->>'artist_name', c.session_id::text, c.item_no, c.round, c.state,"
        " extract(epoch FROM c.started_at)::float8, extract(epoch FROM c.finished_at)::float8,"
        " c.response_id, c.error_code, c.cost"
        " FROM calls c JOIN items i ON i.session_id = c.session_id AND i.item_no = c.item_no"
        f" WHERE c.session_id IN ({ids})"
    )
    names = ("key", "session", "item_no", "round", "state", "started", "finished", "response_id", "error_code", "cost")
    return [Booked(**dict(zip(names, row, strict=True))) for row in rows]


def sent_requests(deck: Deck) -> list[Sent]:
    """The simulated OpenAI's log."""
    told = httpx.get(f"{deck.openai.url}/control/log", timeout=30).raise_for_status().json()
    return [Sent.from_log(entry) for entry in told["calls"]]


def check_sessions(deck: Deck, sessions: Sequence[Watched]) -> list[str]:
    """What is wrong with any of the sessions, by what the API, the bucket and the tables say."""
    findings = []
    for one in sessions:
        findings += [f"{one.name}: {fault}" for fault in _session_faults(deck, one)]
    ids = ", ".join(f"'{one.session}'" for one in sessions)
    witnessed = deck.execute(f"SELECT session_id, what FROM witnessed WHERE session_id IN ({ids}) ORDER BY at LIMIT 20")
    return findings + [f"{session}: witnessed: {what}" for session, what in witnessed]


def check_calls(deck: Deck, sessions: Sequence[Watched]) -> tuple[Comparison, list[Sent], list[Booked]]:
    """The upstream's log beside the calls table, with stopping in time checked too."""
    artists = [one for one in sessions if one.drop is not None]
    sent, booked = sent_requests(deck), booked_calls(deck, artists)
    comparison = compare(sent, booked)
    comparison.findings.extend(late_calls(artists, sent, booked))
    return comparison, sent, booked


def late_calls(sessions: Sequence[Watched], sent: Sequence[Sent], booked: Sequence[Booked]) -> Iterable[str]:
    """Requests that left too long after a pause or a cancel had been answered."""
    for one in sessions:
        booked_then = {row.key for row in booked if row.session == str(one.session)}
        others = {row.key for row in booked if row.session != str(one.session)}
        for began, ended in one.stopped:
            late = [s for s in sent if s.key in booked_then - others and began + STOPS_WITHIN < s.started < ended]
            if late:
                yield f"{one.name}: {len(late)} requests left later than {STOPS_WITHIN:g} s after it was stopped"


def _session_faults(deck: Deck, one: Watched) -> Iterable[str]:
    status = one.status
    yield from (f"verify: {finding}" for finding in deck.verify(one.session))
    if status.get("status") not in ("completed", "cancelled") or status["open"]:
        yield f"it did not end: {json.dumps(status)}"
        return
    lines = (
        deck.results(one.session)
        if status["status"] == "completed"
        else [json.loads(line) for line in deck.api.get(f"/api/session/{one.session}/results").text.splitlines()]
    )
    counted = Counter(line["outcome"] for line in lines)
    if len(lines) != status["total"]:
        yield f"{len(lines)} lines of results, {status['total']} items"
    yield from (f"{n} lines say {what}, the status {status[what]}" for what, n in counted.items() if status[what] != n)
    if one.file is not None:
        yield from _line_faults(one, lines)
        yield from _domain_faults(deck, one)


def _line_faults(one: Watched, lines: Sequence[dict[str, Any]]) -> Iterable[str]:
    file = one.file
    assert file is not None
    whole = one.status["status"] == "completed"
    numbers = Counter(line["line"] for line in lines)
    if twice := [number for number, times in numbers.items() if times > 1]:
        yield f"lines {twice[:10]} have more than one result"
    every = set(file.artists) | file.duplicates | file.rejects
    if strange := set(numbers) - every:
        yield f"results of lines the file does not have: {sorted(strange)[:10]}"
    if whole and (lost := every - set(numbers)):
        yield f"{len(lost)} lines have no result: {sorted(lost)[:10]}"
    allowed = {**dict.fromkeys(file.artists, DONE), **dict.fromkeys(file.duplicates, ("duplicate",))}
    allowed |= dict.fromkeys(file.rejects, ("rejected",))
    wrong = [
        f"line {line['line']} is {line['outcome']} ({line['error_code']}: {line['error']})"
        for line in lines
        if line["outcome"] not in allowed.get(line["line"], ())
        and (whole or line["outcome"] not in ("cancelled", "failed"))
    ]
    if wrong:
        yield f"{len(wrong)} lines ended otherwise than they had to: {wrong[:5]}"
    misnamed = [n["line"] for n in lines if n["line"] in file.artists and n["artist_name"] != file.artists[n["line"]]]
    if misnamed:
        yield f"lines {misnamed[:10]} hold another artist's result"
    if empty := [line["line"] for line in lines if line["outcome"] in DONE and not line["response_text"]]:
        yield f"lines {empty[:10]} are done and have no text"


def _domain_faults(deck: Deck, one: Watched) -> Iterable[str]:
    """What results say and table artists does not hold."""
    ((missing,),) = deck.execute(
        f"SELECT count(*) FROM items i LEFT JOIN artists a ON a.id::text = i.key WHERE i.session_id = '{one.session}'"
        " AND i.outcome IN ('enriched', 'unchanged') AND a.bio IS NULL"
    )
    if missing:
        yield f"{missing} enriched artists have no bio in table artists"
    ((negative, unsettled),) = deck.execute(
        "SELECT count(*) FILTER (WHERE reserved < 0 OR spent < 0 OR spent + reserved > budget),"
        " count(*) FILTER (WHERE EXISTS (SELECT FROM calls WHERE session_id = sessions.id AND state = 'started'))"
        f" FROM sessions WHERE id = '{one.session}'"
    )
    if negative or unsettled:
        yield "its money or its calls are not settled"
