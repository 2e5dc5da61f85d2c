"""Which failures of a model set a row aside, and which stop the batch."""

import errno
from concurrent.futures import BrokenExecutor

import mlflow
import pandas as pd
import pytest
from mlflow.exceptions import MlflowException
from mlflow.models import ModelSignature, get_model_info
from mlflow.types.schema import ColSpec, Schema
from pyspark.sql.types import DoubleType

from adbazureml.errors import ScoringError
from adbazureml.scoring.model_errors import is_of_environment, telling_part
from adbazureml.scoring.rejected_rows import row_rejecting_model
from adbazureml.scoring.source_table import explain_error


class Moody(mlflow.pyfunc.PythonModel):
    """Doubles `x`. It takes no 13, needs a module for 7 and a server for 8, and is broken by 9."""

    broken = False

    def predict(self, context, model_input):
        x = set(model_input["x"])
        if 7 in x:
            import a_module_that_is_not_here  # noqa: F401
        if 8 in x:
            raise ValueError("no features for 8") from ConnectionRefusedError("nobody listens")
        self.broken = self.broken or 9 in x
        if self.broken:
            raise RuntimeError("the device is lost")
        if 13 in x:
            raise ValueError("13 is not for me")
        return model_input["x"] * 2


@pytest.fixture
def rejecting(tmp_path):
    """A model that tells of each row whether it takes it, with or without an input example."""
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(f"sqlite:///{tmp_path}/mlflow.db")

    def make(example=None):
        signature = ModelSignature(Schema([ColSpec("double", "x"), ColSpec("long", "n")]), Schema([ColSpec("double")]))
        path = str(tmp_path / "moody")
        mlflow.pyfunc.save_model(
            path,
            python_model=Moody(),
            signature=signature,
            input_example=example,
            pip_requirements=["mlflow"],
        )
        folder, _ = row_rejecting_model(get_model_info(path), path, DoubleType())
        return mlflow.pyfunc.load_model(folder)

    yield make
    mlflow.set_tracking_uri(before)


def rows(*values, n=None):
    return pd.DataFrame({"x": [float(value) for value in values], "n": n or [1] * len(values)})


def test_a_row_that_is_wrong_is_set_aside(rejecting):
    found = rejecting().predict(rows(1, 13, 3, n=[1, 2, None]))
    assert list(found["value"]) == [[2.0], [], []]
    assert found["rejected"][1] == "ValueError: 13 is not for me"
    # The part that helps, without MLflow's copy of rows and signature before it.
    assert found["rejected"][2].startswith("MlflowException: Incompatible input types for column n.")


@pytest.mark.parametrize(
    ("value", "error", "said"), [(7, ImportError, "a_module_that_is_not_here"), (8, ValueError, "no features for 8")]
)
def test_what_the_environment_lacks_sets_no_row_aside(rejecting, value, error, said):
    with pytest.raises(error, match=said):
        rejecting().predict(rows(1, value, 13))


def test_what_a_row_meets_that_was_taken_before_sets_none_aside(rejecting):
    model = rejecting()
    assert list(model.predict(rows(1))["rejected"]) == [""]
    with pytest.raises(ScoringError, match=r"No row was set aside.*RuntimeError: the device is lost"):
        model.predict(rows(9))


def test_what_the_input_example_meets_sets_none_aside(rejecting):
    with pytest.raises(ScoringError, match="the device is lost"):
        rejecting(example=rows(1)).predict(rows(13, 9))


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (ModuleNotFoundError("x"), True),
        (MemoryError(), True),
        (TimeoutError(), True),
        (BrokenExecutor(), True),
        (OSError(errno.ENOSPC, "no space"), True),
        (OSError("cannot identify image file"), False),
        (FileNotFoundError(errno.ENOENT, "a row names it"), False),
        (ValueError("NaN"), False),
    ],
)
def test_errors_of_the_environment(error, expected):
    assert is_of_environment(error) is expected
    outer = RuntimeError("the model failed")
    outer.__context__, outer.__suppress_context__ = error, True
    assert is_of_environment(outer) is expected


def test_the_part_that_tells_is_kept_of_many_lines():
    said = (
        "Failed to enforce schema of data '     x\n0  it's' with schema '['x': double (required)]'. Error: "
        "Incompatible input types for column x."
    )
    assert telling_part(said) == "Incompatible input types for column x."
    assert explain_error(MlflowException(said)) == "Incompatible input types for column x"
    assert telling_part("13 is not for me") == "13 is not for me"
