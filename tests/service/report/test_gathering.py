"""What a report reads of the two workspaces: runs, versions, champions, pictures; and what is missing or refused."""

from dataclasses import replace

import mlflow
import pandas as pd
import pytest
from matplotlib.figure import Figure

from adbazureml import Settings, promote, register, track, walk_report
from adbazureml.deployment.answer_comparison import Comparison
from adbazureml.tracking import flush
from adbazureml.tracking.run_description import tell_outcome


@pytest.fixture
def settings(workspace):
    track(workspace)
    found = Settings(experiment="/Users/ada@example.com/reported", training_table="reported")
    mlflow.set_experiment(found.experiment)
    return found


def test_runs_of_both_champions_and_pictures(settings, workspace, databricks, log_model, tmp_path, monkeypatch):
    report = walk_report(settings, workspace=workspace)
    assert (report.models, report.trained, report.validated, report.monitored) == ((), (), None, None)

    with mlflow.start_run(run_name="sklearn", description="By hand.") as trained:
        log_model()
        mlflow.log_metrics({"valid_mae": 40.0, "epoch_loss": 1.0})
    version = register(trained, name=settings.model_name, workspace=workspace)
    promote(version, workspace=workspace)
    checked = Comparison(table=pd.DataFrame({"endpoint": [1.0]}), largest_difference=0.0, calls=2, p50_ms=1, p99_ms=2)
    for _ in range(2):
        with mlflow.start_run(run_name="deploy", tags={"mlflow.note.content": "mine"} if _ else None):
            checked.log(endpoint="reported", model_uri=version.uri)
    with mlflow.start_run(run_name="score") as scoring:
        mlflow.log_figure(Figure(), "predictions.png")
        mlflow.log_figure(Figure(), "another.png")
        tell_outcome("score", "s" * 1001)
    assert flush(60)
    report = walk_report(settings, workspace=workspace)
    (model,) = report.models
    assert (model.name, model.agrees) == (settings.model_name, True)
    assert model.champion == f"Champion of {settings.model_name}: version 1 in Databricks, version 1 in Azure ML."
    (only,) = model.versions
    assert (only.number, only.is_champion, [title for title, _ in only.links]) == (
        "1",
        True,
        ["Databricks", "Azure ML"],
    )
    (run,) = report.trained
    assert (run.name, run.said, run.metrics, run.in_sync) == ("sklearn", "By hand.", {"valid_mae": 40.0}, True)
    assert [title for title, _ in run.links] == ["Databricks", "Azure ML"]
    assert report.deployed.said == "mine"
    assert report.deployed.metrics == {"compared_rows": 1, "largest_difference": 0, "p50_ms": 1, "p99_ms": 2}
    assert report.scored.said == "s" * 999 + "…"
    assert [picture.png[:4] for picture in report.scored.pictures] == [b"\x89PNG"]
    report.write(tmp_path / "report.html")
    with mlflow.start_run(run_id=scoring.info.run_id):
        report.log()
    assert mlflow.artifacts.load_text(f"{scoring.info.artifact_uri}/report.html") == (
        tmp_path / "report.html"
    ).read_text(encoding="utf-8")

    # A run that was deleted for good, and a registry that does not answer, leave the rest of the page as it is.
    databricks.set_model_version_tag(settings.model_name, "1", "adbazureml_run_id", "0" * 32)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    report = walk_report(settings, workspace=replace(workspace, registry_uri="http://127.0.0.1:9"))
    (model,) = report.models
    assert (model.agrees, report.trained, report.scored.name) == (False, (), "score")
    assert " refused to show the alias 'champion': " in report.next_steps()[0]
