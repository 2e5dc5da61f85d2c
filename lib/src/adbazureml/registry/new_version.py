"""Make a model's version in one registry, as its plan says."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING
from uuid import uuid4

from adbazureml.errors import RegistryError
from adbazureml.registry import model_names, version_tags
from adbazureml.registry.existing_version import delete_duplicates

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion

    from adbazureml.registry.registration_plan import RegistrationPlan, VersionPlan
    from adbazureml.registry.source_model import SourceModel
    from adbazureml.workspaces import Workspace


def make_in_databricks(plan: RegistrationPlan, version: VersionPlan) -> ModelVersion:
    """Make the version in the Databricks registry."""
    import mlflow

    found, client = plan.model, version.place.client()
    tags = {**_origin(found), version_tags.REQUEST: uuid4().hex}
    if version.files == "run":
        with asking_registry(version.place.registry_uri):
            made = mlflow.register_model(found.uri, version.name, tags=tags)
    else:
        create_model(version.place, version.name)
        with _files(found, version) as source:
            made = client.create_model_version(version.name, source, tags=tags)
    delete_duplicates(client, made)
    # The workspace registry first gives a version without its run.
    return made if made.run_id else client.get_model_version(made.name, made.version)


def make_in_azureml(plan: RegistrationPlan, version: VersionPlan) -> ModelVersion:
    """Make the version in the Azure ML registry, of the run there where one made the model.

    Raises
    ------
    RegistryError
        The run has no such model there, or the name is another model's.
    """
    found = plan.model
    run_id, source = _counterpart(plan) if version.files == "counterpart run" else (found.run_id, None)
    create_model(version.place, version.name, made_for=model_names.databricks_model_name(plan.name))
    with _files(found, version) as own:
        return version.place.client().create_model_version(
            version.name, source or own, run_id or None, tags=_origin(found)
        )


@contextmanager
def _files(found: SourceModel, version: VersionPlan) -> Iterator[str]:
    """Where the registry reads the model's files: at their address, or in a folder that goes again."""
    import mlflow

    if version.files != "upload":
        yield found.location
        return
    with tempfile.TemporaryDirectory() as folder:
        yield mlflow.artifacts.download_artifacts(found.uri, dst_path=folder)


def _counterpart(plan: RegistrationPlan) -> tuple[str, str]:
    """The run in Azure ML that is the counterpart of the model's run, and the address of the model in it."""
    from adbazureml.tracking import flush
    from adbazureml.tracking.reconciler import Reconciler
    from adbazureml.tracking.store_pair import StorePair

    found = plan.model
    assert plan.workspace is not None
    flush()
    result = Reconciler(StorePair.of(plan.ours, plan.workspace)).reconcile(found.run_id)
    client = plan.workspace.client()
    folders = {entry.path for entry in client.list_artifacts(result.counterpart_run_id)}
    # The newest model of a name has the name; an older one of the same run carries its id as well.
    folder = next((one for one in (f"{found.name}-{found.key}", found.name) if one in folders), None)
    if folder is None:
        raise RegistryError(f"run {found.run_id} has no model {found.name!r} there yet: {result.reason}.")
    return result.counterpart_run_id, f"{client.get_run(result.counterpart_run_id).info.artifact_uri}/{folder}"


def _origin(found: SourceModel) -> dict[str, str]:
    return {
        key: value for key, value in {version_tags.RUN_ID: found.run_id, version_tags.MODEL: found.key}.items() if value
    }


def create_model(place: Workspace, name: str, *, made_for: str = "") -> None:
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
def asking_registry(uri: str) -> Iterator[None]:
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
