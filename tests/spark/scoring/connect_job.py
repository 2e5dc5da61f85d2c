"""A client of a Spark Connect server: scores a table in all ways and prints what came of it, as JSON."""

import json
import sys

import mlflow
from mlflow.models import ModelSignature
from mlflow.types.schema import ColSpec, Schema
from pyspark.sql import SparkSession

from adbazureml.errors import ScoringError
from adbazureml.scoring import score


class Doubling(mlflow.pyfunc.PythonModel):
    def predict(self, context, model_input, params=None):
        if (model_input["x"] == 13).any():
            raise ValueError("13 is not for me")
        return model_input["x"] * 2


def main(remote, store):
    spark = SparkSession.builder.remote(remote).getOrCreate()
    mlflow.set_tracking_uri(store)
    signature = ModelSignature(Schema([ColSpec("double", "x")]), Schema([ColSpec("double")]))
    with mlflow.start_run():
        mlflow.pyfunc.log_model(
            python_model=Doubling(),
            name="model",
            signature=signature,
            registered_model_name="remote",
            pip_requirements=["mlflow"],
        )
    grow(spark, 1, 2)
    how = {"table": "remote_rows", "model": "models:/remote/1", "into": "remote_predictions"}
    seen = {"first": score(**how).rows}
    grow(spark, 3)
    seen["grown"] = score(**how).rows
    seen["full"] = score(**how, mode="full").rows
    grow(spark, 4)
    stream = score(**how, mode="stream")
    stream.catch_up()
    seen["streamed"] = stream.rows
    stream.stop()
    grow(spark, 13)
    try:
        score(**how)
    except ScoringError as error:
        seen["failed"] = "failed" in str(error) or "stopped" in str(error)
    rows = {**how, "table": spark.table("remote_rows"), "mode": "full", "into": "remote_taken"}
    score(**rows, rejected_into="remote_rejected")
    seen["frame"] = sorted(row["x"] for row in spark.table("remote_taken").collect())
    seen["rejected"] = spark.table("remote_rejected").first()["rejected"]
    held = spark.table("remote_predictions").select("x", "prediction").collect()
    seen["held"] = sorted([row["x"], row["prediction"]] for row in held)
    print(json.dumps(seen))


def grow(spark, *values):
    frame = spark.createDataFrame([(float(value),) for value in values], "x double").coalesce(1)
    frame.write.saveAsTable("remote_rows", format="delta", mode="append")


if __name__ == "__main__":
    main(*sys.argv[1:])
