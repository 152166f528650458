"""What a pipeline is: what a row must look like, which call enriches it, where the answer lands."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from shared.options import Options
from shared.states import Outcome

if TYPE_CHECKING:
    from shared.db import Database
    from shared.upstreams.base import Answer, Failure

Input = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class ValidRow:
    """A row that may become an item: its key within the session, and its input as stored."""

    key: str
    input: dict[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class InvalidRow:
    """Why a row cannot become an item: the column, a code, and a sentence for the person who mends it."""

    column: str
    code: str
    reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Settled:
    """An item that needs no call: its outcome, why, and for failures the error."""

    outcome: Outcome
    code: str
    error_code: str | None = None
    error_message: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Estimate:
    """The most one call can use: tokens against the rate limit, micro-dollars against the budget."""

    tokens: int
    micros: int


class Upstream(Protocol):
    """An outside service a pipeline calls."""

    @property
    def name(self) -> str:
        """Its row in table upstreams."""

    def call(self, request: Any, *, timeout: float) -> Answer | Failure:
        """The answer or why there is none; never raises for what can be foreseen."""


class Pipeline(Protocol):
    """One way to enrich rows. The slug is stored and never changes."""

    slug: str
    columns: tuple[str, ...]
    required: tuple[str, ...]
    header_words: frozenset[str]  # cells that show a first line to be a header although it names no column
    needs: tuple[str, ...]  # variables its function cannot do without

    def validate(self, cells: Sequence[str | None], extra: dict[str, str]) -> ValidRow | InvalidRow:
        """The row its cells make, in the order of `columns`; None stands for a cell the row lacks."""

    def settle_without_call(self, db: Database, items: Mapping[int, Input], options: Options) -> dict[int, Settled]:
        """The items that end before anything is paid, by item number."""

    def request(self, row: Input) -> Any:
        """What the upstream's `call` takes for one item."""

    def estimate(self, request: Any) -> Estimate:
        """The worst case of that call."""

    def cost(self, answer: Answer | Failure) -> int:
        """What the call cost, in micro-dollars."""

    def result(self, row: Input, answer: Answer) -> dict[str, Any]:
        """What the item keeps of an answer; `domain` makes the domain row of it."""

    def domain(self, row: Input, result: Mapping[str, Any]) -> dict[str, Any]:
        """The row of the domain table, as the pipeline's `<slug>_domain` statement reads it."""

    @property
    def upstream(self) -> Upstream:
        """The service that is called, its client made when first asked for."""
