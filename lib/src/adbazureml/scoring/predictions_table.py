"""The Delta table of the predictions: whether one can be written, making it, and adding the columns that it lacks."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from adbazureml import runtime
from adbazureml.errors import TableError
from adbazureml.scoring.schema_evolution import Evolution, evolution
from adbazureml.scoring.source_table import explain_error
from adbazureml.scoring.write_conflicts import repeat_on_conflict
from adbazureml.text import identifier, literal

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, Row
    from pyspark.sql.types import StructType

# Say which model a row is of.
MODEL_COLUMNS = ("model_name", "model_version", "model_uri")
# A property of the tables that `score` made; no other table gets columns.
_WRITTEN = "adbazureml.written_by"
_NOT_IN_PARQUET = re.compile(r"[ ,;{}()\n\t=]")
# How much of a table's history is looked through first, and what clocks may differ.
_COMMITS_AT_FIRST = 20
_CLOCKS_DIFFER_SECONDS = 300.0


@dataclass(frozen=True)
class TargetTables:
    """The tables that a scoring writes.

    Attributes
    ----------
    into : str
        The table of the predictions.
    made_columns : tuple of str
        Its columns of what the model gives.
    rejected_into, rejected_column : str
        The table of the rows that the model does not take, and its column of reasons; empty where there is none.
    """

    into: str
    made_columns: tuple[str, ...]
    rejected_into: str
    rejected_column: str

    @property
    def all(self) -> tuple[str, ...]:
        """The tables in the order in which they are written."""
        return (self.rejected_into, self.into) if self.rejected_into else (self.into,)

    def check(self, result: DataFrame, source: Row | None) -> dict[str, StructType]:
        """The tables that are not as they are to be, with their columns; see `fits` for parameters and errors."""
        if self.rejected_into and self.rejected_into.lower() == self.into.lower():
            raise TableError(f"rejected_into: {self.into!r} takes the predictions; name another.")
        settings = ("rejected_into", "into") if self.rejected_into else ("into",)
        wanted = {
            target: (setting, rows.schema) for setting, (target, rows) in zip(settings, self.parts(result), strict=True)
        }
        return {
            target: schema
            for target, (setting, schema) in wanted.items()
            if not fits(target, schema, source, setting=setting)
        }

    def parts(self, result: DataFrame) -> list[tuple[str, DataFrame]]:
        """Each table with the rows that belong there; first those without a prediction."""
        from pyspark.sql import functions

        if not self.rejected_into:
            return [(self.into, result)]
        reason_given = functions.col(identifier(self.rejected_column)).isNotNull()
        return [
            (self.rejected_into, result.where(reason_given).drop(*self.made_columns)),
            (self.into, result.where(~reason_given).drop(self.rejected_column)),
        ]


def fits(into: str, schema: StructType, source: Row | None, *, setting: str = "into") -> bool:
    """Tell whether the table is there with all columns of `schema`; if not, `adapt` makes it so.

    `setting` is what names it.

    Raises
    ------
    TableError
        It exists and is not a Delta table that can take these columns, or its name is none, or it is the table to score
        itself, described by `source`.
    """
    from pyspark.errors import PySparkException

    try:
        if not runtime.table_exists(into):
            return False
    except TableError as error:
        raise TableError(f"{setting}: {error}") from error
    except PySparkException as error:
        raise TableError(f"{setting}: {into!r} is not the name of a table: {explain_error(error)}.") from error
    location, provider = _place_of(into)
    if source is not None and source["location"] == location:
        raise TableError(f"{setting}: {into!r} is the table to score itself; name another.")
    if provider != "delta":
        raise TableError(f"{setting}: {into!r} exists and is not a Delta table; name another, or drop it.")
    lacks = evolution(runtime.table(into).schema, schema)
    if lacks == Evolution():
        return True
    if lacks.refused or _WRITTEN not in runtime.table_properties(into):
        lacking = [f"{path} is missing".replace("`", "") for path, _ in lacks.added]
        narrow = [f"{path} is to become {kind}".replace("`", "") for path, kind in lacks.widened]
        raise TableError(
            f"{setting}: {into!r} exists with other columns: {'; '.join([*lacks.refused, *lacking, *narrow])}. Name "
            "another table, drop it, or choose the columns to write in keep=."
        )
    return False


def _place_of(table: str) -> tuple[str, str]:
    """Location and format of a table; both empty for a view.

    The catalog knows them. DESCRIBE DETAIL reads all of the table's log as well, which takes most of a second.
    """
    rows = runtime.spark().sql(f"DESCRIBE EXTENDED {runtime.quoted_table(table)}").collect()
    described = [(row["col_name"], row["data_type"]) for row in rows]
    # Before it come the columns, which may have any name; a temporary view has nothing else.
    headings = (number for number, (name, _) in enumerate(described) if name == "# Detailed Table Information")
    start = next(headings, len(described))
    facts = dict(described[start:])
    return facts.get("Location", ""), facts.get("Provider", "")


def is_view(table: str) -> bool:
    """Whether what has this name has no rows of its own."""
    return _place_of(table) == ("", "")


def detail_of(name: str) -> Row | None:
    """Spark's description of a table; None for a view or where there is none."""
    from pyspark.errors import PySparkException

    try:
        detail = runtime.spark().sql(f"DESCRIBE DETAIL {runtime.quoted_table(name)}").first()
    except PySparkException:
        return None
    return None if detail is None or detail["location"] is None else detail


def version_of(table: str) -> int:
    """The newest version of a Delta table."""
    newest = runtime.spark().sql(f"DESCRIBE HISTORY {runtime.quoted_table(table)} LIMIT 1").first()
    assert newest is not None
    return int(newest["version"])


def write_once(
    rows: DataFrame, target: str, *, application: str, version: int, mark: str, replacing: str | None = None
) -> None:
    """Write rows in one transaction, or nothing where the table took this version of the application or a later one.

    Parameters
    ----------
    rows : pyspark DataFrame
    target : str
        The Delta table, which exists.
    application, version : str, int
        Delta keeps the newest version of each application.
    mark : str
        Stands in the table's history as the commit's user metadata.
    replacing : str, optional
        The rows of this model's URI go; none by default.
    """
    writer = rows.write.format("delta").option("userMetadata", mark)
    if application:
        writer = writer.option("txnAppId", application).option("txnVersion", version)
    if replacing is None:
        writer.mode("append").saveAsTable(runtime.quoted_table(target))
    else:
        replaced = f"model_uri = {literal(replacing)}"
        writer.mode("overwrite").option("replaceWhere", replaced).saveAsTable(runtime.quoted_table(target))


@contextmanager
def kept_once(rows: DataFrame, targets: TargetTables, *, merging: bool = False) -> Iterator[DataFrame]:
    """Keep rows for as long as they are written, so that the model runs once though they are read more than once.

    Serverless compute keeps none: there the model runs once for each table.
    """
    if not (merging or targets.rejected_into) or runtime.place() is runtime.Place.SERVERLESS:
        yield rows
        return
    kept = rows.persist()
    try:
        yield kept
    finally:
        kept.unpersist()


def rows_marked(target: str, mark: str, *, since: float) -> int | None:
    """Rows that commits wrote whose mark begins so; None where there is no such commit.

    Parameters
    ----------
    target : str
        A Delta table.
    mark : str
        How their user metadata begins.
    since : float
        Seconds since 1970 before which none was made.
    """
    commits = _commits(target, since)
    counted = [commit["operationMetrics"] for commit in commits if (commit["userMetadata"] or "").startswith(mark)]
    # A merge also writes rows anew that it leaves as they are.
    rows = [int(metrics.get("numTargetRowsInserted", metrics.get("numOutputRows", 0))) for metrics in counted]
    return sum(rows) if rows else None


def _commits(target: str, since: float) -> list[Row]:
    """The newest commits of a table, at least all those since a time."""
    looked_at = _COMMITS_AT_FIRST
    while True:
        history = runtime.spark().sql(f"DESCRIBE HISTORY {runtime.quoted_table(target)} LIMIT {int(looked_at)}")
        found = history.selectExpr("unix_timestamp(timestamp) AS at", "userMetadata", "operationMetrics").collect()
        if len(found) < looked_at or found[-1]["at"] < since - _CLOCKS_DIFFER_SECONDS:
            return found
        looked_at *= 8


def adapt(into: str, schema: StructType) -> None:
    """Make an empty table, or give one that `score` made the columns and the wider types that it lacks.

    What may fail or be killed after that is one transaction on a table that fits. Killed in between, or beside another
    job that does the same, it goes on from what the table is by then.

    One folder per model lets versions be scored side by side without a conflict, and replaced without a search. It also
    holds what says which model it is, instead of each row: that took a third of the time of writing. Names that Parquet
    does not take, with spaces or brackets say, need Delta's column mapping:
    https://docs.delta.io/latest/delta-column-mapping.html
    """
    # Asked again each time: where another job was faster, the local catalog learns of its table here.
    repeat_on_conflict(lambda: _follow(into, schema) if runtime.table_exists(into) else _make(into, schema))


def _make(into: str, schema: StructType) -> None:
    from pyspark.sql import functions

    # Of a list, even an empty one, Spark makes rows in its Python workers.
    columns = [functions.lit(None).cast(field.dataType).alias(field.name) for field in schema.fields]
    empty = runtime.spark().range(0).select(columns)
    writer = empty.writeTo(runtime.quoted_table(into)).using("delta").partitionedBy(*MODEL_COLUMNS)
    writer = writer.tableProperty(_WRITTEN, "score")
    if _needs_mapping(schema.fieldNames()):
        writer = writer.tableProperty("delta.columnMapping.mode", "name")
    writer.create()


def _follow(into: str, schema: StructType) -> None:
    """Each statement is a transaction; what is done already is no part of the difference any more."""
    lacks = evolution(runtime.table(into).schema, schema)
    alter = f"ALTER TABLE {runtime.quoted_table(into)}"
    statements = []
    if lacks.added:
        if _needs_mapping([path for path, _ in lacks.added]):
            statements.append(f"{alter} SET TBLPROPERTIES ('delta.columnMapping.mode' = 'name')")
        statements.append(f"{alter} ADD COLUMNS ({', '.join(f'{path} {kind}' for path, kind in lacks.added)})")
    if lacks.widened:
        statements.append(f"{alter} SET TBLPROPERTIES ('delta.enableTypeWidening' = 'true')")
        statements += [f"{alter} ALTER COLUMN {path} TYPE {kind}" for path, kind in lacks.widened]
    for statement in statements:
        runtime.spark().sql(statement)


def _needs_mapping(names: Iterable[str]) -> bool:
    return any(_NOT_IN_PARQUET.search(name) for name in names)
