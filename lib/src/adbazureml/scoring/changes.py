"""Rows that change: the change data feed of a Delta table, merged into the predictions by key."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from adbazureml import runtime
from adbazureml.errors import TableError
from adbazureml.scoring.source import find_columns, quoted

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame, Row

_VERSION, _KIND = "_commit_version", "_change_type"
_GONE = "__adbazureml_gone"
NOT_UNIQUE = "do not tell the rows apart"


@dataclass(frozen=True)
class Changes:
    """How changed rows of a table become changed predictions.

    Attributes
    ----------
    table : str
        Full name of the Delta table.
    keys : tuple of str
        The columns that tell its rows apart.
    where : str or None
        Condition on the rows. One that no longer meets it counts as deleted.
    model_name : str
        Whose predictions of a row go when the row changes, those of all versions.
    predictions : callable
        Adds predictions to rows and leaves the columns to write.
    """

    table: str
    keys: tuple[str, ...]
    where: str | None
    model_name: str
    predictions: Callable[[DataFrame], DataFrame]

    def read(self) -> DataFrame:
        """The feed as a stream: first the rows that are there, then what changes."""
        options = {"readChangeFeed": "true", "maxFilesPerTrigger": str(2**31 - 1)}
        return runtime.spark().readStream.options(**options).table(self.table)

    def latest(self, batch: DataFrame) -> DataFrame:
        """The last change of each key in a batch of the feed."""
        from pyspark.sql import Window, functions

        columns = [functions.col(quoted(key)) for key in self.keys]
        there = functions.col(_KIND).isin("insert", "update_postimage")
        order = [functions.desc(_VERSION), there.desc()]
        twice = functions.count_if(there).over(Window.partitionBy(*columns, _VERSION)) > 1
        named = functions.concat_ws(", ", *(column.cast("string") for column in columns))
        said = functions.concat(functions.lit(f"{', '.join(self.keys)} {NOT_UNIQUE}: two have "), named)
        first = functions.row_number().over(Window.partitionBy(*columns).orderBy(*order))
        meets = functions.lit(True) if self.where is None else functions.expr(self.where)
        return (
            batch.withColumns(
                {
                    _GONE: ~(there & functions.coalesce(meets, functions.lit(False))),
                    # Checked before the first is taken: Spark would not compute it for rows that are dropped.
                    "__adbazureml_number": functions.when(twice, functions.raise_error(said)).otherwise(first),
                }
            )
            .where("__adbazureml_number = 1")
            .drop("__adbazureml_number", _VERSION, _KIND, "_commit_timestamp")
        )

    def scored(self, latest: DataFrame) -> DataFrame:
        """The rows to write for changes of `latest`."""
        return self.predictions(latest.where(f"NOT {_GONE}").drop(_GONE))

    def merge(self, target: str, latest: DataFrame, scored: DataFrame) -> None:
        """Put rows in the place of what a table holds for the changed keys, in one transaction."""
        from delta.tables import DeltaTable
        from pyspark.sql import functions

        # A row to drop meets those of its key; a row to write meets none.
        dropped = latest.select(*map(quoted, self.keys)).withColumn("__adbazureml_drop", functions.lit(True))
        rows = scored.withColumn("__adbazureml_drop", functions.lit(False)).unionByName(
            dropped, allowMissingColumns=True
        )
        (
            DeltaTable.forName(latest.sparkSession, target)
            .alias("target")
            .merge(rows.alias("change"), self._meets())
            .whenMatchedDelete()
            .whenNotMatchedInsert(
                condition="NOT change.__adbazureml_drop",
                values={quoted(name): f"change.{quoted(name)}" for name in scored.columns},
            )
            .execute()
        )

    def _meets(self) -> Column:
        from pyspark.sql import functions

        met = functions.col("change.__adbazureml_drop") & (functions.col("target.model_name") == self.model_name)
        for key in map(quoted, self.keys):
            met &= functions.col(f"target.{key}").eqNullSafe(functions.col(f"change.{key}"))
        return met


def check_keys(keys: Sequence[str], rows: DataFrame, kept: Sequence[str], detail: Row | None) -> tuple[str, ...]:
    """The key columns as the table spells them.

    Raises
    ------
    TableError
        One is no column of the table, or is not among the columns to write, or the table records no changes.
    """
    found = tuple(find_columns(rows, keys, asked_by="key_columns"))
    if lacking := [name for name in found if name not in kept]:
        raise TableError(f"key_columns: {', '.join(lacking)} is not among the columns to write; add it to keep=.")
    if detail is None or detail["properties"].get("delta.enableChangeDataFeed") != "true":
        name = "the source" if detail is None else detail["name"]
        raise TableError(
            f"key_columns: {name} does not record how its rows change. Call ALTER TABLE {name} SET TBLPROPERTIES "
            "('delta.enableChangeDataFeed' = 'true'), then score once with scoring_mode 'full'; or leave key_columns "
            "empty, if rows are only ever added."
        )
    return found
