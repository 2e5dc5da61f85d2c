"""A pytest plug-in: one warm JVM for every notebook and walk of a run, each of which is a process of its own.

A process that finds PySpark's own variables for a gateway talks to the JVM there instead of starting one; it gets a
Spark context of its own all the same. Starting a JVM, loading Spark's and Delta's classes and compiling them takes
longer than all that a notebook does with them.
"""

from __future__ import annotations

import os
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from adbazureml import runtime

VARIABLES = ("PYSPARK_GATEWAY_PORT", "PYSPARK_GATEWAY_SECRET")


class WarmSpark:
    """The JVM, and whose turn it is."""

    def __init__(self) -> None:
        self._jvm = None

    def start(self) -> None:
        """Start the JVM, and leave it without a context."""
        from pyspark import SparkContext

        with pytest.MonkeyPatch.context() as patch, TemporaryDirectory() as elsewhere:
            # Its command line names no folder that a test looks for.
            patch.setenv(runtime.HOME_VARIABLE, elsewhere)
            session = runtime.spark()
            # The first table takes longer than all later ones.
            session.range(1).write.saveAsTable("first", format="delta")
            session.stop()
        parameters = SparkContext._gateway.gateway_parameters
        self._jvm = SparkContext._jvm
        os.environ.update(zip(VARIABLES, (str(parameters.port), parameters.auth_token), strict=True))

    def free(self) -> None:
        """Stop the context that the last process left behind: a JVM has one at a time."""
        if self._jvm is None:
            return
        spark, sessions = self._jvm.org.apache.spark, self._jvm.org.apache.spark.sql.classic.SparkSession
        active = getattr(getattr(spark, "SparkContext$"), "MODULE$").getActive()
        if active.isDefined():
            active.get().stop()
        sessions.clearActiveSession()
        sessions.clearDefaultSession()


WARM = WarmSpark()
# Where the notebooks ran that were collected as tests of their own.
HOME = Path(os.environ.get(runtime.HOME_VARIABLE, ""))


def pytest_collection_finish(session: pytest.Session) -> None:
    """Start it where there is something to run."""
    if session.items and not session.config.option.collectonly:
        WARM.start()


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    """After the last cell of a notebook, the next process may have its context."""
    if item.path.suffix == ".ipynb" and (nextitem is None or nextitem.path != item.path):
        WARM.free()
