"""What must hold when a seed is over: of each session, of each line of its file, of every call."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import httpx

from tests.e2e.stacks import Deck
from tests.faults.compare import CLOCKS, Booked, Comparison, Sent, compare
from tests.faults.inflict import Struck
from tests.faults.losses import Moments, losses
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


@dataclass(frozen=True, kw_only=True, slots=True)
class Checked:
    """Both logs of a seed, and what they say together."""

    comparison: Comparison
    sent: list[Sent]
    booked: list[Booked]
    losses: Counter[str]  # requests without a booked success, by reason


def check_calls(deck: Deck, sessions: Sequence[Watched], struck: Sequence[Struck]) -> Checked:
    """The upstream's log beside the calls table: every loss explained, and stopping in time checked too."""
    artists = [one for one in sessions if one.drop is not None]
    sent, booked, moments = sent_requests(deck), booked_calls(deck, artists), Moments.of(struck)
    comparison = compare(sent, booked)
    reasons, unexplained = losses(sent, booked, moments)
    comparison.findings.extend(unexplained)
    comparison.findings.extend(late_calls(artists, sent, booked, moments))
    return Checked(comparison=comparison, sent=sent, booked=booked, losses=reasons)


def late_calls(
    sessions: Sequence[Watched], sent: Sequence[Sent], booked: Sequence[Booked], moments: Moments
) -> Iterable[str]:
    """Calls that were admitted after a pause or a cancel had been answered, and requests that left long after it."""
    for one in sessions:
        for began, ended in one.stopped:
            mine = [row for row in booked if row.session == str(one.session)]
            if admitted := sum(began + CLOCKS < row.started < ended for row in mine):
                yield f"{one.name}: {admitted} calls were admitted after it was stopped"
            late = Counter(s.key for s in sent if began + STOPS_WITHIN < s.started < ended)
            # Requests for the same artist of another session, as its own calls tell.
            late -= Counter(r.key for r in booked if r.session != str(one.session) and began < r.started < ended)
            # One that was stopped between admission and request may send it whenever it goes on.
            if (left := sum(late[key] for key in {row.key for row in mine})) and not moments.stopped(began, ended):
                yield f"{one.name}: {left} requests left later than {STOPS_WITHIN:g} s after it was stopped"


def pending_objects(deck: Deck, sessions: Sequence[Watched]) -> int:
    """How many objects with answers put aside the results bucket holds."""
    bucket = deck.stack.info["buckets"]["results"]
    found = 0
    for one in sessions:
        url = f"{deck.stack.info['storage']}/storage/v1/b/{bucket}/o"
        answer = httpx.get(url, params={"prefix": f"{one.session}/pending/"}, timeout=30)
        found += len(answer.raise_for_status().json().get("items", ()))
    return found


def answers_logged(log: str, message: str) -> int:
    """The sum of `answers` over the log's lines with this message."""
    lines = (line for line in log.splitlines() if f'"message":"{message}' in line)
    return sum(int(found[1]) for found in map(re.compile(r'"answers":(\d+)').search, lines) if found)


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
