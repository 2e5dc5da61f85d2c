"""An endpoint as the one who deployed it holds it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import TYPE_CHECKING, Any

from adbazureml.deployment import answer_comparison, rollout
from adbazureml.deployment.load_test import LoadTest, load_test
from adbazureml.deployment.progress_line import progress
from adbazureml.deployment.scoring_client import request_of
from adbazureml.deployment.target import Deadline, EndpointState, Kind, Target
from adbazureml.errors import DeploymentError
from adbazureml.text import html_table

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """A model behind a URL. As a context manager it is let go at the end of the block, see `release`.

    Attributes
    ----------
    name : str
        Name of the endpoint.
    kind : {"local", "azureml", "aks", "aci", "databricks"}
        Where it is.
    url : str
        Where requests are posted.
    """

    name: str
    kind: Kind
    url: str
    target: Target = field(repr=False, compare=False)

    def score(self, frame: pd.DataFrame | Mapping[str, Any]) -> list[Any]:
        """Ask for predictions.

        Parameters
        ----------
        frame : pandas.DataFrame or dict
            The rows; or a request of MLflow's scoring protocol, for instance ``{"inputs": …, "params": …}``.

        Returns
        -------
        list
            A prediction for each row: a number, a text, a list, or a dict of the model's output columns.

        Raises
        ------
        DeploymentError
            The model refused the rows (a column is missing, a type is wrong), or nothing answers.
        """
        answer = self.target.score(self.name, request_of(frame))
        return answer if isinstance(answer, list) else [answer]

    def compare(self, frame: pd.DataFrame, *, calls: int = 50) -> answer_comparison.Comparison:
        """Ask the endpoint and the model itself for the same rows, and time single-row calls.

        Parameters
        ----------
        frame : pandas.DataFrame
            The rows; at least one.
        calls : int
            How many single-row calls to time, at least one.

        Returns
        -------
        Comparison
            Both predictions side by side, their largest difference, and the latency.

        Raises
        ------
        DeploymentError
            They differ by more than 1e-6 of the model's value, or the model refused the rows.
        """
        return answer_comparison.compare(
            lambda request: self.target.score(self.name, request), self.model_uri, frame, calls=calls
        )

    def load(self, frame: pd.DataFrame | Mapping[str, Any], *, seconds: float = 10, clients: int = 8) -> LoadTest:
        """Have clients of this process ask for the same rows again and again, and take the times.

        Each request costs what a request costs. Each client sends its next one when it has the answer to the last, so
        that a slow endpoint gets fewer of them.

        Parameters
        ----------
        frame : pandas.DataFrame or dict
            The rows of one request, or a request, as for `score`.
        seconds : float
            How long, up to an hour.
        clients : int
            How many at once, 1 to 256, each with a connection that it keeps open.

        Returns
        -------
        LoadTest
            Requests a second, percentiles of the latency and errors by status: a table, and a picture by ``plot()``.

        Raises
        ------
        DeploymentError
            The model refuses the rows, nothing answers, or a parameter is out of range.
        """
        payload = request_of(frame)
        # Rows that are refused are told here, once.
        self.target.score(self.name, payload)
        return load_test(lambda: self.target.caller(self.name), payload, seconds=seconds, clients=clients)

    def status(self) -> EndpointState:
        """Ask the service what is on the endpoint, now; one that is gone has no deployments."""
        found = self.target.find(self.name)
        return found or EndpointState(name=self.name, kind=self.kind, url=self.url, auth="none")

    @property
    def model_uri(self) -> str:
        """The model that has most of the traffic, as its deployment names it.

        Raises
        ------
        DeploymentError
            No deployment has traffic.
        """
        return str(self._serving.model)

    @property
    def deployment(self) -> str:
        """Name of the deployment that has most of the traffic; raises as `model_uri`."""
        return str(self._serving.name)

    def logs(self, lines: int = 50, *, deployment: str = "") -> str:
        """The last lines of a deployment's log; of the one that serves, where none is named."""
        return self.target.logs(self.name, deployment or self.deployment, lines)

    def rollback(self, *, timeout: float | None = None) -> EndpointState:
        """Give all traffic back to the deployment before the one that serves now; once more goes forth again.

        A roll-out that was left half-way is undone: the one whose place it was taking gets the whole traffic.

        Parameters
        ----------
        timeout : float, optional
            Seconds that it may take.

        Raises
        ------
        DeploymentError
            There is no other deployment, or the service refused.
        """
        with progress(f"endpoint {self.name!r}") as show:
            deadline = Deadline.after(self.target.timeout if timeout is None else timeout)
            rollout.go_back(self.target, self.name, progress=show, deadline=deadline)
        return self.status()

    def delete(self, *, confirm: str) -> None:
        """Delete the endpoint with all its deployments; one that is gone is no error.

        Parameters
        ----------
        confirm : str
            The endpoint's name, typed once more.

        Raises
        ------
        DeploymentError
            ``confirm`` is something else: nothing is deleted.
        """
        if confirm != self.name:
            raise DeploymentError(f"confirm {confirm!r}: to delete the endpoint, type its name: {self.name!r}.")
        self.target.delete(self.name)

    def release(self) -> None:
        """Let go of it: a local endpoint that is not kept stops with the last process that holds it; others stay."""
        self.target.release(self.name)

    @property
    def _serving(self) -> Any:
        found = self.status()
        if not found.traffic:
            raise DeploymentError(f"No deployment of endpoint {self.name!r} has traffic: deploy a model.")
        return max(found.deployments, key=lambda each: each.traffic)

    def __enter__(self) -> Endpoint:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()

    def _repr_html_(self) -> str:
        return self.status()._repr_html_()


class Endpoints(list[Endpoint]):
    """Endpoints of one target, which show as a table."""

    def _repr_html_(self) -> str:
        if not self:
            return "<p>No endpoint.</p>"
        rows = [(each.name, each.kind, each.url) for each in self]
        return html_table(rows, titles=("endpoint", "target", "address"))
