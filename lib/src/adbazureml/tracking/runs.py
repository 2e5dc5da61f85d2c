"""Find the run that a notebook works on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from adbazureml.errors import TrackingError

if TYPE_CHECKING:
    from mlflow.entities import Run


def find_run(run_id: str, *, experiment: str, name: str) -> Run:
    """Return the run of that id, or else the newest finished run of that name in the experiment.

    Raises
    ------
    TrackingError
        There is none.
    """
    import mlflow

    if run_id:
        try:
            return mlflow.get_run(run_id)
        except mlflow.MlflowException as error:
            raise TrackingError(f"run_id {run_id!r}: there is no such run at {mlflow.get_tracking_uri()}.") from error
    found = mlflow.search_runs(
        experiment_names=[experiment],
        filter_string=f"attributes.status = 'FINISHED' AND attributes.run_name = '{name}'",
        order_by=["attributes.start_time DESC"],
        max_results=1,
        output_format="list",
    )
    if not found:
        raise TrackingError(
            f"run_id is empty, and experiment {experiment!r} has no finished run named {name!r}: run 03_train_and_log"
            " first, or give run_id."
        )
    return found[0]
