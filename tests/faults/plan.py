"""What one seed does: which files are dropped, what people do to them, and what breaks when. Pure."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

Details = Mapping[str, float]
Made = tuple[str, float, Details]  # target, seconds it lasts, details


@dataclass(frozen=True, kw_only=True, slots=True)
class Drop:
    """One file of artists and what people do to its session; times are seconds from the seed's start."""

    at: float
    name: str
    first: int  # number of its first artist
    unique: int  # rows that are artists of their own
    duplicates: int = 0  # rows that repeat an artist of the file
    rejects: int = 0  # rows whose id is none
    wide: bool = False  # rows long enough for the file to be read in several chunks
    budget: float | None = None  # dollars an artist, times the artists; raised whenever it has run out
    again_at: float | None = None  # the same bytes under another name
    pause: tuple[float, float] | None = None  # from, to
    cancel_at: float | None = None
    redo: bool = False  # once it is completed, a tenth of it is asked to run again

    @property
    def rows(self) -> int:
        """All records of the file."""
        return self.unique + self.duplicates + self.rejects


@dataclass(frozen=True, kw_only=True, slots=True)
class Fault:
    """One thing that breaks: what, where, when, for how long."""

    at: float
    kind: str
    target: str = ""
    lasts: float = 0.0
    details: Details = field(default_factory=dict)

    def __str__(self) -> str:
        told = [f"{self.at:5.1f} s  {self.kind}", self.target, f"for {self.lasts:g} s" if self.lasts else ""]
        return " ".join([*filter(None, told), *(f"{name}={value:g}" for name, value in self.details.items())])


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """A seed spelt out."""

    seed: int
    seconds: float  # after them nothing breaks any more
    latency: float  # of the simulated OpenAI
    duplicate: float  # share of notices delivered twice
    late: float  # share of notices held back, so that others overtake them
    drops: tuple[Drop, ...]
    faults: tuple[Fault, ...]
    films_at: float | None  # when an export of films is dropped beside the artists

    def lines(self) -> list[str]:
        """The plan for people."""
        head = f"{self.duplicate:.0%} of notices twice, {self.late:.0%} late, answers after {self.latency:g} s"
        drops = [
            f"{drop.at:5.1f} s  drop {drop.name}: {drop.unique} artists, {drop.duplicates} duplicates, "
            f"{drop.rejects} rejects{_extras(drop)}"
            for drop in self.drops
        ]
        films = [] if self.films_at is None else [f"{self.films_at:5.1f} s  drop an export of films"]
        return [head, *drops, *films, *map(str, self.faults)]


def _extras(drop: Drop) -> str:
    told = [
        "wide" if drop.wide else "",
        f"budget ${drop.budget:g} an artist" if drop.budget is not None else "",
        f"dropped again at {drop.again_at:g}" if drop.again_at is not None else "",
        f"paused from {drop.pause[0]:g} to {drop.pause[1]:g}" if drop.pause else "",
        f"cancelled at {drop.cancel_at:g}" if drop.cancel_at is not None else "",
        "partly redone" if drop.redo else "",
    ]
    return "".join(f", {word}" for word in told if word)


# Those that pay are hit most. Names are those of infra/topology.yaml.
_FUNCTIONS = ("process-artists",) * 6 + ("ingest", "finalize", "rescue", "api", "dead-letters", "process-movies")


def _worker(rng: random.Random) -> Made:
    return rng.choice(_FUNCTIONS), 0, {}


def _stop(rng: random.Random) -> Made:
    return "process-artists", round(rng.uniform(11.2, 14.5), 1), {}  # the lease is 10 s


def _postgres(rng: random.Random) -> Made:
    return rng.choice(("fast", "immediate", "kill", "backend")), 0, {}


def _for(low: float, high: float, **details: tuple[float, float]) -> Callable[[random.Random], Made]:
    def make(rng: random.Random) -> Made:
        return "", round(rng.uniform(low, high), 1), {k: round(rng.uniform(*v), 2) for k, v in details.items()}

    return make


def _answers(rng: random.Random) -> Made:
    return "", 0, {"answers": rng.randint(1, 12)}


_STORMS: tuple[Mapping[str, float], ...] = (
    {"429": 0.6},
    {"429_bare": 0.3, "500": 0.2},
    {"hang": 0.3},
    {"cut": 0.4},
    {"malformed": 0.4},
    {"503": 0.5},
    {"slow": 0.3, "cut": 0.2, "malformed": 0.2},
)


def _storm(rng: random.Random) -> Made:
    return "openai", round(rng.uniform(1.0, 3.0), 1), rng.choice(_STORMS)


def _films_storm(rng: random.Random) -> Made:
    return "tmdb", round(rng.uniform(1.0, 3.0), 1), {rng.choice(("429", "500", "cut")): 0.4}


# kind -> weight, and what it is made of
KINDS: Mapping[str, tuple[int, Callable[[random.Random], Made]]] = {
    "kill_worker": (5, _worker),
    "kill_function": (3, _worker),
    "stop_worker": (3, _stop),
    "postgres": (3, _postgres),
    "cut": (2, lambda rng: ("", 0, {})),
    "cut_answers": (3, _answers),
    "refuse": (1, _for(0.5, 2.5)),
    "delay": (2, _for(1.0, 3.0, by=(0.02, 0.3))),
    "silence": (1, _for(1.5, 5.0)),
    "broker": (3, lambda rng: ("pubsub", 0, {})),
    "pusher": (1, lambda rng: ("pusher", 0, {})),
    "storm": (5, _storm),
    "films_storm": (1, _films_storm),
    "systemic": (1, lambda rng: (rng.choice(("quota", "key_ok")), round(rng.uniform(0.5, 1.5), 1), {})),
}
# PostgreSQL away for longer than any handler waits for it (its deadline is 6 s). Nobody is killed or stopped meanwhile,
# so that every answer lost then is one too many.
AWAY_SHARE = 0.3  # of the seeds
_AWAY: Mapping[str, float] = {"slow": 0.5}


def _away(rng: random.Random) -> Made:
    return "openai", round(rng.uniform(8.5, 10.0), 1), _AWAY


def make_plan(seed: int, seconds: float = 12.0) -> Plan:
    """The plan of a seed: the same for the same seed and length."""
    rng = random.Random(f"rowlift {seed}")
    drops = _drops(rng, seed, seconds)
    return Plan(
        seed=seed,
        seconds=seconds,
        latency=round(rng.uniform(0.2, 0.9), 2),
        duplicate=0.05,
        late=round(rng.uniform(0, 0.15), 2),
        drops=drops,
        faults=_faults(rng, seconds),
        films_at=round(rng.uniform(0, 3), 1) if rng.random() < 0.35 else None,
    )


def _drops(rng: random.Random, seed: int, seconds: float) -> tuple[Drop, ...]:
    count = rng.choice((1, 2, 2, 3))
    low, high = {1: (400, 1000), 2: (250, 500), 3: (200, 330)}[count]
    found: list[Drop] = []
    first = 0
    for number in range(count):
        unique = rng.randint(low, high)
        at = 0.0 if number == 0 else round(rng.uniform(0, 4), 1)
        paused = _later(rng, at, seconds)
        odd = rng.random() < 0.5
        found.append(
            Drop(
                at=at,
                name=f"seed-{seed}-{number}",
                first=first,
                unique=unique,
                duplicates=rng.randint(1, 40) if odd else 0,
                rejects=rng.randint(1, 40) if odd else 0,
                wide=rng.random() < 0.3,
                # An answer of the simulated OpenAI costs 0.00017; its worst case, which a call whose end is unknown
                # keeps, 0.0006 to 0.0009. So this runs out never, once, or several times, and calls under way take
                # most of it.
                budget=round(rng.uniform(0.00008, 0.00025), 6) if rng.random() < 0.4 else None,
                again_at=_later(rng, at, seconds) if rng.random() < 0.25 and unique < 500 else None,
                pause=(paused, round(paused + rng.uniform(6, 12), 1)) if rng.random() < 0.25 else None,
                cancel_at=_later(rng, at, seconds) if rng.random() < 0.08 else None,
                redo=rng.random() < 0.25,
            )
        )
        first += unique
    return tuple(found)


def _later(rng: random.Random, at: float, seconds: float) -> float:
    """A moment while a file dropped then should run."""
    return round(rng.uniform(at + 1.0, max(at + 2.0, seconds - 2)), 1)


def _faults(rng: random.Random, seconds: float) -> tuple[Fault, ...]:
    names, weights = list(KINDS), [weight for weight, _ in KINDS.values()]
    found: list[Fault] = []
    at = rng.uniform(0.3, 1.5)
    away = rng.uniform(max(1.5, seconds / 3), seconds) if rng.random() < AWAY_SHARE else None
    until = seconds if away is None else away - 1.0
    while at < until:
        (kind,) = rng.choices(names, weights)
        target, lasts, details = KINDS[kind][1](rng)
        stops = kind == "stop_worker"
        if stops and (away is not None or at > seconds / 2 or any(fault.kind == kind for fault in found)):
            kind, target, lasts, details = "kill_worker", "process-artists", 0.0, {}  # one worker has to go on
        found.append(Fault(at=round(at, 1), kind=kind, target=target, lasts=float(lasts), details=details))
        at += rng.uniform(0.4, 2.0)
    if away is not None:
        target, lasts, details = _away(rng)
        found.append(Fault(at=round(away, 1), kind="away", target=target, lasts=lasts, details=details))
    return tuple(found)
