"""An endpoint as the one who deployed it holds it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime
from html import escape
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal

from adbazureml.deployment import comparison, processes, records
from adbazureml.deployment.scoring import ask, is_healthy, payload, session

if TYPE_CHECKING:
    import pandas as pd

_PING_TIMEOUT_S = 5


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """A model behind a URL. As a context manager it stops at the end of the block, unless it was deployed to be kept.

    Attributes
    ----------
    name : str
        Name of the endpoint.
    url : str
        Its address, without a path; it answers ``GET /ping`` and ``POST /invocations`` as MLflow's own server does.
    model_uri : str
        The model as it was asked for.
    model_uuid : str
        MLflow's id of that very model, as an alias in the URI may move on.
    pid, port : int
        Process id and port of its server.
    log : Path
        What the server prints.
    started : datetime
        When it was started, with time zone.
    """

    name: str
    url: str
    model_uri: str
    model_uuid: str
    pid: int
    port: int
    log: Path
    started: datetime

    def score(self, frame: pd.DataFrame | dict[str, Any]) -> list[Any]:
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
        with session() as connection:
            answer = ask(connection, self.url, payload(frame))
        return answer if isinstance(answer, list) else [answer]

    def compare(self, frame: pd.DataFrame, *, calls: int = 50) -> comparison.Comparison:
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
        return comparison.compare(self.url, self.model_uri, frame, calls=calls)

    def status(self) -> Literal["healthy", "not answering", "stopped"]:
        """Ask the server how it is, now."""
        if not records.is_server(self.pid, self.log.parent):
            return "stopped"
        return "healthy" if is_healthy(self.url, timeout=_PING_TIMEOUT_S) else "not answering"

    def logs(self, lines: int = 50) -> str:
        """The last lines that the server printed; kept until the name is deployed again."""
        return processes.last_lines(self.log.parent, lines)

    def stop(self) -> None:
        """Stop the server, for everybody; an endpoint already stopped stays so."""
        processes.stop(self.pid, self.log.parent)
        with records.locked(self.name, wait=False) as got:
            # Whoever holds the lock deploys this name again, and finds the server gone.
            if got and (record := records.read_record(self.name)) and record["pid"] == self.pid:
                records.remove_record(self.name)

    def as_record(self) -> dict[str, Any]:
        """The fields as JSON takes them."""
        return {**asdict(self), "log": str(self.log), "started": self.started.isoformat()}

    @classmethod
    def from_record(cls, record: dict[str, Any]) -> Endpoint:
        """The endpoint of a record."""
        return cls(**{**record, "log": Path(record["log"]), "started": datetime.fromisoformat(record["started"])})

    def __enter__(self) -> Endpoint:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not records.read_lease(self.log.parent).keep:
            self.stop()

    def _repr_html_(self) -> str:
        rows = {
            "endpoint": escape(self.name),
            "status": self.status(),
            "address": f'<a href="{self.url}/ping">{self.url}</a>',
            "model": escape(self.model_uri),
            "started": f"{self.started:%Y-%m-%d %H:%M:%S %Z}",
            "process": str(self.pid),
            "log": escape(str(self.log)),
        }
        return (
            "<table>" + "".join(f"<tr><td>{key}</td><td>{value}</td></tr>" for key, value in rows.items()) + "</table>"
        )
