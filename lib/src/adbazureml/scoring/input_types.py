"""One rule for the types of a model's inputs: what a column of a table becomes, or that it is refused.

What MLflow's own enforcement takes is in `mlflow.models.utils._enforce_mlflow_datatype`. It sees pandas columns, and
takes whole numbers for floats only up to the first one beyond 0 and 1; so that no row depends on its neighbours, the
cast is made on Spark.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pyspark.sql.types import DataType

# Digits of a decimal that a type keeps: IEEE 754's FLT_DIG and DBL_DIG, and those of whole numbers.
_DECIMAL_DIGITS = {"integer": 9, "long": 18, "float": 6, "double": 15}
_KEPT = {
    "boolean": {"boolean"},
    "integer": {"boolean", "tinyint", "smallint", "int"},
    "long": {"boolean", "tinyint", "smallint", "int", "bigint"},
    "float": {"boolean", "tinyint", "smallint", "float"},
    "double": {"boolean", "tinyint", "smallint", "int", "float", "double"},
    "string": {"string", "char", "varchar"},
    "binary": {"binary"},
    "datetime": {"date", "timestamp", "timestamp_ntz"},
}
_ROUNDED = {"float": {"int", "bigint", "double", "decimal"}, "double": {"bigint", "decimal"}}
# pandas makes one type of the numbers in a struct, and Python's own of those in a map: MLflow then refuses these.
_LOST_INSIDE = {"integer", "long", "float", "datetime"}


class Fit(Enum):
    """What becomes of the values of a column: they stay what they are, are rounded to the nearest, or are refused."""

    KEPT = "kept"
    ROUNDED = "rounded"
    REFUSED = "refused"


def fit(given: DataType, wanted: str) -> Fit:
    """What becomes of a Spark type where the signature names an MLflow type of a column, such as ``double``."""
    from pyspark.sql.types import DecimalType

    if isinstance(given, DecimalType) and wanted in _DECIMAL_DIGITS:
        whole = wanted in {"integer", "long"}
        if given.precision <= _DECIMAL_DIGITS[wanted] and not (whole and given.scale):
            return Fit.KEPT
    name = given.simpleString().partition("(")[0]
    if name in _KEPT[wanted]:
        return Fit.KEPT
    return Fit.ROUNDED if name in _ROUNDED.get(wanted, ()) else Fit.REFUSED


def spark_type(given: DataType, wanted: Any) -> DataType:
    """The type to cast a column to that fits; its own where there is nothing to cast.

    Dates and times without a zone stay without one: the session's may lack that hour.
    """
    from mlflow.types.schema import DataType as MlflowType
    from pyspark.sql.types import DateType, TimestampNTZType

    if wanted is MlflowType.datetime:
        return TimestampNTZType() if isinstance(given, DateType) else given
    target: DataType = wanted.to_spark()
    return target


def lost_inside(wanted: Any) -> str:
    """The type in a struct or map of a signature whose values MLflow refuses as Spark hands them on; else empty."""
    from mlflow.types.schema import Array, Map, Object

    if isinstance(wanted, Array):
        return lost_inside(wanted.dtype)
    if isinstance(wanted, Map):
        inner = [wanted.value_type]
    elif isinstance(wanted, Object):
        inner = [one.dtype for one in wanted.properties]
    else:
        return ""
    for one in inner:
        scalar = one
        while isinstance(scalar, Array):
            scalar = scalar.dtype
        name = getattr(scalar, "name", "")
        if name in _LOST_INSIDE:
            return str(name)
        if found := lost_inside(scalar):
            return found
    return ""
