"""Notebooks, walks and jobs take turns in one warm JVM, which has room for one Spark context at a time."""

import pytest
from tests.warm_spark import WARM

from adbazureml import runtime


@pytest.fixture(autouse=True)
def turn(request):
    """What another process left behind goes before a test, unless the test's file has a session of its own."""
    if "spark" not in request.fixturenames:
        WARM.free()


@pytest.fixture(scope="module")
def spark(home):
    """A session in this process, for one file of tests."""
    WARM.free()
    session = runtime.spark()
    session.conf.set("spark.sql.codegen.wholeStage", "false")
    session.conf.set("spark.sql.codegen.factoryMode", "NO_CODEGEN")
    yield session
    session.stop()
