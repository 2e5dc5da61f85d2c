"""Register a model in Databricks, in Azure ML, or in both: version 1 of a new name, or the next version."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Literal
from uuid import uuid4

from adbazureml.errors import AdbAzureMLError, RegistryError
from adbazureml.registry import model_names, version_tags
from adbazureml.registry.existing_version import delete_duplicates, find_existing_version
from adbazureml.registry.lineage import tag_counterparts
from adbazureml.registry.registered_version import RegisteredVersion
from adbazureml.registry.source_model import SourceModel, find_source_model
from adbazureml.workspaces import AzureMLWorkspace, DatabricksWorkspace, Workspace

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion

    from adbazureml.registry.source_model import Model

RegistryChoice = Literal["both", "databricks", "azureml"]


def register(
    source: Model,
    *,
    name: str,
    registry: RegistryChoice = "both",
    workspace: AzureMLWorkspace | None = None,
    model: str = "model",
) -> RegisteredVersion:
    """Register a model; again for the same model, return the versions made before.

    Databricks comes first. If Azure ML then fails, the first version stays, and calling again completes the second.
    In Azure ML the version belongs to the run that is the counterpart of the Databricks run; a run that has no
    counterpart yet gets one.

    Parameters
    ----------
    source : Run, ModelInfo, RegisteredVersion or str
        A run of the tracking store in use, what ``log_model`` returned, a version registered before, or a ``runs:/`` or
        ``models:/`` URI.
    name : str
        Name to register under; in Azure ML its dots become ``--``.
    registry : {"both", "databricks", "azureml"}
        Where to.
    workspace : AzureMLWorkspace, optional
        Needed unless ``registry`` is "databricks".
    model : str
        Name that the model was logged under, where ``source`` is a run.

    Raises
    ------
    RegistryError
        There is no such model; it is to go to Databricks and has no signature; its run could not be brought to Azure
        ML; or a registry refused. The message says what is registered already.
    """
    import mlflow
    from databricks.sdk.errors import DatabricksError
    from mlflow.exceptions import MlflowException

    if registry not in ("both", "databricks", "azureml"):
        raise RegistryError(f"registry {registry!r}: expected 'both', 'databricks' or 'azureml'.")
    if registry != "databricks" and workspace is None:
        raise RegistryError(
            f"registry {registry!r} needs an Azure ML workspace: register(…, workspace=AzureMLWorkspace.get(…))."
        )
    found = find_source_model(source, model)
    if registry != "azureml":
        found.check_signature()
    ours = _databricks()
    in_databricks, in_azureml, created = None, None, False
    if registry != "azureml":
        try:
            in_databricks, created = _in_databricks(ours, found, name)
        except (MlflowException, DatabricksError) as error:
            raise RegistryError(f"Databricks refused {name!r}: {_explain_error(error)}") from error
    if workspace is not None and registry != "databricks":
        kept = f" Version {in_databricks.version} in Databricks stays;" if in_databricks else ""
        try:
            in_azureml, made = _in_azureml(ours, workspace, found, name)
        except (MlflowException, AdbAzureMLError) as error:
            raise RegistryError(
                f"Azure ML refused {name!r}: {_explain_error(error)}{kept} call register again to complete."
            ) from error
        created = created or made
        try:
            # Also where it was registered in Databricks some time before.
            counterpart = in_databricks or _made_in_databricks(ours, found, name)
            tag_counterparts(found, ours, counterpart, workspace, in_azureml)
        except (MlflowException, DatabricksError) as error:
            raise RegistryError(
                f"{name!r} is registered, but the tags that lead from one workspace to the other are not whole:"
                f" {_explain_error(error)}; call register again to complete."
            ) from error
    asked_first = in_azureml if workspace and mlflow.get_registry_uri() == workspace.registry_uri else in_databricks
    version = asked_first or in_databricks or in_azureml
    assert version is not None
    links = [ours.model_url(in_databricks.name, str(in_databricks.version))] if in_databricks else []
    links += [workspace.model_url(in_azureml.name, str(in_azureml.version))] if workspace and in_azureml else []
    return RegisteredVersion(
        name=name,
        azureml_name=model_names.azureml_model_name(name),
        databricks=str(in_databricks.version) if in_databricks else None,
        azureml=str(in_azureml.version) if in_azureml else None,
        uri=f"models:/{version.name}/{version.version}",
        run_id=found.run_id,
        created=created,
        links=tuple(links),
    )


def _databricks() -> DatabricksWorkspace:
    """Return this workspace, with the one of its registries that MLflow is set to."""
    import mlflow

    ours, chosen = DatabricksWorkspace.current(), mlflow.get_registry_uri()
    both_are = chosen.startswith("databricks") and ours.registry_uri.startswith("databricks")
    return replace(ours, registry_uri=chosen) if both_are else ours


def _in_databricks(ours: DatabricksWorkspace, found: SourceModel, name: str) -> tuple[ModelVersion, bool]:
    import mlflow

    client = ours.client()
    if before := find_existing_version(ours, name, found):
        return before, False
    tags = {**_origin(found), version_tags.REQUEST: uuid4().hex}
    if mlflow.get_tracking_uri() == ours.tracking_uri:
        with _registry(ours.registry_uri):
            made = mlflow.register_model(found.uri, name, tags=tags)
    else:
        # Tracked in Azure ML only: Databricks has no run of it, and cannot read its files by their address.
        _create_model(ours, name)
        with tempfile.TemporaryDirectory() as folder:
            local = ours.registry_uri.startswith("databricks")
            source = mlflow.artifacts.download_artifacts(found.uri, dst_path=folder) if local else found.location
            made = client.create_model_version(name, source, tags=tags)
    delete_duplicates(client, made)
    # The workspace registry first gives a version without its run.
    return (made if made.run_id else client.get_model_version(made.name, made.version)), True


def _made_in_databricks(ours: DatabricksWorkspace, found: SourceModel, name: str) -> ModelVersion | None:
    from mlflow.exceptions import RestException

    try:
        return find_existing_version(ours, name, found)
    except RestException:
        # Databricks may take no such name, or this identity may not look there: it was not asked to register.
        return None


def _in_azureml(
    ours: DatabricksWorkspace, workspace: AzureMLWorkspace, found: SourceModel, databricks_name: str
) -> tuple[ModelVersion, bool]:
    import mlflow

    client, name = workspace.client(), model_names.azureml_model_name(databricks_name)
    if before := find_existing_version(workspace, name, found):
        return before, False
    if mlflow.get_tracking_uri() == workspace.tracking_uri:
        run_id, source = found.run_id, found.location
    elif found.run is None:
        run_id, source = "", found.location
    else:
        run_id, source = _replicated(ours, workspace, found)
    _create_model(workspace, name, made_for=model_names.databricks_model_name(databricks_name))
    with tempfile.TemporaryDirectory() as folder:
        if not run_id and workspace.tracking_uri.startswith("azureml:"):
            # No run made it: its files are uploaded, and its tags are all that tells of its origin.
            source = mlflow.artifacts.download_artifacts(found.uri, dst_path=folder)
        return client.create_model_version(name, source, run_id or None, tags=_origin(found)), True


def _origin(found: SourceModel) -> dict[str, str]:
    return {
        key: value for key, value in {version_tags.RUN_ID: found.run_id, version_tags.MODEL: found.key}.items() if value
    }


def _replicated(ours: DatabricksWorkspace, workspace: AzureMLWorkspace, found: SourceModel) -> tuple[str, str]:
    """The run in Azure ML that is the counterpart of the model's run, and the address of the model in it."""
    from adbazureml.tracking import flush
    from adbazureml.tracking.reconciler import Reconciler
    from adbazureml.tracking.store_pair import StorePair

    assert found.run is not None
    flush()
    result = Reconciler(StorePair.of(ours, workspace)).reconcile(found.run_id)
    client = workspace.client()
    folders = {entry.path for entry in client.list_artifacts(result.counterpart_run_id)}
    # The newest model of a name has the name; an older one of the same run carries its id as well.
    folder = next((one for one in (f"{found.name}-{found.key}", found.name) if one in folders), None)
    if folder is None:
        raise RegistryError(f"run {found.run_id} has no model {found.name!r} there yet: {result.reason}.")
    return result.counterpart_run_id, f"{client.get_run(result.counterpart_run_id).info.artifact_uri}/{folder}"


def _create_model(place: Workspace, name: str, *, made_for: str = "") -> None:
    """Create a registered model, or find that of an earlier version.

    Raises
    ------
    RegistryError
        It belongs to another model: the names of two fall together in Azure ML.
    """
    from mlflow.exceptions import MlflowException

    client = place.client()
    try:
        client.create_registered_model(name, {version_tags.DATABRICKS_NAME: made_for} if made_for else None)
    except MlflowException as error:
        if error.error_code not in ("RESOURCE_ALREADY_EXISTS", "ALREADY_EXISTS"):
            raise
        # One that was made by hand tells no other name.
        taken_by = made_for and client.get_registered_model(name).tags.get(version_tags.DATABRICKS_NAME, made_for)
        if taken_by != made_for:
            raise RegistryError(
                f"{made_for!r} would be {name!r} in Azure ML, which is {taken_by!r} already: choose another name."
            ) from None


@contextmanager
def _registry(uri: str) -> Iterator[None]:
    """Let MLflow ask this registry; it is another one where the caller chose Azure ML's."""
    import mlflow

    before = mlflow.get_registry_uri()
    if before == uri:
        yield
        return
    mlflow.set_registry_uri(uri)
    try:
        yield
    finally:
        mlflow.set_registry_uri(before)


def _explain_error(error: Exception) -> str:
    return str(getattr(error, "message", "") or error).rstrip(".") + "."
