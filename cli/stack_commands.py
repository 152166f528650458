"""The commands about where Rowlift runs: up, down, migrate."""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from cli import local
from cli.client import Api, Document
from cli.completing import one_of
from cli.environment import check_database_url, stack_environment
from cli.faults import Failed, WrongUsage
from cli.migrating import migrate_database
from cli.parameters import DEFAULT_STATE_DIR, AsJson, StateDir
from cli.terminal import Terminal

DbUrl = Annotated[
    str | None,
    typer.Option("--db-url", metavar="URL", help="This PostgreSQL; default: DATABASE_URL, else the local stack's own."),
]
PubSub = Annotated[
    str | None,
    typer.Option(
        "--pubsub",
        metavar="BROKER",
        help="embedded (the default), or gcloud: Google's own emulator, with Java.",
        autocompletion=one_of("embedded", "gcloud"),
    ),
]
PortBase = Annotated[
    int | None,
    typer.Option("--port-base", metavar="N", min=1, max=65535, help="Ports from here on, the API's first."),
]


def reach(api: str | None, state_dir: Path) -> Api:
    """The API at an address, else the local stack's; raises Unreachable."""
    return Api(api or str(local.require(state_dir)["api"]))


def up(
    pubsub: PubSub = None,
    port_base: PortBase = None,
    detach: Annotated[bool, typer.Option("--detach", help="Answer when it is ready and leave it running.")] = False,
    db_url: DbUrl = None,
    state_dir: StateDir = DEFAULT_STATE_DIR,
    as_json: AsJson = False,
) -> int:
    """Start the local stack: PostgreSQL, storage, Pub/Sub, every function, simulated upstreams where no key is set."""
    terminal = Terminal(as_json=as_json)
    check_pubsub(pubsub)
    env = stack_environment(db_url)
    arguments = [*(("--pubsub", pubsub) if pubsub else ()), *(("--port-base", str(port_base)) if port_base else ())]
    running = local.present(state_dir)
    if running is not None:
        _check_same(running, pubsub=pubsub, port_base=port_base, db_url=db_url, state_dir=state_dir)
        terminal.say("It runs already.")
        show_stack(running, terminal)
        terminal.answer(stack_document(running))
        return 0
    stack = local.start(state_dir, arguments, terminal=terminal, env=env, parent=None if detach else os.getpid())
    try:
        info = stack.info
        show_stack(info, terminal)
        terminal.say("`rowlift down` stops it." if detach else "Ctrl-C stops it.")
        terminal.answer(stack_document(info))
        if not detach:
            _attend(stack)
    except KeyboardInterrupt:  # that is how it ends well
        with terminal.busy("stopping the local stack"):
            stack.stop()
    except BaseException:
        stack.stop()
        raise
    return 0


def check_pubsub(name: str | None) -> None:
    """Return if there is such a broker; raises WrongUsage."""
    if name not in (None, "embedded", "gcloud"):
        raise WrongUsage(f"--pubsub is {name!r}; choose embedded or gcloud.")


def _attend(stack: local.LocalStack) -> None:
    """Return when a stack has ended; raises Failed if nobody told it to."""
    while stack.status is None:
        time.sleep(0.2)
    if stack.status != 0:
        raise Failed(f"The local stack ended with status {stack.status}. Its log is {stack.state_dir / 'log'}.")


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


def show_stack(info: local.Info, terminal: Terminal) -> None:
    """Show what a stack is made of, and where it is reached."""
    openai = "simulated: nothing is paid, the bios say so" if info.get("openai") else "the real one: calls cost money"
    tmdb = "simulated: films of a recorded list" if info.get("tmdb") else "the real one"
    down = [name for name, facts in info.get("processes", {}).items() if facts.get("state") != "running"]
    for name, value in (
        ("dashboard", dashboard_of(info.get("api"))),
        ("api", info.get("api")),
        ("openai", openai),
        ("tmdb", tmdb),
        ("web", "simulated: every link leads to a file made of its id" if info.get("web") else None),
        ("database", local.masked(str(info["database_url"]))),
        ("logs", info["log"]),
        ("not up", f"{', '.join(down)}; the logs say why" if down else None),
    ):
        if value is not None:
            terminal.say(f"{name:<11}{value}")


def dashboard_of(api: str | None) -> str | None:
    """The dashboard's address."""
    return f"{api}/" if api else None


def stack_document(info: local.Info) -> Document:
    """A stack as JSON shows it."""
    return {
        "running": True,
        "api": info.get("api"),
        "dashboard": dashboard_of(info.get("api")),
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
