"""The peers: what each one is, and what it has left after kill -9."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, kw_only=True, slots=True)
class Peer:
    """One way to do the work."""

    name: str
    script: str = ""  # the module beside this one; empty for Rowlift, which is measured through its stack
    arguments: tuple[str, ...] = ()
    at_once: int = 80
    share: float = 1.0  # of the rows at 200 ms, where all of them would take minutes
    in_table: bool = True  # its records are in table `rows`, not in a file
    kept: str


_ROWLIFT: Final = Peer(
    name="Rowlift",
    kept="Every settled row. Rows in flight stand in the ledger as calls whose end is unknown, and run again by "
    "themselves when their lease ends: paid again, and known to be, or with call-mode=background fetched, not paid.",
)
ALL: Final = (
    Peer(
        name="asyncio + aiohttp, a file",
        script="cookbook",
        at_once=100,
        in_table=False,
        kept="Every line written (not synced: a power cut may take some). Rows in flight are paid without a trace. "
        "Started again it asks for every row anew; skipping those with a line is left to its user.",
    ),
    Peer(
        name="threads",
        script="threaded",
        arguments=("4",),
        at_once=4,
        share=0.1,
        kept="Every committed row. Rows in flight are paid without a trace; started again it asks for them anew.",
    ),
    Peer(name="threads", script="threaded", arguments=("80",), kept="As with four."),
    Peer(name="asyncio", script="gathered", kept="As with threads."),
    Peer(
        name="pgqueuer",
        script="with_pgqueuer",
        kept="Every committed row. Jobs in flight are taken up again after 30 s by another worker and paid again; so "
        "are rows that were committed while the end of their job still waited for its batch.",
    ),
    Peer(
        name="procrastinate",
        script="with_procrastinate",
        kept="Every committed row. Jobs in flight stay `doing` until a task of the user's finds stalled ones and has "
        "them tried again; then they are paid again.",
    ),
    _ROWLIFT,
)
