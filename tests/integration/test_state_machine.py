"""The ledger under any order of what can happen to it: every invariant holds after every step.

Each machine works on a session of its own in one database. ROWLIFT_EXAMPLES sets how many machines run.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from shared.calls import PlannedCall, Verdict
from shared.errors import Conflict
from shared.items import CallEnd, Child, Item, Settlement
from shared.states import CallState, Outcome
from tests.factories import COST, LEASE, RESERVE, broken, claim, enriched, planned, settle, start
from tests.workbench import Workbench, artists_csv

MACHINES = int(os.environ.get("ROWLIFT_EXAMPLES", "25"))
STEPS = 25
KINDS = ["answer", "failure", "unknown", "last failure", "hand back", "answered"]
CHILDREN = 12  # keys that items may expand into


@dataclass
class Attempt:
    """What a worker believes of the item it claimed."""

    item: Item
    call: PlannedCall | None = None


class Ledger(RuleBasedStateMachine):
    """One session, its workers, and a model of what each item may have become."""

    bench: Workbench

    def __init__(self) -> None:
        super().__init__()
        self.session: UUID = uuid4()
        self.attempts: list[Attempt] = []
        self.highest: dict[int, int] = {}  # item -> highest attempt any claim was given
        self.paid: dict[int, str] = {}  # item -> the text its domain row must have
        self.cancelled = False
        self.files = 0

    @initialize(n=st.integers(1, 6), budget=st.sampled_from([None, None, 3, 8]))
    def drop(self, n: int, budget: int | None) -> None:
        options = {"session": str(self.session)}
        if budget:
            options["budget"] = f"{budget * RESERVE / 1_000_000:.6f}"
        self.bench.publisher.messages.clear()
        self._ingest(n, 1, options)

    @rule(n=st.integers(1, 4), first=st.integers(1, 8))
    def drop_another(self, n: int, first: int) -> None:
        self._ingest(n, first, {"session": str(self.session)})

    def _ingest(self, n: int, first: int, options: dict[str, str]) -> None:
        self.files += 1
        # Ids differ from machine to machine: artists are shared by all sessions.
        body = artists_csv(n, first=first).replace(b"00000000-0000-4000", f"{self.session}"[:18].encode())
        made = self.bench.drop(body, name=f"artists/{self.session}/{self.files}.csv", **options)
        assert (made == self.session) != self.cancelled, "a cancelled session takes no further files"

    @rule()
    def dispatch(self) -> None:
        self.bench.dispatcher.nudge(self.session)

    @rule()
    def claim(self) -> None:
        for message in self.bench.publisher.take("artists")[:1]:
            for item in claim(self.bench, self.session, json.loads(message.data)["items"]):
                assert item.attempt == self.highest.get(item.number, 0) + 1
                self.highest[item.number] = item.attempt
                self.attempts.append(Attempt(item=item))

    @precondition(lambda self: self.attempts)
    @rule(data=st.data())
    def start_call(self, data: st.DataObject) -> None:
        attempt = data.draw(st.sampled_from(self.attempts))
        call = attempt.call or planned(attempt.item)
        verdict = start(self.bench, call)[attempt.item.number]
        if verdict is Verdict.STARTED:
            attempt.call = call
            assert self._is_newest(attempt)
            assert not self.cancelled or attempt.call

    @precondition(lambda self: self.attempts)
    @rule(
        data=st.data(), kind=st.sampled_from(KINDS), keep=st.booleans(),
        children=st.just([]) | st.lists(st.integers(1, CHILDREN), max_size=4),
    )  # fmt: skip
    def settle(self, data: st.DataObject, kind: str, keep: bool, children: list[int]) -> None:
        """Settle an attempt, late perhaps, and again perhaps: `keep` leaves it to be settled once more."""
        attempt = data.draw(st.sampled_from(self.attempts))
        if not keep:
            self.attempts.remove(attempt)
        settlement = self._settlement(attempt, kind)
        if settlement is None:
            return
        settlement = replace(settlement, children=[self._child(n) for n in children])
        before, keys = self.bench.item(self.session, attempt.item.number), self._keys()
        verdict = settle(self.bench, settlement)[attempt.item.number]
        after = self.bench.item(self.session, attempt.item.number)
        if self._is_newest(attempt):
            assert verdict in ("settled", "already")
        else:
            assert verdict == "superseded"
        asked = {child.key for child in settlement.children} if settlement.outcome else set()
        made = asked - keys if verdict == "settled" else set()
        assert self._keys() == keys | made
        if asked and verdict == "settled":
            assert after["result"]["expansion"] == {"made": len(made), "known": len(children) - len(made), "cut": 0}
        if verdict != "settled":
            assert after == before
        elif settlement.domain:
            self.paid[attempt.item.number] = str(settlement.domain["bio"])

    def _child(self, n: int) -> Child:
        """What items expand into; some of them rows of files as well."""
        key = f"{self.session}"[:18] + f"-8000-{n:012d}"
        return Child(key=key, input={"artist_id": key, "artist_name": f"Child {n}", "artist_data": ""})

    def _keys(self) -> set[str]:
        """The keys that have an item of their own."""
        found = self.bench.execute(
            f"SELECT key FROM items WHERE session_id = '{self.session}' AND key IS NOT NULL "
            "AND outcome IS DISTINCT FROM 'duplicate'"
        )
        assert len(found) == len({key for (key,) in found})
        return {key for (key,) in found}

    def _settlement(self, attempt: Attempt, kind: str) -> Settlement | None:
        call, item = attempt.call, attempt.item
        if item.kept is not None:
            return None  # the processor never calls for these
        if call is None:
            return Settlement(item=item, outcome=None, code="rate_limit", due_in=0.0) if kind == "hand back" else None
        if kind == "answer":
            return enriched(call, f"Bio of item {item.number}, attempt {item.attempt}.")
        if kind == "answered":
            end = CallEnd(id=call.id, state=CallState.SUCCEEDED, cost=COST)
            return Settlement(item=item, outcome=Outcome.FAILED, code="db.refused", error_code="db.refused",
                              result=enriched(call, "kept").result, call=end)  # fmt: skip
        state = CallState.UNKNOWN if kind == "unknown" else CallState.FAILED
        return broken(call, state, outcome=Outcome.FAILED if kind == "last failure" else None)

    def _is_newest(self, attempt: Attempt) -> bool:
        return attempt.item.attempt == self.highest[attempt.item.number]

    @rule(seconds=st.sampled_from([3.0, 31.0, LEASE + 1]))
    def time_passes(self, seconds: float) -> None:
        self.bench.pass_time(seconds)

    @rule()
    def rescue(self) -> None:
        for row in self.bench.db.rows("unfinished_sessions"):
            if row["id"] != self.session:  # of machines that ended: none of our business
                self.bench.execute(f"UPDATE sessions SET completed_epoch = epoch WHERE id = '{row['id']}'")
        self.bench.rescuer.round()

    @rule()
    def pause(self) -> None:
        self._person(self.bench.sessions.pause)

    @rule()
    def resume(self) -> None:
        self._person(lambda session: self.bench.sessions.resume(session, budget_usd=1.0))

    @rule(rarely=st.integers(0, 4))
    def cancel(self, rarely: int) -> None:
        if rarely == 0:
            self._person(self.bench.sessions.cancel)
            self.cancelled = self.bench.facts(self.session)["status"] == "cancelled"

    @rule(outcome=st.sampled_from(["failed", "failed", "enriched"]))
    def reprocess(self, outcome: str) -> None:
        again = self.bench.execute(
            f"SELECT item_no FROM items WHERE session_id = '{self.session}' AND outcome = '{outcome}'"
        )
        self._person(lambda session: self.bench.sessions.reprocess(session, outcomes=[outcome]))
        if not self.cancelled:
            for (number,) in again:  # so that nothing late from the old round lands in the new one
                self.highest[number] = self.highest.get(number, 0) + 1

    def _person(self, act: Any) -> None:
        """What a person asks for may be refused, never broken."""
        try:
            act(self.session)
        except Conflict:
            assert self.bench.facts(self.session)["status"] in ("completed", "failed", "cancelled", "paused")

    @rule()
    def finalize(self) -> None:
        for _ in self.bench.publisher.take("finalize"):
            self.bench.finalizer.finalize(self.session)
        self.bench.publisher.take("uploads")

    @invariant()
    def the_ledger_is_sound(self) -> None:
        if not self.files:
            return
        self.bench.assert_sound(self.session)
        facts = self.bench.facts(self.session)
        if facts["budget"] is not None:
            assert facts["spent"] + facts["reserved"] <= facts["budget"]
        found = self.bench.execute(
            f"SELECT item_no, attempt, outcome, result->>'text', round FROM items WHERE session_id = '{self.session}'"
        )
        for number, attempt, outcome, text, round_no in found:
            assert attempt == self.highest.get(number, 0)
            if outcome == "enriched" and round_no == 1:
                assert text == self.paid[number]
        earlier = self.bench.execute(
            f"SELECT item_no, round, attempt FROM item_history WHERE session_id = '{self.session}' ORDER BY 1, 2"
        )
        for number, attempt, _, _, round_no in found:
            rounds = [(before, of) for item, before, of in earlier if item == number]
            assert [before for before, _ in rounds] == list(range(1, round_no))
            attempts = [of for _, of in rounds]
            assert attempts == sorted({*attempts})
            assert not attempts or attempts[-1] < attempt
        if facts["status"] == "completed":
            assert all(row[2] for row in found)
            assert facts["files_open"] == 0

    def teardown(self) -> None:
        """However it went, workers that die and a rescue that goes on bring the session to its end."""
        if not self.files:
            return
        for _ in range(30):
            if self.bench.facts(self.session)["hold"]:
                self._person(lambda session: self.bench.sessions.resume(session, budget_usd=1.0))
            self.bench.pass_time(LEASE + 1)
            self.rescue()
            self.bench.deliver()
            status = self.bench.sessions.status(self.session)
            if status["status"] in ("completed", "failed", "cancelled") and not status["open"]:
                break
        assert status["open"] == 0, status
        self.bench.deliver()
        self.the_ledger_is_sound_at_its_end()

    def the_ledger_is_sound_at_its_end(self) -> None:
        self.bench.assert_sound(self.session)
        _, data = self.bench.store.objects["out", f"{self.session}/results.jsonl"]
        total = self.bench.value(f"SELECT count(*) FROM items WHERE session_id = '{self.session}'")
        assert data.count(b"\n") == total


@pytest.fixture
def machine(bench: Workbench) -> type[Ledger]:
    """The machine on this test's database."""

    class OnThisLedger(Ledger):
        pass

    OnThisLedger.bench = bench
    return OnThisLedger


def test_every_invariant_holds_whatever_happens(machine: type[Ledger]) -> None:
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=MACHINES,
            stateful_step_count=STEPS,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            print_blob=True,
        ),
    )
