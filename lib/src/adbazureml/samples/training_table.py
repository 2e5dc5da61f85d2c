"""A table of anybody's, made ready to learn from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any, Literal

from adbazureml import runtime
from adbazureml.errors import TableError
from adbazureml.samples.column_types import MOST_CLASSES, ColumnFacts, Task, decide_task, kind_of, left_out
from adbazureml.text import identifier

if TYPE_CHECKING:
    import pandas as pd
    from mlflow.models.signature import ModelSignature
    from pyspark.sql import Column, DataFrame

_FEWEST_ROWS = 10
_SHARE_TO_VALIDATE = 0.2
_HASH = "__hash"


@dataclass(frozen=True)
class TrainingTable:
    """A table to learn from.

    Attributes
    ----------
    name : str
        Its name.
    rows : pyspark.sql.DataFrame
        Its rows that have a label, with all columns as they are there.
    frame : pyspark.sql.DataFrame
        Of these rows the features as the models take them, and the label: numbers and booleans are doubles, text is
        text.
    features : tuple of str
        Names of the feature columns, in the table's order.
    numbers, booleans, texts : tuple of str
        The same, by what they are in the table.
    label : str
        Name of the label column.
    task : "regression" or "classification"
        What the label asks for.
    reason : str
        Why, after "because".
    classes : tuple
        The label's values in order, for a classification.
    left_out : mapping of str to str
        The columns that are no features, with the reason.
    unlabelled : int
        Rows without a label.
    """

    name: str
    rows: DataFrame
    frame: DataFrame
    features: tuple[str, ...]
    numbers: tuple[str, ...]
    booleans: tuple[str, ...]
    texts: tuple[str, ...]
    label: str
    task: Task
    reason: str
    classes: tuple[Any, ...]
    left_out: Mapping[str, str]
    unlabelled: int

    def split(self) -> tuple[pd.DataFrame, pd.DataFrame]:
        """Bring the rows to the driver, and hold a fifth of them out for validation.

        Which ones is told by a hash of what is in them, so they are the same ones each time, also in a table that has
        grown, but for those at the edge, and rows that are alike are on the same side.

        Raises
        ------
        TableError
            There are fewer than ten rows.
        """
        import pandas as pd

        rows = self.frame.withColumn(_HASH, self._hash()).toPandas()
        held_out = rows[_HASH] <= self._edge(rows[_HASH])
        rows = rows.drop(columns=_HASH)
        train, valid = rows[~held_out], rows[held_out]
        if self.task == "classification":
            # What was never seen in training can't be predicted, nor judged.
            known = valid[self.label].isin(train[self.label])
            train, valid = pd.concat([train, valid[~known]]), valid[known]
        return train, valid

    def held_out(self) -> DataFrame:
        """Return the rows that `split` holds out, with all columns as the table has them.

        Raises
        ------
        TableError
            As `split`.
        """
        edge = self._edge(self.frame.select(self._hash().alias(_HASH)).toPandas()[_HASH])
        return self.rows.where(self._hash() <= edge)

    def _hash(self) -> Column:
        from pyspark.sql import functions

        return functions.xxhash64(*(functions.col(identifier(name)).cast(kind) for name, kind in self.frame.dtypes))

    def _edge(self, hashes: pd.Series[int]) -> int:
        if len(hashes) < _FEWEST_ROWS:
            raise TableError(f"table {self.name!r}: {len(hashes)} rows with a label, expected {_FEWEST_ROWS} or more.")
        return int(hashes.sort_values().iloc[int(len(hashes) * _SHARE_TO_VALIDATE) - 1])

    def signature(self) -> ModelSignature:
        """What the models take and give: every feature, of which a value may be missing, and the label."""
        from mlflow.models import ModelSignature
        from mlflow.types.schema import ColSpec, Schema
        from mlflow.types.schema import DataType as MlflowType

        texts = set(self.texts)
        taken: list[Any] = [
            ColSpec(MlflowType.string if name in texts else MlflowType.double, name) for name in self.features
        ]
        kinds = {"double": MlflowType.double, "bigint": MlflowType.long, "boolean": MlflowType.boolean}
        label = kinds.get(dict(self.frame.dtypes)[self.label], MlflowType.string)
        return ModelSignature(Schema(taken), Schema([ColSpec(label)]))

    def on_spark(self, rows: pd.DataFrame) -> DataFrame:
        """Rows of `frame`, or columns of them, back on Spark, with the types that they had there."""
        from pyspark.sql.types import StructType

        schema = self.frame.schema
        return runtime.spark().createDataFrame(rows, StructType([schema[name] for name in rows.columns]))

    def with_predictions(self, rows: pd.DataFrame, predictions: Any, *, target_column: str) -> DataFrame:
        """Features of rows and what a model predicts for them, with the table's own booleans: to take a baseline of."""
        from pyspark.sql import functions

        def column(name: str) -> Column:
            value = functions.col(identifier(name))
            # Of doubles, Spark takes what is no number for true.
            flag = functions.when(~functions.isnan(value), value.cast("boolean")).alias(name)
            return flag if name in self.booleans else value

        frame = self.on_spark(rows[[*self.features]].assign(**{self.label: predictions}))
        predicted = functions.col(identifier(self.label)).alias(target_column)
        return frame.select(*(column(name) for name in self.features), predicted)

    def __str__(self) -> str:
        return "\n".join(f"{title}: {said}" for title, said in self._facts())

    def _repr_html_(self) -> str:
        return "".join(f"<p>{escape(title)}: {escape(said)}</p>" for title, said in self._facts())

    def _facts(self) -> list[tuple[str, str]]:
        kinds = (("numeric", self.numbers), ("boolean", self.booleans), ("text", self.texts))
        taken = ", ".join(f"{len(names)} {kind}" for kind, names in kinds if names)
        facts = [
            ("task", f"{self.task} of {self.label!r}, because {self.reason}"),
            ("features", f"{taken} ({', '.join(self.features)})"),
            *((f"left out {name!r}", reason) for name, reason in self.left_out.items()),
        ]
        return facts + ([("left out rows", f"{self.unlabelled:,} without a label")] if self.unlabelled else [])


def training_data(
    table: str, *, label: str, task: Literal["auto", "regression", "classification"] = "auto"
) -> TrainingTable:
    """Tell what a table's label asks for, and take those of its other columns as features that say something.

    Features are numbers, booleans and text, with values missing or not. What is left out, with the reason, stands in
    the result and is printed with it: columns that are constant or empty, ids (text that has more values than half the
    rows; whole numbers named so with a value per row), dates and times, and types that are none of these.

    Parameters
    ----------
    table : str
        Its name.
    label : str
        The column to predict.
    task : "auto", "regression" or "classification"
        See `decide_task`.

    Raises
    ------
    TableError
        The table or the label column is not there, the label does not fit the task, or no feature is left.
    """
    from pyspark.sql import functions

    if not runtime.table_exists(table):
        raise TableError(f"table {table!r}: there is no such table.")
    whole = runtime.table(table)
    types = {field.name: field.dataType.simpleString() for field in whole.schema.fields}
    if label not in types:
        raise TableError(f"label {label!r}: table {table!r} has no such column; it has {', '.join(types)}.")
    labels = functions.col(identifier(label))
    there = labels.isNotNull() & ~functions.isnan(labels) if types[label] in ("float", "double") else labels.isNotNull()
    labelled = whole.where(there)
    values = _values(labelled.select(labels)) if kind_of(types[label]) else []
    decided, reason = decide_task(task, label=label, type_name=types[label], values=values)
    columns, rows = _facts_of(labelled, {name: kind for name, kind in types.items() if name != label})
    without = left_out(columns)
    kinds = {one.name: kind_of(one.type) for one in columns if one.name not in without}
    if not kinds:
        said = "; ".join(f"{name}: {why}" for name, why in without.items())
        raise TableError(f"table {table!r}: no column beside the label {label!r} to learn from. {said}")
    wanted = {name: "string" if kind == "text" else "double" for name, kind in kinds.items()}
    wanted[label] = _label_type(types[label], decided)
    return TrainingTable(
        name=table,
        rows=labelled,
        frame=labelled.select(
            [functions.col(identifier(name)).cast(wanted[name]).alias(name) for name in types if name in wanted]
        ),
        features=tuple(kinds),
        numbers=tuple(name for name, kind in kinds.items() if kind == "number"),
        booleans=tuple(name for name, kind in kinds.items() if kind == "boolean"),
        texts=tuple(name for name, kind in kinds.items() if kind == "text"),
        label=label,
        task=decided,
        reason=reason,
        classes=_classes(values, types[label]) if decided == "classification" else (),
        left_out=without,
        unlabelled=whole.count() - rows,
    )


def _values(labels: DataFrame) -> list[Any]:
    """Some of the distinct values; one more than there may be classes, so that too many are noticed."""
    return [row[0] for row in labels.distinct().limit(MOST_CLASSES + 1).collect()]


def _classes(values: Sequence[Any], type_name: str) -> tuple[Any, ...]:
    return tuple(sorted(int(value) if kind_of(type_name) == "number" else value for value in values))


def _label_type(type_name: str, task: Task) -> str:
    if task == "regression":
        return "double"
    return {"number": "bigint", "boolean": "boolean"}.get(str(kind_of(type_name)), "string")


def _facts_of(frame: DataFrame, types: Mapping[str, str]) -> tuple[list[ColumnFacts], int]:
    """What is known of each column, and the number of rows, from one pass over them."""
    from pyspark.sql import functions

    asked = [functions.count("*")]
    known = [name for name, kind in types.items() if kind_of(kind)]
    for name in known:
        column = functions.col(identifier(name))
        constant = functions.min(column).eqNullSafe(functions.max(column))
        asked += [functions.count(column), functions.approx_count_distinct(column), constant]
    found = frame.select(*asked).first()
    assert found is not None
    figures = {name: tuple(found[1 + 3 * i : 4 + 3 * i]) for i, name in enumerate(known)}
    facts = [ColumnFacts(name, kind, *figures.get(name, (0, 0, False))) for name, kind in types.items()]
    return facts, int(found[0])
