"""The deployed ledger, as the account that owns its tables sees it: its revision, its migrations, who may do what."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from cli.faults import Failed, Unreachable
from cli.migrating import said, upgrade
from infra.deploy.grants import Rights, statements
from shared.cloud_sql import CloudSql
from shared.config import connection_settings
from shared.db import connector
from shared.errors import LedgerDown


@dataclass(frozen=True, kw_only=True)
class Ledger:
    """A ledger, reached by the variables of `environment`, as functions reach it."""

    name: str  # for people
    environment: Mapping[str, str] = field(repr=False)

    @classmethod
    def of(cls, outputs: Mapping[str, Any]) -> Ledger:
        """The ledger of a deployment, from Terraform's outputs."""
        facts = outputs["database"]
        environment = {
            "CLOUD_SQL_INSTANCE": facts["instance"],
            "DB_USER": facts["owner"],
            "DB_NAME": facts["name"],
            "CLOUD_SQL_IP_TYPE": "private" if facts["private_ip"] else "public",
        }
        return cls(name=f"{facts['instance']}, database {facts['name']}", environment=environment)

    def revision(self) -> str | None:
        """The revision it is at; None where nothing was migrated yet. Raises Unreachable."""
        with self._cursor() as cursor:
            cursor.execute("SELECT to_regclass('alembic_version') IS NOT NULL")
            if not cursor.fetchone()[0]:
                return None
            cursor.execute("SELECT version_num FROM alembic_version")
            row = cursor.fetchone()
            return str(row[0]) if row else None

    def upgrade(self, revision: str) -> None:
        """Bring it to a revision. Raises Failed."""
        upgrade(revision, database=self.name, env=self.environment)

    def grant(self, rights: Rights, users: Mapping[str, str], *, deployment: str) -> list[str]:
        """Give each function's user what its function needs, and take away all else; the tables that are not there yet.

        Users of functions that are gone (their names begin with `deployment`) lose everything. In one transaction, so
        that nobody is without rights in between. Raises Unreachable, Failed.
        """
        with self._cursor() as cursor:
            cursor.execute("SELECT table_name::text FROM information_schema.tables WHERE table_schema = 'public'")
            tables = {row[0] for row in cursor.fetchall()}
            cursor.execute("SELECT rolname::text FROM pg_roles WHERE starts_with(rolname, %s)", (deployment,))
            roles = {row[0] for row in cursor.fetchall()}
            cursor.execute("SELECT current_user::text")
            owner = cursor.fetchone()[0]
            known = {name: user for name, user in users.items() if user in roles}
            gone = roles - set(users.values()) - {owner}
            try:
                for statement in statements(rights, known, tables=tables, gone=sorted(gone)):
                    cursor.execute(statement)
            except Exception as error:  # the driver's own; nothing of the transaction stays
                raise Failed(f"Rights in {self.name} cannot be given: {said(error)}.") from error
        return sorted(rights.tables - tables)

    @contextmanager
    def _cursor(self) -> Iterator[Any]:
        connect = connector(connection_settings(self.environment), autocommit=False, application="rowlift-deploy")
        try:
            connection = connect()
        except LedgerDown as error:
            raise Unreachable(str(error)) from error
        except Exception as error:  # the driver raises its own classes, the system's and the resolver's
            raise Unreachable(f"Cannot reach the ledger {self.name}: {said(error)}.") from error
        try:
            yield connection.cursor()
            connection.commit()
        finally:
            connection.close()
            if isinstance(connect, CloudSql):
                connect.close()
