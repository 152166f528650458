"""A TCP proxy between the functions and PostgreSQL that cuts, delays, refuses and falls silent on request.

One asyncio loop in a thread of its own; its controls may be called from any thread.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import Callable
from typing import Self

BLOCK = 1 << 16
Place = tuple[str, int]


class Proxy:
    """Listens on a free port of 127.0.0.1 and passes on to wherever `target` says when a connection comes."""

    def __init__(self, target: Callable[[], Place]) -> None:
        self.port = 0
        self.delay = 0.0  # seconds each block is held back
        self.refusing = False  # new connections are closed at once
        self.answers_to_lose = 0  # so many answers of the server are lost, each with its connection
        self.cuts = 0  # connections lost so far
        self.round_trips = 0  # how often somebody said something and was answered
        self._target = target
        self._loop = asyncio.new_event_loop()
        self._speaking = asyncio.Event()
        self._open: set[asyncio.StreamWriter] = set()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result(10)
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._leave(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    def cut(self) -> None:
        """Reset every connection."""
        self._loop.call_soon_threadsafe(self._cut_all)

    def fall_silent(self) -> None:
        """Pass nothing on until `speak`; nobody is told."""
        self._loop.call_soon_threadsafe(self._speaking.clear)

    def speak(self) -> None:
        """Pass on again, what was held back first."""
        self._loop.call_soon_threadsafe(self._speaking.set)

    async def _listen(self) -> None:
        self._speaking.set()
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, backlog=256)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _leave(self) -> None:
        self._server.close()
        self._speaking.set()
        self._cut_all()
        others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        if others:
            await asyncio.wait(others, timeout=5)

    def _cut_all(self) -> None:
        self.cuts += len(self._open) // 2
        for writer in list(self._open):
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            if self.refusing:
                raise ConnectionRefusedError
            server_reader, server_writer = await asyncio.open_connection(*self._target())
        except OSError:
            writer.transport.abort()
            return
        self._open |= {writer, server_writer}
        turn = _Turn()
        pumps = [
            asyncio.create_task(self._pump(reader, server_writer, turn, answers=False)),
            asyncio.create_task(self._pump(server_reader, writer, turn, answers=True)),
        ]
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)
            self._open -= {writer, server_writer}
            writer.close()
            server_writer.close()

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, turn: _Turn, *, answers: bool
    ) -> None:
        _undelayed(writer)
        with contextlib.suppress(OSError):
            while block := await reader.read(BLOCK):
                if answers and self.answers_to_lose > 0:  # the statement ran, and nobody hears of it
                    self.answers_to_lose -= 1
                    self.cuts += 1
                    writer.transport.abort()
                    return
                self.round_trips += answers and turn.asked
                turn.asked = not answers
                if self.delay:
                    await asyncio.sleep(self.delay)
                await self._speaking.wait()
                writer.write(block)
                await writer.drain()


class _Turn:
    """Whose turn it is on one connection."""

    asked = False  # whether the client has said something that nobody has answered yet


def _undelayed(writer: asyncio.StreamWriter) -> None:
    sock = writer.get_extra_info("socket")
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
