"""Register a model in Databricks, in Azure ML, or in both: version 1 of a new name, or the next version."""

from __future__ import annotations

import tempfile
from typing import TYPE_CHECKING, Literal

from adbazureml.errors import RegistryError
from adbazureml.registry import names
from adbazureml.registry.model import FoundModel, find_model
from adbazureml.registry.versions import RegisteredVersion
from adbazureml.workspace import AzureMLWorkspace, DatabricksWorkspace, Workspace

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion

    from adbazureml.registry.model import Model

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
    In Azure ML the version belongs to the run that mirrors the Databricks run; a run that has no mirror yet gets one.

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
        There is no such model, it has no signature, its run could not be brought to Azure ML, or a registry refused.
    """
    import mlflow
    from mlflow.exceptions import MlflowException

    if registry not in ("both", "databricks", "azureml"):
        raise RegistryError(f"registry {registry!r}: expected 'both', 'databricks' or 'azureml'.")
    if registry != "databricks" and workspace is None:
        raise RegistryError(
            f"registry {registry!r} needs an Azure ML workspace: register(…, workspace=AzureMLWorkspace.get(…))."
        )
    found = find_model(source, model)
    ours = DatabricksWorkspace.current()
    in_databricks: ModelVersion | None = None
    in_azureml: ModelVersion | None = None
    created = False
    if registry != "azureml":
        try:
            in_databricks, created = _in_databricks(ours, found, name)
        except MlflowException as error:
            raise RegistryError(f"Databricks refused {name!r}: {error.message}") from error
    if workspace is not None and registry != "databricks":
        try:
            in_azureml, made = _in_azureml(ours, workspace, found, names.azureml_model_name(name))
        except (MlflowException, RegistryError) as error:
            kept = f" Version {in_databricks.version} in Databricks stays;" if in_databricks else ""
            raise RegistryError(f"Azure ML refused {name!r}: {error}{kept} call register again to complete.") from error
        created = created or made
        if in_databricks is not None:
            _tell_of_each_other(ours, in_databricks, workspace, in_azureml)
    asked_first = in_azureml if workspace and mlflow.get_registry_uri() == workspace.registry_uri else in_databricks
    version = asked_first or in_databricks or in_azureml
    assert version is not None
    links = [ours.model_url(in_databricks.name, str(in_databricks.version))] if in_databricks else []
    links += [workspace.model_url(in_azureml.name, str(in_azureml.version))] if workspace and in_azureml else []
    return RegisteredVersion(
        name=name,
        azureml_name=names.azureml_model_name(name),
        databricks=str(in_databricks.version) if in_databricks else None,
        azureml=str(in_azureml.version) if in_azureml else None,
        uri=f"models:/{version.name}/{version.version}",
        run_id=found.run_id,
        created=created,
        links=tuple(links),
    )


def _in_databricks(ours: DatabricksWorkspace, found: FoundModel, name: str) -> tuple[ModelVersion, bool]:
    import mlflow

    client = ours.client()
    if before := _made_before(client, name, found.run_id, found):
        return before, False
    tags = {names.RUN_ID: found.run_id, names.MODEL: found.key}
    if mlflow.get_tracking_uri() == ours.tracking_uri:
        return mlflow.register_model(found.uri, name, tags=tags), True
    # Tracked in Azure ML only: Databricks has no run of it, and cannot read its files by their address.
    _create_model(client, name)
    with tempfile.TemporaryDirectory() as folder:
        local = ours.registry_uri.startswith("databricks")
        source = mlflow.artifacts.download_artifacts(found.uri, dst_path=folder) if local else found.location
        return client.create_model_version(name, source, tags=tags), True


def _in_azureml(
    ours: DatabricksWorkspace, workspace: AzureMLWorkspace, found: FoundModel, name: str
) -> tuple[ModelVersion, bool]:
    import mlflow

    client = workspace.client()
    if mlflow.get_tracking_uri() == workspace.tracking_uri:
        run_id, source = found.run_id, found.location
    elif found.run is None:
        run_id, source = "", found.location
    else:
        run_id, source = _mirrored(ours, workspace, found)
    if before := _made_before(client, name, run_id, found):
        return before, False
    _create_model(client, name)
    tags = {names.RUN_ID: found.run_id, names.MODEL: found.key}
    with tempfile.TemporaryDirectory() as folder:
        if not run_id and workspace.tracking_uri.startswith("azureml:"):
            # No run made it: its files are uploaded, and its tags are all that tells of its origin.
            source = mlflow.artifacts.download_artifacts(found.uri, dst_path=folder)
        return client.create_model_version(name, source, run_id or None, tags=tags), True


def _mirrored(ours: DatabricksWorkspace, workspace: AzureMLWorkspace, found: FoundModel) -> tuple[str, str]:
    """The run in Azure ML that mirrors the model's run, and the address of the model in it."""
    from adbazureml.tracking import flush
    from adbazureml.tracking.pair import Pair
    from adbazureml.tracking.settling import Mirror

    assert found.run is not None
    flush()
    settled = Mirror(Pair.of(ours, workspace)).settle(found.run_id)
    client = workspace.client()
    folders = {entry.path for entry in client.list_artifacts(settled.mirrored_run_id)}
    # The newest model of a name has the name; an older one of the same run carries its id as well.
    folder = next((one for one in (f"{found.name}-{found.key}", found.name) if one in folders), None)
    if folder is None:
        raise RegistryError(f"run {found.run_id} has no model {found.name!r} there yet: {settled.reason}.")
    return settled.mirrored_run_id, f"{client.get_run(settled.mirrored_run_id).info.artifact_uri}/{folder}"


def _create_model(client: MlflowClient, name: str) -> None:
    from mlflow.exceptions import MlflowException

    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code not in ("RESOURCE_ALREADY_EXISTS", "ALREADY_EXISTS"):
            raise


def _made_before(client: MlflowClient, name: str, run_id: str, found: FoundModel) -> ModelVersion | None:
    """The version that an earlier call made of the same model; the oldest, should there be several.

    Unity Catalog filters by the name only, and finds versions without their tags.
    """
    same = []
    token = None
    while True:
        page = client.search_model_versions(f"name = '{name}'", page_token=token)
        for version in page:
            if version.run_id and version.run_id != run_id:
                continue
            whole = version if names.MODEL in version.tags else client.get_model_version(name, version.version)
            if whole.tags.get(names.MODEL) == found.key:
                same.append(whole)
        token = page.token
        if not token:
            return min(same, key=lambda version: int(version.version), default=None)


def _tell_of_each_other(
    ours: DatabricksWorkspace, in_databricks: ModelVersion, theirs: AzureMLWorkspace, in_azureml: ModelVersion
) -> None:
    """Tag each version with where the other is: workspace, name and version, run, page."""
    sides: tuple[tuple[Workspace, ModelVersion, Workspace, ModelVersion], ...] = (
        (ours, in_databricks, theirs, in_azureml),
        (theirs, in_azureml, ours, in_databricks),
    )
    for place, version, other_place, other in sides:
        tags = {
            names.COUNTERPART_WORKSPACE: other_place.name,
            names.COUNTERPART_VERSION: f"{other.name}/{other.version}",
            names.COUNTERPART_RUN: other.tags.get(names.RUN_ID, "") if other is in_databricks else other.run_id,
            names.COUNTERPART_URL: other_place.model_url(other.name, str(other.version)),
        }
        client = place.client()
        for key, value in tags.items():
            if value and version.tags.get(key) != value:
                client.set_model_version_tag(version.name, str(version.version), key, value)
