"""A team's own table on Spark: what is taken of it, and a model of each kind that scores it."""

import numpy as np
import pandas as pd
import pytest
from pyspark.sql import functions

from adbazureml.errors import TableError
from adbazureml.samples import fit_spark, spark_quality, training_data

NAME = "2024_lettings"


@pytest.fixture(scope="module")
def table(spark):
    """A table with a column of each kind, whose name begins with a digit."""
    rng = np.random.default_rng(0)
    size = rng.uniform(20, 180, 120)
    city = rng.choice(["Bern", "Genf"], 120)
    rows = pd.DataFrame(
        {
            "id": range(120),
            "size": size,
            "city": city,
            "lift": rng.random(120) < 0.5,
            "rooms": (size // 30).astype(int),
            "owner": [f"owner {i}" for i in range(120)],
            "country": "CH",
            "rent": 400 + 18 * size + np.where(city == "Genf", 500, 0),
            "let": np.where(size > 100, "slow", "fast"),
            "sold": (size > 100).astype(float),
        }
    )
    frame = spark.createDataFrame(rows)
    missing = {
        name: functions.when(functions.col("id") % 11 != place, functions.col(name))
        for place, name in enumerate(("size", "city", "lift", "rooms", "rent", "let", "sold"))
    }
    frame = frame.withColumns(missing).selectExpr(
        "*",
        "CAST(rooms * 1.5 AS DECIMAL(9, 2)) AS `fee (CHF)`",
        "DATE '2026-01-01' AS built",
        "BINARY(city) AS raw",
        "NAMED_STRUCT('a', id) AS nested",
        "CAST(NULL AS STRING) AS note",
    )
    writer = frame.write.format("delta").option("delta.columnMapping.mode", "name")
    writer.saveAsTable(f"`{NAME}`")
    yield NAME
    spark.sql(f"DROP TABLE `{NAME}`")


def test_numbers_flags_and_text_are_features_and_the_rest_is_left_out_with_the_reason(table):
    found = training_data(table, label="rent")
    assert (found.task, found.unlabelled) == ("regression", 11)
    assert found.features == ("size", "city", "lift", "rooms", "let", "sold", "fee (CHF)")
    assert (found.booleans, found.texts) == (("lift",), ("city", "let"))
    assert set(found.left_out) == {"id", "owner", "country", "built", "raw", "nested", "note"}
    said = str(found)
    for part in (
        "task: regression of 'rent', because it holds numbers",
        "left out 'built': a date",
        "11 without a label",
    ):
        assert part in said
    assert {spec.name: spec.type.name for spec in found.signature().inputs} == {
        name: "string" if name in found.texts else "double" for name in found.features
    }


@pytest.mark.parametrize(
    ("label", "classes", "kind"),
    [
        ("let", ("fast", "slow"), "string"),
        pytest.param("sold", (0, 1), "long", marks=pytest.mark.full),
        ("lift", (False, True), "boolean"),
    ],
)
def test_classes_keep_their_type_from_the_table_to_the_predictions(table, label, classes, kind):
    found = training_data(table, label=label)
    assert (found.task, found.classes) == ("classification", classes)
    train, valid = found.split()
    assert set(valid[label]) == set(train[label]) == set(classes)
    quality = spark_quality(found, fit_spark(found, train), valid)
    assert set(quality.predicted.tolist()) <= set(classes)
    assert set(quality.metrics()) == {"accuracy", "log_loss", "roc_auc"}
    assert found.signature().outputs.inputs[0].type.name == kind


def test_a_baseline_has_the_columns_as_the_table_has_them(table):
    found = training_data(table, label="let")
    train, _ = found.split()
    frame = found.with_predictions(train, train["let"], target_column="predicted")
    assert dict(frame.dtypes)["lift"] == "boolean"
    assert frame.where("lift IS NULL").count() == train["lift"].isna().sum() > 0
    assert frame.columns == [*found.features, "predicted"]


def test_a_spark_model_predicts_what_it_never_saw(table, spark):
    found = training_data(table, label="rent")
    model = fit_spark(found, found.split()[0])
    new = spark.sql(
        "SELECT 7.0D AS size, 'Chur' AS city, CAST(NULL AS DOUBLE) AS lift, 1.0D AS rooms, CAST(NULL AS STRING) AS let,"
        " CAST(NULL AS DOUBLE) AS sold, 1.5D AS `fee (CHF)`"
    )
    assert np.isfinite(model.transform(new).first()["prediction"])


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"label": "price"}, r"label 'price': table '2024_lettings' has no such column; it has id, size"),
        ({"label": "built"}, "label 'built': it is date, expected numbers, text or booleans"),
        ({"label": "country"}, "label 'country': it has only the value 'CH'"),
        ({"label": "let", "task": "regression"}, "task 'regression': label 'let' is text"),
    ],
)
def test_what_can_not_be_learned_is_refused_in_one_sentence(table, options, said):
    with pytest.raises(TableError, match=said):
        training_data(table, **options)


def test_a_table_without_features_or_with_hardly_a_row_is_refused(spark):
    spark.createDataFrame([(1.5, "x"), (2.5, "x")], "y double, a string").write.saveAsTable("bare", format="delta")
    with pytest.raises(
        TableError, match=r"no column beside the label 'y' to learn from. a: the same value in all rows"
    ):
        training_data("bare", label="y")
    spark.createDataFrame([(1.5, 1.0), (2.5, 2.0)], "y double, a double").write.saveAsTable("few", format="delta")
    with pytest.raises(TableError, match="'few': 2 rows with a label, expected 10"):
        training_data("few", label="y").split()
    with pytest.raises(TableError, match="'nowhere': there is no such table"):
        training_data("nowhere", label="y")
    spark.sql("DROP TABLE bare")
    spark.sql("DROP TABLE few")
