"""The same linear model as a Spark ML pipeline."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from adbazureml.samples.model_quality import Quality
from adbazureml.text import identifier, literal

if TYPE_CHECKING:
    import pandas as pd
    from pyspark.ml import PipelineModel

    from adbazureml.samples.training_table import TrainingTable

# Columns of the pipeline's own. Spark ML reads a dot in a column's name as a path, so it never gets the table's names.
_LABEL, _FEATURES, _INDEX = "__label", "__features", "__index"
# Classes that a column tells apart without error would have weights without end.
_CLASSIFIER_PENALTY = 0.01


def fit_spark(table: TrainingTable, rows: pd.DataFrame) -> PipelineModel:
    """Train a Spark ML pipeline: fill in missing numbers, one column for each value of a text, then a linear model.

    It takes the table's columns by name, and gives the label itself, of its own type, in the column ``prediction``.
    """
    from pyspark.ml import Pipeline
    from pyspark.sql import functions

    label = functions.col(identifier(table.label))
    if table.classes:
        label = functions.array_position(functions.expr(_array(table.classes)), label) - 1
    return Pipeline(stages=_stages(table)).fit(table.on_spark(rows).withColumn(_LABEL, label.cast("double")))


def spark_quality(table: TrainingTable, model: PipelineModel, rows: pd.DataFrame) -> Quality:
    """Judge a model of `fit_spark` by rows that it has not seen."""
    import numpy as np
    from pyspark.ml.functions import vector_to_array
    from pyspark.sql import functions

    predicted = model.transform(table.on_spark(rows))
    wanted = [functions.col(identifier(table.label)).alias("label"), functions.col("prediction")]
    if not table.classes:
        found = predicted.select(*wanted).toPandas()
        return Quality(found["label"].to_numpy(), found["prediction"].to_numpy())
    probability = vector_to_array(functions.col("probability")).alias("probability")
    found = predicted.select(*wanted, probability).toPandas()
    shares = np.stack(found["probability"].tolist())
    return Quality(found["label"].to_numpy(), found["prediction"].to_numpy(), table.classes, shares)


def _stages(table: TrainingTable) -> list[Any]:
    from pyspark.ml.classification import LogisticRegression
    from pyspark.ml.feature import Imputer, OneHotEncoder, SQLTransformer, StringIndexer, VectorAssembler
    from pyspark.ml.regression import LinearRegression

    numbers = {name: f"__number_{i}" for i, name in enumerate([*table.numbers, *table.booleans])}
    texts = {name: f"__text_{i}" for i, name in enumerate(table.texts)}
    named = [
        *(f"CAST({identifier(name)} AS DOUBLE) AS {own}" for name, own in numbers.items()),
        *(f"COALESCE({identifier(name)}, '(missing)') AS {own}" for name, own in texts.items()),
    ]
    stages: list[Any] = [SQLTransformer(statement=_selecting(*named))]
    filled = [f"{own}_filled" for own in numbers.values()]
    indexed = [f"{own}_index" for own in texts.values()]
    encoded = [f"{own}_encoded" for own in texts.values()]
    if numbers:
        stages.append(Imputer(strategy="median", inputCols=[*numbers.values()], outputCols=filled))
    if texts:
        stages.append(StringIndexer(inputCols=[*texts.values()], outputCols=indexed, handleInvalid="keep"))
        stages.append(OneHotEncoder(inputCols=indexed, outputCols=encoded))
    stages.append(VectorAssembler(inputCols=[*filled, *encoded], outputCol=_FEATURES, handleInvalid="keep"))
    if not table.classes:
        return [*stages, LinearRegression(featuresCol=_FEATURES, labelCol=_LABEL)]
    logistic = LogisticRegression(
        featuresCol=_FEATURES, labelCol=_LABEL, predictionCol=_INDEX, regParam=_CLASSIFIER_PENALTY
    )
    named_class = f"ELEMENT_AT({_array(table.classes)}, CAST({_INDEX} AS INT) + 1) AS prediction"
    return [*stages, logistic, SQLTransformer(statement=_selecting(named_class))]


def _array(classes: tuple[Any, ...]) -> str:
    return f"ARRAY({', '.join(map(_value, classes))})"


def _value(of_class: Any) -> str:
    if isinstance(of_class, str):
        return literal(of_class)
    return str(of_class) if isinstance(of_class, bool) else f"{of_class}L"


def _selecting(*columns: str) -> str:
    return " ".join(["SELECT *,", ", ".join(columns), "FROM __THIS__"])
