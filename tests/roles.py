"""The functions' users in a database of a test's own, with the rights that a deployment gives them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final
from urllib.parse import quote

from infra.deploy.grants import Rights
from infra.deploy.ledger import Ledger
from infra.local.topology import Topology
from shared.config import parse_database_url
from shared.db import Database, connector
from tests.conftest import _administer

PASSWORD: Final = "of-a-function"


def address(url: str, user: str) -> str:
    """The database of `url` as another user."""
    return f"postgresql://{quote(user)}:{PASSWORD}@{url.rpartition('@')[2]}"


@contextmanager
def functions_users(url: str) -> Iterator[dict[str, str]]:
    """Function -> its user, while the block lasts; the database's name keeps those of other tests apart."""
    topology = Topology.load()
    prefix = f"{url.rpartition('/')[2]}-"
    users = {function: f"{prefix}{function}@rowlift-test.iam" for function in topology.functions}
    for user in users.values():
        _administer(url, f"CREATE ROLE \"{user}\" LOGIN PASSWORD '{PASSWORD}'")
    ledger = Ledger(name="the test's", environment={"DATABASE_URL": url})
    try:
        assert ledger.grant(Rights.load(topology), users, deployment=prefix) == []
        yield users
    finally:
        with ledger._cursor() as cursor:
            for user in users.values():
                cursor.execute(f'DROP OWNED BY "{user}"')
        for user in users.values():
            _administer(url, f'DROP ROLE "{user}"')


@contextmanager
def as_functions(url: str) -> Iterator[dict[str, Database]]:
    """The ledger as each function has it, of the pipelines' functions the artists' as `process`."""
    with functions_users(url) as users:
        opened = {
            function: Database(connector(parse_database_url(address(url, user))), size=4)
            for function, user in users.items()
        }
        try:
            yield opened
        finally:
            for database in opened.values():
                database.close()
