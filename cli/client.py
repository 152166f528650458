"""The HTTP API of a deployment, local or in the cloud, as the commands use it."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from http import HTTPStatus
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

import httpx

from cli.faults import Unreachable, WrongUsage

TIMEOUT = httpx.Timeout(60.0, connect=5.0)

Document = dict[str, Any]


class NoSuchSession(WrongUsage):
    """The API knows no session of that id (yet)."""


class Api:
    """One deployment's API. `token` answers the bearer token of a request; no token is sent to a loopback address."""

    def __init__(
        self,
        base: str,
        *,
        transport: httpx.BaseTransport | None = None,
        token: Callable[[str], str] | None = None,
    ) -> None:
        self.base = base.rstrip("/")
        self.local = _is_loopback(self.base)
        auth = None if self.local else _Bearer(self.base, token or identity_token)
        # A proxy of the environment is for the outside; it could not reach this machine's own ports.
        self._http = httpx.Client(
            base_url=self.base, transport=transport, timeout=TIMEOUT, auth=auth, trust_env=not self.local
        )

    def health(self) -> Document:
        """Whether it works, its version and its buckets."""
        return self._get("/api/health")  # Cloud Run answers /health itself

    def sessions(self, *, limit: int = 10) -> list[Document]:
        """The newest sessions in short."""
        found: list[Document] = self._get("/api/sessions", params={"limit": limit})["sessions"]
        return found

    def status(self, session: UUID) -> Document:
        """How a session stands."""
        return self._get(f"/api/session/{session}/status")

    def session(self, session: UUID) -> Document:
        """How a session stands, with its options and files."""
        return self._get(f"/api/session/{session}")

    def items(self, session: UUID, **which: str | int) -> Document:
        """A page of a session's items, and the number the next one begins after."""
        return self._get(f"/api/session/{session}/items", params=which)

    def verify(self, session: UUID) -> Document:
        """Which invariants a session breaks."""
        return self._get(f"/api/session/{session}/verify")

    def act(self, session: UUID, what: str, body: Mapping[str, Any] | None = None) -> Document:
        """Do something to a session (pause, resume, cancel, approve, reprocess) and answer what the API answers."""
        with self._sent("POST", f"/api/session/{session}/{what}", json=dict(body or {})) as answer:
            return _json(answer)

    def results(self, session: UUID) -> AbstractContextManager[Iterator[bytes]]:
        """A session's result lines so far, in pieces."""
        return self._stream(f"/api/session/{session}/results")

    def rejects(self, session: UUID) -> AbstractContextManager[Iterator[bytes]]:
        """A session's rejected rows as CSV, in pieces."""
        return self._stream(f"/api/session/{session}/rejects")

    def _get(self, path: str, **details: Any) -> Document:
        with self._sent("GET", path, **details) as answer:
            return _json(answer)

    @contextmanager
    def _stream(self, path: str) -> Iterator[Iterator[bytes]]:
        with self._sent("GET", path) as answer:
            yield answer.iter_bytes()

    @contextmanager
    def _sent(self, method: str, path: str, **details: Any) -> Iterator[httpx.Response]:
        """The answer to a request, its status checked; every failure while it is read is translated as well."""
        try:
            with self._http.stream(method, path, **details) as answer:
                if not answer.is_success:
                    answer.read()
                    raise _refusal(answer, self.base)
                yield answer
        except httpx.TimeoutException as error:
            raise Unreachable(f"{self.base} did not answer in time. Try again, or look at its log.") from error
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise Unreachable(f"Cannot reach {self.base} ({type(error).__name__}). {self._remedy}") from error

    @property
    def _remedy(self) -> str:
        return "Start a stack with `rowlift up`." if self.local else "Check the address and your connection."


class _Bearer(httpx.Auth):
    def __init__(self, audience: str, token: Callable[[str], str]) -> None:
        self._audience, self._fetch = audience, token
        self._token: str | None = None

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        renewed = self._token is None
        self._token = self._token or self._fetch(self._audience)
        request.headers["Authorization"] = f"Bearer {self._token}"
        answer = yield request
        if answer.status_code == HTTPStatus.UNAUTHORIZED and not renewed:  # it lasts an hour, a watch may last longer
            self._token = self._fetch(self._audience)
            request.headers["Authorization"] = f"Bearer {self._token}"
            yield request


def identity_token(audience: str) -> str:
    """An identity token from application default credentials; raises Unreachable.

    A service account's is made for the audience. A person's has an audience of its own, which Cloud Run takes too.
    """
    import google.auth
    from google.auth.exceptions import GoogleAuthError
    from google.auth.transport.requests import Request
    from google.oauth2 import id_token

    try:
        return str(id_token.fetch_id_token(Request(), audience))
    except GoogleAuthError:
        pass
    try:
        credentials, _ = google.auth.default()
        credentials.refresh(Request())
    except GoogleAuthError as error:
        raise Unreachable(f"No credentials for {audience}. {LOGIN}") from error
    token = getattr(credentials, "id_token", None)
    if not token:
        raise Unreachable(f"The credentials found give no identity token for {audience}. {LOGIN}")
    return str(token)


LOGIN = (
    "Run `gcloud auth application-default login`, or name a service account's key in GOOGLE_APPLICATION_CREDENTIALS."
)


def _is_loopback(base: str) -> bool:
    """Whether the address is on this machine; raises WrongUsage for one that is neither that nor https."""
    parts = urlsplit(base)
    host = parts.hostname or ""
    if parts.scheme not in ("http", "https") or not host:
        raise WrongUsage(f"{base!r} is no address of an API; it should read like https://api-….a.run.app.")
    try:
        loopback = host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        loopback = False
    if parts.scheme == "http" and not loopback:
        raise WrongUsage(f"{base} is not encrypted; your token is sent only to an address that begins with https://.")
    return parts.scheme == "http"


def _json(answer: httpx.Response) -> Document:
    try:
        document = answer.read() and answer.json()
    except ValueError:
        document = None
    if not isinstance(document, dict):
        raise Unreachable(f"{answer.url} answers, but not as Rowlift's API does. Check the address.")
    return document


def _refusal(answer: httpx.Response, base: str) -> WrongUsage | Unreachable:
    """What an answer that is not a success means for the command."""
    problem = _problem(answer)
    told = problem and (problem.get("detail") or problem.get("title"))
    code = answer.status_code
    if code in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
        return Unreachable(f"{base} does not let you in ({code}). Ask for roles/run.invoker on it. {LOGIN}")
    if code == HTTPStatus.TOO_MANY_REQUESTS or code >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return Unreachable(
            f"{base} cannot answer now ({code}): {told or 'it gives no reason'}. Try again, or look at its log.",
            problem=problem,
        )
    kind = NoSuchSession if code == HTTPStatus.NOT_FOUND else WrongUsage
    return kind(str(told or f"{answer.url} answers {code}; is this the address of Rowlift's API?"), problem=problem)


def _problem(answer: httpx.Response) -> Document | None:
    try:
        document = answer.json()
    except ValueError:
        return None
    return document if isinstance(document, dict) else None
