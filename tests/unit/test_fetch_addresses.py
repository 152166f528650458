"""The guard of links: what is let through names exactly the host it seems to name, and nothing inside is reached."""

from __future__ import annotations

import ipaddress
import string
from urllib.parse import urlsplit

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from shared.errors import FetchError
from shared.fetching.addresses import DEFAULT_HOSTS, Hosts, read
from shared.fetching.causes import Cause
from shared.fetching.networks import Resolver, is_public

LISTED, OPEN = Hosts.parse(), Hosts.parse(["*"])


def cause(hosts: Hosts, url: str) -> str:
    with pytest.raises(FetchError) as raised:
        hosts.read(url)
    return raised.value.cause


@pytest.mark.parametrize(
    "url",
    [
        "https://www.youtube.com/watch?v=dQw4w9WgXcQ",
        "https://youtu.be/dQw4w9WgXcQ?t=3#there",
        "HTTPS://DRIVE.Google.COM:443/uc?id=1",
        "https://rr3---sn-4g5e6nsk.googlevideo.com/videoplayback?x=1",
        "https://doc-0s-3c-docs.googleusercontent.com/docs/securesc/ha0ro",
    ],
)
def test_the_hosts_of_downloads_are_let_in(url: str) -> None:
    assert LISTED.read(url).host == urlsplit(url).hostname


@pytest.mark.parametrize(
    "url",
    [
        "https://youtube.com.evil.org/",
        "https://evil-youtube.com/",
        "https://notyoutube.com/",
        "https://googlevideo.com.evil.org/",
        "https://evil.org/youtube.com",
        "https://evil.org#youtube.com",
        "https://evil.org?youtube.com",
        "https://googlevideo.com/",  # only what is below it
        "https://www.youtube.com:8443/",
        "https://www.youtube.com:80/",
        "http://www.youtube.com:443/",
        "https://example.org/",
        "http://metadata.google.internal/computeMetadata/v1/",
    ],
)
def test_hosts_that_are_not_listed_are_refused(url: str) -> None:
    assert cause(LISTED, url) == Cause.REFUSED_HOST


@pytest.mark.parametrize(
    "url",
    [
        "https://user@youtube.com/", "https://user:pw@youtube.com/", "https://youtube.com@evil.org/",
        "https://youtube.com%40evil.org/", "https://youtube.com\\@evil.org/", "https://evil.org\\.youtube.com/",
        "https:\\\\youtube.com/", "https://youtube.com\t.evil.org/", "https://you\u200btube.com/", "https:///youtube.com",
        "https://youtube.com./", "https://.youtube.com/", "https://youtube..com/", "https://youtube.com:99999/",
        "https://youtube.com:/", "https://youtube.com:+443/", "https://youtube.com:４４３/", "https://youtube.com:443:443/",
        "ftp://youtube.com/", "file:///etc/passwd", "gopher://youtube.com/", "javascript:alert(1)", "//youtube.com/",
        "",
        "https://ｙｏｕｔｕｂｅ.com/", "https://youtube。com/", "http://１２７.0.0.1/", "https://%79outube.com/",
        "https://-youtube.com/", "https://youtube.com\u202e/", "https://you tube.com/", "https://[::1", "https://[x]/",
        "https://[fe80::1%25eth0]/", "https://[fe80::1%eth0]/", "https://youtube.com/" + "a" * 9_000,
        "https://" + "ä" * 3_000 + "/",
    ],
)  # fmt: skip
def test_links_with_a_second_reading_are_refused(url: str) -> None:
    for hosts in (LISTED, OPEN):
        assert cause(hosts, url) in (Cause.REFUSED_LINK, Cause.REFUSED_HOST)


@pytest.mark.parametrize(
    "host",
    ["2130706433", "0x7f000001", "0x7f.1", "0177.0.0.1", "127.1", "127.0.1", "1.2.3.4.5", "127.0.0.256", "0x7f.0.0.0x1",
     "017700000001", "127.0.0.01", "00.0.0.0", "1.0x"],
)  # fmt: skip
def test_numbers_in_disguise_are_refused(host: str) -> None:
    assert cause(OPEN, f"http://{host}/") == Cause.REFUSED_LINK


@pytest.mark.parametrize(
    "url",
    ["https://yоutube.com/", "https://youtubе.com/", "https://xn--yutube-wqf.com/", "https://www.gооgle.com/",
     "https://drive.google.com.evil.net/",
     "https://google.com.evil/", "https://youtube.com.evil.org/", "https://y0utube.com/", "https://ɡoogle.com/"],
)  # fmt: skip
def test_look_alikes_are_refused_even_where_every_host_is_open(url: str) -> None:
    assert cause(OPEN, url) == Cause.REFUSED_HOST


@pytest.mark.parametrize("url", ["http://localhost/", "http://box/", "https://vault.internal/", "http://nas.local/"])
def test_names_of_the_network_inside_are_refused_where_every_host_is_open(url: str) -> None:
    assert cause(OPEN, url) == Cause.REFUSED_HOST


def test_other_hosts_are_let_in_where_every_host_is_open() -> None:
    assert OPEN.read("https://münchen.example/ä b?q=ü").url == "https://xn--mnchen-3ya.example/%C3%A4%20b?q=%C3%BC"
    assert OPEN.read("https://www.google.com.au/x").host == "www.google.com.au"  # Google's own
    assert OPEN.read("http://93.184.216.34/").host == "93.184.216.34"


def test_a_listed_port_is_let_in_and_no_other() -> None:
    hosts = Hosts.parse(["files.example.org:8443", "*.cdn.example.org"])
    assert hosts.read("https://files.example.org:8443/x").authority == "files.example.org:8443"
    assert hosts.read("https://a.cdn.example.org/").host == "a.cdn.example.org"
    assert cause(hosts, "https://files.example.org/x") == Cause.REFUSED_HOST
    assert cause(hosts, "https://cdn.example.org/") == Cause.REFUSED_HOST


@pytest.mark.parametrize(
    "written", ["https://x.org", "x.org/", "a b", "*x.org", "x.*.org", "x.org:0", "x.org:70000", "0x7f.1"]
)
def test_what_is_no_host_cannot_be_listed(written: str) -> None:
    with pytest.raises(ValueError, match="no host"):
        Hosts.parse([written])


class TestRedirects:
    BASE = OPEN.read("https://example.org/a/b?c")

    @pytest.mark.parametrize(
        ("target", "found"),
        [("/x", "https://example.org/x"), ("x", "https://example.org/a/x"), ("//other.org/x", "https://other.org/x"),
         ("?d", "https://example.org/a/b?d"), ("https://other.org", "https://other.org/")],
    )  # fmt: skip
    def test_lead_where_a_browser_would_go(self, target: str, found: str) -> None:
        assert OPEN.read(target, base=self.BASE).url == found

    @pytest.mark.parametrize(
        "target",
        ["http://example.org/", "//user@example.org/", "file:///etc/passwd", "http://127.1/", "https://[::1", "ftp://x.org/",
         "/\\evil.org", "https://example.org:22/"],
    )  # fmt: skip
    def test_are_judged_like_links_and_never_lose_tls(self, target: str) -> None:
        with pytest.raises(FetchError):
            OPEN.read(target, base=self.BASE)


HOSTILE = st.one_of(
    st.text(max_size=60),
    st.lists(
        st.sampled_from(
            ["https://", "http://", "youtube.com", ".youtube.com", "evil.org", "@", ":", "/", "\\", "#", "?", "%",
             ".", "[", "]", "::1", "127.0.0.1", "0x7f", "xn--", "%40", "%2e", "\t", " ", "０", "。", ":443",
             "user:pw@", "//", "а"]
        ),
        max_size=9,
    ).map("".join),
)  # fmt: skip


@given(HOSTILE)
@example("https://youtube.com")
@example("https://youtube.com:443@evil.org/")
def test_whatever_is_let_through_is_of_a_listed_host_by_every_reading(url: str) -> None:
    try:
        address = LISTED.read(url)
    except FetchError:  # and nothing else
        return
    assert address.host in DEFAULT_HOSTS or any(
        address.host.endswith(one[1:]) for one in DEFAULT_HOSTS if one[0] == "*"
    )
    assert (address.scheme, address.port) in (("http", 80), ("https", 443))
    assert set(address.url) <= set(string.ascii_letters + string.digits + "-._~:/?[]@!$&'()*+,;=%")
    again = urlsplit(address.url)  # a reader by another hand
    assert (again.scheme, again.hostname, again.username) == (address.scheme, address.host, None)
    assert read(address.url) == address


@given(st.ip_addresses())
def test_no_address_is_taken_for_public_that_the_registry_has_for_itself(ip: ipaddress.IPv4Address) -> None:
    if not ip.is_global or ip.is_multicast or ip.is_private or ip.is_loopback or ip.is_link_local or ip.is_reserved:
        assert not is_public(str(ip))


@pytest.mark.parametrize(
    "address",
    ["0.0.0.0", "10.1.2.3", "100.64.0.1", "100.100.100.200", "127.0.0.1", "169.254.169.254", "172.31.0.1",
     "192.0.0.192",
     "192.168.1.1", "198.18.0.1", "224.0.0.1", "239.255.255.255", "255.255.255.255", "168.63.129.16", "203.0.113.9",
     "::", "::1", "::ffff:127.0.0.1", "::ffff:8.8.8.8", "::7f00:1", "64:ff9b::7f00:1", "64:ff9b::8.8.8.8",
     "64:ff9b:1::1",
     "2002:7f00:1::", "2002:808:808::1", "2001:0:4136:e378:8000:63bf:3fff:fdd2", "fc00::1", "fd00:ec2::254",
     "fe80::1",
     "fe80::1%eth0", "2606:4700::1%1", "fec0::1", "ff02::1", "2001:db8::1", "3fff::1", "100::1",
     "::ffff:0:7f00:1", "x"],
)  # fmt: skip
def test_addresses_that_are_not_public(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", ["8.8.8.8", "142.250.185.78", "2a00:1450:4001:82f::200e", "2606:4700::6810:84e5"])
def test_addresses_that_are_public(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize(
    "found", [["8.8.8.8", "10.0.0.1"], ["127.0.0.1"], ["2606:4700::1", "::ffff:10.0.0.1"], ["169.254.169.254"]]
)
def test_a_name_is_refused_if_any_of_its_addresses_is_not_public(found: list[str]) -> None:
    with pytest.raises(FetchError) as raised:
        Resolver(lambda host, port: found).public("two-faced.example", 443, seconds=5)
    assert raised.value.cause == Cause.REFUSED_HOST
    assert not any(address in str(raised.value) for address in found)  # nobody learns of the network inside


def test_a_name_that_is_not_resolved_in_time_is_left() -> None:
    import threading

    never = threading.Event()
    with pytest.raises(FetchError) as raised:
        Resolver(lambda host, port: [str(never.wait(5))]).public("slow.example", 443, seconds=0.02)
    never.set()
    assert raised.value.cause == Cause.NETWORK
