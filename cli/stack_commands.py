"""The commands about where Rowlift runs: up, down, status, migrate."""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from cli import local
from cli.client import Api, Document
from cli.faults import Failed, WrongUsage
from cli.migrating import migrate_database
from cli.parameters import DEFAULT_STATE_DIR, ApiUrl, AsJson, StateDir, session_argument
from cli.quotes import show_quote
from cli.showing import details, sessions_table
from cli.terminal import Terminal
from shared.config import parse_database_url
from shared.errors import ConfigError

DbUrl = Annotated[
    str | None,
    typer.Option("--db-url", metavar="URL", help="This PostgreSQL; default: DATABASE_URL, else the local stack's own."),
]


def reach(api: str | None, state_dir: Path) -> Api:
    """The API at an address, else the local stack's; raises Unreachable."""
    return Api(api or str(local.require(state_dir)["api"]))


def up(
    pubsub: Annotated[
        str | None, typer.Option("--pubsub", metavar="embedded|gcloud", help="Which broker; default embedded.")
    ] = None,
    port_base: Annotated[
        int | None, typer.Option("--port-base", metavar="N", min=1, max=65535, help="Ports from here, the API's first.")
    ] = None,
    detach: Annotated[bool, typer.Option("--detach", help="Answer when it is ready and leave it running.")] = False,
    db_url: DbUrl = None,
    state_dir: StateDir = DEFAULT_STATE_DIR,
    as_json: AsJson = False,
) -> int:
    """Start the local stack: PostgreSQL, storage, Pub/Sub, every function, simulated upstreams where no key is set."""
    terminal = Terminal(as_json=as_json)
    if pubsub not in (None, "embedded", "gcloud"):
        raise WrongUsage(f"--pubsub is {pubsub!r}; choose embedded or gcloud.")
    env = _environment(db_url)
    arguments = [*(("--pubsub", pubsub) if pubsub else ()), *(("--port-base", str(port_base)) if port_base else ())]
    running = local.find(state_dir)
    if running is not None:
        _check_same(running, pubsub=pubsub, port_base=port_base, db_url=db_url, state_dir=state_dir)
        terminal.say("It runs already.")
        _show_stack(running, terminal)
        terminal.answer(_stack_document(running))
        return 0
    stack = local.start(state_dir, arguments, terminal=terminal, env=env, outlive=detach)
    try:
        info = stack.info
        _show_stack(info, terminal)
        terminal.say("`rowlift down` stops it." if detach else "Ctrl-C stops it.")
        terminal.answer(_stack_document(info))
        if not detach:
            _attend(stack)
    except KeyboardInterrupt:  # that is how it ends well
        with terminal.busy("stopping the local stack"):
            stack.stop()
    except BaseException:
        stack.stop()
        raise
    return 0


def _attend(stack: local.LocalStack) -> None:
    """Return when a stack has ended; raises Failed if nobody told it to."""
    while stack.status is None:
        time.sleep(0.2)
    if stack.status != 0:
        raise Failed(f"The local stack ended with status {stack.status}. Its log is {stack.state_dir / 'log'}.")


def _environment(db_url: str | None) -> dict[str, str]:
    """The stack's environment. The database's address goes this way: arguments can be read by everybody."""
    env = dict(os.environ)
    if db_url is not None:
        env["DATABASE_URL"] = db_url
    if env.get("DATABASE_URL"):
        check_database_url(env["DATABASE_URL"])
    return env


def check_database_url(url: str) -> None:
    """Return if the address can be one; raises WrongUsage, whose message never repeats it."""
    try:
        parse_database_url(url)
    except ConfigError as error:
        raise WrongUsage(f"{error}.") from error


def _check_same(info: local.Info, *, state_dir: Path, **asked: Any) -> None:
    """Return if the running stack is what was asked for; raises WrongUsage."""
    runs = {
        "pubsub": info.get("broker"),
        "port_base": int(str(info["api"]).rpartition(":")[2]) if info.get("api") else None,
        "db_url": info.get("database_url"),
    }
    other = [
        f"--{name.replace('_', '-')}" for name, value in asked.items() if value is not None and value != runs[name]
    ]
    if other:
        raise WrongUsage(
            f"A stack with another {' and '.join(other)} runs on {state_dir}. "
            "End it with `rowlift down`, or choose another --state-dir."
        )


def say_if_simulated(info: local.Info, pipeline: str, terminal: Terminal) -> None:
    """Tell a person whose answers are made up, above all one who has set a key."""
    name, key = _UPSTREAM_OF.get(pipeline, ("", ""))
    if not info.get(name):
        return
    late = " It is set now: end this stack with `rowlift down`, then run again." if os.environ.get(key) else ""
    what = "biographies and dollars are" if name == "openai" else "films are"
    terminal.say(f"The stack was started without {key}: {what} made up, nothing is paid.{late}")


_UPSTREAM_OF = {"artists": ("openai", "OPENAI_API_KEY"), "movies": ("tmdb", "TMDB_API_TOKEN")}


def _show_stack(info: local.Info, terminal: Terminal) -> None:
    openai = "simulated: nothing is paid, the bios say so" if info.get("openai") else "the real one: calls cost money"
    tmdb = "simulated: films of a recorded list" if info.get("tmdb") else "the real one"
    for name, value in (
        ("api", info.get("api")),
        ("openai", openai),
        ("tmdb", tmdb),
        ("database", local.masked(str(info["database_url"]))),
        ("logs", info["log"]),
    ):
        terminal.say(f"{name:<10}{value}")


def _stack_document(info: local.Info) -> Document:
    return {
        "running": True,
        "api": info.get("api"),
        "pid": info["pid"],
        "state_dir": info["state_dir"],
        "log": info["log"],
        "started_at": info.get("started_at"),
        "start_seconds": info.get("start_seconds"),
        "broker": info.get("broker"),
        "database": local.masked(str(info["database_url"])),
        "storage": info.get("storage"),
        "pubsub": info.get("pubsub"),
        "openai": info.get("openai"),
        "tmdb": info.get("tmdb"),
        "buckets": info.get("buckets"),
        "processes": {name: facts.get("state") for name, facts in info.get("processes", {}).items()},
    }


def down(state_dir: StateDir = DEFAULT_STATE_DIR, as_json: AsJson = False) -> int:
    """Stop the local stack; its data stays in the state directory."""
    terminal = Terminal(as_json=as_json)
    info = local.find(state_dir)
    if info is None:
        terminal.say(f"No stack runs on {state_dir}.")
    else:
        with terminal.busy("stopping the local stack"):
            local.stop(info, state_dir)
        terminal.say(f"Stopped. Its data stays in {info['state_dir']}; `rowlift up` finds it again.")
    terminal.answer({"running": False, "stopped": info is not None, "state_dir": str(state_dir.absolute())})
    return 0


def status(
    session: Annotated[str | None, typer.Argument(metavar="[SESSION]", help="A session id; without: all.")] = None,
    api: ApiUrl = None,
    state_dir: StateDir = DEFAULT_STATE_DIR,
    as_json: AsJson = False,
) -> int:
    """Show how a session stands, or without one the stack and its newest sessions."""
    terminal = Terminal(as_json=as_json)
    if session is not None:
        wanted = session_argument(session)
        found = reach(api, state_dir).status(wanted)
        terminal.show(details(found))
        if found.get("quote"):
            terminal.say("\nquote")
            show_quote(found["quote"], terminal)
        terminal.answer(found)
        return 0
    info = None if api else local.require(state_dir)
    service = Api(api or str(info and info["api"]))
    health = service.health()
    newest = service.sessions()
    if info is not None:
        _show_stack(info, terminal)
    else:
        terminal.say(f"{'api':<10}{service.base}")
    terminal.say(f"{'status':<10}{health.get('status')}, version {health.get('version')}\n")
    if newest:
        terminal.show(sessions_table(newest))
    else:
        terminal.say("No sessions yet: `rowlift upload FILE --pipeline artists` makes one.")
    about = _stack_document(info) if info is not None else {"running": True, "api": service.base}
    terminal.answer({**about, "health": health, "sessions": newest})
    return 0


def migrate(db_url: DbUrl = None, state_dir: StateDir = DEFAULT_STATE_DIR, as_json: AsJson = False) -> int:
    """Bring the tables of a database to the newest revision; nothing happens where they are."""
    terminal = Terminal(as_json=as_json)
    url = db_url or os.environ.get("DATABASE_URL") or _stack_database(state_dir)
    check_database_url(url)
    with terminal.busy(f"migrating {local.masked(url)}"):
        revision = migrate_database(url)
    terminal.say(f"{local.masked(url)} is at revision {revision}.")
    terminal.answer({"database": local.masked(url), "revision": revision})
    return 0


def _stack_database(state_dir: Path) -> str:
    with contextlib.suppress(KeyError):
        info = local.find(state_dir)
        if info is not None:
            return str(info["database_url"])
    raise WrongUsage(
        f"No database is named and no stack runs on {state_dir}. Give --db-url URL, set DATABASE_URL, or `rowlift up`."
    )
