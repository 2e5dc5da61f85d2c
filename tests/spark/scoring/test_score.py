"""Scoring tables with real models from a real MLflow store: the rows in the table, seen from outside."""

from concurrent.futures import ThreadPoolExecutor

import mlflow
import numpy as np
import pandas as pd
import pytest
from mlflow import MlflowClient
from mlflow.models import ModelSignature, infer_signature
from mlflow.types.schema import Array, ColSpec, DataType, Schema
from pyspark.ml import Pipeline
from pyspark.ml.classification import LogisticRegression as SparkLogisticRegression
from pyspark.ml.feature import VectorAssembler
from pyspark.ml.regression import LinearRegression as SparkLinearRegression
from pyspark.sql import functions
from sklearn.linear_model import LinearRegression, LogisticRegression

from adbazureml import runtime
from adbazureml.errors import ScoringError, TableError
from adbazureml.scoring import predict, score

# Without requirements given, MLflow finds them out in a process of its own: nine seconds a model.
PLAIN = {"pip_requirements": ["mlflow"]}
FEATURES = ["age", "bmi"]


class Telling(mlflow.pyfunc.PythonModel):
    """Says what it was given."""

    def predict(self, context, model_input):
        kinds = {name: str(model_input[name].dtype) for name in model_input}
        return [f"{kinds} {model_input.iloc[0].to_dict()}"] * len(model_input)


class Failing(mlflow.pyfunc.PythonModel):
    def predict(self, context, model_input):
        raise ValueError("cannot score this")


@pytest.fixture(scope="module")
def patients():
    rng = np.random.default_rng(3)
    frame = pd.DataFrame({"age": rng.integers(20, 80, 60).astype(float), "bmi": rng.normal(27, 4, 60)})
    frame["id"] = np.arange(60)
    frame["day"] = np.where(frame["id"] < 40, "2026-11-22", "2026-11-23")
    frame["target"] = frame["age"] - 2 * frame["bmi"]
    return frame


@pytest.fixture(scope="module")
def features(spark, patients):
    spark.createDataFrame(patients).write.saveAsTable("features", format="delta")
    return "features"


@pytest.fixture(scope="module")
def sklearn_models(patients):
    """Two versions of one registered model that differ, the first one also under an alias."""
    models = []
    for flip in (1, -1):
        model = LinearRegression().fit(patients[FEATURES], flip * patients["target"])
        signature = infer_signature(patients[FEATURES], model.predict(patients[FEATURES]).astype(float))
        # Plain columns out, as autologging of data frames has it.
        signature = ModelSignature(signature.inputs, Schema([ColSpec("double")]))
        with mlflow.start_run():
            mlflow.sklearn.log_model(
                model, name="model", signature=signature, registered_model_name="progression", **PLAIN
            )
        models.append(model)
    MlflowClient().set_registered_model_alias("progression", "champion", "1")
    return models


@pytest.fixture(scope="module")
def spark_model(spark, patients, tmp_path_factory):
    """A Spark ML pipeline of a vector and a regression, registered."""
    model = Pipeline(
        stages=[
            VectorAssembler(inputCols=FEATURES, outputCol="features"),
            SparkLinearRegression(featuresCol="features", labelCol="target"),
        ]
    ).fit(spark.createDataFrame(patients))
    signature = ModelSignature(
        Schema([ColSpec("double", name) for name in FEATURES]), Schema([ColSpec("double", "prediction")])
    )
    with mlflow.start_run():
        mlflow.spark.log_model(
            model,
            artifact_path="model",
            signature=signature,
            registered_model_name="progression_spark",
            dfs_tmpdir=str(tmp_path_factory.mktemp("dfs")),
            **PLAIN,
        )
    return model


def _rows(spark, table, uri=None):
    frame = spark.table(table).toPandas()
    if uri:
        frame = frame[frame["model_uri"] == uri]
    return frame.sort_values("id").reset_index(drop=True)


def test_a_table_holds_the_models_own_predictions(spark, features, sklearn_models, patients, into):
    done = score(table=features, where="day = '2026-11-23'", model="models:/progression/1", into=into)
    expected = patients[patients["day"] == "2026-11-23"].reset_index(drop=True)
    found = _rows(spark, into)
    pd.testing.assert_frame_equal(found[list(expected.columns)], expected, check_dtype=False)
    assert np.allclose(found["prediction"], sklearn_models[0].predict(expected[FEATURES]))
    assert set(found["model_name"]) == {"progression"}
    assert set(found["model_version"]) == {"1"}
    assert set(found["model_uri"]) == {"models:/progression/1"}
    assert found["scored_at"].nunique() == 1
    assert (done.table, done.into, done.rows) == (features, into, 20)
    assert done.rows_per_second == pytest.approx(20 / done.seconds)
    assert "<td>20</td>" in done._repr_html_()


def test_versions_side_by_side_and_nothing_doubled(spark, features, sklearn_models, patients, into):
    for model in ("models:/progression@champion", "models:/progression/2", "models:/progression@champion"):
        assert score(table=features, model=model, into=into, mode="full").rows == 60
    for version, model in enumerate(sklearn_models, start=1):
        found = _rows(spark, into, f"models:/progression/{version}")
        assert list(found["id"]) == list(range(60))
        assert np.allclose(found["prediction"], model.predict(patients[FEATURES]))
    assert spark.table(into).count() == 120
    # Each full scoring was one transaction.
    written = spark.sql(f"DESCRIBE HISTORY {into}").where("operationMetrics.numOutputRows > 0")
    assert [row["operationMetrics"]["numOutputRows"] for row in written.collect()] == ["60"] * 3
    # A smaller window replaces all that this version had.
    assert score(table=features, where="id < 5", model="models:/progression/2", into=into, mode="full").rows == 5
    assert spark.table(into).count() == 65


def test_two_models_at_the_same_time(spark, features, sklearn_models, into):
    runs = [MlflowClient().get_model_version("progression", version).run_id for version in ("1", "2")]
    with ThreadPoolExecutor(2) as pool:
        done = list(pool.map(lambda run: score(table=features, model=f"runs:/{run}/model", into=into), runs))
    assert [one.rows for one in done] == [60, 60]
    assert spark.table(into).groupBy("model_uri").count().toPandas()["count"].tolist() == [60, 60]


def test_a_spark_ml_model(spark, features, spark_model, patients, into):
    # A column named like one that the pipeline makes must not stop it.
    frame = spark.table(features).selectExpr("*", "'kept' AS features", "id AS prediction")
    done = score(table=frame, mode="full", model="models:/progression_spark/1", target_column="predicted", into=into)
    found = _rows(spark, into)
    own = spark_model.transform(spark.createDataFrame(patients)).toPandas()["prediction"]
    assert np.allclose(found["predicted"], own)
    assert set(found["features"]) == {"kept"}
    assert list(found["prediction"]) == list(found["id"])
    assert done.table == "the DataFrame"
    assert set(found["model_name"]) == {"progression_spark"}
    # What the signature calls age and bmi, under other names and in whole numbers.
    other = spark.createDataFrame([(50, 25)], "years int, index long")
    row = predict(other, model="models:/progression_spark/1", columns=["years", "index"]).first()
    assert row["prediction"] == pytest.approx(50 - 2 * 25, abs=1e-6)


def test_runs_and_logged_models(spark, features, sklearn_models, into):
    run = mlflow.get_run(MlflowClient().get_model_version("progression", "1").run_id)
    (logged,) = run.outputs.model_outputs
    for uri, name in (
        (f"runs:/{run.info.run_id}/model", run.info.run_id),
        (f"models:/{logged.model_id}", logged.model_id),
    ):
        score(table=features, model=uri, into=into)
        found = _rows(spark, into, uri)
        assert len(found) == 60
        assert set(found["model_name"]) == {name}
        assert set(found["model_version"]) == {None}


def test_types_and_columns_by_name_whatever_their_order_and_case(spark, sklearn_models):
    frame = spark.createDataFrame([(30, "x", 50)], "BMI int, other string, Age long")
    row = predict(frame, model="models:/progression/1").first()
    assert row.asDict() == {"BMI": 30, "other": "x", "Age": 50, "prediction": pytest.approx(-10.0)}
    with pytest.raises(TableError, match="'age' is array<int>, the model takes double; 'BMI' is string"):
        predict(spark.createDataFrame([("1", [1])], "BMI string, age array<int>"), model="models:/progression/1")
    with pytest.raises(TableError, match=r"needs 'age', 'bmi', which the rows to score lack; they have 'a'\."):
        predict(spark.createDataFrame([(1,)], "a int"), model="models:/progression/1")
    with pytest.raises(TableError, match=r"columns: 1 given, .* takes 2, in this order"):
        predict(frame, model="models:/progression/1", columns=["BMI"])


def test_what_becomes_of_types_and_of_optional_inputs(spark, caplog):
    inputs = [
        ColSpec("float", "price"),
        ColSpec("double", "exact"),
        ColSpec("datetime", "day"),
        ColSpec("datetime", "gap"),
        ColSpec(Array(DataType.float), "list"),
        ColSpec("long", "count", required=False),
        ColSpec("double", "weight", required=False),
    ]
    uri = mlflow.pyfunc.log_model(
        python_model=Telling(),
        name="model",
        signature=ModelSignature(Schema(inputs), Schema([ColSpec("string")])),
        **PLAIN,
    ).model_uri
    frame = spark.sql(
        "SELECT 0.1D AS price, 12.50BD AS exact, DATE '2026-03-29' AS day, "
        "TIMESTAMP_NTZ '2026-03-29 02:30:00' AS gap, array(0.5D) AS list"
    )
    said = predict(frame, model=uri).first()["prediction"]
    assert "'price': 'float32'" in said
    assert "'exact': 12.5, 'day': Timestamp('2026-03-29 00:00:00'), 'gap': Timestamp('2026-03-29 02:30:00')" in said
    assert "array([0.5], dtype=float32)" in said
    assert "count" not in said
    assert "'weight': nan" in said
    assert "'price' is double and the model takes float" in caplog.text
    with pytest.raises(TableError, match=r"'list' is array<string>, the model takes array<float>"):
        predict(frame.withColumn("list", functions.array(functions.lit("a"))), model=uri)


def test_models_without_names_take_columns_by_position(spark, patients):
    matrix = patients[FEATURES].to_numpy().astype("float32")
    arrays = LinearRegression().fit(matrix, patients["target"])
    named = LinearRegression().fit(patients[FEATURES], patients["target"])
    frame = spark.createDataFrame(patients[["bmi", "age", "id"]])
    for model, signature in ((arrays, infer_signature(matrix, arrays.predict(matrix))), (named, None)):
        uri = mlflow.sklearn.log_model(model, name="model", signature=signature, **PLAIN).model_uri
        with pytest.raises(ScoringError, match="no signature with named inputs; give columns="):
            predict(frame, model=uri)
        found = predict(frame, model=uri, columns=FEATURES).toPandas().sort_values("id")
        assert np.allclose(found["prediction"].astype(float), patients["target"], atol=1e-3)


def test_text_predictions(spark, features, patients, into):
    labels = np.where(patients["target"] > 0, "high", "low")
    model = LogisticRegression(max_iter=1000).fit(patients[FEATURES], labels)
    signature = ModelSignature(Schema([ColSpec("double", name) for name in FEATURES]), Schema([ColSpec("string")]))
    uri = mlflow.sklearn.log_model(model, name="model", signature=signature, **PLAIN).model_uri
    done = score(table=features, model=uri, into=into)
    predicted = model.predict(patients[FEATURES])
    assert list(_rows(spark, into)["prediction"]) == list(predicted)
    axes = done.histogram().axes[0]
    counts = {
        label.get_text(): bar.get_width() for label, bar in zip(axes.get_yticklabels(), axes.patches, strict=True)
    }
    assert counts == pd.Series(predicted).value_counts().to_dict()


def by_class(column, classes):
    return [[row[name] for name in classes] for row in column]


def test_classes_and_probabilities(spark, patients, into):
    labels = np.where(patients["target"] > 10, "high", np.where(patients["target"] > -10, "middle", "low"))
    model = LogisticRegression(max_iter=5000).fit(patients[FEATURES], labels)
    signature = ModelSignature(Schema([ColSpec("double", name) for name in FEATURES]), Schema([ColSpec("string")]))
    uri = mlflow.sklearn.log_model(model, name="model", signature=signature, **PLAIN).model_uri
    frame = spark.createDataFrame(patients[[*FEATURES, "id"]])
    how = {"table": frame, "model": uri, "mode": "full", "probability_column": "probabilities"}
    score(**how, into=into)
    score(**how, into=f"{into}_taken", rejected_into=f"{into}_rejected")
    for table in (into, f"{into}_taken"):
        found = _rows(spark, table)
        assert list(found["prediction"]) == list(model.predict(patients[FEATURES]))
        assert np.allclose(by_class(found["probabilities"], model.classes_), model.predict_proba(patients[FEATURES]))
        runtime.drop_table(table)
    # A table from when they were an array.
    kept = ", ".join(f"double(1) AS {name}" for name in (*FEATURES, "id"))
    old = spark.sql(f"SELECT {kept}, 'high' AS prediction, array(0.5D) AS probabilities")
    old.write.saveAsTable(into, format="delta")
    with pytest.raises(TableError, match=r"probabilities is array<double>, not map<string,double>"):
        score(**how, into=into)
    assert spark.table(f"{into}_rejected").count() == 0
    runtime.drop_table(f"{into}_rejected")


def test_classes_and_probabilities_of_spark_ml(spark, patients, sklearn_models, features, into, tmp_path):
    frame = spark.createDataFrame(patients).selectExpr("age", "bmi", "id", "double(target > 0) AS label")
    stages = [VectorAssembler(inputCols=FEATURES, outputCol="features"), SparkLogisticRegression(maxIter=5)]
    model = Pipeline(stages=stages).fit(frame)
    inputs = Schema([ColSpec("double", name) for name in FEATURES])
    with mlflow.start_run():
        info = mlflow.spark.log_model(
            model, artifact_path="model", signature=ModelSignature(inputs), dfs_tmpdir=str(tmp_path), **PLAIN
        )
    rows = frame.drop("label")
    score(table=rows, model=info.model_uri, into=into, mode="full", probability_column="probabilities")
    found, own = _rows(spark, into), model.transform(frame).toPandas().sort_values("id")
    assert list(found["prediction"]) == list(own["prediction"])
    expected = np.vstack([row.toArray() for row in own["probability"]])
    assert np.allclose(by_class(found["probabilities"], ["0.0", "1.0"]), expected)
    with pytest.raises(ScoringError, match="probability_column: 'models:/progression/1' gives no probabilities"):
        score(table=features, model="models:/progression/1", into="never_made", probability_column="probabilities")


def test_show_and_histogram(features, sklearn_models, patients, into, monkeypatch):
    done = score(table=features, model="models:/progression/1", into=into)
    shown = []
    monkeypatch.setattr(runtime, "display", shown.append)
    done.show()
    assert shown[0].count() == 20
    drawn = done.histogram()
    stairs = drawn.axes[0].patches[0].get_data()
    expected, edges = np.histogram(sklearn_models[0].predict(patients[FEATURES]), bins=30)
    assert np.allclose(stairs.edges, edges)
    assert list(stairs.values) == list(expected)
    with mlflow.start_run() as run:
        done.log(drawn)
    logged = mlflow.get_run(run.info.run_id).data
    assert logged.metrics["scored_rows"] == len(patients)
    assert logged.tags["mlflow.note.content"].startswith(str(done))
    assert [one.path for one in mlflow.MlflowClient().list_artifacts(run.info.run_id)] == ["predictions.png"]


def test_nulls(spark, sklearn_models, into):
    signature = ModelSignature(Schema([ColSpec("long", "n")]), Schema([ColSpec("double")]))
    model = LinearRegression().fit(pd.DataFrame({"n": [1, 2]}), [1.0, 2.0])
    uri = mlflow.sklearn.log_model(model, name="model", signature=signature, **PLAIN).model_uri
    frame = spark.createDataFrame([(1,), (None,)], "n int")
    with pytest.raises(ScoringError, match=r'takes n as integers, and some rows hold null .* where="`n` IS NOT NULL"'):
        score(table=frame, model=uri, into=into, mode="full")
    assert spark.table(into).count() == 0
    assert predict(frame.where("n IS NOT NULL"), model=uri).first()["prediction"] == pytest.approx(1)


@pytest.mark.parametrize(
    ("condition", "said"),
    [
        ("day = ", "is not an SQL condition on features"),
        ("id < 5; DROP TABLE features", "is not an SQL condition on features"),
        ("id + 1", "is not true or false for a row of features but bigint"),
        ("*", "is not true or false for a row of features but double, double"),
        ("nobody > 1", "is not an SQL condition on features.*the columns are 'age', 'bmi'"),
        ("max(age) > 1", "is not an SQL condition on features"),
        ("CAST(day AS INT) > 3", "fails on a row of features"),
    ],
)
def test_conditions_that_are_none(features, sklearn_models, condition, said):
    with pytest.raises(TableError, match=f"where.*{said}") as error:
        score(table=features, where=condition, model="models:/progression/1", into="never_made", mode="full")
    assert "\n" not in str(error.value)
    assert "JVM" not in str(error.value)
    assert runtime.table_exists("features")
    assert not runtime.table_exists("never_made")


def test_tables_that_do_not_fit(spark, features, sklearn_models, into):
    model = "models:/progression/1"
    for table, said in (("nowhere", "there is no table 'nowhere'"), ("no such; name", "is not the name of a table")):
        with pytest.raises(TableError, match=f"table: .*{said}"):
            score(table=table, model=model, into=into)
    with pytest.raises(TableError, match=r"into: 'default\.features' is the table to score itself"):
        score(table=features, model=model, into="default.features")
    with pytest.raises(TableError, match=r"into: .*is not the name of a table"):
        score(table=features, model=model, into="not a; name")
    spark.createDataFrame([(1, "x")], "id int, surplus string").write.saveAsTable(into, format="delta")
    with pytest.raises(TableError, match=r"surplus is not among .*; age is missing; .*id is to become bigint"):
        score(table=features, model=model, into=into)
    assert [tuple(row) for row in spark.table(into).collect()] == [(1, "x")]
    spark.range(1).write.saveAsTable("in_parquet", format="parquet")
    spark.range(1).createOrReplaceTempView("a_view")
    for name in ("in_parquet", "a_view"):
        with pytest.raises(TableError, match=f"into: '{name}' exists and is not a Delta table"):
            score(table=features, model=model, into=name)


def test_names_that_collide(spark, features, sklearn_models, into):
    frame = spark.table(features)
    model = "models:/progression/1"
    with pytest.raises(TableError, match="table: the DataFrame has Model_Name, a column that scoring writes itself"):
        score(table=frame.selectExpr("*", "1 AS Model_Name"), model=model, into=into, mode="full")
    with pytest.raises(TableError, match="target_column: scored_at is a column that scoring writes itself"):
        score(table=frame, model=model, target_column="scored_at", into=into, mode="full")
    for name, said in (("Scored_At", "is a column that scoring writes itself"), ("PREDICTION", "is target_column as")):
        with pytest.raises(TableError, match=f"probability_column: .*{said}"):
            score(table=frame, model=model, probability_column=name, into=into, mode="full")
    with pytest.raises(TableError, match="target_column: the rows to score already have a column 'AGE'"):
        score(table=frame, model=model, target_column="AGE", into=into, mode="full")
    with pytest.raises(TableError, match="has the columns 'id' and 'ID', which Spark does not tell apart"):
        score(table=frame.selectExpr("id", "id AS ID"), model=model, into=into, mode="full")


def test_a_model_that_fails_leaves_the_table_as_it_was(spark, features, sklearn_models, into):
    score(table=features, model="models:/progression/1", into=into)
    before = _rows(spark, into)
    signature = ModelSignature(Schema([ColSpec("double", "age")]), Schema([ColSpec("double")]))
    uri = mlflow.pyfunc.log_model(python_model=Failing(), name="model", signature=signature, **PLAIN).model_uri
    with pytest.raises(ScoringError, match="failed, its rows are as before: ValueError: cannot score this") as error:
        score(table=features, model=uri, into=into)
    assert "\n" not in str(error.value)
    pd.testing.assert_frame_equal(_rows(spark, into), before)
