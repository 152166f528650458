"""Acting as the account that owns the ledger's tables, with the credentials of the person who deploys."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from cli.client import LOGIN
from cli.faults import Unreachable

VARIABLE: Final = "GOOGLE_APPLICATION_CREDENTIALS"
_SOURCES: Final = ("authorized_user", "service_account", "external_account")


@contextmanager
def acting_as(account: str) -> Iterator[None]:
    """Let default credentials of this process and its children be those of a service account; raises Unreachable.

    The file they are read from holds what the person's own holds, so only this user can read it, and it is removed.
    """
    content = json.dumps(impersonating(account, _own()))
    before = os.environ.get(VARIABLE)
    with tempfile.NamedTemporaryFile("w", prefix="rowlift-", suffix=".json", encoding="utf-8") as file:  # mode 0600
        file.write(content)
        file.flush()
        os.environ[VARIABLE] = file.name
        try:
            yield
        finally:
            if before is None:
                del os.environ[VARIABLE]
            else:
                os.environ[VARIABLE] = before


def impersonating(account: str, own: dict[str, Any]) -> dict[str, Any]:
    """A credentials file for an account, from one that may act as it; raises Unreachable."""
    address = f"https://iamcredentials.googleapis.com/v1/projects/-/serviceAccounts/{account}:generateAccessToken"
    if own.get("type") == "impersonated_service_account":
        if own.get("service_account_impersonation_url") == address:
            return own
        own = own.get("source_credentials", {})
    if own.get("type") not in _SOURCES:
        raise Unreachable(f"Default credentials of the kind {own.get('type')!r} cannot act as {account}. {LOGIN}")
    return {
        "type": "impersonated_service_account",
        "service_account_impersonation_url": address,
        "source_credentials": own,
        "delegates": [],
    }


def _own() -> dict[str, Any]:
    from google.auth import _cloud_sdk

    path = Path(os.environ.get(VARIABLE) or _cloud_sdk.get_application_default_credentials_path())
    try:
        found: dict[str, Any] = json.loads(path.read_text("utf-8"))
    except OSError as error:
        raise Unreachable(f"There are no default credentials in {path}. {LOGIN}") from error
    except ValueError as error:
        raise Unreachable(f"{path} is no credentials file: {error}. {LOGIN}") from error
    return found
