"""What a pipeline is: what its files look like, what is asked of which upstream, where the answer lands."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final, Protocol
from uuid import UUID

from shared.columns import Scalar, Type
from shared.config import Settings
from shared.forecasts import Forecast, Foretold, Preview, Range
from shared.items import Child
from shared.options import Options
from shared.paging import by_number
from shared.states import Outcome
from shared.text import shortened
from shared.upstreams.base import Answer, Failure

if TYPE_CHECKING:
    from shared.db import Database, Transaction
    from shared.items import Item
    from shared.samples import Sample

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
    """How an item ended: its outcome, why, what it keeps, for failures the error, and what it expands into."""

    outcome: Outcome
    code: str | None = None
    result: dict[str, Any] | None = None
    error_code: str | None = None
    error_message: str | None = None
    children: tuple[Child, ...] = ()  # not of paid pipelines: an answer that is used again would bring none


@dataclass(frozen=True, kw_only=True, slots=True)
class Told:
    """What a line of an earlier run's results tells of its row."""

    key: str | None  # the row's; None where the line names none
    answer: dict[str, Any] | None = None  # as `<slug>_held` compares it; None where the line has none of its own
    says: str = ""  # the answer, for people
    part: bool = False  # whether it belongs to the line of another row, and is looked at with that


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

    def together(
        self, transaction: Transaction, session: UUID, rows: Mapping[int, ValidRow], options: Options
    ) -> AbstractSet[int]:
        """The numbers of those new records that may belong with others, asked before a transaction writes them.

        Any other stands for itself under its key, and has its turn.
        """

    def merge(
        self, transaction: Transaction, made: NewItems, together: AbstractSet[int], options: Options
    ) -> Sequence[str]:
        """Find out what the new records belong to, within the transaction that writes them.

        Those that may belong with others stand as merged without a parent; when this returns each has an owner, an
        outcome or its turn. Answers the keys of whatever of theirs may have its turn now.
        """


@dataclass(frozen=True, kw_only=True, slots=True)
class Service:
    """The outside service a pipeline asks, for what people are told of it."""

    called: str  # as its makers write it
    stand_in: str  # what the local stack calls its simulation, and stack.json the address of that
    key: str  # the variable that makes it real; empty where it is real unless somebody simulates it


class Pipeline:
    """One way to enrich rows, each a subclass in a module of this folder named for its slug.

    A subclass says at least `slug`, `ask` and `upstream`, and `rows` or `form`. Everything else has a default that is
    right for rows that each stand for themselves, whose answers are free, and which go into a table named as the slug
    with columns `key` (the row's, the primary key), `session_id`, `item_no` and `attempt`.
    """

    # Who it is. The slug is stored with every session and never changes.
    slug: ClassVar[str]
    title: ClassVar[str] = ""  # for people; its slug where it has none
    service: ClassVar[Service | None] = None
    needs: ClassVar[tuple[str, ...]] = ()  # variables its function cannot do without

    # What its files are.
    rows: ClassVar[Form | None] = None  # how they read, where that is the same for all
    accepts: ClassVar[tuple[str, ...]] = (".csv", ".tsv", ".txt")  # endings an upload offers to choose
    grouping: ClassVar[Grouping | None] = None  # where records belong together
    known_by: ClassVar[str] = ""  # what its files are told by, for people

    # What it does.
    paid: ClassVar[bool] = False  # whether requests cost money: each is then a call in the ledger, an item makes one
    caches: ClassVar[bool] = False  # whether it remembers answers across sessions; results then say `from_cache`
    tells_more: ClassVar[bool] = False  # whether `<slug>_status` and `<slug>_manifest` add to status and manifest
    heeds: ClassVar[frozenset[str]] = frozenset({"skip_existing"})  # which of `options.ONLY_SOME` have an effect

    # What a line of its results holds, in order: of the row, of the answer, and whole. `short` is what remains of it in
    # write mode `db`.
    of_the_row: ClassVar[Mapping[str, Type]] = {}
    of_the_answer: ClassVar[Mapping[str, Type]] = {}
    whole: ClassVar[Mapping[str, Type]] = {}
    short: ClassVar[tuple[str, ...]] = ("item_no", "key", "db_status", "error")
    never_ran: ClassVar[
        tuple[str, ...]
    ] = ()  # codes of lines for whose row nothing was looked for: it still has to run

    def __init_subclass__(cls) -> None:
        own = vars(cls)
        if cls.rows is not None:
            cls.known_by = own.get("known_by", f"the columns {' and '.join(cls.rows.required)}")
            cls.of_the_row = own.get("of_the_row", dict.fromkeys(cls.rows.columns, Scalar.TEXT))
        if "whole" not in own:
            cls.whole = {**_BEGIN, **cls.of_the_row, **cls.of_the_answer, **_END}
        if cls.paid and not {"estimate", "cost", "forecast"} <= own.keys():
            raise TypeError(f"{cls.__name__} is paid: it has to say estimate, cost and forecast itself.")

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    # Of the ledger's side: what is asked, and what comes of it.

    def form(self, part: str, header: Sequence[str] | None) -> Form:
        """How the rows of a file read; `part` is what it is to its export, `header` its own, once that is known."""
        if self.rows is None:
            raise self._unsaid("rows or form")
        return self.rows

    def single(self, bucket: str, name: str, generation: int) -> ValidRow | None:
        """The row an uploaded object is by itself; None for one whose rows stand in it. Raises InputError."""
        return None

    @classmethod
    def is_single(cls, name: str) -> bool:
        """Whether a file of this name, on somebody's disk, is a row by itself: many of them are one session."""
        return False

    def ask(self, row: Input) -> Dialogue:
        """The dialogue that enriches a row."""
        raise self._unsaid("ask or begin")

    @property
    def upstream(self) -> Upstream:
        """The service that is called, its client made when first asked for."""
        raise self._unsaid("upstream")

    def _unsaid(self, what: str) -> TypeError:
        """For what a subclass has to say in one of two ways, so that neither can be abstract."""
        return TypeError(f"{type(self).__name__} has to say {what}; docs/pipelines.md shows how.")

    def begin(self, db: Database, items: Sequence[Item], options: Options) -> dict[int, Settled | Dialogue]:
        """By item number: how it ended already, or the dialogue that enriches it."""
        if options.skip_existing and options.writes_domain:
            there = {row["key"] for row in db.rows(f"{self.slug}_known", keys=[item.key for item in items])}
            skipped = Settled(outcome=Outcome.SKIPPED, code="skip_existing")
            return {item.number: skipped if item.key in there else self.ask(item.input) for item in items}
        return {item.number: self.ask(item.input) for item in items}

    def domain(self, row: Input, settled: Settled) -> dict[str, Any] | None:
        """The row of the domain table as the pipeline's `<slug>_domain` statement reads it; None if there is none."""
        if settled.outcome is not Outcome.ENRICHED or settled.result is None:
            return None
        return {**row, **settled.result}

    def given_up(self, item: Item, failure: Failure, options: Options) -> Settled:
        """How an item ends that failed for the last time."""
        return Settled(
            outcome=Outcome.FAILED, code=failure.code, error_code=failure.code, error_message=failure.message
        )

    def absorb(self, transaction: Transaction, made: NewItems) -> None:
        """What new rows of a file leave in the database beside their items, within the transaction that writes them.

        Only asked in write modes with tables; not where records belong together, which have `grouping.merge`.
        """

    @classmethod
    def copies(cls, db: Database, session: UUID, options: Options) -> Mapping[str, Iterable[bytes]]:
        """What else of a session is written to the results bucket, as CSV, by its name there: while it runs, too."""
        return {}

    def recall(self, db: Database, requests: Sequence[Any]) -> dict[Any, Answer]:
        """Those of the requests whose answer is remembered."""
        return {}

    def remember(self, db: Database, answers: Mapping[Any, Answer]) -> None:
        """Keep answers for `recall`."""

    @property
    def configuration(self) -> str:
        """Prompt and model its answers are made with, under which they are kept for reuse; empty: none are."""
        return ""

    # What it will take.

    def estimate(self, request: Any) -> Estimate:
        """The worst case of a request."""
        return Estimate()

    def cost(self, answer: Answer | Failure) -> int:
        """What a request cost, in micro-dollars."""
        return 0

    def forecast(self, db: Database, session: UUID, options: Options) -> Forecast:
        """What the session's waiting items will take, here a request each; nothing is asked of the upstream."""
        waiting = sum(row["items"] for row in by_number(db, f"{self.slug}_forecast", session=session))
        once = Range(low=waiting, likely=waiting, high=waiting)
        return Forecast(to_run=waiting, requests=once, seconds=USUAL_SECONDS, basis="one request for each row")

    def preview(self, session: UUID, item_no: int, row: Input, options: Options) -> Preview:
        """What would be asked first for an item, and what would be done with the answer."""
        effect = f"the answer is written to table {self.slug}" if options.writes_domain else None
        return Preview(request={"asked": shortened(str(next(self.ask(row), "nothing")), 4_000)}, effect=effect)

    # Of its results.

    @classmethod
    def columns(cls, *, minimal: bool) -> Mapping[str, Type]:
        """The columns of its lines with their types; `minimal` as `shared.results.is_minimal` says of the session."""
        return {name: cls.whole[name] for name in cls.short} if minimal else cls.whole

    @classmethod
    def told(cls, line: Input) -> Told | None:
        """What a line of results tells of its row, whoever wrote it; None if it is no line of this pipeline's.

        The statement `<slug>_held` compares such answers with what the database has.
        """
        if not {"key", "db_status"} <= line.keys():
            return None
        # A row that expanded runs again: that makes what it expands into, which lines of its own hold.
        again = bool(line.get("expansion"))
        answer = {name: line[name] for name in cls.of_the_answer if line.get(name) is not None and not again}
        key = line["key"] if isinstance(line["key"], str) else None
        return Told(key=key, answer=answer or None, says=" ".join(map(str, answer.values())))

    # Of files on somebody's disk, for the command; neither is asked with settings that say where anything is.

    @classmethod
    def recognises(cls, sample: Sample) -> bool:
        """Whether a file looks like one of its own: here by a header that names every column a row must have."""
        return cls.rows is not None and sample.names_columns_of(cls.rows)

    @classmethod
    def foretell(cls, files: Sequence[Path], settings: Settings) -> Foretold | None:
        """What files will cost before they are uploaded; None where that is nothing, or cannot be told."""
        return None


_BEGIN: Final[Mapping[str, Type]] = {"item_no": Scalar.WHOLE, "key": Scalar.TEXT}
_END: Final[Mapping[str, Type]] = {
    "db_status": Scalar.TEXT, "error": Scalar.TEXT, "outcome": Scalar.TEXT, "attempts": Scalar.WHOLE,
    "code": Scalar.TEXT, "error_code": Scalar.TEXT, "parent": Scalar.WHOLE, "line": Scalar.WHOLE,
    "expansion": {"made": Scalar.WHOLE, "known": Scalar.WHOLE, "cut": Scalar.WHOLE},
}  # fmt: skip
USUAL_SECONDS: Final = 1.0  # a request of an upstream nobody measured
