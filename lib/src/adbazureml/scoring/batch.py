"""Score a table into a Delta table, in one transaction per model version."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from adbazureml import runtime
from adbazureml.errors import ScoringError, TableError
from adbazureml.scoring.model import find_model, prepare
from adbazureml.scoring.scored import Scored
from adbazureml.scoring.source import check_not_empty, quoted, reason, shown, source_rows

if TYPE_CHECKING:
    from pyspark.sql import DataFrame
    from pyspark.sql.types import StructType

    from adbazureml.uris import ModelURI

_WRITTEN_BESIDE = ("model_name", "model_version", "model_uri", "scored_at")


def score(
    *,
    table: str | DataFrame,
    where: str | None = None,
    model: ModelURI,
    columns: Sequence[str] | None = None,
    target_column: str = "prediction",
    into: str,
) -> Scored:
    """Score the rows of a table and keep the predictions in a Delta table.

    All rows that `into` holds for this model are replaced in one transaction, those of other models stay: scoring
    twice doubles nothing, and a process that dies leaves the rows as they were.

    Parameters
    ----------
    table : str or pyspark DataFrame
        The rows.
    where : str, optional
        SQL condition that they must meet.
    model : str or RegisteredVersion
        MLflow URI, see `predict`. An alias is resolved once; the version it stands for is what is written down.
    columns : sequence of str, optional
        The model's inputs in its signature's order. By default the columns named in the signature.
    target_column : str
        The column that takes the predictions.
    into : str
        The Delta table to write, made where there is none. It gets all columns of the scored rows, `target_column`,
        ``model_name``, ``model_version``, ``model_uri`` and ``scored_at``.

    Returns
    -------
    Scored

    Raises
    ------
    TableError
        The table, the condition, a column or `into` is not what scoring needs; nothing was written.
    ScoringError
        The model can't be found or loaded, or it failed on a row; `into` holds what it held.
    """
    started = time.monotonic()
    rows = source_rows(table, where)
    taken = [name for name in rows.columns if name.lower() in _WRITTEN_BESIDE]
    _check_not_same(table, into)
    if taken or target_column.lower() in _WRITTEN_BESIDE:
        raise TableError(
            f"{'scoring_table' if taken else 'target_column'}: {', '.join(taken) or target_column} is a column that "
            "scoring writes itself; rename it."
        )
    source = find_model(model)
    prepared = prepare(rows, source=source, columns=columns, target_column=target_column)
    result = _with_origin(prepared.frame, source.name, source.version, source.uri)
    exists = _check_target(into, result.schema)
    check_not_empty(rows, table, where)
    _check_whole_numbers(rows, prepared.whole_numbers)
    _write(result, into=into, exists=exists, model_uri=source.uri)
    written = runtime.spark().table(into).where(f"model_uri = '{source.uri}'").count()
    return Scored(shown(table), into, target_column, source.uri, written, time.monotonic() - started)


def _with_origin(frame: DataFrame, name: str, version: str, uri: str) -> DataFrame:
    from pyspark.sql import functions

    values = (functions.lit(name), functions.lit(version), functions.lit(uri), functions.current_timestamp())
    return frame.withColumns(dict(zip(_WRITTEN_BESIDE, values, strict=True)))


def _check_not_same(table: str | DataFrame, into: str) -> None:
    if isinstance(table, str) and _location(into) is not None and _location(table) == _location(into):
        raise TableError(f"predictions_table: {into!r} is the table to score itself; name another.")


def _check_target(into: str, schema: StructType) -> bool:
    """Tell whether the table exists.

    Raises
    ------
    TableError
        It exists and is not a Delta table of these columns, or its name is none.
    """
    from pyspark.errors import PySparkException

    try:
        if not runtime.table_exists(into):
            return False
    except PySparkException as error:
        raise TableError(f"predictions_table: {into!r} is not the name of a table: {reason(error)}.") from error
    location = _location(into)
    if location is None or location[0] != "delta":
        raise TableError(f"predictions_table: {into!r} exists and is not a Delta table; name another, or drop it.")
    wanted = {field.name.lower(): field.dataType.simpleString() for field in schema.fields}
    held = {field.name.lower(): field.dataType.simpleString() for field in runtime.spark().table(into).schema.fields}
    if wanted != held:
        differing = [
            f"{name} is {held[name]}, not {wanted[name]}"
            for name in wanted
            if held.get(name, wanted[name]) != wanted[name]
        ]
        lacking = [f"{name} is missing" for name in wanted if name not in held]
        extra = [f"{name} is not among the columns to write" for name in held if name not in wanted]
        raise TableError(
            f"predictions_table: {into!r} exists with other columns: {'; '.join(differing + lacking + extra)}. Name "
            "another table, or drop it."
        )
    return True


def _location(name: str) -> tuple[str, str] | None:
    """Format and folder of a table; None for a view or where there is none."""
    from pyspark.errors import PySparkException

    try:
        detail = runtime.spark().sql(f"DESCRIBE DETAIL {name}").first()
    except PySparkException:
        return None
    return None if detail is None or detail["location"] is None else (detail["format"], detail["location"])


def _check_whole_numbers(rows: DataFrame, names: Sequence[str]) -> None:
    """Refuse nulls where the model takes integers: pandas turns such a column into floats, which MLflow refuses.

    Raises
    ------
    TableError
        Names every such column.
    """
    from pyspark.sql import functions

    if not names:
        return
    found = rows.agg(*(functions.max(functions.col(quoted(name)).isNull()).alias(name) for name in names)).first()
    holding = [name for name in names if found is not None and found[name]]
    if holding:
        condition = " AND ".join(f"{name} IS NOT NULL" for name in holding)
        raise TableError(
            f"scoring_table: the model takes {', '.join(holding)} as integers, and some rows hold null there; leave "
            f"them out with scoring_condition {condition!r}, or log the model with doubles in its signature."
        )


def _write(result: DataFrame, *, into: str, exists: bool, model_uri: str) -> None:
    from pyspark.errors import PySparkException
    from pyspark.sql import functions

    try:
        if not exists:
            _make(into, result.schema)
        result.writeTo(into).overwrite(functions.col("model_uri") == model_uri)
    except PySparkException as error:
        raise ScoringError(
            f"Scoring into {into} failed, its rows are as before: {reason(error)}. Correct this and score again."
        ) from error


def _make(into: str, schema: StructType) -> None:
    """Make an empty table: what may fail or be killed after that is one transaction on a table that exists.

    One folder per model lets versions be scored side by side without a conflict, and replaced without a search.
    """
    from delta.tables import DeltaTable

    maker = DeltaTable.createIfNotExists(runtime.spark()).tableName(into).partitionedBy("model_uri")
    for field in schema.fields:
        maker = maker.addColumn(field.name, field.dataType, nullable=True)
    maker.execute()
