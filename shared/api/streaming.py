"""Results and rejected rows as they leave: a page at a time, in constant memory."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from uuid import UUID

from flask import Response

from shared.api.asking import Ask, kept_session
from shared.config import Settings
from shared.csv_export import csv_pages
from shared.db import Database, Row
from shared.errors import Conflict, NotFound, ObjectGone
from shared.logs import log
from shared.pipelines import PIPELINES
from shared.rejects import file_name, reject_lines
from shared.results import Cursor, is_minimal, page_of, result_lines, settled_lines
from shared.sessions import Sessions
from shared.storage import Store

JSON_LINES = "application/x-ndjson"


class Streaming:
    """Answers requests for whole results; raises our errors, which `routing` turns into problem documents."""

    def __init__(self, db: Database, sessions: Sessions, store: Store, settings: Settings) -> None:
        self._db, self._sessions, self._store, self._settings = db, sessions, store, settings

    def results(self, ask: Ask, session: str) -> Response:
        """The items settled by now: in item order, or in settle order with the cursor to go on from."""
        query = ask.query
        found = kept_session(self._sessions, session)
        headers: dict[str, str] = {}
        if query.after is not None and query.after.startswith("s"):
            pages, headers = self._settled(found, Cursor.parse(query.after), query.limit)
        else:
            pages = self._in_item_order(found, query.after, query.limit)
        kind = JSON_LINES
        if query.format == "csv":
            pages, kind = csv_pages(pages, _columns(found), guard=query.formulas == "guard"), "text/csv"
        answer = streamed(pages, kind, session=found["id"])
        answer.headers.update(headers)
        if query.format == "csv":
            answer.headers["Content-Disposition"] = f'attachment; filename="results-{found["id"]}.csv"'
        return answer

    def rejects(self, ask: Ask, session: str) -> Response:
        """The rejected rows as CSV."""
        found = kept_session(self._sessions, session)
        lines = reject_lines(self._db, found["id"], guard=ask.query.formulas == "guard")
        answer = streamed(lines, "text/csv", session=found["id"])
        answer.headers["Content-Disposition"] = f'attachment; filename="{file_name(found["id"])}"'
        return answer

    def manifest(self, ask: Ask, session: str) -> Response:
        """manifest.json as it lies in the results bucket."""
        found = kept_session(self._sessions, session)
        if not _is_final(found):
            raise Conflict(f"The session is {found['status']}; its manifest is written when it ends.")
        try:
            body = self._store.read(self._settings.results_bucket, f"{found['id']}/manifest.json")
        except ObjectGone as error:
            raise NotFound(f"The results bucket holds no manifest of session {found['id']} any more.") from error
        return Response(body, mimetype="application/json")

    def _in_item_order(self, found: Row, after: str | None, limit: int | None) -> Iterator[bytes]:
        if after is not None and not _is_final(found):
            raise Conflict(
                f"The session is {found['status']} and its results are not final: lines settled later, but numbered "
                "below `after`, would be passed over. Follow them with after=s0, leave `after` out, or wait for the "
                "session's end."
            )
        slug = found["pipeline"]
        if slug not in PIPELINES:
            return iter(())
        size = page_of(slug) if limit is None else min(limit, page_of(slug))
        pages = result_lines(
            self._db, found["id"], pipeline=slug, minimal=is_minimal(found["options"]), after=int(after or 0), page=size
        )
        return pages if limit is None else _at_most(pages, limit)

    def _settled(self, found: Row, after: Cursor, limit: int | None) -> tuple[Iterator[bytes], dict[str, str]]:
        slug = found["pipeline"]
        if slug not in PIPELINES:
            return iter(()), _cursor(after, final=_is_final(found))
        settled = settled_lines(
            self._db, found["id"], pipeline=slug, minimal=is_minimal(found["options"]), after=after, limit=limit
        )
        return settled.pages, _cursor(settled.next, final=settled.final)


def _cursor(following: Cursor, *, final: bool) -> dict[str, str]:
    return {"Rowlift-Next": str(following), "Rowlift-Final": "true" if final else "false"}


def _is_final(found: Row) -> bool:
    return bool(found["completed_epoch"] == found["epoch"])


def _at_most(pages: Iterator[bytes], limit: int) -> Iterator[bytes]:
    """No more than so many lines."""
    left = limit
    for page in pages:
        lines = page.count(b"\n")
        yield page if lines <= left else b"".join(page.splitlines(keepends=True)[:left])
        left -= lines
        if left <= 0:
            return


def _columns(found: Row) -> Sequence[str]:
    slug = found["pipeline"]
    return [*PIPELINES[slug].columns(minimal=is_minimal(found["options"]))] if slug in PIPELINES else ()


def streamed(pages: Iterator[bytes], mimetype: str, *, session: UUID | None) -> Response:
    """The pages as one body. The first is read now: until a byte has left, an error is still an answer of its own."""
    first = next(pages, b"")
    return Response(_to_the_end(itertools.chain((first,), pages), session), mimetype=mimetype)


def _to_the_end(pages: Iterator[bytes], session: UUID | None) -> Iterator[bytes]:
    """Every page. An error is logged and raised: that cuts the connection, so that no part is taken for the whole."""
    try:
        yield from pages
    except Exception as error:
        log("ERROR", "Stream was cut; its reader has to ask again", session_id=session, error=error)
        raise
