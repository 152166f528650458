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
    kept="Every settled row. Calls in flight stand in the ledger; when their lease ends they are marked as unknown and "
    "their rows run again: paid again, or fetched with call-mode=background.",
)
ALL: Final = (
    Peer(
        name="aiohttp to a file",
        script="cookbook",
        at_once=100,
        in_table=False,
        kept="Every line written, unless the power goes, too. Rows in flight are paid without a trace, and started "
        "again it pays for every row anew: to skip those with a line is left to its user.",
    ),
    Peer(
        name="threads",
        script="threaded",
        arguments=("4",),
        at_once=4,
        share=0.1,
        kept="Every committed row. Rows in flight are paid without a trace, and again when it is started again.",
    ),
    Peer(name="threads", script="threaded", arguments=("80",), kept="The same."),
    Peer(name="asyncio", script="gathered", kept="The same."),
    Peer(
        name="pgqueuer",
        script="with_pgqueuer",
        kept="Every committed row. After 30 s any worker takes up the jobs in flight and pays for them again.",
    ),
    Peer(
        name="procrastinate",
        script="with_procrastinate",
        kept="Every committed row. Jobs in flight stay `doing` until code of its user's finds the stalled ones and has "
        "them tried again, and paid again.",
    ),
    _ROWLIFT,
)
