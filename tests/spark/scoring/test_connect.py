"""Scoring through Spark Connect, as serverless compute has it: a real server, and a client that has no JVM."""

import importlib.metadata
import json
import os
import re
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pyspark
import pytest

from adbazureml.runtime.local_spark import _SMALL_MACHINE

HERE = Path(__file__).parent
NEWER_PACKAGES = Path(sys.prefix) / "connect"
STARTED = re.compile(r"Spark Connect server started at: \S+:(\d+)")


@pytest.fixture(scope="module")
def environment(home):
    """Of server and client: the packages that Apache's client asks for come first."""
    if not (NEWER_PACKAGES / "zstandard").is_dir():
        pytest.skip("needs the packages of requirements-connect.txt; `make test` fetches them")
    paths = [str(NEWER_PACKAGES), os.environ["PYTHONPATH"]]
    spark_home = str(Path(pyspark.__file__).parent)
    return {**os.environ, "PYTHONPATH": ":".join(paths), "PYSPARK_PYTHON": sys.executable, "SPARK_HOME": spark_home}


@pytest.fixture(scope="module")
def server(environment, tmp_path_factory):
    """The address of a Spark Connect server with Delta Lake."""
    folder = tmp_path_factory.mktemp("server")
    delta = importlib.metadata.version("delta-spark")
    settings = {
        **_SMALL_MACHINE,
        "spark.driver.memory": "1g",
        "spark.jars.packages": f"io.delta:delta-spark_{delta.rpartition('.')[0]}_2.13:{delta}",
        "spark.sql.warehouse.dir": str(folder / "warehouse"),
        "spark.connect.grpc.binding.address": "127.0.0.1",
        "spark.connect.grpc.binding.port": "0",
    }
    command = [f"{environment['SPARK_HOME']}/bin/spark-submit"]
    command += ["--class", "org.apache.spark.sql.connect.service.SparkConnectServer"]
    for name, value in settings.items():
        command += ["--conf", f"{name}={value}"]
    log = folder / "log"
    with log.open("wb") as file:
        process = subprocess.Popen(
            [*command, "spark-internal"],
            env=environment,
            cwd=folder,
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        deadline = time.monotonic() + 180
        while not (found := STARTED.search(log.read_text())):
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline
            time.sleep(0.2)
        yield f"sc://127.0.0.1:{found[1]}"
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


# A second JVM; tests/unit/scoring holds that scoring calls nothing that Spark Connect lacks.
@pytest.mark.full
@pytest.mark.timeout(900)
def test_a_table_scored_through_a_server(environment, server, store):
    done = subprocess.run(
        [sys.executable, str(HERE / "connect_job.py"), server, store],
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        timeout=800,
    )
    seen = json.loads(done.stdout.splitlines()[-1])
    assert seen == {
        "first": 2,
        "grown": 1,
        "full": 3,
        "streamed": 1,
        "frame": [1, 2, 3, 4],
        "rejected": "ValueError: 13 is not for me",
        "failed": True,
        "held": [[1, 2], [2, 4], [3, 6], [4, 8]],
    }
