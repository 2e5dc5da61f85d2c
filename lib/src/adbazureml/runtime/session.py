"""The Spark session of the place, and what its catalog holds."""

from __future__ import annotations

from typing import TYPE_CHECKING

from adbazureml.runtime.local import drop_local_table, local_session
from adbazureml.runtime.place import on_databricks

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


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


def table_exists(name: str) -> bool:
    """Whether the catalog knows a table of that name."""
    return bool(spark().catalog.tableExists(name))


def drop_table(name: str) -> None:
    """Drop a table and its data."""
    spark().sql(f"DROP TABLE IF EXISTS {name}")
    if not on_databricks():
        drop_local_table(name)
