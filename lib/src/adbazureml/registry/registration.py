"""Register a model in Databricks, in Azure ML, or in both: version 1 of a new name, or the next version."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from adbazureml.errors import AdbAzureMLError, RegistryError
from adbazureml.registry import model_names
from adbazureml.registry.existing_version import find_existing_version
from adbazureml.registry.lineage import tag_counterparts
from adbazureml.registry.new_version import make_in_azureml, make_in_databricks
from adbazureml.registry.registered_version import RegisteredVersion
from adbazureml.registry.registration_plan import RegistrationPlan, RegistryChoice, VersionPlan, plan_registration

if TYPE_CHECKING:
    from collections.abc import Callable

    from mlflow.entities.model_registry import ModelVersion

    from adbazureml.registry.source_model import Model
    from adbazureml.workspaces import AzureMLWorkspace


@dataclass(frozen=True)
class _Registered:
    """A version as a registry has it, and whether this call made it."""

    version: ModelVersion
    created: bool


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
    plan = plan_registration(source, name=name, registry=registry, workspace=workspace, model=model)
    in_databricks = _in_databricks(plan)
    in_azureml = _in_azureml(plan, in_databricks)
    _tag_counterparts(plan, in_databricks, in_azureml)
    return _result(plan, in_databricks, in_azureml)


def _in_databricks(plan: RegistrationPlan) -> _Registered | None:
    from databricks.sdk.errors import DatabricksError
    from mlflow.exceptions import MlflowException

    if plan.databricks is None:
        return None
    try:
        return _find_or_make(plan, plan.databricks, make_in_databricks)
    except (MlflowException, DatabricksError) as error:
        raise RegistryError(f"Databricks refused {plan.name!r}: {_explain_error(error)}") from error


def _in_azureml(plan: RegistrationPlan, in_databricks: _Registered | None) -> _Registered | None:
    from mlflow.exceptions import MlflowException

    if plan.azureml is None:
        return None
    try:
        return _find_or_make(plan, plan.azureml, make_in_azureml)
    except (MlflowException, AdbAzureMLError) as error:
        kept = f" Version {in_databricks.version.version} in Databricks stays;" if in_databricks else ""
        raise RegistryError(
            f"Azure ML refused {plan.name!r}: {_explain_error(error)}{kept} call register again to complete."
        ) from error


def _find_or_make(
    plan: RegistrationPlan, wanted: VersionPlan, make: Callable[[RegistrationPlan, VersionPlan], ModelVersion]
) -> _Registered:
    if before := find_existing_version(wanted.place, wanted.name, plan.model):
        return _Registered(before, created=False)
    return _Registered(make(plan, wanted), created=True)


def _tag_counterparts(
    plan: RegistrationPlan, in_databricks: _Registered | None, in_azureml: _Registered | None
) -> None:
    """Tag both versions with the way to the other; also where Databricks has had its version for some time."""
    from databricks.sdk.errors import DatabricksError
    from mlflow.exceptions import MlflowException

    if plan.workspace is None or in_azureml is None:
        return
    try:
        counterpart = in_databricks.version if in_databricks else _made_in_databricks(plan)
        tag_counterparts(plan.model, plan.ours, counterpart, plan.workspace, in_azureml.version)
    except (MlflowException, DatabricksError) as error:
        raise RegistryError(
            f"{plan.name!r} is registered, but the tags that lead from one workspace to the other are not whole:"
            f" {_explain_error(error)}; call register again to complete."
        ) from error


def _made_in_databricks(plan: RegistrationPlan) -> ModelVersion | None:
    from mlflow.exceptions import RestException

    try:
        return find_existing_version(plan.ours, plan.name, plan.model)
    except RestException:
        # Databricks may take no such name, or this identity may not look there: it was not asked to register.
        return None


def _result(
    plan: RegistrationPlan, in_databricks: _Registered | None, in_azureml: _Registered | None
) -> RegisteredVersion:
    import mlflow

    versions = [
        (wanted.place, there)
        for wanted, there in ((plan.databricks, in_databricks), (plan.azureml, in_azureml))
        if wanted and there
    ]
    # In the registry that MLflow asks, where it is there.
    asked = (there for place, there in versions if place.registry_uri == mlflow.get_registry_uri())
    version = next(asked, versions[0][1]).version
    return RegisteredVersion(
        name=plan.name,
        azureml_name=model_names.azureml_model_name(plan.name),
        databricks=str(in_databricks.version.version) if in_databricks else None,
        azureml=str(in_azureml.version.version) if in_azureml else None,
        uri=f"models:/{version.name}/{version.version}",
        run_id=plan.model.run_id,
        created=any(there.created for _, there in versions),
        links=tuple(place.model_url(there.version.name, str(there.version.version)) for place, there in versions),
    )


def _explain_error(error: Exception) -> str:
    return str(getattr(error, "message", "") or error).rstrip(".") + "."
