"""Rows that change: the change data feed of a Delta table, merged into the predictions by key."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from adbazureml import runtime
from adbazureml.errors import TableError
from adbazureml.scoring.source_table import find_columns
from adbazureml.text import identifier, literal

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, Row
    from pyspark.sql.streaming import DataStreamReader

_VERSION, _KIND = "_commit_version", "_change_type"
_GONE, _DROP = "__adbazureml_gone", "__adbazureml_drop"
NOT_UNIQUE = "do not tell the rows apart"


def stream_options(base: int | None) -> DataStreamReader:
    """A reader of what came after a version of a table; all there is in one batch, so in one transaction."""
    reader = runtime.spark().readStream.option("maxFilesPerTrigger", 2**31 - 1)
    return reader if base is None else reader.option("startingVersion", base + 1)


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

    def read(self, base: int | None) -> DataFrame:
        """The feed as a stream: first the rows that are there, then what changes; or what changed since a version."""
        return stream_options(base).option("readChangeFeed", "true").table(runtime.quoted_table(self.table))

    def check_unique(self, rows: DataFrame) -> None:
        """Refuse rows of which two have the same key.

        Raises
        ------
        TableError
            Names the columns, and one key.
        """
        twice = rows.groupBy(*map(identifier, self.keys)).count().where("count > 1").first()
        if twice is not None:
            found = ", ".join(str(twice[key]) for key in self.keys)
            raise TableError(
                f"keys: {', '.join(self.keys)} {NOT_UNIQUE}: two have {found}. Name columns that no two rows "
                f"of {self.table} share."
            )

    def latest(self, batch: DataFrame) -> DataFrame:
        """The last change of each key in a batch of the feed."""
        from pyspark.sql import Window, functions

        columns = [functions.col(identifier(key)) for key in self.keys]
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
        from pyspark.sql import functions

        # A row to drop meets those of its key; a row to write meets none.
        dropped = latest.select(*map(identifier, self.keys)).withColumn(_DROP, functions.lit(True))
        rows = scored.withColumn(_DROP, functions.lit(False)).unionByName(dropped, allowMissingColumns=True)
        view = f"adbazureml_changes_{uuid.uuid4().hex}"
        rows.createOrReplaceTempView(view)
        met = "".join(f" AND target.{key} <=> change.{key}" for key in map(identifier, self.keys))
        columns = ", ".join(map(identifier, scored.columns))
        values = ", ".join(f"change.{identifier(name)}" for name in scored.columns)
        # Each part is a constant of this file or has been quoted.
        merging = (
            f"MERGE INTO {runtime.quoted_table(target)} AS target USING {identifier(view)} AS change "  # noqa: S608
            f"ON change.{_DROP} AND target.model_name = {literal(self.model_name)}{met} "
            "WHEN MATCHED THEN DELETE "
            f"WHEN NOT MATCHED AND NOT change.{_DROP} THEN INSERT ({columns}) VALUES ({values})"
        )
        try:
            # SQL, since Delta's own classes do not speak to every Spark Connect server.
            latest.sparkSession.sql(merging)
        finally:
            latest.sparkSession.catalog.dropTempView(view)


def check_keys(keys: Sequence[str], rows: DataFrame, kept: Sequence[str], detail: Row | None) -> tuple[str, ...]:
    """The key columns as the table spells them.

    Raises
    ------
    TableError
        One is no column of the table, or is not among the columns to write, or the table records no changes.
    """
    found = tuple(find_columns(rows, keys, asked_by="keys"))
    if lacking := [name for name in found if name not in kept]:
        raise TableError(f"keys: {', '.join(lacking)} is not among the columns to write; add it to keep=.")
    if detail is None or detail["properties"].get("delta.enableChangeDataFeed") != "true":
        name = "the source" if detail is None else detail["name"]
        raise TableError(
            f"keys: {name} does not record how its rows change. Call ALTER TABLE {name} SET TBLPROPERTIES "
            "('delta.enableChangeDataFeed' = 'true'), then score once with mode 'full'; or leave keys "
            "empty, if rows are only ever added."
        )
    return found
