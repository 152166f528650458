"""A plan as tests look at it: what is made, of which type, with which values."""

from __future__ import annotations

from typing import Any

from tests.infra.conftest import PROJECT

FUNCTION = "google_cloudfunctions2_function"


def resources(plan: dict[str, Any], *kinds: str) -> dict[str, dict[str, Any]]:
    """Address -> values of everything of these types that the plan makes."""
    return {
        change["address"]: change["change"]["after"]
        for change in plan["resource_changes"]
        if change["mode"] == "managed" and (not kinds or change["type"] in kinds)
    }


def functions(plan: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Function, as the topology calls it -> its service configuration."""
    return {
        str(one["name"]).removeprefix("rowlift-"): one["service_config"][0]
        for one in resources(plan, FUNCTION).values()
    }


def variable_names(plan: dict[str, Any]) -> dict[str, set[str]]:
    """Function -> names of the variables it is given: those with values, those known after apply, its secrets."""
    found = {}
    for change in (one for one in plan["resource_changes"] if one["type"] == FUNCTION):
        config = change["change"]["after"]["service_config"][0]
        later = change["change"]["after_unknown"]["service_config"][0].get("environment_variables", {})
        secrets = {one["key"] for one in config["secret_environment_variables"]}
        name = str(change["change"]["after"]["name"]).removeprefix("rowlift-")
        found[name] = {*config["environment_variables"], *later, *secrets}
    return found


def grants(plan: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Address -> values of every grant."""
    kinds = {change["type"] for change in plan["resource_changes"] if "_iam_" in change["type"]}
    return resources(plan, *kinds)


def member(name: str) -> str:
    """An account of the deployment as IAM names it."""
    return f"serviceAccount:rowlift-{name}@{PROJECT}.iam.gserviceaccount.com"
