"""The HTTP API of a deployment, local or in the cloud, as the commands use it."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

import httpx

from cli.faults import Unreachable, WrongUsage

TIMEOUT = httpx.Timeout(60.0, connect=5.0)

Document = dict[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class SettledLines:
    """Result lines in the order they settled, the cursor behind them, and whether none can come after it."""

    pieces: Iterator[bytes]
    next: str
    final: bool


class NoSuchSession(WrongUsage):
    """The API knows no session of that id (yet)."""


class Api:
    """One deployment's API. `token` answers the bearer token of a request; no token is sent to a loopback address.

    `timeout` is in seconds, for whoever cannot wait as long as a large answer may take.
    """

    def __init__(
        self,
        base: str,
        *,
        transport: httpx.BaseTransport | None = None,
        token: Callable[[str], str] | None = None,
        timeout: float | None = None,
    ) -> None:
        self.base = base.rstrip("/")
        self.local = _is_loopback(self.base)
        auth = None if self.local else _Bearer(self.base, token or identity_token)
        # A proxy of the environment is for the outside; it could not reach this machine's own ports.
        self._http = httpx.Client(
            base_url=self.base,
            transport=transport,
            timeout=TIMEOUT if timeout is None else timeout,
            auth=auth,
            trust_env=not self.local,
        )

    def health(self) -> Document:
        """Whether it works, its version and its buckets."""
        return self._get("/api/health")  # Cloud Run answers /health itself

    def pipelines(self) -> Document:
        """What files can be dropped, and which options there are."""
        return self._get("/api/pipelines")

    def sessions(self, *, limit: int = 10, before: UUID | None = None) -> Document:
        """A page of sessions in short, newest first, and the one the next page begins before."""
        page = {"limit": str(limit)} if before is None else {"limit": str(limit), "before": str(before)}
        return self._get("/api/sessions", params=page)

    def status(self, session: UUID) -> Document:
        """How a session stands."""
        return self._get(f"/api/session/{session}/status")

    def session(self, session: UUID) -> Document:
        """How a session stands, with its options and files."""
        return self._get(f"/api/session/{session}")

    def items(self, session: UUID, **which: str | int) -> Document:
        """A page of a session's items, and the number the next one begins after."""
        return self._get(f"/api/session/{session}/items", params=which)

    def calls(self, session: UUID) -> Document:
        """What a session's paid calls cost, and how they ended."""
        return self._get(f"/api/session/{session}/calls")

    def errors(self, session: UUID) -> Document:
        """What failed in a session, one group for each cause."""
        return self._get(f"/api/session/{session}/errors")

    def verify(self, session: UUID) -> Document:
        """Which invariants a session breaks."""
        return self._get(f"/api/session/{session}/verify")

    def act(self, session: UUID, what: str, body: Mapping[str, Any] | None = None) -> Document:
        """Do something to a session (pause, resume, cancel, approve, reprocess) and answer what the API answers."""
        with self._sent("POST", f"/api/session/{session}/{what}", json=dict(body or {})) as answer:
            return _json(answer)

    def results(self, session: UUID, **which: str | int) -> AbstractContextManager[Iterator[bytes]]:
        """A session's result lines so far, in pieces; with `after` 0 the final ones, or a refusal if there are none."""
        return self._stream(f"/api/session/{session}/results", which)

    @contextmanager
    def settled(self, session: UUID, *, after: str, limit: int) -> Iterator[SettledLines]:
        """The result lines that have settled behind a cursor, at most so many."""
        query = {"after": after, "limit": limit}
        with self._sent("GET", f"/api/session/{session}/results", params=query) as answer:
            following, final = (answer.headers.get(f"Rowlift-{name}") for name in ("Next", "Final"))
            if following is None:
                raise WrongUsage(f"{self.base} is of a version whose results cannot be followed; update it.")
            yield SettledLines(pieces=answer.iter_bytes(), next=following, final=final == "true")

    def rejects(self, session: UUID, **which: str) -> AbstractContextManager[Iterator[bytes]]:
        """A session's rejected rows as CSV, in pieces."""
        return self._stream(f"/api/session/{session}/rejects", which)

    def assets_csv(self, **which: str) -> AbstractContextManager[Iterator[bytes]]:
        """The enhanced sheet, in pieces."""
        return self._stream("/api/assets.csv", which)

    def bring(self, row_id: str, body: Mapping[str, Any]) -> Document:
        """Say that the media bucket holds a file which a person's sheet lists; the id is quoted for a path."""
        with self._sent("POST", f"/api/people/{row_id}/assets", json=dict(body)) as answer:
            return _json(answer)

    def resumed(self, session: UUID, **which: int) -> Document:
        """What an earlier file that a session goes on with was found to be, and a page of what was odd in it."""
        return self._get(f"/api/session/{session}/resumed", params=which)

    def _get(self, path: str, **details: Any) -> Document:
        with self._sent("GET", path, **details) as answer:
            return _json(answer)

    @contextmanager
    def _stream(self, path: str, which: Mapping[str, str | int]) -> Iterator[Iterator[bytes]]:
        with self._sent("GET", path, params=dict(which)) as answer:
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
        reason = str(error).partition(". ")[0].partition("\n")[0].rstrip(".")
        raise Unreachable(f"No credentials for {audience}: {reason}. {LOGIN}") from error
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
        raise Unreachable(
            f"{answer.url} answers, but not as Rowlift's API does{_kind(answer)}: another service has this address, "
            "or a proxy or login page stands before it. Check the address."
        )
    return document


def _refusal(answer: httpx.Response, base: str) -> WrongUsage | Unreachable:
    """What an answer that is not a success means for the command."""
    problem = _problem(answer)
    told = problem and (problem.get("detail") or problem.get("title"))
    code = answer.status_code
    if code in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN) and not told:
        return Unreachable(f"{base} does not let you in ({code}). Ask for roles/run.invoker on it. {LOGIN}")
    if code == HTTPStatus.TOO_MANY_REQUESTS or code >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return Unreachable(
            f"{base} cannot answer now ({code}): {told or f'it gives no reason{_kind(answer)}'}. {_remedy_of(answer)}",
            problem=problem,
        )
    if answer.is_redirect:
        where = str(answer.headers.get("location", ""))[:100]
        return Unreachable(f"{base} sends you on to {where}, a login page perhaps. Is this the API's own address?")
    if code == HTTPStatus.NOT_FOUND and told and "no session" in told:
        return NoSuchSession(f"{told} `rowlift status` lists the sessions.", problem=problem)
    if code == HTTPStatus.GONE and told:
        return WrongUsage(f"{told} Upload the file again: answers that were paid for are reused.", problem=problem)
    kind = NoSuchSession if code == HTTPStatus.NOT_FOUND else WrongUsage
    return kind(str(told or f"{answer.url} answers {code}; is this the address of Rowlift's API?"), problem=problem)


def _remedy_of(answer: httpx.Response) -> str:
    """What to do about a service that cannot answer now."""
    after = answer.headers.get("retry-after", "")
    return f"Try again in {after} s." if after.isdigit() else "Try again, or look at its log."


def _kind(answer: httpx.Response) -> str:
    """What came instead of JSON, in brackets; empty for what says nothing of itself."""
    kind = str(answer.headers.get("content-type", "")).partition(";")[0]
    return f" ({'an HTML page' if kind == 'text/html' else kind})" if kind else ""


def _problem(answer: httpx.Response) -> Document | None:
    try:
        document = answer.json()
    except ValueError:
        return None
    return document if isinstance(document, dict) else None
