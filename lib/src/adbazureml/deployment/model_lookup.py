"""Find the model to deploy, check that it can be served, and register it where its target takes it from."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from adbazureml.azureml_mlflow.local_folders import local_folder
from adbazureml.deployment.deployable import Deployable
from adbazureml.errors import DeploymentError, RegistryError
from adbazureml.registry import register
from adbazureml.registry.model_uri import ModelURI, uri_of

if TYPE_CHECKING:
    from mlflow.models import Model

    from adbazureml.deployment.target import Target
    from adbazureml.workspaces import AzureMLWorkspace


@runtime_checkable
class HasVersions(Protocol):
    """What `register` returns: a model that knows its name and version in each registry."""

    name: str
    azureml_name: str
    databricks: str | None
    azureml: str | None


def find_model(model: ModelURI, workspace: AzureMLWorkspace | None) -> Deployable:
    """Return a model with its description, and with the versions that registries have of it, as far as that is known.

    Raises
    ------
    DeploymentError
        There is no such model.
    """
    # MLflow reads a model's description from a folder, but not from the folder's URI.
    uri = str(local_folder(uri_of(model)) or uri_of(model))
    return Deployable(uri=uri, model=describe(uri), **_versions(model, workspace))


def describe(model_uri: str) -> Model:
    """Return MLflow's description of a model.

    Raises
    ------
    DeploymentError
        There is no such model.
    """
    import mlflow
    from mlflow.models import Model

    try:
        return Model.load(model_uri)
    except Exception as error:  # each kind of store has errors of its own
        said = (str(error).strip().partition("\n")[0] or type(error).__name__).rstrip(".")
        raise DeploymentError(
            f"model_uri {model_uri!r} can't be read from {mlflow.get_registry_uri()}: {said}. Check its name and"
            " version, or register it first."
        ) from error


def check_servable(model: Deployable, *, accept_slow: bool) -> None:
    """Refuse a model that no target serves, before anything is made of it.

    Raises
    ------
    DeploymentError
        It has no python_function or no signature, or is slow and that is not accepted.
    """
    if "python_function" not in model.model.flavors:
        flavors = ", ".join(sorted(model.model.flavors)) or "none"
        raise DeploymentError(
            f"The model {model.uri} can't be served: its flavors ({flavors}) have no python_function; log it with a"
            " flavor of MLflow that has, such as mlflow.sklearn or mlflow.pyfunc."
        )
    if model.signature is None:
        raise DeploymentError(
            f"The model {model.uri} has no signature, so that nobody could tell rows that it takes: log it with"
            " signature= or input_example=."
        )
    if model.is_spark and not accept_slow:
        raise DeploymentError(
            f"The model {model.uri} is a Spark ML model: behind an endpoint it answers about 100 times slower than"
            " others (0.5 s a row), needs Java and 1.3 GB of memory. Score tables with score(), serve another model, or"
            " deploy(…, accept_slow=True)."
        )


def register_where_missing(
    found: Deployable, model: ModelURI, place: Target, workspace: AzureMLWorkspace | None
) -> Deployable:
    """Return the model as it is in the registry of its target: registered in Azure ML where only Databricks has it.

    Raises
    ------
    DeploymentError
        It is in no registry, or could not be registered.
    """
    if place.registry != "azureml" or found.azureml is not None:
        return found
    if found.databricks is None:
        raise DeploymentError(
            f"model_uri {found.uri!r} is no registered version, which {place.kind!r} needs: register it."
        )
    # What `register` returned is known to it, and both versions then name each other; it would make another version
    # in Databricks of one that it did not make.
    source: Any = model if isinstance(model, HasVersions) else found.uri
    registry: Any = "both" if isinstance(model, HasVersions) else "azureml"
    try:
        made = register(source, name=found.databricks[0], registry=registry, workspace=workspace)
    except RegistryError as error:
        raise DeploymentError(f"The model could not be registered in Azure ML on the way: {error}") from error
    assert made.azureml is not None
    return replace(found, azureml=(made.azureml_name, made.azureml))


def register_unnamed(found: Deployable, name: str, workspace: AzureMLWorkspace) -> Deployable:
    """Return a model that no registry is known to have as a version of the Azure ML registry, under a name.

    Parameters
    ----------
    found : Deployable
        A logged model, a run's model, or a local folder, which is uploaded.
    name : str
        Name to register under.

    Raises
    ------
    DeploymentError
        It could not be registered.
    """
    from mlflow.exceptions import MlflowException

    try:
        if found.uri.startswith(("models:/", "runs:/")):
            made = register(found.uri, name=name, registry="azureml", workspace=workspace)
            assert made.azureml is not None
            return replace(found, azureml=(made.azureml_name, made.azureml))
        client = workspace.client()
        if not client.search_registered_models(f"name = '{name}'"):
            client.create_registered_model(name)
        return replace(found, azureml=(name, str(client.create_model_version(name, found.uri).version)))
    except (RegistryError, MlflowException) as error:
        raise DeploymentError(f"The model could not be registered in Azure ML on the way: {error}") from error


def _versions(model: ModelURI, workspace: AzureMLWorkspace | None) -> dict[str, tuple[str, str] | None]:
    """Name and version in each registry, as far as the caller or the URI tells."""
    import mlflow

    if not isinstance(model, str) and isinstance(model, HasVersions):
        return {
            "databricks": (model.name, model.databricks) if model.databricks else None,
            "azureml": (model.azureml_name, model.azureml) if model.azureml else None,
        }
    scheme, _, path = uri_of(model).partition(":/")
    name, slash, version = path.strip("/").rpartition("/")
    if scheme == "models" and "@" in path:
        name, _, alias = path.strip("/").partition("@")
        version = str(mlflow.MlflowClient().get_model_version_by_alias(name, alias).version)
    elif scheme != "models" or not slash or not version.isdecimal():
        return {"databricks": None, "azureml": None}
    asked = mlflow.get_registry_uri()
    in_azureml = asked.startswith("azureml:") or (workspace is not None and asked == workspace.registry_uri)
    found = (name, version)
    return {"databricks": None if in_azureml else found, "azureml": found if in_azureml else None}
