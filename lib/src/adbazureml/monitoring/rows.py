"""Rows as callers have them: the name of a table, a Spark frame of either kind, or a pandas frame."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from adbazureml import runtime
from adbazureml.errors import TableError
from adbazureml.scoring.source_table import select_rows

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa
    from pyspark.sql import DataFrame

Rows: TypeAlias = "str | DataFrame | pd.DataFrame"


def as_spark(rows: Rows, where: str | None = None) -> DataFrame:
    """Return rows as a Spark frame, those that meet a condition; nothing of a table is read yet.

    Raises
    ------
    TableError
        There is no such table, a column of a pandas frame is of no type that Spark has, or `where` is no condition.
    """
    import pandas as pd

    return select_rows(_from_pandas(rows) if isinstance(rows, pd.DataFrame) else rows, where)


def _from_pandas(rows: pd.DataFrame) -> DataFrame:
    import pyarrow as pa
    from pyspark.errors import PySparkException

    try:
        table = pa.Table.from_pandas(rows, preserve_index=False)
        plain = pa.schema([pa.field(field.name, _plain(field.type)) for field in table.schema])
        # Spark keeps microseconds.
        return runtime.spark().createDataFrame(table.cast(plain, safe=False))
    except (pa.ArrowException, PySparkException, TypeError, ValueError) as error:
        said = str(error).partition("\n")[0]
        raise TableError(
            f"table: the pandas frame can't go to Spark: {said}. Convert or leave out that column."
        ) from error


def _plain(kind: pa.DataType) -> pa.DataType:
    """The type that Spark has for one of Arrow's."""
    import pyarrow as pa

    if pa.types.is_dictionary(kind):
        return _plain(kind.value_type)
    if pa.types.is_null(kind):
        return pa.string()
    if pa.types.is_unsigned_integer(kind):
        return pa.int64()
    if pa.types.is_float16(kind):
        return pa.float32()
    return pa.timestamp("us", kind.tz) if pa.types.is_timestamp(kind) else kind
