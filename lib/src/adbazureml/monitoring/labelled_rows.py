"""Predictions with the labels that came for them, each once, and their losses by version, day and slice."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from adbazureml import runtime
from adbazureml.errors import TableError
from adbazureml.monitoring.column_profile import period, types_of
from adbazureml.monitoring.rows import Rows, as_spark
from adbazureml.scoring.predictions_table import MODEL_COLUMNS
from adbazureml.scoring.source_table import explain_error, find_columns
from adbazureml.text import identifier

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame, Row

Task = Literal["regression", "classification"]
_SCORED_AT = "scored_at"
# Names of our own beside the caller's columns.
_LABEL, _VERSION, _DAY, _PREDICTION = "quality_label", "quality_version", "quality_day", "quality_prediction"


def labelled(
    predictions: Rows,
    labels: Rows,
    *,
    on: Sequence[str],
    label: str | None,
    target_column: str,
    slices: Sequence[str],
    day_column: str | None,
) -> DataFrame:
    """Join predictions with their labels; those without one are left out.

    Raises
    ------
    TableError
        A column is not there, it is not clear which one is the label, or `labels` has two labels for one row.
    """
    from pyspark.sql import functions

    rows, known = as_spark(predictions), as_spark(labels)
    if not on:
        raise TableError("on: none given; name the columns that tell rows apart, such as on=['id'].")
    keys = find_columns(known, on, asked_by="on (in labels)")
    others = [name for name in known.columns if name not in keys]
    if label is None and len(others) != 1:
        raise TableError(
            f"label: {len(others)} columns of labels may be it ({', '.join(others)}); name one, label='…'."
        )
    (name,) = find_columns(known, [label or others[0]], asked_by="label (in labels)")
    there = known.where(functions.col(identifier(name)).isNotNull())
    if not there.groupBy(*map(identifier, keys)).count().where("count > 1").isEmpty():
        raise TableError(
            f"labels: some rows have two labels or more; {', '.join(keys)} must tell them apart. Add to on=."
        )
    # The predictions spell the columns that both have.
    mine = find_columns(rows, on, asked_by="on (in predictions)")
    wanted = find_columns(rows, [target_column, *slices], asked_by="target_column and slices")
    day = day_column or (_SCORED_AT if _SCORED_AT in rows.columns else None)
    if day is not None:
        (day,) = find_columns(rows, [day], asked_by="day_column")
    given = rows.select(
        *(functions.col(identifier(key)) for key in mine),
        (_version() if set(MODEL_COLUMNS) <= set(rows.columns) else functions.lit("")).alias(_VERSION),
        (functions.coalesce(period(rows, day), functions.lit("null")) if day else functions.lit("")).alias(_DAY),
        functions.col(identifier(wanted[0])).alias(_PREDICTION),
        *(functions.col(identifier(one)).alias(f"slice_{i}") for i, one in enumerate(wanted[1:])),
    )
    came = there.select(
        *(functions.col(identifier(key)).alias(own) for key, own in zip(keys, mine, strict=True)),
        functions.col(identifier(name)).alias(_LABEL),
    )
    return given.where(functions.col(_PREDICTION).isNotNull()).join(came, on=mine)


def kept(rows: DataFrame, into: str) -> DataFrame:
    """Add labelled rows that a Delta table does not have yet, in one transaction; return all that it has.

    Raises
    ------
    TableError
        The table has other columns.
    """
    from pyspark.errors import PySparkException

    keys = rows.columns[: rows.columns.index(_VERSION) + 1]
    met = " AND ".join(f"kept.{key} <=> came.{key}" for key in map(identifier, keys))
    view = f"adbazureml_labels_{uuid.uuid4().hex}"
    try:
        if not runtime.table_exists(into):
            rows.limit(0).write.saveAsTable(runtime.quoted_table(into), format="delta", mode="append")
        if set(runtime.table(into).columns) != set(rows.columns):
            raise TableError(
                f"into: {into!r} has other columns than these labels; name another table, or the same slices."
            )
        # Only what is new is joined and written.
        known = runtime.table(into).select(*map(identifier, keys))
        rows.join(known, on=keys, how="left_anti").createOrReplaceTempView(view)
        merging = (
            f"MERGE INTO {runtime.quoted_table(into)} AS kept USING {identifier(view)} AS came "
            f"ON {met} WHEN NOT MATCHED THEN INSERT *"
        )
        rows.sparkSession.sql(merging)
    except PySparkException as error:
        raise TableError(
            f"into: {into!r} can't take the labels: {explain_error(error)}. Name another table."
        ) from error
    finally:
        rows.sparkSession.catalog.dropTempView(view)
    return runtime.table(into)


def task_of(rows: DataFrame, label: str = _LABEL, prediction: str = _PREDICTION) -> Task:
    """Classes where the label or the prediction is text or boolean; otherwise quantities."""
    types = types_of(rows)
    classes = {"string", "boolean"} & {types[label], types[prediction]}
    return "classification" if classes else "regression"


def losses(rows: DataFrame, task: Task, *groups: str, label: str = _LABEL, prediction: str = _PREDICTION) -> list[Row]:
    """For each group its rows, and the sums of their absolute errors, or wrong answers, to the powers 1, 2 and 4."""
    from pyspark.sql import functions

    types = types_of(rows)
    if task == "classification":
        same = _class(label, types[label]) == _class(prediction, types[prediction])
        loss = functions.when(same, 0.0).otherwise(1.0)
    else:
        loss = functions.abs(
            functions.col(identifier(label)).cast("double") - functions.col(identifier(prediction)).cast("double")
        )
    sums = [functions.sum(functions.pow("loss", functions.lit(power))).alias(f"power_{power}") for power in (1, 2, 4)]
    found = rows.select(*map(identifier, groups), loss.alias("loss")).where("loss IS NOT NULL AND NOT isnan(loss)")
    return found.groupBy(*map(identifier, groups)).agg(functions.count("*").alias("rows"), *sums).collect()


def by_version_and_day(rows: DataFrame, task: Task) -> list[Row]:
    """As `losses`."""
    return losses(rows, task, _VERSION, _DAY)


def by_slice(rows: DataFrame, task: Task, number: int) -> list[Row]:
    """As `losses`, of each version."""
    return losses(rows, task, _VERSION, f"slice_{number}")


def _version() -> Column:
    from pyspark.sql import functions

    return functions.regexp_replace("model_uri", "^models:/", "")


def _class(name: str, type_name: str) -> Column:
    """A class, so that equal ones are equal however a table and a model spell them: 1, 1.0, "1" and True."""
    from pyspark.sql import functions

    column = functions.col(identifier(name))
    number = column.cast("int") if type_name == "boolean" else column
    return functions.coalesce(number.try_cast("double").cast("string"), column.cast("string"))
