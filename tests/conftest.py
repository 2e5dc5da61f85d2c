"""What every test may ask for: a folder of its own for the local stand-ins, and one Spark session for all."""

import os

import pytest

from adbazureml import runtime


@pytest.fixture(scope="session", autouse=True)
def home(tmp_path_factory):
    """The folder of the local stand-ins, for the whole test run; no parameter leaks in from outside."""
    for variable in list(os.environ):
        if variable.startswith(("ADBAZUREML_", "MLFLOW_", "DATABRICKS_")):
            del os.environ[variable]
    folder = tmp_path_factory.mktemp("home")
    os.environ[runtime.HOME_VARIABLE] = str(folder)
    return folder


@pytest.fixture(scope="session")
def spark(home):
    """The local Spark session with Delta Lake, one for all tests.

    >>> def test_rows(spark):
    ...     spark.range(3).write.saveAsTable("three", format="delta")
    ...     assert spark.table("three").count() == 3
    """
    session = runtime.spark()
    yield session
    session.stop()
