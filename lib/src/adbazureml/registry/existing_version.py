"""Versions that an earlier call, or an earlier attempt of this one, made of the same model."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from mlflow.exceptions import MlflowException

from adbazureml.registry import version_tags

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion

    from adbazureml.registry.source_model import SourceModel
    from adbazureml.workspaces import Workspace


def find_existing_version(place: Workspace, name: str, found: SourceModel) -> ModelVersion | None:
    """Find the finished version that was made of the model; the oldest, should there be several.

    One whose files never came, because its maker died, does not count; nor, where a version was meant, does the
    counterpart of another one.
    """
    client = place.client()
    without_tags = place.registry_uri.startswith("databricks-uc")
    same = []
    for version in finished_versions(client, name):
        if without_tags and version.run_id not in ("", None, found.run_id):
            continue
        whole = client.get_model_version(version.name, version.version) if without_tags else version
        named = _is_named(place, whole, found)
        if named or (named is None and _is_of(whole, found)):
            same.append(whole)
    return min(same, key=lambda version: int(version.version), default=None)


def finished_versions(client: MlflowClient, name: str) -> Iterator[ModelVersion]:
    """The versions of a name whose files are there; none where there is no such model.

    Unity Catalog shows them without their tags.
    """
    token = None
    while True:
        try:
            page = client.search_model_versions(f"name = '{name}'", page_token=token)
        except MlflowException as error:
            if error.error_code == "RESOURCE_DOES_NOT_EXIST":
                return
            raise
        yield from (version for version in page if version.status == "READY")
        token = page.token
        if not token:
            return


def delete_duplicates(client: MlflowClient, made: ModelVersion) -> None:
    """Delete what a request left behind whose answer was lost and that MLflow's client therefore sent again."""
    request = made.tags.get(version_tags.REQUEST)
    for number in range(int(made.version) - 1, 0, -1):
        try:
            before = client.get_model_version(made.name, str(number))
        except MlflowException:
            return
        if request is None or before.tags.get(version_tags.REQUEST) != request:
            return
        client.delete_model_version(made.name, str(number))


def _is_named(place: Workspace, version: ModelVersion, found: SourceModel) -> bool | None:
    """Whether the caller named this version, or the one that it is the counterpart of; None where that says nothing.

    A model may have been registered more than once under a name.
    """
    import mlflow

    if found.version is None:
        return None
    name, number = found.version
    if place.registry_uri == mlflow.get_registry_uri():
        # A version of another name is what is to be made of it.
        return str(version.version) == number if version.name == name else None
    counterpart = version.tags.get(version_tags.COUNTERPART_VERSION, "")
    # Of the same number, it may still be that of a model of this name which is gone.
    return False if counterpart.startswith(f"{name}/") and counterpart != f"{name}/{number}" else None


def _is_of(version: ModelVersion, found: SourceModel) -> bool:
    """Whether `register` made it of this model, or MLflow itself, as ``log_model(registered_model_name=)`` does."""
    by_mlflow = (found.uri, found.location)
    return found.key in (version.tags.get(version_tags.MODEL), version.model_id) or version.source in by_mlflow
