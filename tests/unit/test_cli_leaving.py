"""Ctrl-C during a run: asked once, paused or left to go on, and a second one that ends it at once."""

from __future__ import annotations

import io
import os
import signal
import sys
from collections.abc import Callable
from typing import Any
from uuid import UUID

import pytest

from cli import leaving
from cli.client import Api
from cli.faults import Interrupted, Terminated, Unreachable
from cli.leaving import Leaving
from cli.terminal import Terminal
from tests.fake_api import LOCAL, SESSION, FakeApi, FakeBucket, problem, uploaded, working
from tests.unit.conftest import ID, Run

OTHER = UUID("00000000-0000-4000-8000-000000000002")


class Person(io.StringIO):
    """Somebody at the keyboard; `^C` in what is typed is Ctrl-C."""

    def isatty(self) -> bool:
        return True

    def readline(self, *_: Any) -> str:  # type: ignore[override]
        line = super().readline()
        if line.startswith("^C"):
            raise KeyboardInterrupt
        return line


@pytest.fixture
def person(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Seats a person at a screen who types something."""

    def seat(typed: str) -> None:
        monkeypatch.setattr(sys, "stdin", Person(typed))
        monkeypatch.setattr("cli.terminal.Terminal.asks", property(lambda self: not self.as_json))

    return seat


@pytest.fixture
def leave(api: FakeApi, bucket: FakeBucket) -> Callable[..., Interrupted]:
    """Leaves a run of one file, which the API has taken up, and answers how it ended."""
    api.statuses[SESSION] = [working(1)]
    bucket.uploaded.append({"name": "artists/list.csv"})
    bucket._bucket = "up"

    def leave(
        *, started: bool = False, error: KeyboardInterrupt | None = None, ask: bool = True, uploads: Any = None
    ) -> Interrupted:
        taken = [uploaded()] if uploads is None else uploads
        return Leaving(Api(LOCAL), taken, Terminal(as_json=False), started=started).taken(
            error or KeyboardInterrupt(), ask=ask
        )

    return leave


Leave = Callable[..., Interrupted]
PAUSE = f"/api/session/{ID}/pause"


@pytest.mark.parametrize("typed", ["\n", "y\n", "YES\n", "what?\n\n", ""])
def test_a_person_who_says_yes_or_nothing_pauses(
    api: FakeApi, leave: Leave, person: Callable[[str], None], typed: str, capsys: pytest.CaptureFixture[str]
) -> None:
    person(typed)
    left = leave(started=True)
    assert (left.goes_on, len(api.sent("POST", PAUSE))) == (False, 1)
    assert str(left) == f"Stopped. Session {ID} is paused and loses nothing; `rowlift resume 2f1c3b9e` goes on."
    asked = capsys.readouterr().err
    assert asked.count("Pause the session? It goes on in the background otherwise") == 1 + typed.count("what")


@pytest.mark.parametrize("started", [True, False])
def test_a_person_who_says_no_leaves_it_going_with_its_stack(
    api: FakeApi, leave: Leave, person: Callable[[str], None], started: bool
) -> None:
    person("n\n")
    left = leave(started=started)
    assert (left.goes_on, left.status, api.sent("POST", PAUSE)) == (True, 130, [])
    assert f"Session {ID} goes on in the background: `rowlift watch 2f1c3b9e` comes back to it" in str(left)
    assert ("The stack that was started for this stays up: `rowlift down` stops it" in str(left)) is started


def test_a_second_ctrl_c_ends_it_at_once_and_says_what_it_left(
    api: FakeApi, leave: Leave, person: Callable[[str], None]
) -> None:
    person("^C\n")
    left = leave(started=True)
    assert (left.goes_on, api.sent("POST", PAUSE)) == (True, [])
    assert str(left).startswith(f"Left at once. Nothing was paused. Session {ID} goes on in the background")


def test_a_second_ctrl_c_while_it_is_paused_tells_which_are(
    api: FakeApi, leave: Leave, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Api.act

    def act(self: Api, session: UUID, what: str, body: Any = None) -> Any:
        if session == OTHER:
            os.kill(os.getpid(), signal.SIGINT)
        return real(self, session, what, body)

    monkeypatch.setattr(Api, "act", act)
    monkeypatch.setattr(leaving, "wait_until_known", lambda *_: None)
    left = leave(ask=False, uploads=[uploaded(), uploaded(session=OTHER)])
    assert left.goes_on
    assert f"Left at once. Session {ID} is paused. Session {OTHER} goes on in the background" in str(left)


def test_who_has_all_paused_has_nothing_going_on(leave: Leave, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leaving, "_named", lambda sessions: _interrupted_once(monkeypatch))
    left = leave(ask=False)
    assert (left.goes_on, "`rowlift resume 2f1c3b9e` goes on." in str(left)) == (False, True)


def _interrupted_once(monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(leaving, "_named", lambda sessions: "It is")
    raise KeyboardInterrupt


@pytest.mark.parametrize(("ask", "error"), [(False, None), (True, Terminated())])
def test_nobody_is_asked_where_nobody_is_or_another_program_ends_it(
    api: FakeApi, leave: Leave, person: Callable[[str], None], ask: bool, error: KeyboardInterrupt | None
) -> None:
    person("n\n")
    left = leave(ask=ask, error=error)
    assert (left.goes_on, len(api.sent("POST", PAUSE))) == (False, 1)


def test_several_sessions_are_asked_about_at_once(
    api: FakeApi, leave: Leave, person: Callable[[str], None], capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(leaving, "wait_until_known", lambda *_: None)
    api.statuses[OTHER] = [working(1)]
    person("y\n")
    left = leave(uploads=[uploaded(), uploaded(session=OTHER)])
    assert f"Sessions {ID} and {OTHER} are paused" in str(left)
    assert capsys.readouterr().err.count("Pause the sessions? They go on") == 1


def test_before_anything_is_uploaded_nothing_is_asked(leave: Leave, person: Callable[[str], None]) -> None:
    person("^C\n")
    assert "Stopped before anything was uploaded" in str(leave(uploads=[]))


def test_what_cannot_be_paused_goes_on_and_keeps_its_stack(
    api: FakeApi, leave: Leave, monkeypatch: pytest.MonkeyPatch
) -> None:
    api.answers[f"POST {PAUSE}"] = Unreachable("Busy.")
    left = leave(started=True, ask=False)
    assert (left.goes_on, "try again: `rowlift pause 2f1c3b9e`" in str(left)) == (True, True)
    api.answers[f"POST {PAUSE}"] = problem(409, "It is completed.")
    left = leave(ask=False)
    assert (left.goes_on, "nothing was left to pause" in str(left)) == (False, True)


def test_ctrl_c_at_the_quote_says_that_the_session_waits(
    run: Run, api: FakeApi, stack: dict[str, Any], bucket: FakeBucket, files: list[str], person: Callable[[str], None]
) -> None:
    from tests.fake_api import quote_of

    person("^C\n")
    api.default = [working(0, status="quoted", quote=quote_of())]
    ran = run("run", "a.csv", "--approve", "ask")
    assert ran.code == 130
    assert f"session {bucket.session()} waits for approval, and nothing is paid until then" in ran.err
    assert f"`rowlift approve {str(bucket.session())[:8]}` starts it" in ran.err


def test_ctrl_c_while_results_are_written_says_that_they_are_kept(
    run: Run, api: FakeApi, stack: dict[str, Any], bucket: FakeBucket, files: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests.fake_api import status_of

    def press(*_: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr("cli.file_commands.save_results", press)
    api.default = [status_of()]
    ran = run("run", "a.csv")
    assert (ran.code, "they are kept: `rowlift results" in ran.err) == (130, True)
