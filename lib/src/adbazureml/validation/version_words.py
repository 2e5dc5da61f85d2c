"""A verdict as the version itself tells it, in each registry: tags to search by, and a paragraph of its description."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from adbazureml.registry.promotion import places_of, refusals_told

if TYPE_CHECKING:
    from adbazureml.registry import RegisteredVersion
    from adbazureml.validation.verdict import Verdict
    from adbazureml.workspaces import AzureMLWorkspace, Workspace

STATE, AGAINST, RUN = "adbazureml_validation", "adbazureml_validation_against", "adbazureml_validation_run"
_CHECK = "adbazureml_check_"
# What begins our paragraph of the description.
_BEGINS = "Validation: "
# Of 1,000 characters that Unity Catalog takes; a description shows the whole.
_LONGEST_TAG = 500


def write_verdict(verdict: Verdict, version: RegisteredVersion, workspace: AzureMLWorkspace | None) -> None:
    """Write a verdict to each registry that holds the version.

    Raises
    ------
    RegistryError
        A registry refused.
    """
    run_id, link = _active_run()
    tags = {STATE: verdict.state, AGAINST: verdict.champion or "none", **({RUN: run_id} if run_id else {})}
    for check in verdict.checks:
        said = "passed" if check.passed else f"failed: {check.said}"
        # Unity Catalog takes no '-', '.' or '=' in a tag's key.
        tags[_CHECK + re.sub(r"[^A-Za-z0-9]+", "_", check.name)] = said[:_LONGEST_TAG]
    for place, name, number in places_of(version, workspace):
        with refusals_told(place, f"the verdict on version {number} of {name!r}"):
            _write(place, name, number, tags, f"{_BEGINS}{verdict}{f' Run: {link}' if link else ''}")


def _write(place: Workspace, name: str, number: str, tags: dict[str, str], paragraph: str) -> None:
    client = place.client()
    found = client.get_model_version(name, number)
    for key in found.tags:
        # Of a check that is no more looked at.
        if key.startswith((_CHECK, RUN)) and key not in tags:
            client.delete_model_version_tag(name, number, key)
    for key, value in tags.items():
        if found.tags.get(key) != value:
            client.set_model_version_tag(name, number, key, value)
    others = [one for one in (found.description or "").split("\n\n") if one and not one.startswith(_BEGINS)]
    client.update_model_version(name, number, "\n\n".join([*others, paragraph]))


def _active_run() -> tuple[str, str]:
    """Id of the run that is active, and its page in Databricks; empty without one."""
    import mlflow

    from adbazureml.workspaces import DatabricksWorkspace

    run = mlflow.active_run()
    if run is None:
        return "", ""
    place = DatabricksWorkspace.current()
    here = mlflow.get_tracking_uri() == place.tracking_uri
    return run.info.run_id, place.run_url(run.info.experiment_id, run.info.run_id) if here else ""
