"""Register a run's model in Databricks, in Azure ML, or in both: version 1 of a new name, or the next version."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Literal

from adbazureml.errors import RegistryError
from adbazureml.workspace import AzureMLWorkspace, DatabricksWorkspace

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run
    from mlflow.entities.model_registry import ModelVersion

# Tags of a version: where it was made, and its counterpart in the other registry.
_RUN_ID = "adbazureml.run_id"
_MODEL = "adbazureml.model"
_COUNTERPART = "adbazureml.counterpart"
# Tag that tracking leaves on a run in Databricks: its mirror in Azure ML.
_MIRRORED_RUN_ID = "adbazureml.azureml.run_id"

RegistryChoice = Literal["both", "databricks", "azureml"]


@dataclass(frozen=True, kw_only=True)
class RegisteredVersion:
    """A model version as one or both registries hold it.

    Attributes
    ----------
    name : str
        Registered name in Databricks; in Azure ML see `azureml_name`.
    databricks, azureml : str or None
        Version in each registry.
    uri : str
        ``models:/`` URI of the version in the registry that MLflow asks now.
    run_id : str
        The run that made the model.
    created : bool
        Whether this call made a version, rather than finding those of an earlier one.
    links : tuple of str
        A page for each registry that holds it.
    """

    name: str
    databricks: str | None
    azureml: str | None
    uri: str
    run_id: str
    created: bool
    links: tuple[str, ...]

    @property
    def version(self) -> str:
        """Version in the registry that `uri` means."""
        return self.uri.rpartition("/")[2]

    def _repr_html_(self) -> str:
        rows = {
            "model": escape(self.name),
            "version in Databricks": self.databricks or "not registered",
            "version in Azure ML": self.azureml or "not registered",
            "made by this call": "yes" if self.created else "no, by an earlier one",
            "run": escape(self.run_id),
            "pages": "<br>".join(f'<a href="{escape(link)}">{escape(link)}</a>' for link in self.links),
        }
        return (
            "<table>" + "".join(f"<tr><td>{key}</td><td>{value}</td></tr>" for key, value in rows.items()) + "</table>"
        )


def azureml_model_name(name: str) -> str:
    """Name in Azure ML of a Unity Catalog model: its dots become ``--``; a name in one part stays as it is."""
    return name.replace(".", "--")


def register(
    run: Run,
    *,
    name: str,
    registry: RegistryChoice = "both",
    workspace: AzureMLWorkspace | None = None,
    model: str = "model",
) -> RegisteredVersion:
    """Register a model that a run logged; again for the same run, return the versions made before.

    Databricks comes first. If Azure ML then fails, the first version stays, and calling again completes the second.

    Parameters
    ----------
    run : mlflow.entities.Run
        A run of the tracking store in use.
    name : str
        Name to register under.
    registry : {"both", "databricks", "azureml"}
        Where to.
    workspace : AzureMLWorkspace, optional
        Needed unless ``registry`` is "databricks".
    model : str
        Name that the run's model was logged under.

    Raises
    ------
    RegistryError
        The run has no such model, the model has no signature, the run is not mirrored in Azure ML, or a registry
        refused.
    """
    import mlflow

    if registry != "databricks" and workspace is None:
        raise RegistryError(
            f"registry {registry!r} needs an Azure ML workspace: register(…, workspace=AzureMLWorkspace.get(…))."
        )
    run = mlflow.get_run(run.info.run_id)
    found = _find_model(run, model)
    databricks: ModelVersion | None = None
    made: list[bool] = []
    links: list[str] = []
    if registry != "azureml":
        databricks, created = _in_databricks(run, found, name)
        made.append(created)
        links.append(DatabricksWorkspace.current().model_url(name, str(databricks.version)))
    azureml: ModelVersion | None = None
    if workspace is not None and registry != "databricks":
        try:
            azureml, created = _in_azureml(workspace, run, found, azureml_model_name(name), databricks)
        except mlflow.MlflowException as error:
            kept = f"Version {databricks.version} in Databricks stays; " if databricks else ""
            raise RegistryError(
                f"Azure ML refused {name!r}: {error.message} {kept}call register again to complete."
            ) from error
        made.append(created)
        links.append(workspace.model_url(azureml_model_name(name), str(azureml.version)))
    version = databricks or azureml
    assert version is not None
    return RegisteredVersion(
        name=name,
        databricks=str(databricks.version) if databricks else None,
        azureml=str(azureml.version) if azureml else None,
        uri=f"models:/{version.name}/{version.version}",
        run_id=run.info.run_id,
        created=any(made),
        links=tuple(links),
    )


def find_version(version: str, *, name: str) -> str:
    """Return the ``models:/`` URI of a version, or of the newest one when ``version`` is empty.

    Raises
    ------
    RegistryError
        There is none.
    """
    import mlflow

    client = mlflow.MlflowClient()
    if version:
        try:
            client.get_model_version(name, version)
        except mlflow.MlflowException as error:
            raise RegistryError(f"model_version {version!r}: model {name!r} has no such version.") from error
        return f"models:/{name}/{version}"
    found = client.search_model_versions(f"name = '{name}'")
    if not found:
        raise RegistryError(f"model_name {name!r}: no version is registered; run 04_register first.")
    newest = max(int(candidate.version) for candidate in found)
    return f"models:/{name}/{newest}"


@dataclass(frozen=True)
class _Model:
    """A model that a run logged: its MLflow URI, where its files are, and what tells it from the run's others."""

    uri: str
    location: str
    folder: str
    key: str


def _find_model(run: Run, model: str) -> _Model:
    import mlflow

    logged = mlflow.search_logged_models(
        experiment_ids=[run.info.experiment_id],
        filter_string=f"source_run_id = '{run.info.run_id}' AND name = '{model}'",
        output_format="list",
    )
    ready = [candidate for candidate in logged if str(candidate.status) == "READY"]
    if ready:
        newest = max(ready, key=lambda candidate: candidate.creation_timestamp)
        found = _Model(newest.model_uri, newest.artifact_location, model, newest.model_id)
    else:
        # mlflow.spark still logs its models as artifacts of the run, as MLflow 2 did.
        uri = f"runs:/{run.info.run_id}/{model}"
        found = _Model(uri, f"{run.info.artifact_uri}/{model}", model, uri)
    try:
        signature = mlflow.models.get_model_info(found.uri).signature
    except mlflow.MlflowException as error:
        raise RegistryError(
            f"Run {run.info.run_id} has no finished model named {model!r}: log one with name={model!r}."
        ) from error
    if signature is None:
        raise RegistryError(
            f"Model {model!r} of run {run.info.run_id} has no signature, which Unity Catalog demands: log it with"
            " signature= or input_example=."
        )
    return found


def _in_databricks(run: Run, model: _Model, name: str) -> tuple[ModelVersion, bool]:
    import mlflow

    client = mlflow.MlflowClient()
    if before := _made_before(client, name, run.info.run_id, model):
        return before, False
    tags = {_RUN_ID: run.info.run_id, _MODEL: model.key}
    return mlflow.register_model(model.uri, name, tags=tags), True


def _in_azureml(
    workspace: AzureMLWorkspace, run: Run, model: _Model, name: str, databricks: ModelVersion | None
) -> tuple[ModelVersion, bool]:
    """Register the model's copy in the mirrored run, so that Azure ML shows the run that made it."""
    import mlflow

    client = mlflow.MlflowClient(tracking_uri=workspace.tracking_uri, registry_uri=workspace.registry_uri)
    if mlflow.get_tracking_uri() == workspace.tracking_uri:
        own_run_id, source = run.info.run_id, model.location
    else:
        own_run_id = run.data.tags.get(_MIRRORED_RUN_ID, "")
        if not own_run_id:
            raise RegistryError(
                f"Run {run.info.run_id} is not in Azure ML yet: track(workspace, mode='both'), then"
                f" catch_up(run_ids=['{run.info.run_id}']), then register again."
            )
        source = f"{client.get_run(own_run_id).info.artifact_uri}/{model.folder}"
    if before := _made_before(client, name, own_run_id, model):
        return before, False
    try:
        client.create_registered_model(name)
    except mlflow.MlflowException as error:
        if error.error_code not in ("RESOURCE_ALREADY_EXISTS", "ALREADY_EXISTS"):
            raise
    tags = {_RUN_ID: run.info.run_id, _MODEL: model.key}
    if databricks is not None:
        tags[_COUNTERPART] = f"{databricks.name} version {databricks.version} in Databricks"
    version = client.create_model_version(name, source, own_run_id, tags=tags)
    if databricks is not None:
        counterpart = f"{name} version {version.version} in Azure ML"
        mlflow.MlflowClient().set_model_version_tag(databricks.name, databricks.version, _COUNTERPART, counterpart)
    return version, True


def _made_before(client: MlflowClient, name: str, run_id: str, model: _Model) -> ModelVersion | None:
    found = client.search_model_versions(f"name = '{name}' AND run_id = '{run_id}'")
    same = [version for version in found if version.tags.get(_MODEL) == model.key]
    return min(same, key=lambda version: int(version.version), default=None)
