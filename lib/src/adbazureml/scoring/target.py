"""The Delta table of the predictions: whether one can be written, and making it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from adbazureml import runtime
from adbazureml.errors import TableError
from adbazureml.scoring.conflicts import repeat_on_conflict
from adbazureml.scoring.source import quoted, reason

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, Row
    from pyspark.sql.types import StructType


@dataclass(frozen=True)
class Targets:
    """The tables that a scoring writes.

    Attributes
    ----------
    into, target_column : str
        The table of the predictions, and its column of them.
    refused_into, refused_column : str
        The table of the rows that the model does not take, and its column of reasons; empty where there is none.
    """

    into: str
    target_column: str
    refused_into: str
    refused_column: str

    def check(self, result: DataFrame, source: Row | None) -> dict[str, StructType]:
        """The tables that are to be made, with their columns; see `check_target` for parameters and errors."""
        if self.refused_into and self.refused_into.lower() == self.into.lower():
            raise TableError(f"refused_table: {self.into!r} is predictions_table as well; name another.")
        settings = ("refused_table", "predictions_table") if self.refused_into else ("predictions_table",)
        wanted = {
            target: (setting, rows.schema) for setting, (target, rows) in zip(settings, self.parts(result), strict=True)
        }
        return {
            target: schema
            for target, (setting, schema) in wanted.items()
            if not check_target(target, schema, source, setting=setting)
        }

    def parts(self, result: DataFrame) -> list[tuple[str, DataFrame]]:
        """Each table with the rows that belong there; first those without a prediction."""
        from pyspark.sql import functions

        if not self.refused_into:
            return [(self.into, result)]
        reason_given = functions.col(quoted(self.refused_column)).isNotNull()
        return [
            (self.refused_into, result.where(reason_given).drop(self.target_column)),
            (self.into, result.where(~reason_given).drop(self.refused_column)),
        ]


def check_target(into: str, schema: StructType, source: Row | None, *, setting: str = "predictions_table") -> bool:
    """Tell whether the table exists; `setting` is what names it.

    Raises
    ------
    TableError
        It exists and is not a Delta table of these columns, or its name is none, or it is the table to score itself,
        described by `source`.
    """
    from pyspark.errors import PySparkException

    try:
        if not runtime.table_exists(into):
            return False
    except PySparkException as error:
        raise TableError(f"{setting}: {into!r} is not the name of a table: {reason(error)}.") from error
    target = detail_of(into)
    if target is not None and source is not None and source["location"] == target["location"]:
        raise TableError(f"{setting}: {into!r} is the table to score itself; name another.")
    if target is None or target["format"] != "delta":
        raise TableError(f"{setting}: {into!r} exists and is not a Delta table; name another, or drop it.")
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
            f"{setting}: {into!r} exists with other columns: {'; '.join(differing + lacking + extra)}. Name "
            "another table, drop it, or choose the columns to write in keep=."
        )
    return True


def detail_of(name: str) -> Row | None:
    """Spark's description of a table; None for a view or where there is none."""
    from pyspark.errors import PySparkException

    try:
        detail = runtime.spark().sql(f"DESCRIBE DETAIL {name}").first()
    except PySparkException:
        return None
    return None if detail is None or detail["location"] is None else detail


def make_target(into: str, schema: StructType) -> None:
    """Make an empty table: what may fail or be killed after that is one transaction on a table that exists.

    One folder per model lets versions be scored side by side without a conflict, and replaced without a search.
    """
    from delta.tables import DeltaTable

    maker = DeltaTable.createIfNotExists(runtime.spark()).tableName(into).partitionedBy("model_uri")
    for field in schema.fields:
        maker = maker.addColumn(field.name, field.dataType, nullable=True)

    def make() -> None:
        # Asked again each time: where another job was faster, the local catalog learns of its table here.
        if not runtime.table_exists(into):
            maker.execute()

    repeat_on_conflict(make)
