"""Let Databricks itself watch a table of predictions: its data profiling, with the model's own baseline."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, cast

from adbazureml import runtime
from adbazureml.errors import SettingsError, TableError, WorkspaceError
from adbazureml.monitoring.baseline import Baseline, baseline_of
from adbazureml.registry.model_uri import ModelURI, uri_of
from adbazureml.text import html, name_parts
from adbazureml.workspaces.databricks import databricks_sign_in
from adbazureml.workspaces.databricks_refusals import explain_error

if TYPE_CHECKING:
    from databricks.sdk import WorkspaceClient
    from pyspark.sql import DataFrame

_MONITORS = "/api/data-quality/v1/monitors"
_MARK = "adbazureml.baseline_of"
_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 15.0
Period = Literal["5_MINUTES", "30_MINUTES", "1_HOUR", "1_DAY", "1_WEEK", "1_MONTH"]


@dataclass(frozen=True)
class DatabricksMonitor:
    """A data profiling monitor of Databricks.

    Attributes
    ----------
    table, baseline_table : str
        The predictions, and what they are compared with.
    status : str
        As the service gives it, such as ``ACTIVE`` or ``PENDING``.
    drift_table, profile_table : str
        Delta tables that the service fills.
    link : str
        Address of the table's quality page, where its dashboard is.
    """

    table: str
    baseline_table: str
    status: str
    drift_table: str
    profile_table: str
    link: str

    def _repr_html_(self) -> str:
        rows = {
            "watched table": self.table,
            "baseline": self.baseline_table,
            "status": self.status,
            "drift figures": self.drift_table,
            "profiles": self.profile_table,
            "page": self.link,
        }
        return html.html_table(rows.items())


def create_databricks_monitor(
    table: str,
    *,
    model: ModelURI,
    baseline_table: str,
    target_column: str = "prediction",
    every: Period = "1_DAY",
    timeout: float = 600,
    client: WorkspaceClient | None = None,
) -> DatabricksMonitor:
    """Create a data profiling monitor of a table that `score` writes; one that is there already is returned.

    The service computes on its own schedule and shows a dashboard. It compares with a table, so the baseline that was
    logged with the model is written as one: see `Baseline.rows`.

    Parameters
    ----------
    table : str
        The predictions, a Unity Catalog table in three parts.
    model : str or RegisteredVersion
        Its run holds the baseline.
    baseline_table : str
        The Delta table to write it to, in three parts. One that this function wrote before is replaced, another one is
        left alone. The service puts its own tables into the schema of this one.
    target_column : str
        The column of the predictions. A number makes it a regression, else a classification.
    every : str
        The length of the windows that are compared.
    timeout : float
        Seconds to wait until the service has it ready.
    client : databricks.sdk.WorkspaceClient, optional
        By default that of the workspace of this notebook.

    Raises
    ------
    SettingsError
        A name is not in three parts.
    TableError
        There is no such table, it lacks a column, or `baseline_table` is somebody else's.
    WorkspaceError
        The service refused, another monitor of the table is there, or it could not be set up, or not in time.

    References
    ----------
    Databricks REST API, Data quality monitoring: the SDK that the runtimes ship has no service of its own for it yet.
    """
    table, baseline_table = (
        _full_name(name, argument=argument) for argument, name in (("table", table), ("baseline_table", baseline_table))
    )
    model_uri = uri_of(model)
    baseline = baseline_of(model)
    client = client or databricks_sign_in()
    with _explaining_errors(table):
        table_id = client.tables.get(table).table_id
        there = _monitor_of(client, table_id)
        if there is None:
            log = _inference_log(baseline, target_column, every)
            _write(baseline, baseline_table, like=table, model_uri=model_uri)
            schema = client.schemas.get(baseline_table.rpartition(".")[0])
            made = client.api_client.do(
                "POST",
                _MONITORS,
                body={
                    "object_type": "table",
                    "object_id": table_id,
                    "data_profiling_config": {
                        "output_schema_id": schema.schema_id,
                        "baseline_table_name": baseline_table,
                        "inference_log": log,
                    },
                },
            )
            there = cast("dict[str, Any]", made)
        other = there["data_profiling_config"].get("baseline_table_name")
        if other != baseline_table:
            raise WorkspaceError(
                f"baseline_table: {table} is watched already, with the baseline {other}. Name that one, or delete the "
                "monitor on the table's quality page first."
            )
        there = _ready(client, table_id, there, table, timeout)
    profiling = there["data_profiling_config"]
    return DatabricksMonitor(
        table=table,
        baseline_table=baseline_table,
        status=_status(there),
        drift_table=profiling.get("drift_metrics_table_name", ""),
        profile_table=profiling.get("profile_metrics_table_name", ""),
        link=f"{client.config.host}/explore/data/{table.replace('.', '/')}?activeTab=quality",
    )


def _full_name(name: str, *, argument: str) -> str:
    """The name as the service's own API has it, without backticks."""
    try:
        parts = name_parts(name)
    except ValueError as error:
        raise SettingsError(f"{argument}: {name!r} {error}.") from error
    if len(parts) != 3:
        raise SettingsError(f"{argument}: {name!r} is not in three parts; name catalog.schema.table.")
    return ".".join(parts)


@contextmanager
def _explaining_errors(table: str) -> Iterator[None]:
    from databricks.sdk.errors import DatabricksError, NotFound

    try:
        yield
    except NotFound as error:
        raise TableError(explain_error(error, _REFUSALS, table=table)) from error
    except DatabricksError as error:
        raise WorkspaceError(explain_error(error, _REFUSALS, table=table)) from error
    except TimeoutError as error:
        raise WorkspaceError(f"Databricks does not answer about {table} ({error}): run this again later.") from error


_REFUSALS = {
    "NotFound": "table: {table} can't be watched: {answer}. Check its name.",
    "DatabricksError": (
        "Databricks refused to watch {table}: {answer}. It takes MANAGE and SELECT on the table, and USE SCHEMA and USE"
        " CATALOG above it."
    ),
}


def _monitor_of(client: WorkspaceClient, table_id: str | None) -> dict[str, Any] | None:
    from databricks.sdk.errors import NotFound

    try:
        return cast("dict[str, Any]", client.api_client.do("GET", f"{_MONITORS}/table/{table_id}"))
    except NotFound:
        return None


def _ready(
    client: WorkspaceClient, table_id: str | None, there: dict[str, Any], table: str, timeout: float
) -> dict[str, Any]:
    """Wait until the service has set the monitor up."""
    until = time.monotonic() + timeout
    pause = _FIRST_PAUSE
    while _status(there) == "PENDING":
        if time.monotonic() > until:
            raise WorkspaceError(
                f"Databricks had not set up the monitor of {table} after {timeout:g} s. Run this again: it goes on "
                "waiting for the same one."
            )
        time.sleep(pause)
        pause = min(pause * 2, _LONGEST_PAUSE)
        there = _monitor_of(client, table_id) or there
    if _status(there) in ("ERROR", "FAILED"):
        said = there["data_profiling_config"].get("latest_monitor_failure_message", "no reason given")
        raise WorkspaceError(
            f"Databricks could not set up the monitor of {table}: {said} Delete it on the table's quality page, "
            "correct this, and run again."
        )
    return there


def _status(there: dict[str, Any]) -> str:
    return str(there["data_profiling_config"].get("status", "PENDING")).removeprefix("DATA_PROFILING_STATUS_")


def _inference_log(baseline: Baseline, target_column: str, every: Period) -> dict[str, Any]:
    kinds = {column.binned.name: column.binned.kind for column in baseline.values}
    if target_column not in kinds:
        raise TableError(
            f"target_column: {target_column!r} is not in the baseline, which has {', '.join(kinds)}. Log one with the "
            "model's predictions for the training rows, profile(rows).log()."
        )
    problem = "REGRESSION" if kinds[target_column] == "numeric" else "CLASSIFICATION"
    return {
        "problem_type": f"INFERENCE_PROBLEM_TYPE_{problem}",
        "timestamp_column": "scored_at",
        "granularities": [f"AGGREGATION_GRANULARITY_{every}"],
        "prediction_column": target_column,
        "model_id_column": "model_uri",
    }


def _write(baseline: Baseline, into: str, *, like: str, model_uri: str) -> None:
    """Write the baseline's rows with the columns of the watched table, as the service wants it."""
    from pyspark.errors import PySparkException

    try:
        if runtime.table_exists(into):
            properties = runtime.spark().sql(f"SHOW TBLPROPERTIES {runtime.quoted_table(into)}").collect()
            if _MARK not in {row["key"] for row in properties}:
                raise TableError(f"baseline_table: {into} is a table of another kind; name one that is not there yet.")
        rows = _as_table(baseline, runtime.table(like), model_uri)
        writer = rows.writeTo(runtime.quoted_table(into)).using("delta").tableProperty(_MARK, model_uri)
        writer.createOrReplace()
    except PySparkException as error:
        said = str(error).partition("\n")[0]
        raise TableError(f"baseline_table: {into} can't be written: {said}") from error


def _as_table(baseline: Baseline, watched: DataFrame, model_uri: str) -> DataFrame:
    from pyspark.sql import functions
    from pyspark.sql.types import BooleanType, DoubleType, LongType, StringType, StructField, StructType

    def plain(column: str) -> BooleanType | DoubleType | LongType | StringType:
        values = made[column].dropna()
        kinds = ((bool, BooleanType()), (int, LongType()), (float, DoubleType()))
        return next((kind for python, kind in kinds if len(values) and type(values.iloc[0]) is python), StringType())

    made = baseline.rows()
    lacking = [name for name in made.columns if name not in watched.columns]
    if lacking:
        raise TableError(
            f"table: it lacks {', '.join(lacking)}, which the baseline has; keep these columns in score()."
        )
    schema = StructType([StructField(name, plain(name)) for name in made.columns])
    rows = runtime.spark().createDataFrame([tuple(row) for row in made.itertuples(index=False)], schema)
    values = {"model_uri": functions.lit(model_uri)}
    return rows.select(
        *(
            (rows[field.name] if field.name in made.columns else values.get(field.name, functions.lit(None)))
            .cast(field.dataType)
            .alias(field.name)
            for field in watched.schema.fields
        )
    )
