"""Make runs equal in both workspaces again: after an outage, a killed process, or a change to an ended run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from adbazureml.errors import TrackingError
from adbazureml.tracking.mirror import Settled
from adbazureml.tracking.switch import mirror

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class CatchUp:
    """What `catch_up` found and did, a `Settled` for each run."""

    runs: tuple[Settled, ...]

    @property
    def behind(self) -> tuple[Settled, ...]:
        """The runs that are still not equal."""
        return tuple(run for run in self.runs if not run.settled)

    def to_pandas(self) -> pd.DataFrame:
        """One row a run."""
        import pandas as pd

        return pd.DataFrame([asdict(run) for run in self.runs])

    def _repr_html_(self) -> str:
        if not self.runs:
            return "<p>Runs are tracked in one workspace: nothing to catch up.</p>"
        return str(self.to_pandas().to_html(index=False))


def catch_up(*, experiment: str | None = None, run_ids: Sequence[str] | None = None) -> CatchUp:
    """Make runs of the Databricks workspace equal in the Azure ML workspace; safe to call again.

    Parameters
    ----------
    experiment : str, optional
        Name of an experiment, all of whose runs are meant.
    run_ids : sequence of str, optional
        Ids of single runs.

    Returns
    -------
    CatchUp
        One row a run: its mirror, what was written, and what is still behind and why. Empty when runs are tracked in
        one workspace only.

    Raises
    ------
    TrackingError
        Neither or both of the arguments are given, or there is no such experiment.
    """
    if (experiment is None) == (run_ids is None):
        raise TrackingError("catch_up takes either experiment= or run_ids=.")
    current = mirror()
    if current is None:
        return CatchUp(())
    if run_ids is None:
        run_ids = _runs_of(str(experiment))
    return CatchUp(tuple(current.settle(run_id) for run_id in run_ids))


def _runs_of(experiment: str) -> list[str]:
    import mlflow

    found = mlflow.get_experiment_by_name(experiment)
    if found is None:
        raise TrackingError(f"experiment {experiment!r}: there is none of that name in Databricks.")
    runs, token = [], None
    client = mlflow.MlflowClient()
    while True:
        page = client.search_runs([found.experiment_id], page_token=token)
        runs += [run.info.run_id for run in page]
        token = page.token
        if not token:
            return runs
