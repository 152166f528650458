"""Transfers on real sockets: cut files that are read on, pages told from files, and politeness towards hosts."""

from __future__ import annotations

import hashlib
import time

import pytest

from shared.errors import FetchError
from shared.fetching import transfer
from shared.fetching.causes import Cause
from shared.fetching.pace import Pace
from tests.unit.test_fetch_web import BODY, closed, fetched, fetcher_to, soon
from tests.web_server import Handler, serving

__all__ = ["closed"]  # the fixture that closes what `fetcher_to` makes


class TestCuts:
    """Files whose connection is cut are read on where that is sure to give the same file."""

    def read(
        self, *, tag: str | None = '"one"', cuts: int = 3, ranges: bool = True, **odd: str
    ) -> tuple[bytes, list[str]]:
        asked: list[str] = []

        def behave(handler: Handler) -> None:
            begin = int((handler.headers.get("Range") or "bytes=0-")[6:-1])
            asked.append(handler.headers.get("If-Range") or "")
            head = {"ETag": tag} if tag else {}
            rest = BODY[begin:]
            if begin and not ranges:
                handler.answer(BODY, **head)
                return
            if begin:
                head["Content-Range"] = odd.get("content_range") or f"bytes {begin}-{len(BODY) - 1}/{len(BODY)}"
            handler.begin(206 if begin else 200, Content_Length=str(len(rest)), **head)
            if len(asked) <= cuts:
                handler.wfile.write(rest[:100_000])
                handler.hang_up()
            else:
                handler.wfile.write(rest)

        return fetched(behave), asked

    def test_three_times(self) -> None:
        found, asked = self.read()
        assert hashlib.sha256(found).digest() == hashlib.sha256(BODY).digest()
        assert asked == ["", '"one"', '"one"', '"one"']

    @pytest.mark.parametrize(
        "odd",
        [{"tag": None}, {"tag": 'W/"weak"'}, {"ranges": False}, {"content_range": "bytes 5-9/10"},
         {"content_range": "bytes 100000-511999/600000"}, {"content_range": "rows 1-2/3"}],
    )  # fmt: skip
    def test_not_where_it_might_be_another_file(self, odd: dict[str, str]) -> None:
        with pytest.raises(FetchError) as raised:
            self.read(**odd)  # type: ignore[arg-type]
        assert raised.value.cause == Cause.NETWORK

    def test_not_for_ever(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(transfer, "MOST_RESUMED", 2)
        with pytest.raises(FetchError):
            self.read(cuts=100)


def test_the_head_of_a_file_can_be_looked_at_without_losing_it() -> None:
    page = b"<!doctype HTML><p>no file"
    with (
        serving(lambda handler: handler.answer(page)) as server,
        fetcher_to(server).open(server.url, until=soon()) as file,
    ):
        assert file.looks_like_html()
        assert b"".join(file.pieces()) == page


def test_a_page_that_is_sent_to_be_saved_is_a_file() -> None:
    def behave(handler: Handler) -> None:
        handler.answer(b"<html>", Content_Type="text/html", Content_Disposition="Attachment; filename=x.html")

    with serving(behave) as server, fetcher_to(server).open(server.url, until=soon()) as file:
        assert file.looks_like_html()
        assert not file.is_page()


class TestPace:
    def test_no_more_at_once_than_set(self) -> None:
        from concurrent.futures import ThreadPoolExecutor
        from threading import Barrier, Lock

        pace, lock, most, now = Pace(at_once=3, per_second=10_000), Lock(), 0, 0
        together = Barrier(3, timeout=10)

        def turn(_: int) -> None:
            nonlocal most, now
            with pace.turn("a.example.org", until=soon()):
                with lock:
                    now += 1
                    most = max(most, now)
                together.wait()  # three at once, or this breaks
                with lock:
                    now -= 1

        with ThreadPoolExecutor(12) as threads:
            list(threads.map(turn, range(12)))
        assert most == 3

    def test_hosts_below_one_name_are_one_and_others_are_not(self) -> None:
        pace = Pace(at_once=1, per_second=1_000)
        with (
            pace.turn("r1.googlevideo.com", until=soon()),
            pace.turn("example.org", until=soon()),
            pytest.raises(FetchError) as raised,
            pace.turn("r2.googlevideo.com", until=soon(0.02)),
        ):
            pass
        assert raised.value.cause == Cause.BUSY
        with pace.turn("r2.googlevideo.com", until=soon()):
            pass

    def test_turns_begin_no_faster_than_set(self) -> None:
        pace, began = Pace(at_once=9, per_second=50), time.monotonic()
        for _ in range(4):
            with pace.turn("example.org", until=soon()):
                pass
        assert time.monotonic() - began >= 3 / 50

    def test_hosts_nobody_asks_any_more_are_forgotten(self) -> None:
        pace = Pace(at_once=1, per_second=1e6)
        for number in range(700):
            with pace.turn(f"host{number}.org", until=soon()):
                pass
        assert len(pace._hosts) <= 501
