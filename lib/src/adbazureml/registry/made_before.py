"""Versions that an earlier call, or an earlier attempt of this one, made of the same model."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from mlflow.exceptions import MlflowException

from adbazureml.registry import names

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion

    from adbazureml.registry.model import FoundModel
    from adbazureml.workspace import Workspace

_NOT_THERE = "RESOURCE_DOES_NOT_EXIST"


def made_before(place: Workspace, name: str, found: FoundModel) -> ModelVersion | None:
    """Find the finished version that was made of the model; the oldest, should there be several.

    One whose files never came, because its maker died, does not count.
    """
    client = place.client()
    same = [
        version
        for version in _versions(client, name, found, without_tags=place.registry_uri.startswith("databricks-uc"))
        if version.status == "READY" and _is_of(version, found)
    ]
    return min(same, key=lambda version: int(version.version), default=None)


def drop_repeats(client: MlflowClient, made: ModelVersion) -> None:
    """Delete what a request left behind whose answer was lost and that MLflow's client therefore sent again."""
    request = made.tags.get(names.REQUEST)
    for number in range(int(made.version) - 1, 0, -1):
        try:
            before = client.get_model_version(made.name, str(number))
        except MlflowException:
            return
        if request is None or before.tags.get(names.REQUEST) != request:
            return
        client.delete_model_version(made.name, str(number))


def _versions(client: MlflowClient, name: str, found: FoundModel, *, without_tags: bool) -> Iterator[ModelVersion]:
    """The versions of a name; Unity Catalog filters by little, and shows them in a search without their tags."""
    token = None
    while True:
        try:
            page = client.search_model_versions(f"name = '{name}'", page_token=token)
        except MlflowException as error:
            if error.error_code == _NOT_THERE:
                return
            raise
        for version in page:
            if not without_tags:
                yield version
            elif not version.run_id or version.run_id == found.run_id:
                yield client.get_model_version(version.name, version.version)
        token = page.token
        if not token:
            return


def _is_of(version: ModelVersion, found: FoundModel) -> bool:
    """Whether `register` made it of this model, or MLflow itself, as ``log_model(registered_model_name=)`` does."""
    by_mlflow = (found.uri, found.location)
    return found.key in (version.tags.get(names.MODEL), version.model_id) or version.source in by_mlflow
