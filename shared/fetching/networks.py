"""Where a host's name leads: only to public addresses, all of them, found out within a time.

The answer is what the connection is then made to, so a name that says something else a moment later changes nothing.
"""

from __future__ import annotations

import ipaddress
import os
import socket
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as Late
from typing import Final

from shared.errors import FetchError
from shared.fetching.causes import Cause

Resolve = Callable[[str, int], Sequence[str]]
RESOLVE_SECONDS: Final = 10.0
MOST_ADDRESSES: Final = 64

# Kept here and not asked of `ipaddress.is_global`, which changes its mind with Python's releases.
_CLOSED_IPV4: Final = tuple(
    ipaddress.IPv4Network(network)
    for network in (
        "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12",
        "192.0.0.0/24", "192.0.2.0/24", "192.31.196.0/24", "192.52.193.0/24", "192.88.99.0/24", "192.168.0.0/16",
        "192.175.48.0/24", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/3",
        "168.63.129.16/32",  # the host of every virtual machine of Azure
    )
)  # fmt: skip
_OPEN_IPV6: Final = ipaddress.IPv6Network("2000::/3")  # all that was ever given to anybody
_CLOSED_IPV6: Final = tuple(
    ipaddress.IPv6Network(network)
    # Protocols, Teredo and ORCHID; documentation; 6to4, which hides an IPv4 address; documentation; segment routing.
    for network in ("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20", "5f00::/16", "2620:4f:8000::/48")
)


def is_public(address: str) -> bool:
    """Whether anybody on the internet could be asked at this address; not for one that only wraps another."""
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:  # an interface of this machine behind a percent sign included
        return False
    if isinstance(ip, ipaddress.IPv4Address):
        return not any(ip in network for network in _CLOSED_IPV4)
    return ip.scope_id is None and ip in _OPEN_IPV6 and not any(ip in network for network in _CLOSED_IPV6)


def resolve(host: str, port: int) -> list[str]:
    """The addresses of a host by this machine's resolver, each once; raises OSError."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


class Resolver:
    """Resolves on threads of its own, because the system's resolver cannot be told to hurry."""

    def __init__(self, ask: Resolve = resolve) -> None:
        self._ask = ask
        self._lock = threading.Lock()
        self._executor: ThreadPoolExecutor | None = None
        self._made_by: int | None = None

    def public(self, host: str, port: int, *, seconds: float) -> list[str]:
        """All addresses of a host; raises FetchError unless there are some and every one is public."""
        try:
            found = list(self._submit(host, port).result(min(seconds, RESOLVE_SECONDS)))[:MOST_ADDRESSES]
        except Late as error:
            raise FetchError(Cause.NETWORK, f"the name {host} was not resolved in time") from error
        except (OSError, UnicodeError) as error:
            raise FetchError(Cause.NETWORK, f"the name {host} cannot be resolved") from error
        if not found:
            raise FetchError(Cause.NETWORK, f"the name {host} has no address")
        if not all(is_public(address) for address in found):
            # Which one is not said: it would tell a stranger of the network inside.
            raise FetchError(Cause.REFUSED_HOST, f"{host} leads to an address that is not public")
        return found

    def _submit(self, host: str, port: int) -> Future[Sequence[str]]:
        with self._lock:
            if self._executor is None or self._made_by != os.getpid():
                self._executor = ThreadPoolExecutor(max_workers=16, thread_name_prefix="resolve")
                self._made_by = os.getpid()
            return self._executor.submit(self._ask, host, port)
