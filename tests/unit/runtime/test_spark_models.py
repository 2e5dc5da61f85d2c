"""Where `mlflow.spark` puts a model on its way, for what a notebook's place allows."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from mlflow.environment_variables import MLFLOW_DFS_TMP

from adbazureml import runtime
from adbazureml.errors import EnvironmentNotReadyError
from adbazureml.runtime import spark_models

NEWER_PACKAGES = Path(sys.prefix) / "connect"
# At its end Spark's client would wait for its server.
TELL = """
import os
from adbazureml import errors, runtime
try:
    runtime.use_volume_for_spark_models(beside="main.prices.training")
except errors.EnvironmentNotReadyError as error:
    print(error, flush=True)
os._exit(0)
"""


class TestSparkModels:
    """MLflow refuses to save a Spark ML model on serverless compute unless MLFLOW_DFS_TMP names a volume."""

    @pytest.fixture
    def volumes(self, monkeypatch, tmp_path):
        monkeypatch.setattr(spark_models, "_VOLUMES", tmp_path)
        # So that what is set is taken back.
        monkeypatch.setenv("MLFLOW_DFS_TMP", "")
        monkeypatch.delenv("MLFLOW_DFS_TMP")
        return tmp_path

    @pytest.fixture
    def serverless(self, on_cluster, monkeypatch):
        monkeypatch.setenv("IS_SERVERLESS", "TRUE")

    def test_pass_through_the_volume_beside_the_table(self, volumes, serverless):
        folder = volumes / "main" / "my-prices" / "tmp"
        folder.mkdir(parents=True)
        assert runtime.use_volume_for_spark_models(beside="main.`my-prices`.training") == str(folder)
        assert MLFLOW_DFS_TMP.get() == str(folder)

    def test_a_volume_that_somebody_chose_is_kept(self, volumes, serverless, monkeypatch):
        monkeypatch.setenv("MLFLOW_DFS_TMP", f"{volumes}/main/other/folder")
        assert runtime.use_volume_for_spark_models(beside="main.prices.training") == f"{volumes}/main/other/folder"

    def test_a_volume_that_is_not_there_is_named(self, volumes, serverless):
        with pytest.raises(EnvironmentNotReadyError, match="`databricks volumes create main prices tmp MANAGED`"):
            runtime.use_volume_for_spark_models(beside="main.prices.training")
        assert "MLFLOW_DFS_TMP" not in os.environ

    @pytest.mark.parametrize("table", ["training", "prices.training"])
    def test_a_table_without_a_catalog_does_not_say_where(self, volumes, serverless, table):
        with pytest.raises(EnvironmentNotReadyError, match="name the table with catalog and schema"):
            runtime.use_volume_for_spark_models(beside=table)

    def test_a_local_machine_needs_none(self, volumes):
        assert runtime.use_volume_for_spark_models(beside="training") == ""
        assert "MLFLOW_DFS_TMP" not in os.environ

    @pytest.mark.service
    def test_a_cluster_of_standard_access_speaks_spark_connect(self):
        """A client of no server, which is asked for nothing."""
        if not (NEWER_PACKAGES / "zstandard").is_dir():
            pytest.skip("needs the packages of requirements-connect.txt; `make test` fetches them")
        with socket.socket() as closed:
            closed.bind(("127.0.0.1", 0))
            remote = f"sc://127.0.0.1:{closed.getsockname()[1]}"
            paths = ":".join([str(NEWER_PACKAGES), os.environ["PYTHONPATH"]])
            given = {"SPARK_REMOTE": remote, "PYTHONPATH": paths, "DATABRICKS_RUNTIME_VERSION": "18.0"}
            command = [sys.executable, "-c", TELL]
            done = subprocess.run(
                command, env={**os.environ, **given}, check=True, capture_output=True, text=True, timeout=120
            )
        assert done.stdout.startswith("Spark ML models pass through the volume /Volumes/main/prices/tmp"), done.stderr
