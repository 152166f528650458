"""Free TCP ports on 127.0.0.1."""

from __future__ import annotations

import contextlib
import random
import socket
from collections.abc import Collection

# Below the range systems give to outgoing connections (Linux 32768, macOS 49152), so that none of those takes a port
# between our choosing it and the server's listening on it.
_FIRST, _LAST = 20_000, 32_000


class PortTakenError(Exception):
    """A port that --port-base asks for is in use."""


def choose(count: int, base: int | None = None, *, but: Collection[int] = ()) -> list[int]:
    """`count` free ports: consecutive from `base` if given, else random but for some; raises PortTakenError."""
    if base is not None:
        wanted = list(range(base, base + count))
        if wanted[0] < 1 or wanted[-1] > 65_535:
            raise PortTakenError(f"--port-base {base} leaves no room for {count} ports")
        if taken := [str(port) for port in wanted if not is_free(port)]:
            raise PortTakenError(f"--port-base {base}: port {', '.join(taken)} of 127.0.0.1 is in use")
        return wanted
    found: list[int] = []
    for port in random.sample(range(_FIRST, _LAST), _LAST - _FIRST):
        if len(found) == count:
            return found
        if port not in but and is_free(port):
            found.append(port)
    raise PortTakenError(f"fewer than {count} ports are free on 127.0.0.1")


def is_free(port: int) -> bool:
    """Whether a server could listen on this port of 127.0.0.1 now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        with contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            probe.listen(1)
            return True
    return False


def answers(port: int) -> bool:
    """Whether something listens on this port of 127.0.0.1."""
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False
