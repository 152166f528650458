"""The order of a deployment, and what to do about a step that fails.

A database that is there is migrated as far as that is safe before the new code, then Terraform applies, then the rest
is migrated. Rights follow each migration: code that comes up finds the tables it may use.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

from cli.faults import Failed, Fault, Interrupted, Unreachable, WrongUsage
from cli.terminal import Terminal
from infra.deploy import migrations
from infra.deploy.archive import Archive
from infra.deploy.grants import Rights
from infra.deploy.terraform import counted, missing_secrets


class Infrastructure(Protocol):
    """Terraform, as far as a deployment needs it."""

    @property
    def secrets(self) -> Mapping[str, str]: ...

    def prepare(self) -> None: ...

    def plan(self, archive: Path) -> dict[str, Any]: ...

    def apply(self) -> None: ...

    def outputs(self) -> dict[str, Any]: ...


class Database(Protocol):
    """The deployed ledger, as far as a deployment needs it."""

    def revision(self) -> str | None: ...

    def upgrade(self, revision: str) -> None: ...

    def grant(self, rights: Rights, users: Mapping[str, str], *, deployment: str) -> list[str]: ...


@dataclass(frozen=True, kw_only=True)
class Deployment:
    """What a deployment is made with; each part can be another in tests."""

    terminal: Terminal
    terraform: Infrastructure
    rights: Rights
    build: Callable[[], Archive]
    ledger: Callable[[Mapping[str, Any]], AbstractContextManager[Database]]
    smoke: Callable[[str], Mapping[str, Any]] | None
    agreed: Callable[[str], bool]  # whether a person, shown a sentence, agrees
    sleep: Callable[[float], None] = time.sleep


WHOLE: Final = frozenset({"api", "database", "users"})  # outputs of what was once applied to its end
LET_IN_WITHIN, ASK_EVERY = 300.0, 15.0  # seconds until a new grant has arrived everywhere
AGAIN: Final = "Mend it and deploy again: what is done already is found and left as it is."


def deploy(deployment: Deployment) -> dict[str, Any]:
    """Deploy the code of this folder; what there is then. Raises a Fault that says which step failed and what to do."""
    with _step(deployment, "building the source archive", "Nothing was changed."):
        archive = deployment.build()
        deployment.terminal.say(f"{archive.files} files, {archive.sha256[:12]}")
    before = _planned(deployment, archive)
    if before.keys() >= WHOLE:
        with _step(deployment, "migrating what is safe before the new code", f"The old code still runs. {AGAIN}"):
            _migrate(deployment, before, when=migrations.When.BEFORE)
    return _applied(deployment, migrate=True)


def put_back(deployment: Deployment) -> dict[str, Any]:
    """Deploy an archive of before, with the database as it is: migrations are never undone by themselves."""
    with _step(deployment, "fetching the earlier archive", "Nothing was changed."):
        archive = deployment.build()
        deployment.terminal.say(f"{archive.path.name}, {archive.sha256[:12]}")
    _planned(deployment, archive)
    return _applied(deployment, migrate=False)


def plan(deployment: Deployment) -> dict[str, int]:
    """What a deployment would make, change and destroy."""
    with _step(deployment, "building the source archive", "Nothing was changed."):
        archive = deployment.build()
    with _step(deployment, "planning", "Nothing was changed."):
        deployment.terraform.prepare()
        return counted(deployment.terraform.plan(archive.path))


def _planned(deployment: Deployment, archive: Archive) -> dict[str, Any]:
    """The outputs of what is deployed now, once a plan was made and agreed to; none where nothing is."""
    with _step(deployment, "planning", "Nothing was changed."):
        deployment.terraform.prepare()
        planned = deployment.terraform.plan(archive.path)
        if missing := missing_secrets(planned, deployment.terraform.secrets):
            raise WrongUsage(
                f"The plan writes {' and '.join(missing)} to Secret Manager, and the environment holds no value. "
                f"Set it: export {missing[0]}=…"
            )
        numbers = counted(planned)
        told = ", ".join(f"{count} {what}" for what, count in numbers.items())
        if not deployment.agreed(f"{told}. Go on?"):
            raise Interrupted("Not deployed.")
        return deployment.terraform.outputs()


def _applied(deployment: Deployment, *, migrate: bool) -> dict[str, Any]:
    """The deployment's outputs, once it is applied, the rest migrated, rights given, and three rows went through."""
    with _step(deployment, "applying", f"Some of it may be there already. {AGAIN}"):
        deployment.terraform.apply()
        outputs = deployment.terraform.outputs()
    if migrate:
        with _step(deployment, "migrating the rest, giving rights", f"The new code runs; what it lacks waits. {AGAIN}"):
            _migrate(deployment, outputs, when=migrations.When.AFTER)
    if deployment.smoke is not None:
        hint = (
            f"It is deployed; `rowlift status --api {outputs['api']}` shows how it stands, docs/operate.md what to do."
        )
        with _step(deployment, "trying it with three rows", f"{hint} `make rollback` puts back what ran before."):
            deployment.smoke(outputs["api"])
    return outputs


def _migrate(deployment: Deployment, outputs: Mapping[str, Any], *, when: migrations.When) -> None:
    """Run the migrations that are due, and give every function's user its rights."""
    with deployment.ledger(outputs) as ledger:
        lacking = migrations.pending(migrations.revisions(), _revision(deployment, ledger))
        due = lacking.before if when is migrations.When.BEFORE else lacking.before + lacking.after
        if due:
            ledger.upgrade(due[-1].id)
            deployment.terminal.say(f"migrated to {due[-1].id}")
        name = str(outputs["database"]["owner"]).partition("@")[0].removesuffix("deploy")
        absent = ledger.grant(deployment.rights, outputs["users"], deployment=name)
        if absent and when is migrations.When.AFTER:
            raise Failed(
                f"There are no tables {', '.join(absent)}, which the topology or infra/deploy/grants.yaml names. "
                "Correct the name, or add the migration that makes them."
            )


def _revision(deployment: Deployment, ledger: Database) -> str | None:
    """The ledger's revision; who was just let in is let in everywhere minutes later. Raises Unreachable."""
    for _ in range(int(LET_IN_WITHIN / ASK_EVERY)):
        try:
            return ledger.revision()
        except Unreachable as error:
            deployment.terminal.say(f"not let in yet: {error} Trying again in {ASK_EVERY:g} s")
            deployment.sleep(ASK_EVERY)
    return ledger.revision()


@contextmanager
def _step(deployment: Deployment, what: str, hint: str) -> Iterator[None]:
    """Say what is done; a failure says in which step it came, and what to do."""
    deployment.terminal.say(f"— {what}", style="bold")
    try:
        yield
    except Interrupted:
        raise
    except Fault as fault:
        raise type(fault)(f"Failed while {what}. {fault} {hint}", problem=fault.problem) from fault
