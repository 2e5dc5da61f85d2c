"""Rows that a model does not take: set aside with the reason, once, and the rest is scored."""

import os

import mlflow
import pandas as pd
import pytest
from mlflow.models import ModelSignature
from mlflow.types.schema import ColSpec, Schema, TensorSpec
from sklearn.compose import ColumnTransformer
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

from adbazureml import runtime
from adbazureml.errors import ScoringError, TableError
from adbazureml.scoring import score, stream

ONE = Schema([ColSpec("double")])
TWO = Schema([ColSpec("double", "twice"), ColSpec("string", "said")])


class Picky(mlflow.pyfunc.PythonModel):
    """Doubles `x`, but for 13, and reaches no server while a file is there."""

    def __init__(self, outputs, outage=""):
        self.outputs = outputs
        self.outage = outage

    def predict(self, context, model_input):
        if os.path.exists(self.outage):
            raise ValueError("no features") from ConnectionRefusedError("the server is away")
        if (model_input["x"] == 13).any():
            raise ValueError("13 is not for me")
        twice = model_input["x"] * 2
        return pd.DataFrame({"twice": twice, "said": "ok"}) if self.outputs == 2 else twice


@pytest.fixture(scope="module")
def models():
    inputs = Schema([ColSpec("double", "x"), ColSpec("long", "n")])
    for name, outputs, schema in (("picky", 1, ONE), ("picky_twice", 2, TWO)):
        with mlflow.start_run():
            mlflow.pyfunc.log_model(
                python_model=Picky(outputs),
                name="model",
                signature=ModelSignature(inputs, schema),
                registered_model_name=name,
                pip_requirements=["mlflow"],
            )


@pytest.fixture
def rejected(into):
    yield f"{into}_rejected"
    runtime.drop_table(f"{into}_rejected")


@pytest.fixture
def source(into, spark):
    name = f"{into}_source"
    grow(spark, name, "(1D, 1L), (13D, 2L), (3D, NULL), (4D, 4L)")
    yield name
    runtime.drop_table(name)


def grow(spark, table, rows):
    frame = spark.sql(f"SELECT * FROM VALUES {rows} AS t(x, n)").coalesce(1)
    frame.write.saveAsTable(table, format="delta", mode="append")


def reasons(table):
    return {row["x"]: row["rejected"] for row in runtime.spark().table(table).collect()}


def predictions(table):
    return {row["x"]: row["prediction"] for row in runtime.spark().table(table).collect()}


def test_rejected_rows_are_kept_aside_once(spark, models, source, into, rejected, tmp_path, monkeypatch):
    how = {"model": "models:/picky/1", "into": into, "rejected_into": rejected, "checkpoints": str(tmp_path)}
    scored = score(table=source, **how)
    assert (scored.rows, scored.rejected) == (2, 2)
    assert f"2, in {rejected}" in scored._repr_html_()
    assert predictions(into) == {1: 2, 4: 8}
    assert reasons(rejected)[13] == "ValueError: 13 is not for me"
    assert "n" in reasons(rejected)[3]
    assert {row["model_uri"] for row in spark.table(rejected).collect()} == {"models:/picky/1"}
    assert (score(table=source, **how).rows, score(table=source, **how).rejected) == (0, 0)
    # A job that dies between the two tables.
    grow(spark, source, "(13D, 5L), (6D, 6L)")
    write = stream.write_once

    def die(rows, target, **options):
        if target == into:
            raise OSError("the driver is gone")
        write(rows, target, **options)

    with monkeypatch.context() as patch:
        patch.setattr(stream, "write_once", die)
        with pytest.raises(ScoringError, match="the driver is gone"):
            score(table=source, **how)
    again = score(table=source, **how)
    assert again.rows == 1
    assert predictions(into) == {1: 2, 4: 8, 6: 12}
    assert spark.table(rejected).count() == 3
    # In full, both tables are replaced.
    assert [getattr(score(table=source, mode="full", **how), name) for name in ("rows", "rejected")] == [3, 3]
    assert (spark.table(into).count(), spark.table(rejected).count()) == (3, 3)


def test_an_outage_sets_no_row_aside(spark, source, into, rejected, tmp_path):
    outage = tmp_path / "outage"
    outage.touch()
    inputs = Schema([ColSpec("double", "x"), ColSpec("long", "n")])
    uri = mlflow.pyfunc.log_model(
        python_model=Picky(1, str(outage)),
        name="model",
        signature=ModelSignature(inputs, ONE),
        pip_requirements=["mlflow"],
    ).model_uri
    how = {"table": source, "model": uri, "into": into, "rejected_into": rejected, "checkpoints": str(tmp_path)}
    with pytest.raises(ScoringError, match="its rows are as before: ValueError: no features"):
        score(**how)
    assert (spark.table(into).count(), spark.table(rejected).count()) == (0, 0)
    outage.unlink()
    scored = score(**how)
    assert (scored.rows, scored.rejected) == (2, 2)


def test_rows_of_a_frame_and_several_outputs(spark, models, source, into, rejected):
    rows = spark.table(source)
    how = {"model": "models:/picky_twice/1", "into": into, "rejected_into": rejected, "mode": "full"}
    scored = score(table=rows, **how)
    assert (scored.rows, scored.rejected) == (2, 2)
    assert predictions(into)[4].asDict() == {"twice": 8, "said": "ok"}
    assert set(reasons(rejected)) == {13, 3}


def test_without_a_table_for_them_a_rejected_row_fails_the_scoring(models, source, into):
    with pytest.raises(ScoringError, match=r"13 is not for me|n as integers"):
        score(table=source, model="models:/picky/1", into=into, mode="full")


def test_tables_that_cannot_take_rejected_rows(spark, models, source, into, rejected):
    how = {"table": source, "model": "models:/picky/1", "into": into, "mode": "full"}
    with pytest.raises(TableError, match=r"rejected_into: .* takes the predictions"):
        score(**how, rejected_into=into)
    with pytest.raises(TableError, match=r"rejected_into: .* is the table to score itself"):
        score(**how, rejected_into=source)
    spark.range(1).write.saveAsTable(rejected, format="delta")
    with pytest.raises(TableError, match=r"rejected_into: .* exists with other columns: .*rejected is missing"):
        score(**how, rejected_into=rejected)
    assert not runtime.table_exists(into)


def test_a_model_whose_rows_cannot_be_told_apart(models, source, into, rejected):
    with mlflow.start_run():
        info = mlflow.pyfunc.log_model(
            python_model=Picky(1),
            name="model",
            signature=ModelSignature(
                Schema([ColSpec("double", "x"), ColSpec("long", "n")]),
                Schema([TensorSpec(pd.Series([1.0]).dtype, (-1, 2, 2))]),
            ),
            pip_requirements=["mlflow"],
        )
    with pytest.raises(ScoringError, match="rejected_into: the outputs of"):
        score(table=source, model=info.model_uri, into=into, rejected_into=rejected, mode="full")


def test_what_scikit_learn_does_not_take(spark, into, rejected):
    """NaN, infinities, nulls, and a category that was never seen."""
    rows = pd.DataFrame({"x": [1.0, 2, 3, 4], "kind": ["a", "b", "a", "b"]})
    encoder = ColumnTransformer([("kind", OneHotEncoder(), ["kind"])], remainder="passthrough")
    model = make_pipeline(encoder, LinearRegression()).fit(rows, rows["x"] * 2)
    uri = mlflow.sklearn.log_model(
        model,
        name="model",
        signature=ModelSignature(Schema([ColSpec("double", "x"), ColSpec("string", "kind")]), ONE),
        pip_requirements=["mlflow"],
    ).model_uri
    values = "(1D, 'a'), (5D, 'b'), (DOUBLE('NaN'), 'a'), (DOUBLE('Infinity'), 'b'), (NULL, 'b'), (6D, 'c'), (7D, NULL)"
    frame = spark.sql(f"SELECT * FROM VALUES {values} AS t(x, kind)")
    how = {"table": frame, "model": uri, "into": into, "mode": "full", "engine": "python"}
    scored = score(**how, rejected_into=rejected)
    assert (scored.rows, scored.rejected) == (2, 5)
    assert predictions(into) == {1: pytest.approx(2), 5: pytest.approx(10)}
    said = {(str(row["x"]), row["kind"]): row["rejected"] for row in spark.table(rejected).collect()}
    assert "NaN" in said["nan", "a"]
    assert "infinity" in said["inf", "b"]
    assert "NaN" in said["None", "b"]
    assert "unknown categories ['c']" in said["6.0", "c"]
    assert ("7.0", None) in said
    with pytest.raises(ScoringError, match=r"NaN|infinity|unknown categories"):
        score(**{**how, "into": "never_made_either"})
