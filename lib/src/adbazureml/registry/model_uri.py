"""A model as the caller has it: its MLflow URI, or what MLflow or `register` returned for it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, TypeAlias

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion
    from mlflow.models.model import ModelInfo


class HasURI(Protocol):
    """Anything with a model URI, such as what `register` returns."""

    @property
    def uri(self) -> str:
        """The ``models:/`` or ``runs:/`` URI."""


ModelURI: TypeAlias = "str | HasURI | ModelInfo | ModelVersion"


def uri_of(model: ModelURI) -> str:
    """Return the MLflow URI of a model.

    Parameters
    ----------
    model : str, RegisteredVersion, ModelInfo or ModelVersion
        The URI, or what `register`, ``log_model`` or ``mlflow.register_model`` returned.
    """
    if isinstance(model, str):
        return model
    from mlflow.entities.model_registry import ModelVersion
    from mlflow.models.model import ModelInfo

    if isinstance(model, ModelVersion):
        return f"models:/{model.name}/{model.version}"
    if isinstance(model, ModelInfo):
        return str(model.model_uri)
    return model.uri
