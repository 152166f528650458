"""Assets: people and links to their files in, the files in the media bucket and a table of whose they are out.

A row's item fetches the first thing its links lead to; everything else they lead to expands from it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, cast
from uuid import UUID

from shared.columns import Scalar, Type
from shared.fetching.wanted import Fetch, What
from shared.forecasts import Forecast, Preview, Range
from shared.items import Child
from shared.media import MediaBucket
from shared.options import Mode, Options
from shared.paging import by_number
from shared.pipelines.assets.plan import Plan, Want, plan, want_from, wants_of
from shared.pipelines.assets.records import domain_of, file_of
from shared.pipelines.assets.rows import AssetsForm, source_of
from shared.pipelines.base import Dialogue, Input, NewItems, Pipeline, Service, Settled, Told, Upstream
from shared.sheet_export import sheet_pages
from shared.states import Outcome
from shared.upstreams.base import ErrorClass, Failure, JsonAnswer

if TYPE_CHECKING:
    from shared.db import Database, Transaction
    from shared.items import Item

_TEXT, _WHOLE, _TRUTH = Scalar.TEXT, Scalar.WHOLE, Scalar.TRUTH
_OF_THE_ROW: Mapping[str, Type] = {
    "item_no": _WHOLE, "key": _TEXT, "row_id": _TEXT, "name": _TEXT, "email": _TEXT, "type": _TEXT,
}  # fmt: skip
_OF_THE_FILE: Mapping[str, Type] = {
    "asset_id": _TEXT, "asset_type": _TEXT, "original_url": _TEXT, "media_id": _TEXT, "filename": _TEXT,
    "content_type": _TEXT, "file_size_bytes": _WHOLE, "sha256": _TEXT, "cloud_storage_url": _TEXT,
    "download_status": _TEXT, "failure": _TEXT, "try_again": _TRUTH, "expanded": _WHOLE,
}  # fmt: skip
_OF_THE_ITEM: Mapping[str, Type] = {
    "db_status": _TEXT, "error": _TEXT, "outcome": _TEXT, "attempts": _WHOLE, "code": _TEXT, "error_code": _TEXT,
    "parent": _WHOLE, "line": _WHOLE,
}  # fmt: skip
NO_CAPTIONS = "upstream.no_captions"
FILE_SECONDS = 5.0  # a file of some megabytes
_SAYS = {
    "no_link": "The row has no link.",
    "not_in_mode": "Nothing of its links is fetched in mode text; run it again with mode=full.",
    "in_sheet": "The sheet says that its files are downloaded.",
    "failed_for_good": "The sheet says that its download failed for good; reprocess the row to try again all the same.",
}


class Assets(Pipeline):
    """The assets pipeline; the upstream that fetches is made when first asked for."""

    slug = "assets"
    title = "Assets: people, and the files their links lead to"
    service = Service(called="web, whatever the links name", stand_in="web", key="")
    rows = AssetsForm()
    known_by = "the columns row_id, name and link"
    tells_more = True
    heeds = frozenset({"skip_existing", "mode", "dual_write"})
    never_ran = ("row_only", "not_in_mode")
    of_the_row: ClassVar[Mapping[str, Type]] = _OF_THE_ROW
    of_the_answer: ClassVar[Mapping[str, Type]] = _OF_THE_FILE
    whole: ClassVar[Mapping[str, Type]] = {**_OF_THE_ROW, **_OF_THE_FILE, **_OF_THE_ITEM}
    short = (
        "item_no", "key", "row_id", "asset_id", "cloud_storage_url", "db_status", "error", "outcome", "code", "parent",
    )  # fmt: skip

    def absorb(self, transaction: Transaction, made: NewItems) -> None:
        """Keep the rows as the sheet has them, for exports."""
        transaction.rows("absorb_sheet_rows", session=made.session, first=made.first, beyond=made.beyond)

    def begin(self, db: Database, items: Sequence[Item], options: Options) -> dict[int, Settled | Dialogue]:
        """What each item's own want comes to; a row has more of them in items that expand from it."""
        plans = {item.number: _plan(item, options) for item in items}
        here = self._here(db, items, plans, options)
        return {item.number: self._start(item, plans[item.number], options, here) for item in items}

    def _here(
        self, db: Database, items: Sequence[Item], plans: Mapping[int, Plan], options: Options
    ) -> frozenset[UUID]:
        """Which of the wanted files are in the media bucket already, if that is a reason to leave them."""
        if not options.writes_domain or not (options.skip_existing or options.resume is not None):
            return frozenset()
        wanted = [own.asset_id(item.input["row_id"]) for item in items if (own := plans[item.number].own)]
        return frozenset(UUID(row["asset_id"]) for row in db.rows("assets_known", assets=[str(one) for one in wanted]))

    def _start(self, item: Item, planned: Plan, options: Options, here: frozenset[UUID]) -> Settled | Dialogue:
        row, own = item.input, planned.own
        children = tuple(_child(row, want) for want in planned.rest)
        if own is None:
            enriched = planned.code == "row_only"
            return Settled(
                outcome=Outcome.ENRICHED if enriched else Outcome.SKIPPED,
                code=planned.code,
                result={},
                error_message=_SAYS.get(planned.code or ""),
            )
        if own.what is What.NOTHING:
            return _no_file(row, own, children)
        if own.asset_id(row["row_id"]) in here and item.round == 1:
            return Settled(outcome=Outcome.SKIPPED, code="skip_existing", result={}, children=children)
        return self._fetch(row, own, children, options)

    def _fetch(self, row: Input, own: Want, children: tuple[Child, ...], options: Options) -> Dialogue:
        answer = yield request_of(row, own)
        if isinstance(answer, Failure):
            return answer
        body = cast(JsonAnswer, answer).body
        if own.what is not What.LISTING:
            asset = file_of(row, own, body)
            return Settled(outcome=Outcome.ENRICHED, result={"asset": asset}, children=children)
        found = [want for link in listed_links(body) for want in wants_of(link, options.mode, source=own.source)]
        listed = tuple(_child(row, want) for want in found)
        asset = file_of(row, own, {"metadata": {**body.get("metadata", {}), "expanded": len(listed)}})
        return Settled(
            outcome=Outcome.ENRICHED if listed else Outcome.NOT_FOUND,
            code="expanded" if listed else "empty_listing",
            result={"asset": asset, "expanded": len(listed)},
            error_message=None if listed else "There is nothing in it.",
            children=listed + children,
        )

    def given_up(self, item: Item, failure: Failure, options: Options) -> Settled:
        """The failure as the item's end; what else the row's links lead to is fetched all the same."""
        planned = _plan(item, options)
        assert planned.own is not None, "nothing else asks"  # noqa: S101
        asset = file_of(item.input, planned.own, None, failure=failure)
        without = failure.code == NO_CAPTIONS
        return Settled(
            outcome=Outcome.NOT_FOUND if without else Outcome.FAILED,
            code="no_captions" if without else failure.code,
            result={
                "asset": asset,
                "failure": failure.code.removeprefix("upstream."),
                "try_again": failure.kind is ErrorClass.TRANSIENT,
            },
            error_code=None if without else failure.code,
            error_message=failure.message,
            children=tuple(_child(item.input, want) for want in planned.rest),
        )

    def domain(self, row: Input, settled: Settled) -> dict[str, Any] | None:
        """The person, and the files that are known of by now."""
        return domain_of(row, settled)

    @classmethod
    def copies(cls, db: Database, session: UUID, options: Options) -> Mapping[str, Iterable[bytes]]:
        """The enhanced sheet, to the letter, for sessions that write both."""
        return {"assets.csv": sheet_pages(db, session=session, guard=False)} if keeps_sheet(options) else {}

    def forecast(self, db: Database, session: UUID, options: Options) -> Forecast:
        """Two requests a link or so; how many files a playlist holds is not known before."""
        pages = list(by_number(db, "assets_forecast", session=session))
        items, links = (sum(page[name] for page in pages) for name in ("items", "links"))
        requests = 0 if options.mode is Mode.BASIC else links
        return Forecast(
            to_run=items,
            requests=Range(low=0, likely=requests * 3 // 2, high=2 * requests),
            seconds=FILE_SECONDS,
            basis=f"one or two files for each of {links} links; playlists and folders may hold more",
        )

    def preview(self, session: UUID, item_no: int, row: Input, options: Options) -> Preview:
        """What would be fetched first, and what else."""
        planned = _plan_of(row, options, again=False)
        wants = [planned.own, *planned.rest] if planned.own else []
        request = {"fetch": [{"what": want.what, "url": want.link.url} for want in wants[:20]], "code": planned.code}
        effect = f"INSERT INTO people (row_id, …) VALUES ({row['row_id']!r}, …); {len(wants)} rows of table assets"  # noqa: S608  # shown
        return Preview(request=request, effect=effect if options.writes_domain else None)

    @classmethod
    def told(cls, line: Input) -> Told | None:
        """A row by its key; lines of what expanded from it are looked at with it."""
        if not {"key", "row_id", "db_status"} <= line.keys():
            return None
        key, row_id = line["key"], line["row_id"]
        digest = line.get("sha256")
        return Told(
            key=key if isinstance(key, str) else None,
            answer={"row_id": row_id, "sha256": digest if isinstance(digest, str) else None},
            says=f"file {digest[:12]}" if isinstance(digest, str) else "no file",
            part=line.get("parent") is not None and line.get("outcome") != Outcome.DUPLICATE,
        )

    @property
    def upstream(self) -> Upstream:
        """What fetches."""
        return self._web

    @cached_property
    def _web(self) -> Upstream:
        from shared.storage import CloudStore
        from shared.upstreams.web import WebUpstream

        return WebUpstream(self._settings.fetch, MediaBucket(self._settings.media_bucket, CloudStore().client))


def keeps_sheet(options: Options) -> bool:
    """Whether a session keeps its sheet in the results bucket."""
    return options.dual_write and options.writes_domain


def request_of(row: Input, want: Want) -> Any:
    """What the upstream is asked for a want."""
    return Fetch(what=want.what, link=want.link, row_id=row["row_id"])


def listed_links(body: Mapping[str, Any]) -> list[Any]:
    """The links a listing answered."""
    return list(body["links"])


def _plan(item: Item, options: Options) -> Plan:
    return _plan_of(item.input, options, again=item.round > 1)


def _plan_of(row: Input, options: Options, *, again: bool) -> Plan:
    if "want" in row:
        return Plan(own=want_from(row["want"]))
    return plan(row, options.mode, again=again)


def _child(row: Input, want: Want) -> Child:
    """The item that fetches something more of a row's."""
    about = {name: row[name] for name in ("row_id", "name", "email", "type")}
    key = f"{row['row_id']} {source_of(want.link)} {want.what}"
    return Child(key=key, input={**about, "want": want.input()})


def _no_file(row: Input, own: Want, children: tuple[Child, ...]) -> Settled:
    """How an item ends whose link leads to nothing that is a file."""
    kind = {"channel": "a channel", "form": "a form", "published": "a page published to the web"}.get(
        own.link.kind, "no file"
    )
    return Settled(
        outcome=Outcome.NEEDS_REVIEW,
        code="not_a_file",
        result={"asset": file_of(row, own, {}), "failure": "not_a_file", "try_again": False},
        error_message=f"{own.link.url} leads to {kind}; put the link of the file itself into the sheet.",
        children=children,
    )
