"""How Terraform, gcloud and credentials are used by a deployment; the programs are stand-ins that write down words."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from google.auth import default as default_credentials

from cli.faults import Failed, Unreachable, WrongUsage
from infra.deploy import earlier
from infra.deploy.archive import hash_of
from infra.deploy.credentials import VARIABLE, acting_as, impersonating
from infra.deploy.terraform import Terraform, counted, missing_secrets, offered

ACCOUNT = "rowlift-deploy@my-project.iam.gserviceaccount.com"
PERSON = {"type": "authorized_user", "client_id": "i", "client_secret": "s", "refresh_token": "r"}


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Puts a program on the path that writes its words and some variables to a file, one JSON object a call."""
    folder, said = tmp_path / "bin", tmp_path / "said.jsonl"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))

    def make(name: str, script: str = "") -> Path:
        path = folder / name
        lines = [
            "#!/usr/bin/python3", "import json, os, sys", "words = sys.argv[1:]",
            "kept = {n: os.environ[n] for n in ('TF_VAR_secrets', 'TF_DATA_DIR') if n in os.environ}",
            f"print(json.dumps({{'words': words, 'env': kept}}), file=open({str(said)!r}, 'a'))", script, "",
        ]  # fmt: skip
        path.write_text("\n".join(lines), "utf-8")
        path.chmod(0o755)
        return said

    return make


def calls(said: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in said.read_text("utf-8").splitlines()]


@pytest.fixture
def terraform(tmp_path: Path) -> Terraform:
    """An environment called trial, filled in."""
    environments = tmp_path / "infra/environments"
    environments.mkdir(parents=True)
    for name in ("trial.tfvars", "trial.gcs.tfbackend"):
        (environments / name).write_text('project_id = "mine"\n', "utf-8")
    secrets = {"OPENAI_API_KEY": "sk-secret"}
    return Terraform(environment="trial", secrets=secrets, folder=tmp_path / "infra", build=tmp_path / "build")


class TestTerraform:
    def test_an_environment_has_its_own_variables_state_and_plan(self, terraform: Terraform, program: Any) -> None:
        said = program("terraform", "if 'show' in words: print('{\"resource_changes\": []}')")
        terraform.prepare()
        terraform.plan(terraform.build / "source.zip")
        terraform.apply()
        init, plan, show, apply = (one["words"] for one in calls(said))
        plan_file = str(terraform.build / "trial.tfplan")
        assert init[1:] == ["init", "-input=false", "-reconfigure", "-backend-config=environments/trial.gcs.tfbackend"]
        assert plan[1:] == [
            "plan", "-input=false", "-var-file=environments/trial.tfvars", "-var=archive=../build/source.zip",
            f"-out={plan_file}",
        ]  # fmt: skip
        assert show[1:] == ["show", "-json", plan_file]
        assert apply[1:] == ["apply", "-input=false", plan_file]
        for one in calls(said):
            assert one["words"][0] == f"-chdir={terraform.folder}"
            assert one["env"]["TF_DATA_DIR"] == str(terraform.build / "terraform/trial")

    def test_secrets_travel_in_the_environment_and_are_never_words(self, terraform: Terraform, program: Any) -> None:
        said = program("terraform", "if 'show' in words: print('{}')")
        terraform.plan(terraform.build / "source.zip")
        assert all("sk-secret" not in word for one in calls(said) for word in one["words"])
        assert json.loads(calls(said)[0]["env"]["TF_VAR_secrets"]) == {"OPENAI_API_KEY": "sk-secret"}
        assert "sk-secret" not in repr(terraform)

    def test_a_plan_is_good_for_one_apply_however_that_ends(self, terraform: Terraform, program: Any) -> None:
        program("terraform", "sys.exit(1)")
        terraform.build.mkdir()
        plan = terraform.build / "trial.tfplan"
        plan.write_text("")
        with pytest.raises(Failed, match="`terraform apply` ended with status 1"):
            terraform.apply()
        assert not plan.exists()

    @pytest.mark.parametrize(
        ("printed", "found"), [("", {}), ("{}", {}), ('{"api": {"value": "https://x"}}', {"api": "https://x"})]
    )
    def test_outputs_are_read_and_may_not_be_there_yet(
        self, terraform: Terraform, program: Any, printed: str, found: dict[str, str]
    ) -> None:
        program("terraform", f"print({printed!r})")
        assert terraform.outputs() == found

    def test_destroying_asks_the_person(self, terraform: Terraform, program: Any) -> None:
        said = program("terraform")
        terraform.destroy(terraform.build / "source.zip")
        assert "-input=false" not in calls(said)[0]["words"]
        assert not any("auto-approve" in word for word in calls(said)[0]["words"])

    def test_a_machine_without_it_is_told_where_it_is(self, terraform: Terraform, program: Any) -> None:
        with pytest.raises(WrongUsage, match=r"There is no terraform on this machine. Install it from"):
            terraform.prepare()

    def test_an_environment_that_is_not_there_is_told(self, terraform: Terraform, program: Any) -> None:
        program("terraform")
        (terraform.folder / "environments/trial.tfvars").unlink()
        with pytest.raises(WrongUsage, match=r"There is no .*trial\.tfvars; copy one"):
            terraform.prepare()

    def test_an_environment_that_was_not_filled_in_is_told(self, terraform: Terraform, program: Any) -> None:
        program("terraform")
        (terraform.folder / "environments/trial.gcs.tfbackend").write_text('bucket = "MY-PROJECT-terraform"')
        with pytest.raises(WrongUsage, match=r"trial\.gcs\.tfbackend still says MY-PROJECT"):
            terraform.prepare()


class TestPlans:
    CHANGES = (
        ("google_secret_manager_secret_version", "A", ["create"]),
        ("google_secret_manager_secret_version", "B", ["create", "delete"]),
        ("google_secret_manager_secret_version", "C", ["no-op"]),
        ("google_pubsub_topic", "D", ["update"]),
        ("google_pubsub_topic", "E", ["delete"]),
    )
    PLAN = {"resource_changes": [{"type": k, "index": i, "change": {"actions": a}} for k, i, a in CHANGES]}  # noqa: RUF012

    def test_what_it_does_is_counted(self) -> None:
        assert counted(self.PLAN) == {"made": 2, "changed": 1, "destroyed": 2}

    def test_versions_it_writes_need_their_value(self) -> None:
        assert missing_secrets(self.PLAN, {}) == ["A", "B"]
        assert missing_secrets(self.PLAN, {"A": "x", "B": "y"}) == []
        assert missing_secrets({}, {}) == []

    def test_values_are_taken_from_the_environment_by_name(self) -> None:
        assert offered(["A", "B", "C"], {"A": "x", "B": "", "OTHER": "z"}) == {"A": "x"}


class TestEarlierArchives:
    FOLDER = "gs://bucket/source"

    @pytest.fixture
    def bucket(self, tmp_path: Path, program: Any) -> list[str]:
        """Hashes of three archives, the newest first, in a bucket that gcloud reads."""
        there = tmp_path / "there"
        there.mkdir()
        hashes = []
        for content in ("newest", "middle", "oldest"):
            (there / "new").write_text(content)
            hashes.append(hash_of(there / "new"))
            (there / "new").rename(there / f"{hashes[-1]}.zip")
        listed = [
            {"url": f"{self.FOLDER}/{one}.zip#17", "metadata": {"timeCreated": f"2026-11-0{9 - n}T10:00:00Z"}}
            for n, one in enumerate(hashes)
        ]
        listed = [listed[1], listed[2], listed[0]]
        program("gcloud", f"import shutil\nif 'ls' in words: print({json.dumps(listed)!r})\n"
                f"else: shutil.copy({str(there)!r} + '/' + words[2].rpartition('/')[2], words[3])")  # fmt: skip
        return hashes

    def test_the_one_before_is_fetched(self, bucket: list[str], tmp_path: Path) -> None:
        found = earlier.fetch(f"{self.FOLDER}/{bucket[0]}.zip", tmp_path / "build/source.zip")
        assert (found.sha256, found.path.read_text()) == (bucket[1], "middle")

    def test_any_can_be_named_by_its_first_digits(self, bucket: list[str], tmp_path: Path) -> None:
        found = earlier.fetch(f"{self.FOLDER}/{bucket[0]}.zip", tmp_path / "source.zip", wanted=bucket[2][:8])
        assert found.sha256 == bucket[2]

    def test_where_there_is_none_before_those_there_are_are_named(self, bucket: list[str], tmp_path: Path) -> None:
        with pytest.raises(WrongUsage, match=f"No archive was deployed before this one.*{bucket[0][:12]}"):
            earlier.fetch(f"{self.FOLDER}/{bucket[2]}.zip", tmp_path / "source.zip")
        with pytest.raises(WrongUsage, match="No archive begins with zz"):
            earlier.fetch(f"{self.FOLDER}/{bucket[0]}.zip", tmp_path / "source.zip", wanted="zz")

    def test_one_that_is_not_what_its_name_says_is_refused(self, bucket: list[str], tmp_path: Path) -> None:
        (tmp_path / f"there/{bucket[1]}.zip").write_text("tampered with")
        with pytest.raises(Failed, match="is not what its name says"):
            earlier.fetch(f"{self.FOLDER}/{bucket[0]}.zip", tmp_path / "source.zip")

    def test_what_gcloud_refuses_is_told_in_its_words(self, program: Any, tmp_path: Path) -> None:
        program("gcloud", "print('ERROR: you are not let in', file=sys.stderr); sys.exit(1)")
        with pytest.raises(Failed, match="`gcloud storage ls` failed: ERROR: you are not let in"):
            earlier.fetch(f"{self.FOLDER}/x.zip", tmp_path / "source.zip")

    def test_a_machine_without_gcloud_is_told(self, program: Any, tmp_path: Path) -> None:
        with pytest.raises(WrongUsage, match="There is no gcloud"):
            earlier.fetch(f"{self.FOLDER}/x.zip", tmp_path / "source.zip")


class TestCredentials:
    def test_default_credentials_are_the_accounts_while_the_block_lasts(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        own = tmp_path / "own.json"
        own.write_text(json.dumps(PERSON))
        monkeypatch.setenv(VARIABLE, str(own))
        with acting_as(ACCOUNT):
            file = Path(os.environ[VARIABLE])
            assert file.stat().st_mode & 0o077 == 0
            credentials, _ = default_credentials(scopes=["https://www.googleapis.com/auth/sqlservice.admin"])
            assert credentials.service_account_email == ACCOUNT
            # What the Cloud SQL connector does to get a token that opens the database and nothing else.
            assert credentials.with_scopes(["https://www.googleapis.com/auth/sqlservice.login"]) is not None
        assert os.environ[VARIABLE] == str(own)
        assert not file.exists()

    def test_they_are_put_back_when_the_block_fails(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        own = tmp_path / "own.json"
        own.write_text(json.dumps(PERSON))
        monkeypatch.delenv(VARIABLE, raising=False)
        monkeypatch.setenv("CLOUDSDK_CONFIG", str(tmp_path))
        own.rename(tmp_path / "application_default_credentials.json")
        with pytest.raises(RuntimeError, match="stop"), acting_as(ACCOUNT):
            raise RuntimeError("stop")
        assert VARIABLE not in os.environ

    def test_those_of_another_account_are_looked_through(self) -> None:
        other = impersonating("other@p.iam.gserviceaccount.com", PERSON)
        found = impersonating(ACCOUNT, other)
        assert found["source_credentials"] == PERSON
        assert impersonating(ACCOUNT, found) is found

    def test_those_that_cannot_act_as_it_are_refused(self) -> None:
        with pytest.raises(Unreachable, match="'gdch_service_account' cannot act as"):
            impersonating(ACCOUNT, {"type": "gdch_service_account"})

    @pytest.mark.parametrize(
        ("content", "words"), [(None, "There are no default credentials"), ("{", "is no credentials file")]
    )
    def test_none_at_all_says_how_to_get_some(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str | None, words: str
    ) -> None:
        monkeypatch.setenv(VARIABLE, str(tmp_path / "own.json"))
        if content is not None:
            (tmp_path / "own.json").write_text(content)
        with pytest.raises(Unreachable, match=f"{words}.*gcloud auth application-default login"), acting_as(ACCOUNT):
            pass
