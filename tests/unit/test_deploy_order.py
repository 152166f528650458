"""The order of a deployment, and what is said when a step of it fails."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cli.faults import Failed, Interrupted, Unreachable, WrongUsage
from cli.terminal import Terminal
from infra.deploy import deploying, migrations
from infra.deploy.archive import Archive
from infra.deploy.deploying import Deployment
from infra.deploy.grants import Rights
from infra.deploy.migrations import Revision, When

OUTPUTS = {
    "api": "https://api.example", "archive": "gs://b/source/abc.zip", "buckets": {"uploads": "u"},
    "users": {"api": "x-api@p.iam"},
    "database": {"owner": "x-deploy@p.iam", "account": "x-deploy@p.iam.gserviceaccount.com"},
}  # fmt: skip
SECRET = {"type": "google_secret_manager_secret_version", "index": "OPENAI_API_KEY", "change": {"actions": ["create"]}}


class World:
    """Terraform, a ledger and the rest, that write down what is asked of them."""

    def __init__(self, *, deployed: bool, at: str | None = None) -> None:
        self.did: list[str] = []
        self.shut = 0  # how often the ledger lets nobody in
        self.partly = False  # whether an apply stopped in its midst
        self.fails: dict[str, Exception] = {}
        self.secrets: Mapping[str, str] = {"OPENAI_API_KEY": "sk"}
        self.planned: dict[str, Any] = {"resource_changes": [SECRET]}
        self.deployed, self.at, self.absent = deployed, at, [] if at else ["artists"]

    def _do(self, what: str) -> None:
        self.did.append(what)
        if what in self.fails:
            raise self.fails[what]

    def prepare(self) -> None:
        self._do("prepare")

    def plan(self, archive: Path) -> dict[str, Any]:
        self._do("plan")
        return self.planned

    def apply(self) -> None:
        self._do("apply")
        self.deployed = True

    def outputs(self) -> dict[str, Any]:
        return OUTPUTS if self.deployed else {"database": {}} if self.partly else {}

    def revision(self) -> str | None:
        if self.shut:
            self.shut -= 1
            raise Unreachable("Not yet.")
        return self.at

    def upgrade(self, revision: str) -> None:
        self._do(f"migrate to {revision}")
        self.at, self.absent = revision, []

    def grant(self, rights: Rights, users: Mapping[str, str], *, deployment: str) -> list[str]:
        assert (users, deployment) == (OUTPUTS["users"], "x-")
        self._do("grant")
        return self.absent

    def build(self) -> Archive:
        self._do("build")
        return Archive(path=Path("source.zip"), sha256="a" * 64, files=3)

    def smoke(self, api: str) -> dict[str, Any]:
        assert api == OUTPUTS["api"]
        self._do("smoke")
        return {}

    @contextmanager
    def ledger(self, outputs: Mapping[str, Any]) -> Iterator[World]:
        assert outputs is OUTPUTS
        yield self

    def deployment(self, agreed: bool = True) -> Deployment:
        return Deployment(
            terminal=Terminal(as_json=False), terraform=self, rights=Rights(of={}, tables=frozenset()),
            build=self.build,
            ledger=self.ledger, smoke=self.smoke, agreed=lambda question: self.did.append("ask") or agreed,
            sleep=lambda _: self.did.append("wait"),
        )  # fmt: skip


@pytest.fixture
def known(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Sets the migrations there are by their marks."""

    def known(*marks: When) -> None:
        chain = [
            Revision(id=f"{n:04}", follows=f"{n - 1:04}" if n > 1 else None, when=m) for n, m in enumerate(marks, 1)
        ]
        monkeypatch.setattr(migrations, "revisions", lambda: chain)

    known(When.BEFORE, When.BEFORE, When.AFTER)
    return known


def test_the_first_deployment_migrates_once_there_is_a_database(known: Any) -> None:
    world = World(deployed=False)
    assert deploying.deploy(world.deployment()) is OUTPUTS
    assert world.did == ["build", "prepare", "plan", "ask", "apply", "migrate to 0003", "grant", "smoke"]


def test_later_ones_migrate_before_and_after_the_new_code(known: Any) -> None:
    world = World(deployed=True, at="0001")
    deploying.deploy(world.deployment())
    assert world.did == [
        "build", "prepare", "plan", "ask", "migrate to 0002", "grant", "apply", "migrate to 0003", "grant", "smoke",
    ]  # fmt: skip


def test_where_nothing_is_to_be_migrated_rights_are_given_all_the_same(known: Any) -> None:
    world = World(deployed=True, at="0003")
    deploying.deploy(world.deployment())
    assert world.did == ["build", "prepare", "plan", "ask", "grant", "apply", "grant", "smoke"]


def test_putting_back_leaves_the_database_alone(known: Any) -> None:
    world = World(deployed=True, at="0003")
    deploying.put_back(world.deployment())
    assert world.did == ["build", "prepare", "plan", "ask", "apply", "smoke"]


def test_planning_changes_nothing(known: Any) -> None:
    world = World(deployed=True, at="0001")
    assert deploying.plan(world.deployment()) == {"made": 1, "changed": 0, "destroyed": 0}
    assert world.did == ["build", "prepare", "plan"]


def test_nothing_is_done_unless_it_is_agreed_to(known: Any) -> None:
    world = World(deployed=True, at="0001")
    with pytest.raises(Interrupted, match="Not deployed"):
        deploying.deploy(world.deployment(agreed=False))
    assert world.did[-1] == "ask"


def test_a_secret_that_nobody_gave_stops_it_before_anything_is_made(known: Any) -> None:
    world = World(deployed=False)
    world.secrets = {}
    with pytest.raises(WrongUsage, match=r"writes OPENAI_API_KEY to Secret Manager.*export OPENAI_API_KEY="):
        deploying.deploy(world.deployment())
    assert "apply" not in world.did


def test_a_table_that_no_migration_makes_is_told_at_the_end(known: Any) -> None:
    world = World(deployed=True, at="0003")
    world.absent = ["songs"]
    with pytest.raises(Failed, match=r"There are no tables songs"):
        deploying.deploy(world.deployment())
    assert "apply" in world.did  # before it, a later migration might have made it


def test_without_a_trial_it_ends_there(known: Any) -> None:
    world = World(deployed=True, at="0003")
    deploying.deploy(replace(world.deployment(), smoke=None))
    assert "smoke" not in world.did


@pytest.mark.parametrize(
    ("step", "said"),
    [
        ("build", "Failed while building the source archive. It broke. Nothing was changed."),
        ("prepare", "Failed while planning. It broke. Nothing was changed."),
        ("plan", "Failed while planning. It broke. Nothing was changed."),
        (
            "migrate to 0002",
            "Failed while migrating what is safe before the new code. It broke. The old code still runs.",
        ),
        ("apply", "Failed while applying. It broke. Some of it may be there already. Mend it and deploy again"),
        ("migrate to 0003", "Failed while migrating the rest, giving rights. It broke. The new code runs"),
        (
            "smoke",
            "Failed while trying it with three rows. It broke. It is deployed; `rowlift status --api https://api.exa",
        ),
    ],
)
@pytest.mark.parametrize("kind", [Failed, Unreachable])
def test_a_step_that_fails_is_named_with_what_to_do_and_ends_it(
    known: Any, step: str, said: str, kind: type[Failed]
) -> None:
    world = World(deployed=True, at="0001")
    world.fails = {step: kind("It broke.")}
    with pytest.raises(kind) as caught:
        deploying.deploy(world.deployment())
    assert str(caught.value).startswith(said)
    assert world.did[-1] == step


def test_what_was_applied_in_part_is_applied_whole_before_its_ledger_is_asked(known: Any) -> None:
    world = World(deployed=False)
    world.partly = True
    deploying.deploy(world.deployment())
    assert world.did == ["build", "prepare", "plan", "ask", "apply", "migrate to 0003", "grant", "smoke"]


def test_a_ledger_that_lets_nobody_in_yet_is_waited_for(known: Any) -> None:
    world = World(deployed=False)
    world.shut = 2
    deploying.deploy(world.deployment())
    assert world.did[4:] == ["apply", "wait", "wait", "migrate to 0003", "grant", "smoke"]
    world.shut = 10_000
    with pytest.raises(Unreachable, match=r"Failed while migrating what is safe before the new code\. Not yet\."):
        deploying.deploy(world.deployment())


def test_it_can_be_run_again_after_any_failure(known: Any) -> None:
    world = World(deployed=False)
    for step in ("apply", "migrate to 0003", "grant", "smoke"):
        world.fails = {step: Failed("It broke.")}
        with pytest.raises(Failed):
            deploying.deploy(world.deployment())
    world.fails = {}
    deploying.deploy(world.deployment())
    assert (world.at, world.did[-1]) == ("0003", "smoke")
