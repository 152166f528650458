"""The ledger's connections: pooled, one statement per unit of work, every failure translated by SQLSTATE.

Statements are prepared once per connection, which makes each later run one round trip instead of three. An exception
that did not come from the server ends its connection: pg8000 answers out of step afterwards (platform facts §6).
"""

from __future__ import annotations

import json
import os
import random
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, Protocol

from shared.cloud_sql import CloudSql
from shared.config import ConnectionSettings
from shared.errors import LedgerDown, StatementFailed, TooSlow
from shared.pool import Pool, PoolBusy
from shared.sql import statement

Row = dict[str, Any]

STARTUP = {
    "statement_timeout": "30000",
    "lock_timeout": "5000",
    "idle_in_transaction_session_timeout": "60000",
    "TimeZone": "UTC",
}
CONNECT_TIMEOUT = 5.0
SILENCE_TIMEOUT = 45.0
POOL_TIMEOUT = 9.0
# A connect that takes longer to fail has waited in vain. None is tried for POOL_TIMEOUT then: those who waited for the
# pool meanwhile would each wait as long once more.
SLOW = 1.0
# Connections older than this are replaced: certificates and servers change beneath them.
RECYCLE_AFTER = 1_800

# SQLSTATE classes that mean "no server now".
_AWAY = ("08", "57P", "53300")
_STALE_PLAN = "0A000"


class _Connection(Protocol):
    def close(self) -> None: ...


def connector(where: ConnectionSettings, *, autocommit: bool = True, application: str = "rowlift") -> Callable[[], Any]:
    """A function that opens connections to where the settings say; nothing is opened yet."""
    startup = STARTUP if autocommit else {**STARTUP, "statement_timeout": "0"}
    if where.instance is not None:
        ready = partial(_ready, autocommit=autocommit)
        return CloudSql(where, application=application, startup=startup, ready=ready)

    def connect() -> Any:
        import pg8000.dbapi

        connection = pg8000.dbapi.connect(
            user=where.user,
            host=where.host or "localhost",
            port=where.port,
            unix_sock=where.unix_sock,
            database=where.database,
            password=where.password.get_secret_value() if where.password else None,
            timeout=CONNECT_TIMEOUT,
            application_name=application,
            startup_params=startup,
        )
        return _ready(connection, autocommit=autocommit)

    return connect


def _ready(connection: Any, *, autocommit: bool) -> Any:
    sock = connection._usock
    # Longer than any statement may take: a server that is silent beyond that is gone, whatever TCP believes. Migrations
    # may take as long as they need.
    sock.settimeout(SILENCE_TIMEOUT if autocommit else None)
    if sock.family in (socket.AF_INET, socket.AF_INET6):
        # Without it a statement of 8 to 64 KB waits 40 ms for a delayed acknowledgement.
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.autocommit = autocommit
    return connection


class Database:
    """The ledger: a lazy pool, and statements by name from `shared/sql`."""

    def __init__(self, connect: Callable[[], Any], *, size: int) -> None:
        self._connect, self._size = connect, size
        self._away: tuple[float, str] | None = None
        self._lock = threading.Lock()
        self._pool: Pool | None = None
        self._made_by: int | None = None
        # Since this process began; threads may lose a count to each other, which a health answer can bear.
        self._failures = self._queries = 0

    def rows(self, name: str, **params: Any) -> list[Row]:
        """The rows statement `name` returns, as dicts; one statement, one transaction, one round trip once prepared.

        Dict and list parameters travel as JSON text. Repeats once after a lost connection, a deadlock or a timeout, so
        a statement that must not run twice carries an id its caller made. Raises LedgerDown or StatementFailed.
        """
        for last in (False, True):
            try:
                with self._checked_out() as connection:
                    self._queries += 1
                    return _run(connection, name, params)
            except (LedgerDown, StatementFailed) as error:
                again = isinstance(error, LedgerDown) or error.passes or error.sqlstate == _STALE_PLAN
                if last and isinstance(error, StatementFailed) and error.passes:
                    # It may go well later, so no reason to give the work up.
                    raise (TooSlow if error.timed_out else LedgerDown)(str(error)) from error
                if last or not again:
                    raise
                time.sleep(random.uniform(0.01, 0.05))
        raise AssertionError("unreachable")

    def row(self, name: str, **params: Any) -> Row | None:
        """The first row statement `name` returns, or None."""
        found = self.rows(name, **params)
        return found[0] if found else None

    @contextmanager
    def transaction(self) -> Iterator[Transaction]:
        """Several statements that commit together when the block ends and not at all when it raises."""
        with self._checked_out() as connection:
            connection.execute_simple("BEGIN")
            try:
                self._queries += 1
                yield Transaction(connection)
            except BaseException as error:
                if _from_server(error) or isinstance(error, StatementFailed):
                    connection.execute_simple("ROLLBACK")
                    raise
                # Ours: the connection may be out of step or in the middle of a COPY. Closing it rolls back.
                raise _Abandoned from error
            connection.execute_simple("COMMIT")

    def load(self) -> None:
        """Load what the first statement would load; no connection is opened."""
        import pg8000.native  # noqa: F401

        if isinstance(self._connect, CloudSql):
            self._connect.load()
        self._pool_of_this_process()

    def close(self) -> None:
        """Close what is idle in the pool, and what opens connections."""
        with self._lock:
            if self._pool is not None and self._made_by == os.getpid():
                self._pool.close_idle()
            self._pool = None
        if isinstance(self._connect, CloudSql):
            self._connect.close()

    def state(self) -> Row:
        """How the pool stands, and what it did since this process began, for health answers.

        A query is a statement, or a transaction of several; a failure one whose connection was lost or refused.
        """
        pool = self._pool
        return {
            "size": self._size,
            "checked_out": pool.in_use if pool is not None else 0,
            "created": pool.opened if pool is not None else 0,
            "closed": pool.closed if pool is not None else 0,
            "failures": self._failures,
            "queries": self._queries,
        }

    @contextmanager
    def _checked_out(self) -> Iterator[Any]:
        pool = self._pool_of_this_process()
        try:
            pooled = pool.take()
        except PoolBusy:
            raise LedgerDown(
                f"No database connection came free within {POOL_TIMEOUT:g} s; raise DB_POOL_SIZE."
            ) from None
        try:
            yield pooled.connection
        except StatementFailed:
            pool.give_back(pooled)
            raise
        except _Abandoned as abandoned:
            pool.throw_away(pooled)
            cause = abandoned.__cause__
            raise cause if cause is not None else abandoned from None
        except BaseException as error:
            translated = _translated(error) if isinstance(error, Exception) else error
            if isinstance(translated, LedgerDown):
                self._failures += 1
                pool.renew()  # what cut this connection has cut those idle beside it
            if isinstance(translated, LedgerDown) or not _from_server(error):
                pool.throw_away(pooled)
            else:
                pool.give_back(pooled)
            raise translated from (error if translated is not error else error.__cause__)
        else:
            pool.give_back(pooled)

    def _open(self) -> Any:
        """A new connection; raises LedgerDown, at once if another connect waited in vain a moment ago."""
        if self._away is not None and time.monotonic() < self._away[0]:
            raise LedgerDown(self._away[1])
        begun = time.monotonic()
        try:
            opened = self._connect()
        except Exception as error:
            self._failures += 1
            translated = _translated(error)
            if isinstance(translated, StatementFailed):  # login refused, no such database: there is no ledger to ask
                translated = LedgerDown(str(translated))
            if isinstance(translated, LedgerDown) and time.monotonic() - begun > SLOW:
                self._away = time.monotonic() + POOL_TIMEOUT, str(translated)
            raise translated from (error if translated is not error else error.__cause__)
        return opened

    def _pool_of_this_process(self) -> Pool:
        if self._pool is None or self._made_by != os.getpid():
            with self._lock:
                if self._pool is None or self._made_by != os.getpid():
                    self._pool = Pool(self._open, size=self._size, patience=POOL_TIMEOUT, oldest=RECYCLE_AFTER)
                    self._made_by = os.getpid()
        return self._pool


class Transaction:
    """Statements inside one transaction."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    def rows(self, name: str, **params: Any) -> list[Row]:
        """The rows statement `name` returns."""
        try:
            return _run(self._connection, name, params)
        except Exception as error:
            raise _translated(error) from error

    def row(self, name: str, **params: Any) -> Row | None:
        """The first row statement `name` returns, or None."""
        found = self.rows(name, **params)
        return found[0] if found else None

    def copy(self, name: str, chunks: Iterable[bytes]) -> None:
        """Load COPY text into the table that COPY statement `name` says; give it chunks of about 64 KB."""
        try:
            self._connection.execute_unnamed(statement(name), stream=iter(chunks))
        except Exception as error:
            raise _translated(error) from error


class _Abandoned(Exception):
    """A transaction left by an error of ours; its connection is closed and the cause raised in its place."""


def _run(connection: Any, name: str, params: dict[str, Any]) -> list[Row]:
    from pg8000.native import PreparedStatement

    prepared: dict[str, Any] = connection.__dict__.setdefault("_rowlift_prepared", {})
    if name not in prepared:
        prepared[name] = PreparedStatement(connection, statement(name))
    one = prepared[name]
    values = {
        key: json.dumps(v) if isinstance(v, dict | list) and key not in _ARRAYS else v for key, v in params.items()
    }
    try:
        rows = one.run(**values)
    except Exception as error:
        if _sqlstate(error) == _STALE_PLAN:
            prepared.clear()
        raise
    names = [column["name"] for column in one.cols] if one.cols else []
    return [dict(zip(names, row, strict=True)) for row in rows or ()]


# Parameters that are PostgreSQL arrays; every other list is JSON.
_ARRAYS = frozenset({"item_nos", "outcomes", "error_codes", "ids"})


def _from_server(error: BaseException) -> bool:
    """Whether PostgreSQL itself said no and the connection is still in step."""
    import pg8000.exceptions

    details = error.args[0] if error.args else None
    return (
        isinstance(error, pg8000.exceptions.DatabaseError) and isinstance(details, dict) and details.get("S") != "FATAL"
    )


def _sqlstate(error: BaseException) -> str:
    details = error.args[0] if error.args else None
    return str(details.get("C", "")) if isinstance(details, dict) else ""


def _translated(error: BaseException) -> BaseException:
    """Our error for one of the driver's, keyed on SQLSTATE and constraint; anything else unchanged."""
    import pg8000.exceptions

    if isinstance(error, pg8000.exceptions.DatabaseError) and error.args and isinstance(error.args[0], dict):
        details = error.args[0]
        sqlstate = str(details.get("C", ""))
        message = f"PostgreSQL says {sqlstate}: {details.get('M', '')}"
        if sqlstate.startswith(_AWAY):
            return LedgerDown(message)
        return StatementFailed(message, sqlstate=sqlstate, constraint=details.get("n"))
    if isinstance(error, pg8000.exceptions.InterfaceError | OSError):
        return LedgerDown(f"The database connection was lost or refused ({type(error).__name__}: {error}).")
    return error
