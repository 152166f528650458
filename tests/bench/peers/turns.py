"""How the bench and a peer take turns: the bench names a file of rows, the peer answers when all are done.

A peer is started once and warms up in its first turn, so that no figure holds imports, first connections or tables.
Nothing is imported here that a peer would not have.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

# What every request says beside its input: model, instructions, limits.
REQUEST: dict[str, Any] = json.loads(os.environ.get("REQUEST", "{}"))
DATABASE = os.environ.get("DATABASE_URL", "")


def turns() -> Iterator[Path]:
    """The file of each turn, JSON lines of id and input; the same rows stand in table `rows`, without an answer."""
    print("ready", flush=True)
    for line in sys.stdin:
        yield Path(line.strip())
        print("done", flush=True)
