"""The Python on the pages of README and docs, as it stands there, between the local backends."""

import mlflow
import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LinearRegression, LogisticRegression
from tests.docs import python

from adbazureml import AzureMLWorkspace, Settings, promote, register, track
from adbazureml.tracking import flush

EXPERIMENT = "/Users/someone@example.com/folder/experiment"
LOCAL = 'name="", subscription_id="", resource_group=""'


@pytest.fixture(scope="module")
def patients(spark):
    """The tables that the pages name, in a database of their own; returned are rows of all columns."""
    before = spark.catalog.currentDatabase()
    spark.sql("CREATE DATABASE pages")
    spark.catalog.setCurrentDatabase("pages")
    generator = np.random.default_rng(3)
    numbers = {"age": generator.uniform(20, 80, 120), "bmi": generator.uniform(18, 40, 120)}
    rows = pd.DataFrame({"patient_id": np.arange(120), "sex": ["f", "m"] * 60, **numbers})
    rows["progression"] = rows["age"] + 3 * rows["bmi"] + generator.normal(size=120)
    rows["state"] = np.where(rows["progression"] > rows["progression"].median(), "ill", "well")
    tables = {
        "held_out_rows": [*rows],
        "diabetes_new": ["patient_id", "sex", "age", "bmi"],
        "diabetes_outcomes": ["patient_id", "progression"],
    }
    for name, columns in tables.items():
        spark.createDataFrame(rows[columns]).write.saveAsTable(name, format="delta")
    yield rows
    spark.catalog.setCurrentDatabase(before)
    spark.sql("DROP DATABASE pages CASCADE")


@pytest.fixture
def tracked(workspace, tmp_path, monkeypatch):
    """The pages' workspace and experiment, and a working directory."""
    monkeypatch.chdir(tmp_path)
    # What a model requires is guessed for so many seconds; a page does not say it, as a person would not.
    monkeypatch.setenv("MLFLOW_REQUIREMENTS_INFERENCE_TIMEOUT", "1")
    track(workspace)
    mlflow.set_experiment(EXPERIMENT)
    return workspace


@pytest.fixture
def fitted(patients, tracked):
    """Log a model of two columns, and register it."""

    def fit(estimator, label, name):
        rows = patients[["age", "bmi"]]
        with mlflow.start_run() as run:
            model = estimator.fit(rows, patients[label])
            mlflow.sklearn.log_model(model, name="model", input_example=rows.head(2), pip_requirements=["scikit-learn"])
        return run, model, register(run, name=name, workspace=tracked)

    return fit


# Scored, compared and joined, a dozen times over.
@pytest.mark.full
def test_from_a_run_to_its_end(fitted, patients, tracked, tmp_path, monkeypatch, spark):
    """The guides in the order of the walk, each going on where the one before ended."""
    settings = Settings(experiment=EXPERIMENT)
    run, model, first = fitted(LinearRegression(), "progression", settings.model_name)
    promote(first, workspace=tracked)
    run, model, _ = fitted(LinearRegression(), "progression", settings.model_name)
    names = {
        "mlflow": mlflow,
        "np": np,
        "settings": settings,
        "workspace": tracked,
        "run": run,
        "rows": patients[["age", "bmi"]],
        "held_out_rows": patients.assign(prediction=model.predict(patients[["age", "bmi"]])),
    }
    [registering] = python("registering")
    registering.run(names)
    version = names["version"]

    compare, costs, turn, approved, onward = python("champion")
    compare.run(names)
    assert names["verdict"].passed
    _, _, names["version"] = fitted(LogisticRegression(), "state", "states")
    names["max_cost"] = lambda labels, answers: float((labels != answers).max())
    costs.run(names)
    names["version"] = version
    turn.run(names)
    client = mlflow.MlflowClient()
    assert client.get_model_version_by_alias(settings.model_name, "champion").version == int(first.databricks)
    client.set_model_version_tag(version.name, version.databricks, "approval", "Approved")
    approved.run(names)
    with monkeypatch.context() as elsewhere:
        (tmp_path / "prod").mkdir()
        elsewhere.setenv("ADBAZUREML_HOME", str(tmp_path / "prod"))
        prod = AzureMLWorkspace.get(name="", subscription_id="", resource_group="")
    moved = register(run, name="dev.houses.prices", workspace=tracked)
    onward.run({**names, "version": moved, "dev": tracked, "prod": prod})

    scoring, stream = python("scoring")
    scoring.run(names)
    stream.run(names, {"3600": "1"})
    drift, own, labels = python("monitoring")
    drift.run(names)
    own.run(names, {'"the run that made the model"': repr(run.info.run_id), '"training_table"': '"held_out_rows"'})
    labels.run(names)
    assert spark.table("diabetes_predictions").count() > 0

    (tmp_path / "requests").mkdir()
    names["held_out_rows"].to_json(tmp_path / "requests" / "rows.json", orient="records", lines=True)
    python("deploying")[3].run({**names, "spark": lambda: spark}, {'"requests"': repr(str(tmp_path / "requests"))})

    catch_up, back, _, again = python("operations")
    catch_up.run(names)
    promote(version, workspace=tracked)
    back.run(names)
    again.run(names)
    assert spark.table("diabetes_predictions").where(f"model_version = '{version.databricks}'").count() == 120
    [cleaning_up] = python("cleaning-up")
    cleaning_up.run(names)
    assert {item.kind for item in names["found"].items} >= {"run", "model version"}


def test_tracking(tracked, patients):
    names = {"rows": patients, "model": LinearRegression().fit(patients[["age"]], patients["bmi"])}
    both, state, caught_up, alone = python("tracking")
    both.run(names, {'name="ml", subscription_id="…", resource_group="…"': LOCAL})
    with mlflow.start_run():
        mlflow.log_metric("loss", 0.5)
    for block in (state, caught_up, alone):
        block.run(names)


def test_the_article(fitted, patients, spark):
    names = {}
    both, alone, scored = python("article")
    both.run(
        names, {'name="workspace_name", subscription_id="subscription_id", resource_group="resource_group_name"': LOCAL}
    )
    fitted(LinearRegression(), "progression", "model_name")
    assert flush()
    blanks = {"table_name": "diabetes_new", "required_conditions": "bmi > 25", '"predictions"': '"of_the_article"'}
    scored.run(names, blanks)
    assert spark.table("of_the_article").count() == (patients["bmi"] > 25).sum()
    alone.run(names)


def test_a_table_and_a_model_of_ones_own(fitted, patients, spark, tmp_path):
    patients.to_csv(tmp_path / "houses.csv", index=False)
    table, own, _ = python("your-own-table")
    table.run({}, {"houses.csv": str(tmp_path / "houses.csv")})
    assert spark.table("houses").count() == len(patients)
    columns = patients[["age", "bmi"]]
    model = LinearRegression().fit(columns, patients["progression"])
    rows = spark.createDataFrame(columns.assign(prediction=model.predict(columns)))
    own.run({"model": model, "X": columns, "rows": rows})


# A server with an environment of its own.
@pytest.mark.full
def test_the_whole_walk_in_code(fitted, patients, spark):
    columns = patients[["age", "bmi"]]
    names = {"model": LinearRegression().fit(columns, patients["progression"]), "rows": columns}
    _, _, walk = python("your-own-table")
    walk.run(names)
    names["endpoint"].delete(confirm=names["endpoint"].name)


@pytest.mark.full
def test_the_readme(fitted, patients, tracked, spark):
    columns = patients[["age", "bmi"]]
    model = LinearRegression().fit(columns, patients["progression"])
    names = {"model": model, "rows": columns, "workspace": tracked}
    spark.createDataFrame(patients).write.saveAsTable("houses_new", format="delta", mode="overwrite")
    exec("import mlflow\nfrom adbazureml import *", names)
    [walk] = python("README")
    walk.run(names, {'label="price"': 'label="progression"'})
    names["endpoint"].delete(confirm=names["endpoint"].name)
