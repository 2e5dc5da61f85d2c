"""Tags by which a version in one registry leads to its counterpart in the other workspace."""

from __future__ import annotations

from typing import TYPE_CHECKING

from adbazureml.registry import version_tags

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion

    from adbazureml.registry.source_model import SourceModel
    from adbazureml.workspaces import AzureMLWorkspace, DatabricksWorkspace, Workspace


def tag_counterparts(
    found: SourceModel,
    ours: DatabricksWorkspace,
    in_databricks: ModelVersion | None,
    theirs: AzureMLWorkspace,
    in_azureml: ModelVersion | None,
) -> None:
    """Tag each version with its origin and with where the other is: workspace, name and version, run, page.

    Without a version in Databricks, that in Azure ML leads to the run there.
    """
    origin = {version_tags.RUN_ID: found.run_id, version_tags.MODEL: found.key}
    if in_azureml is not None:
        in_theirs = found.run is not None and in_azureml.run_id == found.run_id
        run_id = "" if in_theirs else found.run_id
        if in_databricks is not None:
            there = _version_tags(ours, in_databricks, run_id or in_databricks.run_id or "")
        elif run_id and found.run is not None:
            there = {
                version_tags.COUNTERPART_WORKSPACE: ours.name,
                version_tags.COUNTERPART_RUN: run_id,
                version_tags.COUNTERPART_URL: ours.run_url(found.run.info.experiment_id, run_id),
            }
        else:
            there = {}
        _set_tags(theirs, in_azureml, {**origin, **there})
    if in_databricks is not None:
        there = _version_tags(theirs, in_azureml, in_azureml.run_id or "") if in_azureml is not None else {}
        _set_tags(ours, in_databricks, {**origin, **there})


def tag_each_other(ours: Workspace, in_ours: ModelVersion, theirs: Workspace, in_theirs: ModelVersion) -> None:
    """Tag two copies of one version with where the other is."""
    _set_tags(theirs, in_theirs, _version_tags(ours, in_ours, in_ours.run_id or ""))
    _set_tags(ours, in_ours, _version_tags(theirs, in_theirs, in_theirs.run_id or ""))


def _version_tags(place: Workspace, version: ModelVersion, run_id: str) -> dict[str, str]:
    return {
        version_tags.COUNTERPART_WORKSPACE: place.name,
        version_tags.COUNTERPART_VERSION: f"{version.name}/{version.version}",
        version_tags.COUNTERPART_RUN: run_id,
        version_tags.COUNTERPART_URL: place.model_url(version.name, str(version.version)),
    }


def _set_tags(place: Workspace, version: ModelVersion, tags: dict[str, str]) -> None:
    client = place.client()
    for key, value in tags.items():
        if value and version.tags.get(key) != value:
            client.set_model_version_tag(version.name, str(version.version), key, value)
