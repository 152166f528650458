"""`python -m infra.deploy COMMAND`: what `make archive`, `plan`, `deploy`, `rollback` and `destroy` run."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from cli.faults import Fault, Interrupted, WrongUsage
from cli.local import ROOT
from cli.terminal import Terminal, report
from infra.deploy import deploying, earlier
from infra.deploy.archive import Archive, build
from infra.deploy.credentials import acting_as
from infra.deploy.grants import Rights
from infra.deploy.ledger import Ledger
from infra.deploy.smoke import smoke
from infra.deploy.terraform import BUILD, Terraform, offered
from infra.local.topology import Topology

SOURCE = BUILD / "source.zip"
Environment = Annotated[str, typer.Option("--env", metavar="NAME", help="Which of infra/environments/.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]
NoSmoke = Annotated[bool, typer.Option("--no-smoke", help="Do not try it with three rows, which pays for them once.")]

app = typer.Typer(pretty_exceptions_enable=False, help="Deploy Rowlift to Google Cloud.", no_args_is_help=True)


@app.command()
def archive() -> int:
    """Build the functions' source archive."""
    made = build(ROOT, SOURCE)
    Terminal(as_json=False).say(f"{made.path.relative_to(ROOT)}: {made.files} files, {made.sha256}")
    return 0


@app.command()
def plan(env: Environment = "production") -> int:
    """Show what a deployment would change."""
    deployment = _deployment(env, yes=True, try_it=False, source=partial(build, ROOT, SOURCE))
    numbers = deploying.plan(deployment)
    deployment.terminal.say(", ".join(f"{count} {what}" for what, count in numbers.items()) + ". Nothing was changed.")
    return 0


@app.command()
def deploy(env: Environment = "production", yes: Yes = False, no_smoke: NoSmoke = False) -> int:
    """Build, apply, migrate, grant, and try it."""
    deployment = _deployment(env, yes=yes, try_it=not no_smoke, source=partial(build, ROOT, SOURCE))
    _show(deploying.deploy(deployment), deployment.terminal)
    return 0


@app.command()
def rollback(
    env: Environment = "production",
    to: Annotated[
        str | None, typer.Option("--to", metavar="HASH", help="The archive; default: the one before.")
    ] = None,
    yes: Yes = False,
    no_smoke: NoSmoke = False,
) -> int:
    """Deploy the code that was deployed before, with the database as it is."""
    terraform = _terraform(env)

    def source() -> Archive:
        terraform.prepare()
        deployed = terraform.outputs().get("archive")
        if deployed is None:
            raise WrongUsage(f"Nothing is deployed in {env}.")
        return earlier.fetch(deployed, SOURCE, wanted=to)

    deployment = _deployment(env, yes=yes, try_it=not no_smoke, source=source)
    _show(deploying.put_back(deployment), deployment.terminal)
    return 0


@app.command()
def destroy(env: Environment = "production") -> int:
    """Destroy everything; Terraform shows what, and asks."""
    terraform = _terraform(env)
    terraform.prepare()
    terraform.destroy(build(ROOT, SOURCE).path)
    return 0


def _terraform(env: str) -> Terraform:
    topology = Topology.load()
    names = {secret for function in topology.functions.values() for secret in function.secrets}
    return Terraform(environment=env, secrets=offered(sorted(names), os.environ))


def _deployment(env: str, *, yes: bool, try_it: bool, source: Any) -> deploying.Deployment:
    terminal = Terminal(as_json=False)

    def agreed(question: str) -> bool:
        if yes:
            return True
        if not terminal.asks:
            raise WrongUsage("There is nobody to ask. Say YES=1 to deploy unasked.")
        return terminal.ask(question, default=False)

    return deploying.Deployment(
        terminal=terminal,
        terraform=_terraform(env),
        rights=Rights.load(Topology.load()),
        build=source,
        ledger=_ledger,
        smoke=partial(smoke, say=terminal.say) if try_it else None,
        agreed=agreed,
    )


@contextmanager
def _ledger(outputs: Mapping[str, Any]) -> Iterator[Ledger]:
    with acting_as(outputs["database"]["account"]):
        yield Ledger.of(outputs)


def _show(outputs: Mapping[str, Any], terminal: Terminal) -> None:
    terminal.say("Deployed.", style="bold")
    dashboard = outputs.get("dashboard")
    for name, value in (
        ("api", outputs["api"]),
        ("dashboard", f"{dashboard['url']} (its name points to {dashboard['address']})" if dashboard else None),
        ("uploads", f"gs://{outputs['buckets']['uploads']}/"),
        ("archive", Path(outputs["archive"]).stem[:12]),
    ):
        if value is not None:
            terminal.say(f"{name:<11}{value}")
    terminal.say(f"Try it: rowlift run examples/artists-25.csv --api {outputs['api']}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; its exit status."""
    try:
        status = typer.main.get_command(app).main(args=arguments, prog_name="infra.deploy", standalone_mode=False)
    except Fault as fault:
        return report(fault, as_json=False)
    except KeyboardInterrupt:
        return report(Interrupted("Stopped. What is done stays; deploying again goes on from there."), as_json=False)
    except typer.TyperException as error:
        return report(WrongUsage(error.format_message()), as_json=False)
    return status if isinstance(status, int) else 0


if __name__ == "__main__":
    sys.exit(main())
