"""A model's signature against a Spark frame: which columns it takes, of which types, and what it gives."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from adbazureml.errors import TableError
from adbazureml.text import identifier

if TYPE_CHECKING:
    from mlflow.models.model import ModelInfo
    from pyspark.sql import Column, DataFrame
    from pyspark.sql.types import DataType

# Which Spark types go into which MLflow type without a value changing. MLflow itself rejects long for double when it
# meets the first value beyond 0 and 1; whole numbers up to 2**53 are exact, so the cast is made here, on Spark.
_FITS = {
    "boolean": {"boolean"},
    "integer": {"tinyint", "smallint", "int"},
    "long": {"tinyint", "smallint", "int", "bigint"},
    "float": {"tinyint", "smallint", "float"},
    "double": {"boolean", "tinyint", "smallint", "int", "bigint", "float", "double", "decimal"},
    "string": {"string", "char", "varchar"},
    "binary": {"binary"},
    "datetime": {"date", "timestamp", "timestamp_ntz"},
}


def inputs(info: ModelInfo) -> tuple[list[str] | None, list[Any]]:
    """The names of the signature's inputs, None where they have none, and what it says of each."""
    schema = info.signature.inputs if info.signature else None
    if schema is None:
        return None, []
    return (schema.input_names() if schema.has_input_names() else None), list(schema.inputs)


def is_tensor(spec: Any) -> bool:
    """Whether an input or output is an array of numbers rather than a column."""
    from mlflow.types.schema import TensorSpec

    return isinstance(spec, TensorSpec)


def arguments(frame: DataFrame, taken: Sequence[str | None], specs: Sequence[Any], uri: str) -> list[Column]:
    """One Spark column for each input, cast to the type that the signature names.

    Raises
    ------
    TableError
        Names every column whose type does not fit.
    """
    from mlflow.types.schema import DataType as MlflowType
    from pyspark.sql import functions

    if len(specs) == 1 and is_tensor(specs[0]) and specs[0].name is None:
        # One matrix: its columns share its type.
        return [_tensor_column(frame, str(name), str(specs[0].type)) for name in taken]
    found, wrong = [], []
    for index, name in enumerate(taken):
        expected = specs[index].type if index < len(specs) else None
        if not isinstance(expected, MlflowType):
            found.append(functions.lit(None) if name is None else functions.col(identifier(name)))
            continue
        target = expected.to_spark()
        if name is None:
            found.append(functions.lit(None).cast(target))
            continue
        actual = frame.schema[name].dataType
        if actual.simpleString().partition("(")[0] not in _FITS[expected.name]:
            wrong.append(f"{name!r} is {actual.simpleString()}, the model takes {expected.name}")
        column = functions.col(identifier(name))
        found.append(column if actual == target else column.cast(target))
    if wrong:
        raise TableError(
            f"table: columns do not fit the signature of {uri!r}: {'; '.join(wrong)}. Cast them first, or name "
            "other columns in columns=."
        )
    return found


def _tensor_column(frame: DataFrame, name: str, dtype: str) -> Column:
    from pyspark.sql import functions
    from pyspark.sql.types import NumericType

    cast = {"float32": "float", "float64": "double", "int32": "int", "int64": "bigint"}.get(dtype)
    column = functions.col(identifier(name))
    return column.cast(cast) if cast and isinstance(frame.schema[name].dataType, NumericType) else column


def result_type(info: ModelInfo) -> DataType | None:
    """The Spark type of the predictions where MLflow's own choice does not fit: a tensor of one or two dimensions.

    MLflow counts the rows as a dimension of each row's result, and makes an array of one number, or an array of arrays
    that it then can't fill.
    """
    from mlflow.types.schema import DataType as MlflowType
    from pyspark.sql.types import ArrayType

    outputs = info.signature.outputs if info.signature else None
    if outputs is None or len(outputs.inputs) != 1 or not is_tensor(outputs.inputs[0]):
        return None
    shape = outputs.inputs[0].shape
    element = MlflowType.from_numpy_type(outputs.inputs[0].type)
    if element is None or len(shape) > 2:
        return None
    return element.to_spark() if len(shape) == 1 or shape[1] == 1 else ArrayType(element.to_spark())
