"""Which model is meant: one that a run logged, a logged model, or a version registered in Databricks before."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeAlias

from adbazureml.errors import RegistryError
from adbazureml.registry import version_tags

if TYPE_CHECKING:
    from mlflow.entities import Run
    from mlflow.entities.model_registry import ModelVersion
    from mlflow.models.model import ModelInfo
    from mlflow.models.signature import ModelSignature

    from adbazureml.registry.model_uri import HasURI

    Model: TypeAlias = Run | ModelInfo | HasURI | str


@dataclass(frozen=True)
class SourceModel:
    """A model in the tracking store in use.

    Attributes
    ----------
    uri : str
        MLflow URI to load it by.
    location : str
        URI of its files.
    name : str
        Name it was logged under.
    key : str
        Tells it from the other models of its run: the logged model's id, or its ``runs:/`` URI.
    run : Run or None
        The run that logged it.
    signature : ModelSignature or None
        What it takes and gives.
    version : tuple of (str, str) or None
        Name and number of the registered version that was meant, where it was one.
    """

    uri: str
    location: str
    name: str
    key: str
    run: Run | None
    signature: ModelSignature | None = None
    version: tuple[str, str] | None = None

    def check_signature(self) -> None:
        """Refuse a model that Unity Catalog would refuse, before anything is made of it.

        Raises
        ------
        RegistryError
            Its signature lacks inputs or outputs.
        """
        lacks = "signature" if self.signature is None else "outputs in its signature"
        if self.signature is None or self.signature.outputs is None:
            raise RegistryError(
                f"Model {self.uri} has no {lacks}, which Unity Catalog demands: log it with signature= or"
                " input_example=."
            )

    @property
    def run_id(self) -> str:
        """Id of the run; empty without one."""
        return self.run.info.run_id if self.run else ""


def find_source_model(source: Model, name: str) -> SourceModel:
    """Find the model that the caller means.

    Parameters
    ----------
    source : Run, ModelInfo, object with a ``uri``, or str
        A run; what ``log_model`` returned; or a ``runs:/``, ``models:/m-…`` or ``models:/<name>/<version>`` URI.
    name : str
        Name that the run's model was logged under, where ``source`` is a run.

    Raises
    ------
    RegistryError
        There is no such model, or it is not finished.
    """
    import mlflow
    from mlflow.exceptions import MlflowException

    try:
        found = _find(source, name)
        return replace(found, signature=mlflow.models.get_model_info(found.uri).signature)
    except (MlflowException, TypeError) as error:
        # MLflow 3.0 trips over a run that has no such model, which later ones say.
        said = getattr(error, "message", "it is not among the run's models")
        raise RegistryError(f"{_named(source, name)}: there is no such finished model ({said}).") from error


def _find(source: Model, name: str) -> SourceModel:
    import mlflow
    from mlflow.entities import Run

    client = mlflow.MlflowClient()
    if isinstance(source, Run):
        return _of_run(client, source.info.run_id, name)
    model_id = getattr(source, "model_id", None)
    uri = source if isinstance(source, str) else str(getattr(source, "uri", None) or getattr(source, "model_uri", ""))
    scheme, _, path = uri.partition(":/")
    parts = path.strip("/").split("/")
    if scheme == "runs" and len(parts) > 1:
        return _of_run(client, parts[0], "/".join(parts[1:]))
    if scheme == "models" and len(parts) == 1:
        return _logged(client, model_id or parts[0])
    if scheme == "models":
        version = client.get_model_version(*parts)
        return replace(_registered(client, version), version=(version.name, str(version.version)))
    raise RegistryError(
        f"{uri!r} is no model: give a run, what log_model returned, or a runs:/ or models:/ URI to register."
    )


def _of_run(client: Any, run_id: str, name: str) -> SourceModel:
    run = client.get_run(run_id)
    logged = client.search_logged_models(
        [run.info.experiment_id], filter_string=f"source_run_id = '{run_id}' AND name = '{name}'"
    )
    ready = [model for model in logged if str(model.status) == "READY"]
    if ready:
        newest = max(ready, key=lambda model: model.creation_timestamp)
        return SourceModel(newest.model_uri, newest.artifact_location, name, newest.model_id, run)
    # mlflow.spark still logs its models as artifacts of the run, as MLflow 2 did.
    uri = f"runs:/{run_id}/{name}"
    return SourceModel(uri, f"{run.info.artifact_uri}/{name}", name, uri, run)


def _logged(client: Any, model_id: str) -> SourceModel:
    model = client.get_logged_model(model_id)
    run = client.get_run(model.source_run_id) if model.source_run_id else None
    return SourceModel(model.model_uri, model.artifact_location, model.name, model_id, run)


def _registered(client: Any, found: ModelVersion) -> SourceModel:
    """The model that a version was made of, by `register` or by MLflow itself."""
    key = found.tags.get(version_tags.MODEL) or found.model_id or ""
    if not key and (found.source or "").startswith("models:/m-"):
        key = str(found.source).removeprefix("models:/")
    if key.startswith("runs:/"):
        run_id, _, folder = key.removeprefix("runs:/").partition("/")
        return _of_run(client, run_id, folder)
    if key:
        return _logged(client, key)
    if found.run_id:
        run = client.get_run(found.run_id)
        folder = (found.source or "").removeprefix(f"{run.info.artifact_uri}/")
        if folder != found.source:
            return _of_run(client, found.run_id, folder)
    # Of no run of this store: what it was logged as is not known.
    uri = f"models:/{found.name}/{found.version}"
    return SourceModel(uri, client.get_model_version_download_uri(found.name, found.version), found.name, uri, None)


def _named(source: Model, name: str) -> str:
    from mlflow.entities import Run

    if isinstance(source, Run):
        return f"Model {name!r} of run {source.info.run_id}"
    return f"Model {source if isinstance(source, str) else getattr(source, 'uri', '') or source.model_uri}"  # type: ignore[union-attr]
