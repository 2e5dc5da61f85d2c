"""What becomes of each type of column for each type of input, as docs/scoring.md tells, and as MLflow takes it."""

import re

import numpy as np
import pandas as pd
import pytest
from mlflow.exceptions import MlflowException
from mlflow.models.utils import _enforce_schema
from mlflow.types.schema import Array, ColSpec, DataType, Map, Object, Property, Schema
from pyspark.sql import types
from tests.bundle import ROOT

from adbazureml.scoring.input_types import Fit, fit, lost_inside, spark_type

GIVEN = {
    "boolean": types.BooleanType(),
    "tinyint": types.ByteType(),
    "smallint": types.ShortType(),
    "int": types.IntegerType(),
    "bigint": types.LongType(),
    "float": types.FloatType(),
    "double": types.DoubleType(),
    "decimal(6,2)": types.DecimalType(6, 2),
    "decimal(9,0)": types.DecimalType(9, 0),
    "decimal(15,2)": types.DecimalType(15, 2),
    "decimal(18,0)": types.DecimalType(18, 0),
    "decimal(20,2)": types.DecimalType(20, 2),
    "string": types.StringType(),
    "char": types.CharType(3),
    "varchar": types.VarcharType(3),
    "binary": types.BinaryType(),
    "date": types.DateType(),
    "timestamp": types.TimestampType(),
    "timestamp_ntz": types.TimestampNTZType(),
}


def documented():
    """The table of docs/scoring.md: for each type of input, what stays as it is and what is rounded."""
    text = (ROOT / "docs" / "scoring.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)` \| (.+) \| (.+) \|$", text.partition("## Types")[2], flags=re.M)
    return {name: (set(re.findall(r"`([^`]+)`", kept)), set(re.findall(r"`([^`]+)`", off))) for name, kept, off in rows}


@pytest.mark.parametrize("wanted", [one.name for one in DataType])
def test_the_table_of_the_documentation_is_the_rule(wanted):
    found = {how: {name for name, kind in GIVEN.items() if fit(kind, wanted) is how} for how in Fit}
    assert documented()[wanted] == (found[Fit.KEPT], found[Fit.ROUNDED])


NUMPY = {
    "boolean": np.array([True, False]),
    "integer": np.array([1, -(2**31)], dtype=np.int32),
    "long": np.array([1, 2**62]),
    "float": np.array([1.5, np.nan], dtype=np.float32),
    "double": np.array([1.5, np.nan]),
    "string": np.array(["a", None], dtype=object),
    "binary": np.array([b"a", None], dtype=object),
    "datetime": np.array(["2026-01-31", "NaT"], dtype="datetime64[ns]"),
}


@pytest.mark.parametrize("wanted", NUMPY)
def test_mlflow_takes_what_the_cast_makes(wanted):
    """Of each type in the table Spark hands on the same one: that of the signature."""
    kept = [kind for kind in GIVEN.values() if fit(kind, wanted) is not Fit.REFUSED]
    assert {spark_type(kind, DataType[wanted]) for kind in kept} <= {
        DataType[wanted].to_spark(),
        types.TimestampNTZType(),
    }
    rows = pd.DataFrame({"x": NUMPY[wanted]})
    pd.testing.assert_frame_equal(_enforce_schema(rows, Schema([ColSpec(wanted, "x")])), rows)


@pytest.mark.parametrize("kind", ["integer", "long", "float", "datetime"])
def test_what_mlflow_refuses_inside_a_struct_is_known(kind):
    inside = Object([Property("a", DataType[kind]), Property("b", DataType.double)])
    value = pd.Timestamp("2026-01-31") if kind == "datetime" else 1
    # As MLflow's Spark function makes a column of dictionaries of a struct.
    struct = pd.DataFrame({"a": [value], "b": [1.5]}).apply(lambda row: row.to_dict(), axis=1)
    with pytest.raises(MlflowException, match="Failed to enforce schema for key `a`"):
        _enforce_schema(pd.DataFrame({"x": struct}), Schema([ColSpec(inside, "x")]))
    assert lost_inside(inside) == kind
    assert lost_inside(Array(Object([Property("c", Array(inside))]))) == kind
    assert lost_inside(Map(DataType[kind])) == kind


@pytest.mark.parametrize(
    "taken",
    [
        DataType.integer,
        Array(DataType.integer),
        Array(Array(DataType.float)),
        Object([Property("a", DataType.double), Property("b", DataType.string)]),
        Map(Array(DataType.boolean)),
    ],
)
def test_what_is_taken(taken):
    assert lost_inside(taken) == ""
