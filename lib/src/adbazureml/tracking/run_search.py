"""Find the runs that a notebook works on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from adbazureml.errors import TrackingError

if TYPE_CHECKING:
    from mlflow.entities import Run

# As every training notebook calls the model that is to be registered.
MODEL = "model"
SPARK_RUN = "spark-ml"


def find_runs(run_id: str, spark_run_id: str, *, experiment: str) -> tuple[Run, Run | None]:
    """Find the run of a training, and that of its Spark ML model, which not every training has.

    Parameters
    ----------
    run_id : str
        The run whose model, called ``model``, is to be registered; empty: the one of the experiment that logged such a
        model last, and is finished.
    spark_run_id : str
        The run of the Spark ML model. Empty: none, where `run_id` is given; else the newest finished run called
        ``spark-ml`` that the experiment got after the other one.
    experiment : str
        Name of the experiment.

    Raises
    ------
    TrackingError
        There is no such run.
    """
    run = _by_id(run_id, "run_id") if run_id else _newest_with_model(experiment)
    if spark_run_id:
        return run, _by_id(spark_run_id, "spark_run_id")
    return run, None if run_id else _spark_run_after(run)


def _by_id(run_id: str, setting: str) -> Run:
    import mlflow

    try:
        return mlflow.get_run(run_id)
    except mlflow.MlflowException as error:
        raise TrackingError(f"{setting} {run_id!r}: there is no such run at {mlflow.get_tracking_uri()}.") from error


def _newest_with_model(experiment: str) -> Run:
    import mlflow

    client = mlflow.MlflowClient()
    there = client.get_experiment_by_name(experiment)
    if there is not None:
        models = client.search_logged_models(
            [there.experiment_id],
            filter_string=f"name = '{MODEL}'",
            order_by=[{"field_name": "creation_timestamp", "ascending": False}],
        )
        made_by = dict.fromkeys(str(model.source_run_id) for model in models if model.source_run_id)
        for run_id in made_by:
            run = client.get_run(run_id)
            if run.info.status == "FINISHED" and run.info.lifecycle_stage == "active":
                return run
    raise TrackingError(
        f"run_id is empty, and experiment {experiment!r} has no finished run that logged a model called {MODEL!r}:"
        " train one first, as 03_train_and_log does, or give run_id."
    )


def _spark_run_after(run: Run) -> Run | None:
    import mlflow

    found = mlflow.MlflowClient().search_runs(
        [run.info.experiment_id],
        filter_string=f"attributes.status = 'FINISHED' AND attributes.run_name = '{SPARK_RUN}'",
        order_by=["attributes.start_time DESC"],
        max_results=1,
    )
    return next((one for one in found if one.info.start_time >= run.info.start_time), None)
