"""The command that settles which film of TMDB a film is: match."""

from __future__ import annotations

import re
import time
from typing import Annotated
from uuid import UUID

import typer

from cli.client import Api, Document
from cli.faults import WrongUsage
from cli.films import called, candidates, candidates_table, reviews_table, why
from cli.naming import session_named, short
from cli.parameters import DEFAULT_STATE_DIR, ApiUrl, AsJson, SessionArgument, StateDir
from cli.stack_commands import reach
from cli.terminal import Terminal

LISTED = 50
TAKEN_OVER_WITHIN, LOOK_EVERY = 8.0, 0.2  # seconds a decision's outcome is waited for, and between looks


def match(
    session: SessionArgument,
    item: Annotated[
        int | None, typer.Argument(metavar="ITEM", min=1, help="The film's item number; without: those to look at.")
    ] = None,
    tmdb_id: Annotated[
        str | None,
        typer.Argument(metavar="TMDB_ID", help="Which film of TMDB it is, or none; without: what it may be."),
    ] = None,
    api: ApiUrl = None,
    state_dir: StateDir = DEFAULT_STATE_DIR,
    as_json: AsJson = False,
) -> int:
    """Say which film of TMDB a film is. The decision holds for this and every later session."""
    terminal = Terminal(as_json=as_json)
    chosen = _tmdb_id(tmdb_id)
    service = reach(api, state_dir)
    wanted = session_named(session, service)
    if item is None:
        answer = _list(wanted, service, terminal)
    elif tmdb_id is None:
        answer = _show(wanted, _film(service, wanted, item), terminal)
    else:
        return _decide(wanted, item, chosen, service, terminal)
    terminal.answer(answer)
    return 0


def _decide(session: UUID, number: int, chosen: int | None, service: Api, terminal: Terminal) -> int:
    """Send the decision, and wait a moment for what comes of it: the number may be no film of TMDB's."""
    answer = service.act(session, f"items/{number}/match", {"tmdb_id": chosen})
    film = _settled(session, answer["film_item_no"], service, terminal)
    code = 0
    if film is None:
        terminal.say(
            f"Item {number} is {f'film {chosen} of TMDB' if chosen else 'none of the films of TMDB'} from now on; "
            f"`rowlift watch {short(session)}` shows when it is taken over."
        )
    elif chosen is None:
        terminal.say(f"Item {number} is none of the films of TMDB from now on.")
    elif film["outcome"] in ("enriched", "unchanged", "skipped"):
        taken = film["result"] or {}
        title = called({"title": taken.get("title"), "year": (taken.get("release_date") or "")[:4]})
        terminal.say(f"Item {number} is {title}, film {chosen} of TMDB, from now on.")
    else:
        code = 1
        terminal.say(
            f"TMDB has no film {chosen}: item {number} still needs a look. "
            f"`rowlift match {short(session)} {number}` shows what it may be."
            if film["outcome"] in ("needs_review", "not_found")
            else f"Film {chosen} could not be taken over: {film.get('error_message') or film['outcome']}"
        )
    terminal.answer({**answer, "outcome": film and film["outcome"]})
    return code


def _settled(session: UUID, number: int, service: Api, terminal: Terminal) -> Document | None:
    """The film's item once it is settled again; None if that takes longer than a person wants to wait."""
    until = time.monotonic() + TAKEN_OVER_WITHIN
    with terminal.busy("asking TMDB"):
        while True:
            found = _item(service, session, number)
            if found["outcome"] is not None:
                return found
            if time.monotonic() > until:
                return None
            time.sleep(LOOK_EVERY)


def _tmdb_id(text: str | None) -> int | None:
    """The number a person gave, None for `none`; raises WrongUsage."""
    if text is None or text.lower() == "none":
        return None
    if not re.fullmatch("0*[1-9][0-9]{0,17}", text):
        raise WrongUsage(f"{text[:30]!r} is no film of TMDB; give the number in its address, or none.")
    return int(text)


def _list(session: UUID, service: Api, terminal: Terminal) -> Document:
    """Show the items that need a look."""
    page = service.items(session, outcome="needs_review", limit=LISTED)
    items: list[Document] = page["items"]
    if not items:
        terminal.say("Nothing needs a look.")
    else:
        terminal.show(reviews_table(items))
        if page["next"]:
            terminal.say(f"These are the first {LISTED}.")
        if film := next((each for each in items if candidates(each)), None):
            terminal.say(f"`rowlift match {short(session)} {film['item_no']}` shows what an item may be.")
    return {"session_id": str(session), "items": items, "next": page["next"]}


def _film(service: Api, session: UUID, number: int) -> Document:
    """The item that stands for the film of this one; raises WrongUsage if there is none of the number."""
    found = _item(service, session, number)
    return _item(service, session, found["parent"]) if found["outcome"] in ("merged", "duplicate") else found


def _item(service: Api, session: UUID, number: int) -> Document:
    items: list[Document] = service.items(session, after=number - 1, limit=1)["items"]
    if not items or items[0]["item_no"] != number:
        raise WrongUsage(
            f"Session {session} has no item {number}; `rowlift match {short(session)}` lists those to look at."
        )
    return items[0]


def _show(session: UUID, item: Document, terminal: Terminal) -> Document:
    """Show what an item's film may be, and how to choose."""
    number, found = item["item_no"], candidates(item)
    taken = item["result"] or {}
    terminal.say(f"Item {number}: {called(item['input'])}, {str(item['outcome'] or item['state']).replace('_', ' ')}")
    if found:
        terminal.show(candidates_table(found))
    elif taken.get("tmdb_id"):
        year = (taken["release_date"] or "")[:4]
        terminal.say(f"It is film {taken['tmdb_id']} of TMDB, {called({'title': taken['title'], 'year': year})}.")
    elif item["outcome"] == "needs_review":
        terminal.say(why(item))
    if item["key"]:  # without one the record belongs to no film
        terminal.say(
            f"`rowlift match {short(session)} {number} TMDB_ID` chooses one; for none of them write none as TMDB_ID."
        )
    return {"session_id": str(session), "item_no": number, "outcome": item["outcome"], "candidates": found}
