"""A team's own table, of which the notebooks know name and label only; and its own notebook in the place of 03."""

from importlib.util import find_spec

import mlflow
import numpy as np
import pandas as pd
import pytest
from mlflow.models import infer_signature
from tests.bundle import NOTEBOOKS, cells

from adbazureml import Settings, hand_on, model_requirements, profile, runtime, track

TABLE = "own_rows"
FEATURES = ["age", "income"]
REST = ("05_validate", "06_deploy", "07_batch_score", "08_monitor")


def needs(package):
    if find_spec(package) is None:
        pytest.skip("needs the packages of requirements-flavours.txt; `make test` installs them")


def log_xgboost(rows, **options):
    needs("xgboost")
    import xgboost

    model = xgboost.XGBRegressor(n_estimators=5).fit(rows[FEATURES], rows["spent"])
    pins = model_requirements("xgboost", "scikit-learn")
    predicted = model.predict(rows[FEATURES])
    mlflow.xgboost.log_model(
        model, name="model", signature=infer_signature(rows[FEATURES], predicted), pip_requirements=pins, **options
    )
    return predicted


def log_lightgbm(rows, **options):
    needs("lightgbm")
    import lightgbm

    model = lightgbm.LGBMClassifier(n_estimators=5, verbose=-1).fit(rows[FEATURES], rows["spent"] > 100)
    pins = model_requirements("lightgbm", "scikit-learn")
    predicted = model.predict(rows[FEATURES])
    mlflow.lightgbm.log_model(
        model, name="model", signature=infer_signature(rows[FEATURES], predicted), pip_requirements=pins, **options
    )
    return predicted


def log_pyfunc(rows, **options):
    # Not a class of this module, which the endpoint's environment has not: a class of a function goes with the model.
    class Doubling(mlflow.pyfunc.PythonModel):
        def predict(self, context, model_input, params=None):
            return model_input["income"].to_numpy() * 2

    predicted = rows["income"].to_numpy() * 2
    mlflow.pyfunc.log_model(
        name="model",
        python_model=Doubling(),
        signature=infer_signature(rows[FEATURES], predicted),
        pip_requirements=model_requirements("pandas"),
        **options,
    )
    return predicted


def run(notebook):
    """Run a notebook's cells and return its namespace."""
    (path,) = (path for path in NOTEBOOKS if path.stem == notebook)
    names = {}
    for source in cells(path):
        exec(compile(source, notebook, "exec"), names)
    return names


def test_a_table_with_text_gaps_and_odd_names_needs_its_name_and_its_label(spark, workspace, monkeypatch, capsys):
    rng = np.random.default_rng(0)
    size = rng.uniform(20, 180, 120)
    frame = pd.DataFrame(
        {
            "id": range(120),
            "floor area (m²)": size,
            "city, part": rng.choice(["Bern", "Genf"], 120),
            "lift": rng.random(120) < 0.5,
            "let.how": np.where(size > 100, "slow", "fast"),
        }
    )
    table = "2026_lettings"
    columns = {name: f"IF(id % 11 = {place}, NULL, `{name}`)" for place, name in enumerate(frame.columns[1:])}
    spark.createDataFrame(frame).selectExpr(
        "id", *(f"{made} AS `{name}`" for name, made in columns.items()), "DATE '2026-01-01' + CAST(id AS INT) AS since"
    ).write.option("delta.columnMapping.mode", "name").saveAsTable(f"`{table}`", format="delta")
    monkeypatch.setenv("ADBAZUREML_TRAINING_TABLE", table)
    monkeypatch.setenv("ADBAZUREML_LABEL_COLUMN", "let.how")
    monkeypatch.setenv("ADBAZUREML_EPOCHS", "5")
    try:
        names = {notebook: run(notebook) for notebook in ("03_train_and_log", "04_register", *REST)}
        said = capsys.readouterr().out
        assert "task: classification of 'let.how', because it holds text" in said
        assert "left out 'since': a date" in said
        assert "left out rows: 11 without a label" in said
        for kind in ("run", "spark_run"):
            metrics = mlflow.get_run(names["03_train_and_log"][kind].info.run_id).data.metrics
            assert {"valid_accuracy", "valid_log_loss", "valid_roc_auc"} <= set(metrics)
        history = mlflow.MlflowClient().get_metric_history(names["03_train_and_log"]["run"].info.run_id, "epoch_loss")
        assert len(history) == 5
        scored = spark.table(f"`{table}_predictions`").toPandas()
        assert (len(scored), set(scored["prediction"])) == (120, {"fast", "slow"})
        assert set(scored["model_uri"]) == {f"models:/adbazureml_{table}/1"}
        compared = {column.column for column in names["08_monitor"]["report"].columns}
        assert compared == {"floor area (m²)", "city, part", "lift", "prediction"}
    finally:
        for name in (table, f"{table}_predictions"):
            runtime.drop_table(name)


@pytest.fixture
def rows(spark, monkeypatch):
    """A table that the environment names, and nothing else."""
    rng = np.random.default_rng(0)
    rows = pd.DataFrame({"age": rng.integers(18, 90, 80), "income": rng.uniform(20, 90, 80)})
    rows["spent"] = rows["income"] * 2 - rows["age"] / 10
    spark.createDataFrame(rows).write.mode("overwrite").saveAsTable(TABLE, format="delta")
    monkeypatch.setenv("ADBAZUREML_TRAINING_TABLE", TABLE)
    monkeypatch.setenv("ADBAZUREML_LABEL_COLUMN", "spent")
    yield rows
    for table in (TABLE, f"{TABLE}_predictions"):
        runtime.drop_table(table)


@pytest.mark.parametrize(
    ("log", "notebooks"),
    [
        pytest.param(
            log_xgboost, ["04_register", "05_validate", "07_batch_score", "08_monitor"], marks=pytest.mark.full
        ),
        pytest.param(
            log_lightgbm, ["04_register", "05_validate", "07_batch_score", "08_monitor"], marks=pytest.mark.full
        ),
        # An endpoint needs an environment with what the model requires: nothing to be fetched for this one.
        pytest.param(log_pyfunc, ["04_register", *REST], marks=pytest.mark.full),
    ],
)
def test_a_model_of_any_flavour_goes_through_the_notebooks_that_follow(
    spark, workspace, databricks, azureml, rows, log, notebooks
):
    settings = Settings.from_notebook()
    track(workspace)
    mlflow.set_experiment(settings.experiment_name)
    with mlflow.start_run(run_name="the team's own") as own:
        predicted = log(rows, input_example=rows[FEATURES].head(3))
        profile(spark.createDataFrame(rows[FEATURES].assign(prediction=predicted))).log()
    hand_on(run_id=own.info.run_id, spark_run_id="")

    names = {notebook: run(notebook) for notebook in notebooks}

    for client in (databricks, azureml):
        assert [model.name for model in client.search_registered_models()] == [f"adbazureml_{TABLE}"]
    (version,) = databricks.search_model_versions(f"name = 'adbazureml_{TABLE}'")
    assert version.run_id == own.info.run_id
    scored = spark.table(f"{TABLE}_predictions").toPandas().sort_values("income")
    expected = rows.assign(prediction=predicted).sort_values("income")
    assert np.allclose(scored["prediction"].astype(float), expected["prediction"].astype(float), rtol=1e-5)
    assert names["08_monitor"]["report"].drifted == ()
