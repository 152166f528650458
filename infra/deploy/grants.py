"""What each function may do with which table, as SQL that gives it and takes away all else."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import yaml

from cli.faults import WrongUsage
from infra.local.topology import Topology

GRANTS: Final = Path(__file__).with_name("grants.yaml")
PRIVILEGES: Final = frozenset({"select", "insert", "update", "delete"})
PROCESS: Final = "process"  # stands for the function of every pipeline
OWN: Final = "pipelines"  # stands for every table that is a pipeline's own


@dataclass(frozen=True, kw_only=True, slots=True)
class Rights:
    """Function -> table -> privileges, and every table that is named."""

    of: Mapping[str, Mapping[str, frozenset[str]]]
    tables: frozenset[str]

    @classmethod
    def load(cls, topology: Topology, path: Path = GRANTS) -> Rights:
        """The rights of a deployment's functions; raises WrongUsage for a function or a privilege nobody knows."""
        document: dict[str, dict[str, str]] = yaml.safe_load(path.read_text("utf-8"))
        own = {table: name for name, function in topology.functions.items() for table in function.tables}
        of: dict[str, dict[str, frozenset[str]]] = {name: {} for name in topology.functions}
        for table, given in document.items():
            for word, privileges in given.items():
                kinds = _privileges(f"{path.name}: {table}: {word}", privileges)
                for function in _functions(f"{path.name}: {table}", word, topology):
                    for one in own.keys() - document.keys() if table == OWN else (table,):
                        # Of the pipelines' functions each has its own tables only.
                        if word != PROCESS or own.get(one, function) == function:
                            of[function][one] = kinds
        return cls(of=of, tables=frozenset(table for given in of.values() for table in given))


def statements(
    rights: Rights, users: Mapping[str, str], *, tables: Collection[str], gone: Sequence[str] = ()
) -> Iterator[str]:
    """SQL by which each function's user has its rights on those tables that exist, and no others."""
    for role in (*gone, *users.values()):
        yield f"REVOKE ALL ON ALL TABLES IN SCHEMA public FROM {_quoted(role)}"
    for function, role in users.items():
        yield f"GRANT USAGE ON SCHEMA public TO {_quoted(role)}"
        for table, privileges in sorted(rights.of[function].items()):
            if table in tables:
                yield f"GRANT {', '.join(sorted(privileges)).upper()} ON {_quoted(table)} TO {_quoted(role)}"


def _privileges(place: str, words: str) -> frozenset[str]:
    found = frozenset(words.split())
    if unknown := found - PRIVILEGES:
        raise WrongUsage(
            f"{place}: {', '.join(sorted(unknown))} is no privilege; choose {', '.join(sorted(PRIVILEGES))}."
        )
    return found


def _functions(place: str, word: str, topology: Topology) -> list[str]:
    """The functions a word stands for."""
    if word == PROCESS:
        return [name for name, function in topology.functions.items() if function.pipeline is not None]
    if word not in topology.functions:
        raise WrongUsage(f"{place}: there is no function {word} in the topology.")
    return [word]


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
