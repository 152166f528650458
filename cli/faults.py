"""What ends a command early: one class per exit status (design §6).

Fault
├── Failed        1    the session failed, or an invariant broke
├── WrongUsage    2    wrong usage or bad input
├── Unreachable   3    a service cannot be reached
└── Interrupted   130  a person stopped the command
"""

from __future__ import annotations

from typing import Any


class Fault(Exception):
    """A command ends; the message says in a sentence or two what happened and what to do."""

    status = 1

    def __init__(self, message: str, *, problem: dict[str, Any] | None = None) -> None:
        super().__init__(message)
        self.problem = problem  # the service's own account (RFC 9457), where it gave one


class Failed(Fault):
    """The session failed, or an invariant broke."""

    status = 1


class WrongUsage(Fault):
    """Wrong usage or bad input."""

    status = 2


class Unreachable(Fault):
    """A service cannot be reached."""

    status = 3


class Interrupted(Fault):
    """A person stopped the command; `goes_on` where the work is to go on without it."""

    status = 130

    def __init__(self, message: str, *, goes_on: bool = False) -> None:
        super().__init__(message)
        self.goes_on = goes_on


class Terminated(KeyboardInterrupt):
    """Another program stopped the command (SIGTERM): as Ctrl-C does, only that nobody is there to be asked."""
