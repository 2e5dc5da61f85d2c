"""The steps of Microsoft's article of 2020, with its names: only the import of the workspace's class differs."""

import mlflow
import pytest
from pyspark.ml import Pipeline
from pyspark.ml.feature import VectorAssembler
from pyspark.ml.regression import LinearRegression as SparkRegression

from adbazureml import AzureMLWorkspace as Workspace
from adbazureml import deploy, register, score, track
from adbazureml.deployment import endpoints
from adbazureml.tracking import flush

# Empty: the local backend of a machine without a cloud.
subscription_id = resource_group = workspace_name = ""


@pytest.fixture
def ws(workspace):
    """The article's `ws`; tracking is put back afterwards."""
    return Workspace.get(name=workspace_name, subscription_id=subscription_id, resource_group=resource_group)


def test_track_in_azure_ml_only(ws, azureml, databricks, model, rows):
    mlflow.set_tracking_uri(ws.get_mlflow_tracking_uri())
    mlflow.set_experiment("only-there")
    with mlflow.start_run() as run:
        for epoch, loss in enumerate((rows["a"] ** 2).head(3).to_numpy()):
            mlflow.log_metric("epoch_loss", loss.item(), step=epoch)
    assert len(azureml.get_metric_history(run.info.run_id, "epoch_loss")) == 3
    assert [experiment.name for experiment in databricks.search_experiments()] == ["Default"]


def test_both_flavours_registered_and_a_table_scored_with_columns_by_position(ws, azureml, spark, model, rows):
    track(ws)
    mlflow.set_experiment("/Users/ada@example.com/folder/article")
    frame = spark.createDataFrame(rows.assign(label=rows["a"] * 2 + rows["b"]))
    assembled = VectorAssembler(inputCols=["a", "b", "c"], outputCol="features")
    spark_model = Pipeline(stages=[assembled, SparkRegression(labelCol="label")]).fit(frame)
    with mlflow.start_run() as run:
        mlflow.sklearn.log_model(
            model,
            artifact_path="model",
            registered_model_name="article",
            input_example=rows.head(2),
            pip_requirements=["scikit-learn==1.6.1"],
        )
        mlflow.spark.log_model(
            spark_model,
            artifact_path="spark-model",
            registered_model_name="article-spark",
            pip_requirements=["pyspark==4.1.0"],
        )
    last_run_id = run.info.run_id
    assert flush()
    counterpart = mlflow.get_run(last_run_id).data.tags["adbazureml.azureml.run_id"]
    folders = {entry.path for entry in azureml.list_artifacts(counterpart)}
    assert {"model", "spark-model"} <= folders

    frame.write.format("delta").mode("overwrite").saveAsTable("article_rows")
    pyfunc_udf = mlflow.pyfunc.spark_udf(spark, "runs:/" + last_run_id + "/model", env_manager="local")
    preds = spark.table("article_rows").where("a > 0").withColumn("target_column_name", pyfunc_udf("a", "b", "c"))
    scored = preds.toPandas()
    assert len(scored) == (rows["a"] > 0).sum()
    assert scored["target_column_name"].to_numpy() == pytest.approx(scored["label"].to_numpy())


# A server with an environment of its own; the service tier deploys registered versions, the walk scores by them.
@pytest.mark.full
def test_what_register_returns_is_deployed_and_scores(ws, spark, log_model, rows):
    track(ws)
    mlflow.set_experiment("/Users/ada@example.com/folder/article")
    with mlflow.start_run() as run:
        log_model()
    version = register(run, name="article", registry="both", workspace=ws)
    with deploy(version, name="article") as endpoint:
        assert endpoint.score(rows.head(4)) == pytest.approx((rows["a"] * 2 + rows["b"]).head(4).tolist())
    assert not [left for left in endpoints() if left.name == "article"]
    spark.createDataFrame(rows).write.format("delta").mode("overwrite").saveAsTable("article_new")
    done = score(table="article_new", where="b < 0", model=version, into="article_predictions")
    assert done.rows == (rows["b"] < 0).sum()
