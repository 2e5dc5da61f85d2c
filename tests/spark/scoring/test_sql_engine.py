"""Models as Spark SQL: the answers are the model's own, and a row that it refuses is refused."""

import math

import mlflow
import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some
from mlflow.models import infer_signature
from pyspark.sql import functions
from sklearn.compose import make_column_transformer
from sklearn.ensemble import GradientBoostingRegressor
from sklearn.impute import SimpleImputer
from sklearn.linear_model import ElasticNet, LinearRegression, LogisticRegression, Ridge, SGDClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import (
    MaxAbsScaler,
    MinMaxScaler,
    OneHotEncoder,
    OrdinalEncoder,
    PolynomialFeatures,
    RobustScaler,
    StandardScaler,
)
from sklearn.svm import LinearSVC

from adbazureml import runtime
from adbazureml.errors import ScoringError, SettingsError
from adbazureml.scoring import score
from adbazureml.scoring.sql_translation import NotTranslatableError, SQLModel

UNKNOWN = "has a value that the model does not know"
KINDS = {"sepal length (cm)": "double", "a.b": "double", "rooms": "integer", "smokes": "boolean", "town": "string"}
NUMBERS = ["sepal length (cm)", "a.b"]


@pytest.fixture(scope="module")
def people():
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({name: rng.normal(3, 2, 120) for name in NUMBERS})
    frame["rooms"] = rng.integers(1, 4, 120).astype("int32")
    frame["smokes"] = rng.random(120) < 0.4
    frame["town"] = rng.choice(["Bern", "l'Isle", "Ulm"], 120)
    frame["price"] = frame["a.b"] * 2 + frame["rooms"] - (frame["town"] == "Ulm")
    frame["kind"] = np.where(frame["price"] > 10, "dear", np.where(frame["price"] > 6, "fair", "cheap"))
    return frame


def mixed(numbers, *, unknown="ignore", **drop):
    """A pipeline for all of the columns, for the final model."""
    encoder = OneHotEncoder(handle_unknown=unknown, **drop)
    return make_column_transformer((numbers, NUMBERS), (encoder, ["town", "rooms"]), ("passthrough", ["smokes"]))


FILLED = make_pipeline(SimpleImputer(strategy="median"), StandardScaler())
MODELS = {
    "linear": make_pipeline(mixed(MinMaxScaler()), LinearRegression()),
    "filled": make_pipeline(mixed(FILLED), Ridge()),
    "strict": make_pipeline(mixed(MaxAbsScaler(), unknown="error", drop="first"), ElasticNet(alpha=0.01)),
    "codes": make_pipeline(
        make_column_transformer(
            (RobustScaler(), NUMBERS),
            (OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1), ["town"]),
            (OrdinalEncoder(), ["rooms"]),
            remainder="drop",
        ),
        Ridge(),
    ),
    "classes": make_pipeline(mixed(StandardScaler()), LogisticRegression()),
    "margins": make_pipeline(mixed(StandardScaler()), LinearSVC()),
    "two": make_pipeline(mixed(FILLED), SGDClassifier(loss="log_loss", random_state=0)),
    "rates": make_pipeline(mixed(FILLED), SGDClassifier(loss="log_loss", random_state=0)),
}
LABELS = dict.fromkeys(["linear", "filled", "strict", "codes"], "price") | {"two": "smokes"}


@pytest.fixture(scope="module")
def fitted(people):
    return {name: model.fit(people[list(KINDS)], people[LABELS.get(name, "kind")]) for name, model in MODELS.items()}


def sql_answers(spark, fitted, rows):
    """What SQL gives for each model and row: the prediction, the probabilities and why it is refused."""
    frame = spark.createDataFrame(
        rows, "`sepal length (cm)` double, `a.b` double, rooms int, smokes boolean, town string"
    )
    columns = {name: functions.col(f"`{name}`") for name in KINDS}
    made = []
    for name, model in fitted.items():
        found = SQLModel(model, KINDS).predictions(columns)
        made.append(
            functions.struct(
                found.prediction.alias("prediction"),
                functions.array(*found.probabilities).alias("probabilities"),
                found.refused.alias("refused"),
            ).alias(name)
        )
    return frame.select(*made).collect()


def own_answer(model, row):
    """What the model itself gives for a row, and its probabilities; None where it refuses."""
    frame = pd.DataFrame([row], columns=list(KINDS)).astype(
        {"sepal length (cm)": float, "a.b": float, "rooms": "int32"}
    )
    try:
        prediction = model.predict(frame)[0]
    except ValueError:
        return None, None
    return prediction, model.predict_proba(frame)[0] if hasattr(model, "predict_proba") else None


ANY_NUMBER = some.one_of(
    some.none(),
    some.floats(-10, 10),
    some.floats(),
    some.sampled_from([math.nan, math.inf, 1e308, -1e308, 5e-324, 0.0]),
)
ANY_ROW = some.tuples(
    ANY_NUMBER,
    ANY_NUMBER,
    some.integers(0, 5),
    some.booleans(),
    some.one_of(some.none(), some.sampled_from(["Bern", "l'Isle", "Ulm", "", "bern", "Ulm "])),
)


# Many rows in few queries: each is planned for seconds.
@settings(max_examples=3, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(rows=some.lists(ANY_ROW, min_size=80, max_size=120))
def test_no_row_is_answered_in_another_way_than_by_the_model(spark, fitted, rows):
    for row, answers in zip(rows, sql_answers(spark, fitted, rows), strict=True):
        for name, model in fitted.items():
            expected, probabilities = own_answer(model, row)
            answer = answers[name]
            if expected is None:
                assert answer.refused, (name, row)
                assert answer.prediction is None
                continue
            assert answer.refused is None, (name, row, answer)
            if name in LABELS and LABELS[name] == "price":
                assert answer.prediction == pytest.approx(expected, rel=1e-9, abs=1e-9, nan_ok=True), (name, row)
            elif all(value is None or abs(value) < 1e100 for value in row[:2]):
                assert answer.prediction == expected, (name, row)
                if name in {"classes", "two", "rates"}:
                    assert answer.probabilities == pytest.approx(list(probabilities), rel=1e-9, abs=1e-9), (name, row)


def test_a_refused_row_says_which_inputs_are_at_fault(spark, fitted):
    rows = [(None, math.inf, 2, True, "Ulm"), (1.0, 2.0, 9, True, "Rome"), (1.0, 2.0, None, True, "Ulm")]
    said = [answers["strict"].refused for answers in sql_answers(spark, fitted, rows)]
    begin = "the model takes no such row: "
    assert said[0] == f"{begin}sepal length (cm) is missing; a.b is infinite"
    assert (
        said[1]
        == f"{begin}rooms has a value that the model does not know; town has a value that the model does not know"
    )
    assert said[2] == f"{begin}rooms is missing"


def log(model, rows, **more):
    signature = infer_signature(rows, model.predict(rows))
    with mlflow.start_run():
        return mlflow.sklearn.log_model(
            model, name="model", signature=signature, pip_requirements=["mlflow"], **more
        ).model_uri


@pytest.fixture(scope="module")
def table(spark, people):
    rows = people[list(KINDS)].assign(id=range(len(people)))
    spark.createDataFrame(rows).writeTo("people").using("delta").tableProperty(
        "delta.columnMapping.mode", "name"
    ).createOrReplace()
    yield "people"
    runtime.drop_table("people")


def test_both_engines_write_the_same_and_the_result_says_which_it_was(spark, people, fitted, table, into, folder):
    uri = log(fitted["classes"], people[list(KINDS)])
    found = {}
    for engine in ("auto", "python"):
        target = f"{into}_{engine}"
        how = {"probability_column": "probabilities", "into": target, "checkpoints": f"{folder}_{engine}"}
        result = score(table=table, model=uri, engine=engine, **how)
        assert result.rows == len(people)
        found[engine] = spark.table(target).orderBy("id").toPandas(), spark.table(target).dtypes
        runtime.drop_table(target)
        assert result.engine.startswith({"auto": "sql: ", "python": "python: asked for"}[engine])
    assert found["auto"][1] == found["python"][1]
    assert list(found["auto"][0]["prediction"]) == list(found["python"][0]["prediction"])
    for by_sql, by_python in zip(found["auto"][0]["probabilities"], found["python"][0]["probabilities"], strict=True):
        assert by_sql == pytest.approx(by_python, rel=1e-9)


def test_rows_are_set_aside_with_the_reason_or_stop_the_batch(spark, people, fitted, table, into, folder):
    uri = log(fitted["strict"], people[list(KINDS)])
    wrong = people[list(KINDS)].head(2).assign(id=[900, 901], town=["Rome", "Ulm"])
    wrong.loc[1, "a.b"] = math.nan
    source = f"{into}_source"
    rows = pd.concat([people[list(KINDS)].head(3).assign(id=[0, 1, 2]), wrong])
    try:
        spark.createDataFrame(rows).writeTo(source).using("delta").tableProperty(
            "delta.columnMapping.mode", "name"
        ).create()
        with pytest.raises(ScoringError, match=rf"town {UNKNOWN}|a\.b is missing"):
            score(table=source, model=uri, into=into, engine="sql", checkpoints=folder)
        result = score(
            table=source, model=uri, into=into, engine="sql", checkpoints=folder, rejected_into=f"{into}_rejected"
        )
        assert (result.rows, result.rejected) == (3, 2)
        rejected = {row.id: row.rejected for row in spark.table(f"{into}_rejected").collect()}
    finally:
        runtime.drop_table(source)
        runtime.drop_table(f"{into}_rejected")
    assert rejected == {
        900: f"the model takes no such row: town {UNKNOWN}",
        901: "the model takes no such row: a.b is missing",
    }


def test_what_has_no_translation_is_scored_in_python_and_said(spark, people, table, into, folder):
    model = GradientBoostingRegressor(n_estimators=3).fit(people[NUMBERS], people["price"])
    uri = log(model, people[NUMBERS])
    with pytest.raises(ScoringError, match=r"engine: .* by SQL: GradientBoostingRegressor has no translation"):
        score(table=table, model=uri, into=into, engine="sql", checkpoints=folder)
    assert not runtime.table_exists(into)
    result = score(table=table, model=uri, into=into, checkpoints=folder)
    assert result.engine == "python: GradientBoostingRegressor has no translation"
    with pytest.raises(SettingsError, match="engine: 'spark' is none; give 'auto', 'sql' or 'python'"):
        score(table=table, model=uri, into=into, engine="spark")


class Doubled(LinearRegression):
    """Looks like scikit-learn's own, and is not."""

    def predict(self, rows):
        return 2 * super().predict(rows)


@pytest.mark.parametrize(
    ("model", "why"),
    [
        (make_pipeline(PolynomialFeatures(), Ridge()), "PolynomialFeatures has no translation"),
        (make_pipeline(MinMaxScaler(clip=True), Ridge()), "MinMaxScaler clips"),
        (make_pipeline(SimpleImputer(add_indicator=True), Ridge()), "SimpleImputer adds indicators"),
        (Doubled(), "Doubled has no translation"),
    ],
)
def test_an_option_or_a_class_that_is_not_known_has_no_translation(spark, people, model, why):
    model.fit(people[NUMBERS], people["price"])
    columns = {name: functions.col(f"`{name}`") for name in NUMBERS}
    with pytest.raises(NotTranslatableError, match=why):
        SQLModel(model, dict.fromkeys(NUMBERS, "double")).predictions(columns)
