"""What a pipeline is: what its files look like, what is asked of which upstream, where the answer lands."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol
from uuid import UUID

from shared.forecasts import Forecast, Preview
from shared.options import Options
from shared.states import Outcome
from shared.upstreams.base import Answer, Failure

if TYPE_CHECKING:
    from shared.db import Database, Transaction
    from shared.items import Item

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
    """How an item ended: its outcome, why, what it keeps, and for failures the error."""

    outcome: Outcome
    code: str | None = None
    result: dict[str, Any] | None = None
    error_code: str | None = None
    error_message: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Told:
    """What a line of an earlier run's results tells of its row."""

    key: str | None  # the row's; None where the line names none
    answer: dict[str, Any] | None = None  # as `<slug>_held` compares it; None where the line has none of its own
    says: str = ""  # the answer, for people


# What enriches one item: it yields requests for its upstream, is sent the outcome of each, and returns how the item
# ended. A returned Failure leaves it to the spine whether there is another try.
Dialogue = Generator[Any, Answer | Failure, Settled | Failure]


@dataclass(frozen=True, kw_only=True, slots=True)
class Estimate:
    """The most one call can use: tokens against the rate limit, micro-dollars against the budget."""

    tokens: int = 0
    micros: int = 0


class Form(Protocol):
    """How the rows of one kind of file read."""

    @property
    def columns(self) -> tuple[str, ...]:
        """Their columns, in the order they have in a file without a header."""

    @property
    def required(self) -> tuple[str, ...]:
        """Those a header has to name."""

    @property
    def header_words(self) -> frozenset[str]:
        """Cells that show a first line to be a header although it names no column."""

    @property
    def headerless(self) -> bool:
        """Whether a file may do without a header."""

    @property
    def may_be_empty(self) -> bool:
        """Whether a header without rows is a file like any other."""

    def validate(self, cells: Sequence[str | None], extra: dict[str, str]) -> ValidRow | InvalidRow:
        """The row its cells make, in the order of `columns`; None stands for a cell the row lacks.

        Raises InputError if the row shows that the file as a whole cannot be trusted.
        """


class Upstream(Protocol):
    """An outside service a pipeline calls."""

    @property
    def name(self) -> str:
        """Its row in table upstreams."""

    def call(self, request: Any, *, timeout: float) -> Answer | Failure:
        """The answer or why there is none; never raises for what can be foreseen."""


class BackgroundUpstream(Upstream, Protocol):
    """One that can give back an answer by an id it tells before the answer is known."""

    def begin(self, request: Any, *, timeout: float) -> str | Answer | Failure:
        """The id of an accepted request, or its end if that came at once."""

    def fetch(self, response_id: str, *, timeout: float) -> Answer | Failure:
        """The answer of an accepted request, or why there is none."""


@dataclass(frozen=True, kw_only=True, slots=True)
class NewItems:
    """The items a chunk of a file made: numbers from `first` up to and without `beyond`."""

    session: UUID
    first: int
    beyond: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Part:
    """What one object or archive member is to its export."""

    name: str  # what `Pipeline.form` is asked with; ARCHIVE for an archive of parts
    ignored: str | None = None  # why it is not read, for people


ARCHIVE = "archive"


class Grouping(Protocol):
    """What a pipeline adds whose records belong together: an export of several files is one session."""

    def export(self, object_name: str) -> str:
        """The export an uploaded object belongs to: all objects of one are one session."""

    def part(self, path: str, *, alone: bool) -> Part | None:
        """What an object dropped `alone` or an archive's member is to its export; None for what no person put there."""

    def reading_order(self, part: Part) -> int:
        """Where among the members of an archive this one is read."""

    def merge(self, transaction: Transaction, made: NewItems, options: Options) -> Sequence[str]:
        """Find out what the new records belong to, within the transaction that writes them.

        They stand as merged without a parent; when this returns each has an owner, an outcome or its turn. Answers the
        keys of whatever may have its turn now.
        """


class Pipeline(Protocol):
    """One way to enrich rows. The slug is stored and never changes."""

    slug: str
    needs: tuple[str, ...]  # variables its function cannot do without
    paid: bool  # whether its requests cost money: each is then a call in the ledger, and an item makes one at most
    caches: bool  # whether it remembers answers across sessions; results then say `from_cache`
    grouping: Grouping | None  # where records belong together
    tells_more: bool  # whether `<slug>_status` and `<slug>_manifest` add to a session's status and manifest

    def form(self, part: str, header: Sequence[str] | None) -> Form:
        """How the rows of a file read; `part` is what it is to its export, `header` its own, once that is known."""

    def begin(self, db: Database, items: Sequence[Item], options: Options) -> dict[int, Settled | Dialogue]:
        """By item number: how it ended already, or the dialogue that enriches it."""

    def recall(self, db: Database, requests: Sequence[Any]) -> dict[Any, Answer]:
        """Those of the requests whose answer is remembered."""

    def remember(self, db: Database, answers: Mapping[Any, Answer]) -> None:
        """Keep answers for `recall`."""

    def estimate(self, request: Any) -> Estimate:
        """The worst case of a request."""

    def cost(self, answer: Answer | Failure) -> int:
        """What a request cost, in micro-dollars."""

    def forecast(self, db: Database, session: UUID, options: Options) -> Forecast:
        """What the session's waiting items will take; nothing is asked of the upstream."""

    def preview(self, session: UUID, item_no: int, row: Input, options: Options) -> Preview:
        """What would be asked first for an item, and what would be done with the answer."""

    def domain(self, row: Input, settled: Settled) -> dict[str, Any] | None:
        """The row of the domain table as the pipeline's `<slug>_domain` statement reads it; None if there is none."""

    @staticmethod
    def told(line: Input) -> Told | None:
        """What a line of results tells of its row, whoever wrote it; None if it is no line of this pipeline's.

        The statement `<slug>_held` compares such answers with what the database has.
        """

    @property
    def configuration(self) -> str:
        """Prompt and model its answers are made with, under which they are kept for reuse; empty: none are."""

    @property
    def upstream(self) -> Upstream:
        """The service that is called, its client made when first asked for."""
