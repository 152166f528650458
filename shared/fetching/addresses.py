"""The guard of links: which may be followed at all, judged by their letters alone. Pure.

A link is read strictly, by one reading that the connection is then made from, so that no two readers can differ about
whose host it names. Where a name leads is judged by `networks.py`, at every hop.
"""

from __future__ import annotations

import ipaddress
import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote, urljoin

from shared.errors import FetchError
from shared.fetching.causes import Cause
from shared.fetching.networks import is_public

MOST_CHARACTERS: Final = 8_000
DEFAULT_HOSTS: Final = (
    "youtube.com", "*.youtube.com", "youtu.be", "youtube-nocookie.com", "*.youtube-nocookie.com",
    "*.googlevideo.com", "youtubei.googleapis.com", "i.ytimg.com",
    "drive.google.com", "docs.google.com", "drive.usercontent.google.com", "*.googleusercontent.com",
    "www.googleapis.com",
)  # fmt: skip
_PORTS: Final = {"http": 80, "https": 443}

_URL: Final = re.compile(
    r"(?P<scheme>[a-z][a-z0-9+.-]*)://(?P<authority>[^/?#]*)(?P<path>/[^?#]*)?(?P<query>\?[^#]*)?(?:#.*)?",
    re.IGNORECASE | re.DOTALL,
)
_LABEL: Final = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)").fullmatch
_NUMBER: Final = re.compile(r"[0-9]+|0x[0-9a-f]*").fullmatch  # a last label of this kind makes a host an IPv4 address
_PLAIN_IPV4: Final = re.compile(r"(?:(?:0|[1-9][0-9]{0,2})\.){3}(?:0|[1-9][0-9]{0,2})").fullmatch
_PATTERN: Final = re.compile(r"(\*\.)?(\[[0-9a-f:.]+\]|[^\s:/@*\[\]]+)(?::([0-9]{1,5}))?").fullmatch
_OF_A_COUNTRY: Final = re.compile(r"(?:[a-z0-9-]+\.)*google\.com\.[a-z]{2}").fullmatch  # Google's own, google.com.au
_NOT_PUBLIC: Final = frozenset({"localhost", "local", "internal", "intranet", "lan", "home", "corp", "arpa", "onion"})
# What Latin letters are passed off with. Not all there are (Unicode lists thousands): those that look alike in print.
_LOOKS_LIKE: Final = str.maketrans(
    "аеорсухіјѕԁɡԛԝһӏνοαικτυүμıɩ",
    "aeopcyxijsdgqwhlvoaiktuyuii",
)


def refused(detail: str, cause: Cause = Cause.REFUSED_LINK) -> FetchError:
    """The error of a link that is not followed."""
    return FetchError(cause, detail)


@dataclass(frozen=True, slots=True)
class Address:
    """A link as it is asked for: each part checked, the host in lower case and ASCII, without brackets."""

    scheme: str
    host: str
    port: int
    target: str  # path and query, escaped

    @property
    def authority(self) -> str:
        """Host and port as header Host has them."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def url(self) -> str:
        """The whole address."""
        return f"{self.scheme}://{self.authority}{self.target}"

    def __str__(self) -> str:
        return self.url


@dataclass(frozen=True, slots=True)
class Host:
    """A host of the allow list."""

    name: str
    port: int | None  # None: the scheme's own
    below: bool  # hosts below it, and not itself

    @classmethod
    def parse(cls, written: str) -> Host:
        """`example.org`, `*.example.org` or `example.org:8443`; raises ValueError."""
        found = _PATTERN(written.strip().lower())
        if found is None:
            raise ValueError(f"{written!r} is no host; write example.org, *.example.org, example.org:8443 or *")
        try:
            name, port = _host(found[2]), int(found[3]) if found[3] else None
        except FetchError as error:
            raise ValueError(f"{written!r} is no host: {error}") from error
        if port is not None and not 0 < port < 65_536:
            raise ValueError(f"{written!r} is no host: there is no port {port}")
        return cls(name, port, below=bool(found[1]))

    def takes(self, address: Address) -> bool:
        """Whether this lets the address in."""
        if address.port != (self.port or _PORTS[address.scheme]):
            return False
        return address.host.endswith(f".{self.name}") if self.below else address.host == self.name


@dataclass(frozen=True, slots=True)
class Hosts:
    """Which hosts may be asked."""

    listed: tuple[Host, ...]
    open: bool = False  # any public host, on the ports of http and https
    testing: frozenset[tuple[str, int]] = frozenset()  # servers of tests: their checks of host and network are left out

    @classmethod
    def parse(cls, written: Iterable[str] = DEFAULT_HOSTS, *, testing: Iterable[str] = ()) -> Hosts:
        """From host names, `*` for all; `testing` holds addresses such as 127.0.0.1:8080. Raises ValueError."""
        names = [name.strip() for name in written if name.strip()]
        tests = [Host.parse(name) for name in testing if name.strip()]
        return cls(
            listed=tuple(Host.parse(name) for name in names if name != "*"),
            open="*" in names,
            testing=frozenset((one.name, one.port or _PORTS["http"]) for one in tests),
        )

    def read(self, url: str, *, base: Address | None = None) -> Address:
        """The address a link stands for, as it may be asked; raises FetchError for one that may not.

        `base` is the page a redirect came from.
        """
        address = read(url) if base is None else joined(url, base)
        if base is not None and base.scheme == "https" and address.scheme == "http" and not self.is_test(address):
            raise refused(f"{base.host} redirects from https to plain http at {address.host}")
        self._admit(address)
        return address

    def is_test(self, address: Address) -> bool:
        """Whether the address is a test's server, which may stand on this machine."""
        return (address.host, address.port) in self.testing

    def _admit(self, address: Address) -> None:
        if self.is_test(address) or any(host.takes(address) for host in self.listed):
            return
        if address.port != _PORTS[address.scheme] and (self.open or self._on_other_ports(address)):
            raise refused(
                f"port {address.port} of {address.host} is not the one of {address.scheme}", Cause.REFUSED_HOST
            )
        if passed_off := self.passed_off(address.host):
            raise refused(f"{address.host} is made to look like {passed_off}", Cause.REFUSED_HOST)
        if not self.open:
            raise refused(f"{address.host} is not among them", Cause.REFUSED_HOST)
        if _is_ip(address.host):
            public = is_public(address.host)
        else:
            public = "." in address.host and address.host.rpartition(".")[2] not in _NOT_PUBLIC
        if not public:
            raise refused(f"{address.host} is no public host", Cause.REFUSED_HOST)

    def _on_other_ports(self, address: Address) -> bool:
        on_own = Address(address.scheme, address.host, _PORTS[address.scheme], address.target)
        return any(host.takes(on_own) for host in self.listed)

    def passed_off(self, host: str) -> str | None:
        """The well-known host that another is dressed up as: by letters of other scripts, or by its name in front."""
        known = _WELL_KNOWN | {one.name for one in self.listed if "." in one.name and not _is_ip(one.name)}
        if any(host == name or host.endswith(f".{name}") for name in known):
            return None
        skeleton = _skeleton(host)
        for name in sorted(known):
            if skeleton == _skeleton(name) or skeleton.endswith(f".{_skeleton(name)}"):
                return name
            if f".{name}." in f".{host}." and not _OF_A_COUNTRY(host):
                return name
        return None


_WELL_KNOWN: Final = frozenset({"youtube.com", "youtu.be", "google.com", "googlevideo.com", "googleusercontent.com"})


def read(url: str) -> Address:
    """The address a link stands for, whoever's it is; raises FetchError where it has no single plain reading."""
    url = url.strip(" ")
    if len(url) > MOST_CHARACTERS:
        raise refused(f"the link has {len(url)} characters; {MOST_CHARACTERS} are read")
    if any(unicodedata.category(letter) in ("Cc", "Cf", "Cs", "Zl", "Zp") for letter in url):
        raise refused("the link holds invisible characters")
    if "\\" in url:
        raise refused("the link holds a backslash")
    found = _URL.fullmatch(url)
    if found is None:
        raise refused("the link is no http or https address")
    scheme = found["scheme"].lower()
    if scheme not in _PORTS:
        raise refused(f"{scheme} is not followed, only http and https")
    host, port = _authority(found["authority"], scheme)
    target = _escaped(found["path"] or "/") + _escaped(found["query"] or "")
    return Address(scheme, host, port, target)


def joined(url: str, base: Address) -> Address:
    """The address a redirect leads to from `base`; raises FetchError where it has no single plain reading."""
    try:
        return read(urljoin(base.url, url))
    except ValueError as error:
        raise refused("the redirect leads to no address") from error


def _authority(written: str, scheme: str) -> tuple[str, int]:
    if "@" in written or "%40" in written:
        raise refused("the link carries a name or password before its host")
    name, colon, port = written, "", ""
    if not written.endswith("]"):
        name, colon, port = written.rpartition(":") if ":" in written else (written, "", "")
    if colon and not (port.isascii() and port.isdigit() and len(port) < 6 and 0 < int(port) < 65_536):
        raise refused("the link's port is no port")
    return _host(name), int(port) if port else _PORTS[scheme]


def _host(written: str) -> str:
    """The host in lower case and ASCII; raises FetchError for any spelling that is not the plain one."""
    if written.startswith("[") and written.endswith("]"):
        return _ipv6(written[1:-1])
    if not written:
        raise refused("the link names no host")
    if len(written) > 253:
        raise refused("the link's host is longer than hosts are")
    name = written.lower()
    if not name.isascii():
        name = _in_ascii(name)
    labels = name.split(".")
    if len(name) > 253 or not all(_LABEL(label) for label in labels):
        raise refused(f"{_shown(written)} is no plain host name")
    if _NUMBER(labels[-1]):
        return _ipv4(name)
    return name


def _in_ascii(name: str) -> str:
    """An international name in letters of DNS; only what is spelled canonically, so no full-width digits or dots."""
    import idna

    try:
        return idna.encode(name, strict=True).decode("ascii")
    except UnicodeError as error:
        raise refused(f"{_shown(name)} is no plain host name") from error


def _ipv4(name: str) -> str:
    if not _PLAIN_IPV4(name):
        raise refused(f"{_shown(name)} is a number written to look like none")
    try:
        return str(ipaddress.IPv4Address(name))
    except ValueError as error:
        raise refused(f"{_shown(name)} is no address") from error


def _ipv6(written: str) -> str:
    if "%" in written:
        raise refused("the link's address names an interface of this machine")
    try:
        return str(ipaddress.IPv6Address(written))
    except ValueError as error:
        raise refused(f"{_shown(written)} is no address") from error


def _is_ip(host: str) -> bool:
    return ":" in host or _PLAIN_IPV4(host) is not None


def _escaped(part: str) -> str:
    """Path or query as it is sent; escapes that are there stay as they are."""
    return quote(part, safe="/?%:@!$&'()*+,;=~-._[]")


def _skeleton(host: str) -> str:
    """What a name looks like to a hurried reader."""
    shown = host
    if "xn--" in host:
        import idna

        try:
            shown = idna.decode(host)
        except UnicodeError:
            return host
    plain = unicodedata.normalize("NFKD", shown)
    letters = "".join(letter for letter in plain if not unicodedata.combining(letter))
    return letters.translate(_LOOKS_LIKE).lower().replace("rn", "m").replace("1", "l").replace("0", "o")


def _shown(text: str) -> str:
    return text if text.isascii() else text.encode("ascii", "backslashreplace").decode("ascii")
