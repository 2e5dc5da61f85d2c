"""The rows to score, checked: the table, the condition, the columns."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from adbazureml import runtime
from adbazureml.errors import TableError
from adbazureml.scoring.model_errors import telling_part

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

NAME_OF_A_FRAME = "the DataFrame"
# The names that Spark gives its errors, before and behind the sentence.
_SPARKS_OWN = re.compile(r"^\[[A-Z0-9_.]+\] |\.? SQLSTATE: \w+$")


def select_rows(table: str | DataFrame, where: str | None) -> DataFrame:
    """Return the rows of a table that meet a condition; nothing is read yet.

    Raises
    ------
    TableError
        There is no such table, two columns share a name, or `where` is not one SQL condition on its columns. Empty,
        it is none.
    """
    frame = _read(table) if isinstance(table, str) else table
    seen: dict[str, str] = {}
    for name in frame.columns:
        if name.lower() in seen:
            raise TableError(
                f"table: {shown(table)} has the columns {seen[name.lower()]!r} and {name!r}, which Spark does "
                "not tell apart: rename one."
            )
        seen[name.lower()] = name
    return _meeting(frame, where, shown(table)) if where else frame


def is_empty(rows: DataFrame, table: str | DataFrame, where: str | None) -> bool:
    """Whether there is no row to score.

    Raises
    ------
    TableError
        The condition fails on a row (a cast of text that is no number, say).
    """
    from pyspark.errors import PySparkException

    try:
        return bool(rows.isEmpty())
    except PySparkException as error:
        raise TableError(
            f"where: {where!r} fails on a row of {shown(table)}: {explain_error(error)}. Correct the condition."
        ) from error


def find_columns(frame: DataFrame, names: Sequence[str], *, asked_by: str) -> list[str]:
    """Return the frame's own spelling of each name: Spark matches names whatever their case.

    Raises
    ------
    TableError
        Names every column that is missing, and those that are there.
    """
    there = {name.lower(): name for name in frame.columns}
    missing = [name for name in names if name.lower() not in there]
    if missing:
        raise TableError(
            f"table: {asked_by} needs {_listed(missing)}, which the rows to score lack; they have "
            f"{_listed(frame.columns)}. Add what is missing, or name other columns in columns=."
        )
    return [there[name.lower()] for name in names]


def shown(table: str | DataFrame) -> str:
    """The table's name as it stands in a message."""
    return table if isinstance(table, str) else NAME_OF_A_FRAME


def explain_error(error: Exception) -> str:
    """The one line of a Spark error that tells what is wrong, without Java's or the worker's stack."""
    raw = telling_part(str(error)).splitlines()
    lines = [line.strip() for line in raw if line.strip()]
    if "Traceback (most recent call last):" in lines:
        # What the worker's Python raised is the first line after its stack that is not indented.
        start = next(i for i, line in enumerate(raw) if "Traceback (most recent call last):" in line)
        lines = [line for line in raw[start + 1 :] if line and not line[0].isspace()]
    return _SPARKS_OWN.sub("", lines[0]).rstrip(".") if lines else type(error).__name__


def _read(table: str) -> DataFrame:
    from pyspark.errors import PySparkException

    try:
        found = runtime.table_exists(table)
    except TableError as error:
        raise TableError(f"table: {error}") from error
    except PySparkException as error:
        raise TableError(f"table: {table!r} is not the name of a table: {explain_error(error)}.") from error
    if not found:
        raise TableError(f"table: there is no table {table!r}; make it first, or name another.")
    return runtime.table(table)


def _meeting(frame: DataFrame, where: str, table: str) -> DataFrame:
    from pyspark.errors import PySparkException
    from pyspark.sql import functions
    from pyspark.sql.types import BooleanType

    try:
        fields = frame.select(functions.expr(where)).schema.fields
        if len(fields) != 1 or not isinstance(fields[0].dataType, BooleanType):
            kinds = ", ".join(field.dataType.simpleString() for field in fields)
            raise TableError(
                f"where: {where!r} is not true or false for a row of {table} but {kinds}; give an SQL "
                "condition, such as \"day = '2026-11-23'\"."
            )
        rows = frame.where(functions.expr(where))
        # Spark Connect checks a plan only when its schema is asked for.
        _ = rows.schema
    except PySparkException as error:
        raise TableError(
            f"where: {where!r} is not an SQL condition on {table}: {explain_error(error)}. Give one, such as "
            f"\"day = '2026-11-23'\"; the columns are {_listed(frame.columns)}."
        ) from error
    return rows


def _listed(names: Sequence[str]) -> str:
    return ", ".join(repr(name) for name in names)
