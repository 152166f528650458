"""Connections to a Cloud SQL instance, with IAM login, through Google's connector.

The connector makes sockets on the thread of its event loop and gives them no timeout: an address that does not answer
would hold up every other connect for 135 s (platform facts §5). So the loop is ours, sockets get their timeout from the
process's default while the connector's code runs and at no other time, and each connect has a deadline.
"""

from __future__ import annotations

import asyncio
import os
import socket
import threading
import time
from collections.abc import Callable, Coroutine, Generator, Iterator, Mapping
from contextlib import contextmanager
from types import coroutine
from typing import Any

from shared.config import ConnectionSettings
from shared.errors import LedgerDown

# For one step of a connect: TCP, the TLS handshake, the login.
STEP_TIMEOUT = 5.0
# For all of it, the Admin API's answers and the turns of others included.
OPEN_WITHIN = 8.0


class CloudSql:
    """Opens connections when called. Its loop, thread and connector are made in the first call of each process."""

    def __init__(
        self,
        where: ConnectionSettings,
        *,
        application: str,
        startup: Mapping[str, str],
        ready: Callable[[Any], Any],
    ) -> None:
        self._where, self._application, self._startup, self._ready = where, application, startup, ready
        self._lock = threading.Lock()
        self._made_by: int | None = None

    def __call__(self) -> Any:
        """A new connection, made `ready`; raises LedgerDown, or the driver's DatabaseError when PostgreSQL says no."""
        loop = self._loop_of_this_process()
        opening = asyncio.run_coroutine_threadsafe(self._open(time.monotonic()), loop)
        try:
            return self._ready(opening.result(OPEN_WITHIN))
        except Exception as error:
            if (cause := self._cause(error)) is None:
                raise
            raise LedgerDown(cause) from error

    def load(self) -> None:
        """Load what the first connect would load."""
        import google.cloud.sql.connector  # noqa: F401

    def close(self) -> None:
        """End the connector; connections stay, and the next call makes another."""
        with self._lock:
            if self._made_by != os.getpid():
                return
            self._made_by = None
            asyncio.run_coroutine_threadsafe(self._end(), self._loop).result()
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()

    def _loop_of_this_process(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._made_by != os.getpid():
                self.load()  # a second or more on a small CPU, and not to be taken from a deadline
                self._connector: Any = None
                self._unanswered_at = 0.0
                self._turn = asyncio.Lock()
                self._loop = asyncio.new_event_loop()
                self._thread = threading.Thread(target=self._loop.run_forever, name="cloud-sql", daemon=True)
                self._thread.start()
                self._made_by = os.getpid()
            return self._loop

    async def _open(self, asked_at: float) -> Any:
        # One after another: where two fail together, the connector answers the second with a KeyError of its own.
        async with asyncio.timeout_at(asked_at + OPEN_WITHIN), self._turn:
            if self._unanswered_at > asked_at:  # it waited while another found that nobody answers
                raise TimeoutError
            if self._connector is None:
                from google.cloud.sql.connector import Connector

                self._connector = Connector(
                    loop=asyncio.get_running_loop(),
                    refresh_strategy="lazy",
                    enable_iam_auth=True,
                    ip_type=self._where.ip_type,
                    sqladmin_api_endpoint=self._where.api_endpoint,
                )
            connecting = self._connector.connect_async(
                self._where.instance,
                "pg8000",
                user=self._where.user,
                db=self._where.database,
                ssl_context=False,
                application_name=self._application,
                startup_params=self._startup,
            )
            try:
                return await _with_timeouts(connecting)
            except TimeoutError:
                self._unanswered_at = time.monotonic()
                raise

    async def _end(self) -> None:
        if self._connector is not None:
            await self._connector.close_async()
        await self._loop.shutdown_default_executor()

    def _cause(self, error: Exception) -> str | None:
        """What failed and what a person can do about it; None where PostgreSQL's own words say it."""
        import aiohttp
        import pg8000.exceptions

        instance = self._where.instance
        if isinstance(error, pg8000.exceptions.DatabaseError):
            details = error.args[0] if error.args and isinstance(error.args[0], dict) else {}
            if not str(details.get("C", "")).startswith("28"):
                return None
            return (
                f"Cloud SQL instance {instance} does not let DB_USER {self._where.user} in: it must be the e-mail of "
                "this service account without .gserviceaccount.com, an IAM user of the instance, and hold "
                f"roles/cloudsql.instanceUser. PostgreSQL says {details.get('C')}: {details.get('M')}"
            )
        if isinstance(error, TimeoutError):
            return (
                f"Cloud SQL instance {instance} does not answer (a step took {STEP_TIMEOUT:g} s or the whole "
                f"{OPEN_WITHIN:g} s): is it running, and its address reachable on port 3307?"
            )
        if isinstance(error, aiohttp.ClientResponseError) and error.status in _ADVICE:
            advice = _ADVICE[error.status].format(instance=instance)
            return f"{advice} The Cloud SQL Admin API says {error.status}: {error.message}"
        return f"The Cloud SQL connector could not connect to {instance} ({type(error).__name__}: {error})."


_ADVICE = {
    403: "This service account may not connect to Cloud SQL instance {instance}: grant it roles/cloudsql.client, and "
    "enable the Cloud SQL Admin API in the project.",
    404: "There is no Cloud SQL instance {instance}; CLOUD_SQL_INSTANCE must read project:region:instance.",
}


@coroutine
def _with_timeouts(steps: Coroutine[Any, Any, Any]) -> Generator[Any, Any, Any]:
    """What `steps` returns; sockets made between two of its waits get a timeout, and none made while it waits."""
    resume, value = steps.send, None
    while True:
        with _default_timeout():
            try:
                wait = resume(value)
            except StopIteration as end:
                return end.value
        try:
            resume, value = steps.send, (yield wait)
        except BaseException as error:  # what it waited for failed, or it is cancelled: that is for it to handle
            resume, value = steps.throw, error


_lock = threading.Lock()
_users = 0


@contextmanager
def _default_timeout() -> Iterator[None]:
    """Sockets made meanwhile in this process get STEP_TIMEOUT. Several threads may be in here; the last one ends it."""
    global _users  # the default is the process's, so their number is too
    with _lock:
        _users += 1
        socket.setdefaulttimeout(STEP_TIMEOUT)
    try:
        yield
    finally:
        with _lock:
            _users -= 1
            if not _users:
                socket.setdefaulttimeout(None)
