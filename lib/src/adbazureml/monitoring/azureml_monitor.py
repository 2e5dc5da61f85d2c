"""Let Azure ML itself watch what a model is fed: its monitoring schedule, with the model's own baseline."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from adbazureml.azure.azureml_refusals import explaining_errors
from adbazureml.errors import SettingsError, TrackingError, WorkspaceError
from adbazureml.monitoring.baseline import FOLDER, Baseline, read_baseline
from adbazureml.text import html_table
from adbazureml.workspaces import AzureMLWorkspace
from adbazureml.workspaces.ml_client import ml_client

if TYPE_CHECKING:
    from azure.ai.ml import MLClient
    from azure.ai.ml.entities import MonitorSchedule

_MODEL_TAG = "adbazureml-model"
_ADVICE = "A deployment must have been made with its inputs and outputs collected."
_SPARK = "3.4"


@dataclass(frozen=True)
class AzureMLMonitor:
    """A monitoring schedule of Azure ML.

    Attributes
    ----------
    name : str
        Its name in the workspace.
    model : str
        Name and version of the model in Azure ML's registry.
    baseline : str
        The data asset that production is compared with.
    watched : str
        The deployment or data asset that is watched.
    link : str
        Address of the studio's page of monitors.
    """

    name: str
    model: str
    baseline: str
    watched: str
    link: str

    def _repr_html_(self) -> str:
        rows = {
            "monitor": self.name,
            "model": self.model,
            "watches": self.watched,
            "baseline": self.baseline,
            "page": self.link,
        }
        return html_table(rows.items())


def create_azureml_monitor(
    workspace: AzureMLWorkspace,
    *,
    name: str,
    model: str,
    version: str,
    deployment: str = "",
    data: str = "",
    target_column: str = "prediction",
    threshold: float = 0.2,
    hour: int = 6,
    emails: Sequence[str] = (),
    instance_type: str = "standard_e4s_v3",
    timeout: float = 600,
) -> AzureMLMonitor:
    """Create a daily monitoring schedule in Azure ML, or bring one of this package up to date.

    It compares the population stability index of each column, and of the predictions, with the baseline that was logged
    with the model: `Baseline.log` keeps it in the run as rows too, and the counterpart has them.

    Parameters
    ----------
    workspace : AzureMLWorkspace
    name : str
        Name of the schedule.
    model, version : str
        The model as Azure ML's registry has it; its run holds the baseline.
    deployment : str
        ``endpoint:deployment``, deployed with its inputs and outputs collected: those are watched.
    data : str
        Otherwise the data that is watched, ``azureml:name:version`` of type mltable.
    target_column : str
        The column of the predictions.
    threshold : float
        Population stability index from which Azure ML reports drift.
    hour : int
        Hour of the day (UTC) at which it runs.
    emails : sequence of str
        Who hears of drift.
    instance_type : str
        Machine of the serverless Spark that computes.
    timeout : float
        Seconds to wait for the service.

    Raises
    ------
    SettingsError
        Neither or both of `deployment` and `data` are given, or `workspace` is the local backend.
    TrackingError
        There is no such model version, or its run holds no baseline.
    WorkspaceError
        azure-ai-ml is not installed, the service refused or did not answer in time, or a schedule of this name is
        somebody else's.
    """
    if bool(deployment) == bool(data):
        raise SettingsError("deployment, data: give one of them, what the monitor is to watch.")
    if not workspace.arm_id:
        raise SettingsError("workspace: the local backend has no monitors; name an Azure ML workspace.")
    baseline, run_id = _baseline_in(workspace, model, version)
    client = ml_client(workspace)
    tag = f"{model}/{version}"
    with explaining_errors(f"the monitor {name!r}", raised=WorkspaceError, advice=_ADVICE):
        _check_ours(client, name)
        schedule = _schedule(
            baseline,
            name=name,
            reference=_reference(client, f"{name}-baseline", version, run_id),
            deployment=deployment,
            data=data,
            target_column=target_column,
            threshold=threshold,
            hour=hour,
            emails=emails,
            instance_type=instance_type,
            tag=tag,
        )
        _wait(client.schedules.begin_create_or_update(schedule), name, timeout)
    return AzureMLMonitor(
        name=name,
        model=tag,
        baseline=f"azureml:{name}-baseline:{version}",
        watched=deployment or data,
        link=workspace.monitoring_url(),
    )


def _baseline_in(workspace: AzureMLWorkspace, model: str, version: str) -> tuple[Baseline, str]:
    from mlflow.exceptions import MlflowException

    client = workspace.client()
    try:
        run_id = str(client.get_model_version(model, version).run_id or "")
    except MlflowException as error:
        raise TrackingError(
            f"model: {model} {version} is not in the Azure ML registry ({error.message}). Register it there first."
        ) from error
    if not run_id:
        raise TrackingError(f"model: {model} {version} names no run in Azure ML, so its baseline can't be found.")
    return read_baseline(client, run_id, f"{model} {version}"), run_id


def _reference(client: MLClient, name: str, version: str, run_id: str) -> str:
    """Make the run's rows a data asset, unless they are one."""
    from azure.ai.ml.entities import Data
    from azure.core.exceptions import ResourceNotFoundError

    try:
        client.data.get(name, version)
    except ResourceNotFoundError:
        # Where Azure ML keeps the artifacts of runs.
        path = f"azureml://datastores/workspaceartifactstore/paths/ExperimentRun/dcid.{run_id}/{FOLDER}/"
        client.data.create_or_update(Data(name=name, version=version, type="mltable", path=path))
    return f"azureml:{name}:{version}"


def _check_ours(client: MLClient, name: str) -> None:
    from azure.core.exceptions import ResourceNotFoundError

    try:
        there = client.schedules.get(name)
    except ResourceNotFoundError:
        return
    if _MODEL_TAG not in (there.tags or {}):
        raise SettingsError(f"name: a schedule {name!r} is there, and was not made by this package; choose another.")


def _schedule(
    baseline: Baseline,
    *,
    name: str,
    reference: str,
    deployment: str,
    data: str,
    target_column: str,
    threshold: float,
    hour: int,
    emails: Sequence[str],
    instance_type: str,
    tag: str,
) -> MonitorSchedule:
    from azure.ai.ml import Input
    from azure.ai.ml.constants import MonitorDatasetContext
    from azure.ai.ml.entities import (
        AlertNotification,
        CategoricalDriftMetrics,
        DataDriftMetricThreshold,
        DataDriftSignal,
        MonitorDefinition,
        MonitoringTarget,
        MonitorSchedule,
        NumericalDriftMetrics,
        PredictionDriftMetricThreshold,
        PredictionDriftSignal,
        ProductionData,
        RecurrencePattern,
        RecurrenceTrigger,
        ReferenceData,
        ServerlessSparkCompute,
    )

    kinds = {column.binned.name: column.binned.kind for column in baseline.values}
    features = [column for column in kinds if column != target_column]

    def limits(of: type, columns: Sequence[str]) -> Any:
        """Azure ML refuses a threshold for a kind of column that is not there."""
        there = {kinds[column] for column in columns}
        index: Any = {"population_stability_index": threshold}
        return of(
            numerical=NumericalDriftMetrics(**index) if "numeric" in there else None,
            categorical=CategoricalDriftMetrics(**index) if "categorical" in there else None,
        )

    def given(context: MonitorDatasetContext) -> dict[str, Any]:
        # The client changes what it is given, so that each signal needs its own.
        watched = ProductionData(input_data=Input(type="mltable", path=data), data_context=context) if data else None
        rows = ReferenceData(
            input_data=Input(type="mltable", path=reference), data_context=MonitorDatasetContext.TRAINING
        )
        return {"production_data": watched, "reference_data": rows, "alert_enabled": bool(emails)}

    signals: dict[str, Any] = {
        "features": DataDriftSignal(
            features=features,
            metric_thresholds=limits(DataDriftMetricThreshold, features),
            **given(MonitorDatasetContext.MODEL_INPUTS),
        )
    }
    if target_column in kinds:
        signals["predictions"] = PredictionDriftSignal(
            metric_thresholds=limits(PredictionDriftMetricThreshold, [target_column]),
            **given(MonitorDatasetContext.MODEL_OUTPUTS),
        )
    task = "regression" if kinds.get(target_column) == "numeric" else "classification"
    target = MonitoringTarget(ml_task=task, endpoint_deployment_id=f"azureml:{deployment}" if deployment else None)
    return MonitorSchedule(
        name=name,
        tags={_MODEL_TAG: tag},
        trigger=RecurrenceTrigger(
            frequency="day", interval=1, schedule=RecurrencePattern(hours=hour, minutes=0), time_zone="UTC"
        ),
        create_monitor=MonitorDefinition(
            compute=ServerlessSparkCompute(instance_type=instance_type, runtime_version=_SPARK),
            monitoring_target=target,
            monitoring_signals=signals,
            alert_notification=AlertNotification(emails=list(emails)) if emails else None,
        ),
    )


def _wait(poller: Any, name: str, timeout: float) -> None:
    until = time.monotonic() + timeout
    while not poller.done():
        left = until - time.monotonic()
        if left <= 0:
            raise WorkspaceError(f"Azure ML had not set up the monitor {name!r} after {timeout:g} s; run this again.")
        poller.wait(min(left, 1.0))
    poller.result()
