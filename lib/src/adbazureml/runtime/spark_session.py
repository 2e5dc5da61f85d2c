"""The Spark session of the place, and what its catalog holds."""

from __future__ import annotations

from typing import TYPE_CHECKING

from adbazureml.errors import TableError
from adbazureml.runtime.local_spark import drop_local_table, local_session
from adbazureml.runtime.place import on_databricks
from adbazureml.text import name_parts, table_name

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession


def spark() -> SparkSession:
    """Return the Spark session: Databricks' own, or a local one with Delta Lake.

    Raises
    ------
    EnvironmentNotReadyError
        Locally: no Java 17 or 21, or Spark does not start.
    """
    if not on_databricks():
        return local_session()
    from pyspark.sql import SparkSession

    return SparkSession.builder.getOrCreate()


def quoted_table(name: str) -> str:
    """Write a table's name as SQL and Spark's own functions read it, whatever characters it holds.

    Raises
    ------
    TableError
        It is no table's name.
    """
    try:
        return table_name(name)
    except ValueError as error:
        raise TableError(f"{name!r} {error}.") from error


def table(name: str) -> DataFrame:
    """Return the rows of a table; nothing is read yet.

    Raises
    ------
    TableError
        It is no table's name.
    """
    return spark().table(quoted_table(name))


def table_exists(name: str) -> bool:
    """Whether the catalog knows a table of that name.

    Raises
    ------
    TableError
        It is no table's name.
    """
    return bool(spark().catalog.tableExists(quoted_table(name)))


def table_properties(name: str) -> dict[str, str]:
    """Return what a Delta table keeps of itself beside its rows; nothing where there is no such table.

    Raises
    ------
    TableError
        It is no table's name.
    """
    from pyspark.errors import PySparkException

    try:
        detail = spark().sql(f"DESCRIBE DETAIL {quoted_table(name)}").first()
    except PySparkException:
        return {}
    return dict(detail["properties"] or {}) if detail else {}


def drop_table(name: str) -> None:
    """Drop a table and its data.

    Raises
    ------
    TableError
        It is no table's name.
    """
    statement = f"DROP TABLE IF EXISTS {quoted_table(name)}"
    if on_databricks():
        spark().sql(statement)
    else:
        drop_local_table(spark(), statement, name_parts(name)[-1])
