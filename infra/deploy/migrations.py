"""Which migrations run before new code is deployed, and which after it: each says so in its docstring."""

from __future__ import annotations

import ast
import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from cli.faults import Failed, WrongUsage
from cli.migrating import INI

VERSIONS = INI.parent / "versions"
_MARK = re.compile(r"\bSafe (before|after) the code\b")


class When(StrEnum):
    """When a migration is safe to run."""

    BEFORE = "before"  # code that does not know it goes on working
    AFTER = "after"  # only code that knows it goes on working


@dataclass(frozen=True, kw_only=True, slots=True)
class Revision:
    """One migration."""

    id: str
    follows: str | None
    when: When


@dataclass(frozen=True, kw_only=True, slots=True)
class Pending:
    """What a database lacks, in two parts with the deployment of code between them."""

    before: tuple[Revision, ...]
    after: tuple[Revision, ...]


def revisions(folder: Path = VERSIONS) -> list[Revision]:
    """All migrations in their order; raises WrongUsage for one that does not say when it is safe."""
    found = {one.follows: one for one in map(_read, sorted(folder.glob("[0-9]*.py")))}
    ordered: list[Revision] = []
    while following := found.pop(ordered[-1].id if ordered else None, None):
        ordered.append(following)
    if found:
        raise WrongUsage(
            f"Migrations follow none of the others: {', '.join(sorted(one.id for one in found.values()))}."
        )
    return ordered


def pending(known: Sequence[Revision], current: str | None) -> Pending:
    """What follows the database's revision (None: an empty one); raises Failed where no order is safe."""
    ids = [one.id for one in known]
    if current is not None and current not in ids:
        raise Failed(
            f"The database is at revision {current}, which this code does not know: it is newer than the code. "
            "Deploy the code that made it, or a later one."
        )
    lacking = known[ids.index(current) + 1 :] if current is not None else known
    before = (
        [one.when for one in lacking].index(When.AFTER) if any(o.when is When.AFTER for o in lacking) else len(lacking)
    )
    misplaced = [one.id for one in lacking[before:] if one.when is When.BEFORE]
    if misplaced:
        raise Failed(
            f"Migration {', '.join(misplaced)} has to run before this code, and {lacking[before].id}, that it follows, "
            f"only after. Deploy the code of {lacking[before].id} first, then this."
        )
    return Pending(before=tuple(lacking[:before]), after=tuple(lacking[before:]))


def _read(path: Path) -> Revision:
    module = ast.parse(path.read_text("utf-8"))
    facts: dict[str, Any] = {
        target.id: ast.literal_eval(node.value)
        for node in module.body
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name) and target.id in ("revision", "down_revision")
    }
    mark = _MARK.search(ast.get_docstring(module) or "")
    if mark is None:
        raise WrongUsage(
            f"{path.name} does not say when it is safe. Its first line ends with: Safe before the code that uses it. "
            "Or: Safe after the code that needs it no more."
        )
    return Revision(id=facts["revision"], follows=facts["down_revision"], when=When(mark[1]))
