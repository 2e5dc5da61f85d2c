"""What is asked of scoring, refused before there is any Spark."""

import ast
from pathlib import Path

import mlflow
import pytest

from adbazureml import scoring
from adbazureml.errors import ScoringError, SettingsError
from adbazureml.scoring import score
from adbazureml.scoring.scoring_model import find_model

# Of classic Spark alone; serverless compute and Databricks Connect speak to Spark by Spark Connect.
CLASSIC = {"_jvm", "_jsc", "_jdf", "_jsparkSession", "_sc", "rdd", "sparkContext"}
HOW = {"table": "rows", "model": "models:/progression/1", "into": "predictions"}


@pytest.fixture
def store(tmp_path):
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(f"sqlite:///{tmp_path}/mlflow.db")
    yield
    mlflow.set_tracking_uri(before)


def test_a_mode_that_is_none():
    with pytest.raises(SettingsError, match="mode: 'all' is none; give 'incremental', 'full', 'stream' or 'backfill'"):
        score(**HOW, mode="all")


def test_changed_rows_are_not_backfilled():
    with pytest.raises(SettingsError, match="keys: mode 'backfill' is for tables whose rows are only ever added"):
        score(**HOW, mode="backfill", keys=["id"])


def test_what_serverless_compute_does_not_do(monkeypatch):
    monkeypatch.setenv("DATABRICKS_RUNTIME_VERSION", "18.0")
    monkeypatch.setenv("IS_SERVERLESS", "TRUE")
    with pytest.raises(SettingsError, match="mode: serverless compute runs no stream that goes on"):
        score(**HOW, mode="stream")
    with pytest.raises(SettingsError, match="keys: serverless compute"):
        score(**HOW, keys=["id"])


@pytest.mark.parametrize(
    ("uri", "said"),
    [
        ("models:/nobody/1", "can't be found"),
        ("models:/nobody@champion", "can't be found"),
        ("models:/m-0123456789abcdef", "can't be found"),
        ("runs:/0123456789abcdef0123456789abcdef/model", "can't be found"),
        ("models:/progression/latest", "names no one model for good"),
        ("models:/progression", "names no one model for good"),
        ("/some/folder", "names no one model for good"),
    ],
)
def test_models_that_are_not_there(store, uri, said):
    with pytest.raises(ScoringError, match=f"model: '{uri}' {said}") as error:
        _ = find_model(uri).info
    assert "\n" not in str(error.value)


def test_what_register_returns_names_a_version():
    class Registered:
        uri = "models:/progression/3"

    source = find_model(Registered())
    assert (source.name, source.version) == ("progression", "3")


def test_scoring_calls_nothing_that_spark_connect_lacks():
    found = [
        f"{path.name}:{node.lineno}: {node.attr}"
        for path in Path(scoring.__file__).parent.glob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute) and node.attr in CLASSIC
    ]
    assert found == []
