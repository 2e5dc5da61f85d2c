"""What it takes to register a model: where, under which name, and from where each version gets its files."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from adbazureml.errors import RegistryError
from adbazureml.registry import model_names
from adbazureml.registry.source_model import SourceModel, find_source_model
from adbazureml.workspaces import AzureMLWorkspace, DatabricksWorkspace, Workspace

if TYPE_CHECKING:
    from adbazureml.registry.source_model import Model

RegistryChoice = Literal["both", "databricks", "azureml"]
# From where a version gets its files: the run that logged the model, the run's counterpart in the other workspace,
# the address where they are, or this machine, which downloads and uploads them.
Files = Literal["run", "counterpart run", "address", "upload"]


@dataclass(frozen=True, kw_only=True)
class VersionPlan:
    """A version in one registry, to be found or made.

    Attributes
    ----------
    place : Workspace
        Whose registry.
    name : str
        Registered name there.
    files : {"run", "counterpart run", "address", "upload"}
        From where a new version gets its files.
    """

    place: Workspace
    name: str
    files: Files

    def __str__(self) -> str:
        return f"{self.name} in the registry {self.place.registry_uri}, files: {self.files}"


@dataclass(frozen=True, kw_only=True)
class RegistrationPlan:
    """What `register` does, in this order. Each version is looked for first, and made where it is missing.

    Attributes
    ----------
    model : SourceModel
        What is registered.
    name : str
        Name that the caller gave.
    ours : DatabricksWorkspace
        The workspace that the model's run is looked for in, and the Databricks registry.
    databricks, azureml : VersionPlan or None
        The version in each registry; None where it is not asked for.
    workspace : AzureMLWorkspace or None
        The Azure ML workspace, where ``azureml`` is planned.
    """

    model: SourceModel
    name: str
    ours: DatabricksWorkspace
    databricks: VersionPlan | None
    azureml: VersionPlan | None
    workspace: AzureMLWorkspace | None

    def __str__(self) -> str:
        of_run = f" of run {self.model.run_id}" if self.model.run else ""
        versions = [f"  {version}" for version in (self.databricks, self.azureml) if version]
        return "\n".join([f"Register {self.model.uri}{of_run}:", *versions])


def plan_registration(
    source: Model,
    *,
    name: str,
    registry: RegistryChoice = "both",
    workspace: AzureMLWorkspace | None = None,
    model: str = "model",
) -> RegistrationPlan:
    """Find a model, and say how it would be registered; nothing is changed. Parameters are those of `register`.

    Raises
    ------
    RegistryError
        A parameter is wrong, there is no such model, or it is to go to Databricks and has no signature.
    """
    if registry not in ("both", "databricks", "azureml"):
        raise RegistryError(f"registry {registry!r}: expected 'both', 'databricks' or 'azureml'.")
    if registry != "databricks" and workspace is None:
        raise RegistryError(
            f"registry {registry!r} needs an Azure ML workspace: register(…, workspace=AzureMLWorkspace.get(…))."
        )
    found = find_source_model(source, model)
    theirs = None if registry == "databricks" else workspace
    ours = _databricks()
    if registry != "azureml":
        found.check_signature()
    return RegistrationPlan(
        model=found,
        name=name,
        ours=ours,
        databricks=None if registry == "azureml" else _in_databricks(ours, name),
        azureml=None if theirs is None else _in_azureml(theirs, found, model_names.azureml_model_name(name)),
        workspace=theirs,
    )


def _databricks() -> DatabricksWorkspace:
    """Return this workspace, with the one of its registries that MLflow is set to."""
    import mlflow

    ours, chosen = DatabricksWorkspace.current(), mlflow.get_registry_uri()
    both_are = chosen.startswith("databricks") and ours.registry_uri.startswith("databricks")
    return replace(ours, registry_uri=chosen) if both_are else ours


def _in_databricks(ours: DatabricksWorkspace, name: str) -> VersionPlan:
    import mlflow

    files: Files
    if mlflow.get_tracking_uri() == ours.tracking_uri:
        files = "run"
    else:
        # Tracked in Azure ML only: Databricks has no run of it, and cannot read its files by their address.
        files = "upload" if ours.registry_uri.startswith("databricks") else "address"
    return VersionPlan(place=ours, name=name, files=files)


def _in_azureml(workspace: AzureMLWorkspace, found: SourceModel, name: str) -> VersionPlan:
    import mlflow

    files: Files
    tracked_there = mlflow.get_tracking_uri() == workspace.tracking_uri
    if found.run is not None:
        files = "run" if tracked_there else "counterpart run"
    else:
        # No run made it: its files are uploaded, and its tags are all that tells of its origin.
        files = "upload" if workspace.tracking_uri.startswith("azureml:") else "address"
    return VersionPlan(place=workspace, name=name, files=files)
