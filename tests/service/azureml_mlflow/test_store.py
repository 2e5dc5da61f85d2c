"""Plain MLflow 3 against an Azure ML workspace: what a user of `mlflow.set_tracking_uri` sees."""

import itertools
import json
import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import matplotlib.pyplot as plt
import mlflow
import pandas as pd
import pytest
from mlflow.exceptions import MlflowException
from mlflow.models import Model
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler

from adbazureml import AzureMLWorkspace
from adbazureml.azureml_mlflow.experiment_names import azureml_experiment_name

EXPERIMENT = "/Users/ada@example.com/houses/prices"


@pytest.fixture(autouse=True)
def tracked(azure):
    """Track in the emulated workspace only; the experiment is active."""
    mlflow.set_tracking_uri(azure.tracking_uri)
    mlflow.set_experiment(EXPERIMENT)
    return azure


@pytest.fixture
def client(tracked):
    return mlflow.MlflowClient()


@pytest.mark.parametrize("argument", ["name", "artifact_path"])
def test_a_logged_model_is_found_by_every_uri(argument, model, rows, client):
    with mlflow.start_run() as run:
        info = mlflow.sklearn.log_model(
            model, **{argument: "model"}, input_example=rows.head(2), pip_requirements=["scikit-learn==1.6.1"]
        )
    uris = (info.model_uri, f"models:/{info.model_id}", f"runs:/{run.info.run_id}/model")
    for uri in uris:
        assert mlflow.pyfunc.load_model(uri).predict(rows) == pytest.approx(model.predict(rows))
    logged = client.get_logged_model(info.model_id)
    assert (logged.name, logged.source_run_id, logged.status) == ("model", run.info.run_id, "READY")
    assert logged.artifact_location == f"{run.info.artifact_uri}/model"
    outputs = client.get_run(run.info.run_id).outputs.model_outputs
    assert [output.model_id for output in outputs] == [info.model_id]


def test_a_run_s_end_prints_one_link_and_leaves_the_links_of_other_stores_alone(tracked, capsys):
    with mlflow.start_run() as run:
        pass
    printed = capsys.readouterr().out
    page = AzureMLWorkspace.from_uri(tracked.tracking_uri).run_url(run.info.experiment_id, run.info.run_id)
    assert (printed.count(page), printed.count("View run")) == (1, 0)
    assert "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT" not in os.environ


def test_logged_models_are_searched_by_mlflow_s_filters(log_model, client):
    with mlflow.start_run() as first:
        mlflow.log_param("depth", 3)
        mlflow.log_metric("mae", 0.4)
        small = log_model("small", params={"kind": "ridge"}, tags={"team": "prices"})
    with mlflow.start_run():
        mlflow.log_metric("mae", 0.9)
        large = log_model("large")
    experiment = first.info.experiment_id

    def found(filter_string, **options):
        models = mlflow.search_logged_models([experiment], filter_string, output_format="list", **options)
        return [model.model_id for model in models]

    by_name = [{"field_name": "name"}]
    assert found(f"source_run_id = '{first.info.run_id}'") == [small.model_id]
    assert found("name = 'large'") == [large.model_id]
    assert found("name IN ('large', 'small')", order_by=by_name) == [large.model_id, small.model_id]
    assert found("params.kind = 'ridge' AND params.depth = '3'") == [small.model_id]
    assert found("tags.team = 'prices'") == [small.model_id]
    assert found("metrics.mae < 0.5") == [small.model_id]
    client.set_logged_model_tags(large.model_id, {"team": "others"})
    client.log_model_params(large.model_id, {"kind": "lasso"})
    assert found("tags.team = 'others' AND params.kind = 'lasso'") == [large.model_id]
    client.delete_logged_model(large.model_id)
    assert found("name = 'large'") == []
    with pytest.raises(MlflowException, match="There is no logged model"):
        client.get_logged_model(large.model_id)


def log_as_spark_does(model, rows, name, **options):
    """`mlflow.spark` still logs as MLflow 2 did: files of the run, and no logged model."""
    options |= {"input_example": rows.head(2), "pip_requirements": ["scikit-learn==1.6.1"]}
    return Model._log_v2(artifact_path=name, flavor=mlflow.sklearn, sk_model=model, **options)


def files_of_models(azure, run):
    """The files of each folder of a run; none of them is empty."""
    found = {}
    for path, content in azure.run_artifacts(run.info.run_id).items():
        assert content, f"{path} is empty"
        folder, _, name = path.partition("/")
        found.setdefault(folder, set()).add(name)
    # The first model's folder has no more than the name.
    return dict(sorted(found.items()))


@pytest.mark.parametrize("second", ["spark", "sklearn"])
@pytest.mark.parametrize("first", ["spark", "sklearn"])
def test_two_models_of_one_name_are_two_versions_however_they_are_logged(tracked, model, rows, client, first, second):
    other = LinearRegression().fit(rows, rows["c"])
    expected = [model.predict(rows), rows["c"]]
    with mlflow.start_run() as run:
        for kind, one in ((first, model), (second, other)):
            options = {"registered_model_name": "twice"}
            if kind == "spark":
                log_as_spark_does(one, rows, "model", **options)
            else:
                options |= {"input_example": rows.head(2), "pip_requirements": ["scikit-learn==1.6.1"]}
                mlflow.sklearn.log_model(one, name="model", **options)
            mlflow.register_model(f"runs:/{run.info.run_id}/model", "by-name")
    for name, number in itertools.product(("twice", "by-name"), (1, 2)):
        loaded = mlflow.sklearn.load_model(f"models:/{name}/{number}")
        assert loaded.predict(rows) == pytest.approx(expected[number - 1])
    # By plain tools: two folders, each a whole model and nothing else.
    files = files_of_models(tracked, run)
    assert [entry.path for entry in client.list_artifacts(run.info.run_id)] == list(files)
    assert len(files) == 2
    assert {"MLmodel", "model.pkl", "input_example.json"} < files["model"]
    for folder, prediction in zip(files, expected, strict=True):
        loaded = mlflow.sklearn.load_model(f"{run.info.artifact_uri}/{folder}")
        assert loaded.predict(rows) == pytest.approx(prediction)
    # The name alone means the newest, and nothing of the first.
    local = mlflow.artifacts.download_artifacts(f"runs:/{run.info.run_id}/model")
    assert mlflow.sklearn.load_model(local).predict(rows) == pytest.approx(rows["c"])
    names = {path.relative_to(local).as_posix() for path in Path(local).rglob("*") if path.is_file()}
    assert names == list(files.values())[1]
    assert {entry.path.removeprefix("model/") for entry in client.list_artifacts(run.info.run_id, "model")} == names


def test_models_of_one_name_that_are_logged_at_once_are_not_mixed(tracked, client, tmp_path):
    with mlflow.start_run() as run:
        pass
    together = threading.Barrier(4)
    # Each has seen the run without a model, as processes do that know nothing of each other.
    tracked.hang_next(4, "runs/log-batch", seconds=0.5)

    def log(number):
        folder = tmp_path / str(number)
        folder.mkdir()
        for name in ("MLmodel", f"weights{number}"):
            (folder / name).write_text(name)
        together.wait()
        logged = client.create_logged_model(run.info.experiment_id, "model", run.info.run_id)
        client.log_model_artifacts(logged.model_id, str(folder))
        return client.finalize_logged_model(logged.model_id, "READY")

    with ThreadPoolExecutor(4) as pool:
        logged = list(pool.map(log, range(4)))
    assert len({one.artifact_location for one in logged}) == 4
    files = files_of_models(tracked, run)
    for number, one in enumerate(logged):
        folder = one.artifact_location.rpartition("/")[2]
        assert files.pop(folder) == {"MLmodel", f"weights{number}"}
    assert files == {}


def test_a_model_that_is_deleted_or_failed_gives_its_place_to_none(tracked, client, log_model):
    with mlflow.start_run() as run:
        first = log_model()
        client.delete_logged_model(first.model_id)
        log_model()
        with pytest.raises(MlflowException, match="serialization format"):
            log_model("broken", serialization_format="none")
    first_files, second_files = files_of_models(tracked, run).values()
    assert first_files == second_files


def test_a_model_without_a_run_gets_one(model, rows, client):
    info = mlflow.sklearn.log_model(
        model, name="alone", input_example=rows.head(2), pip_requirements=["scikit-learn==1.6.1"]
    )
    logged = client.get_logged_model(info.model_id)
    assert logged.source_run_id is None
    assert mlflow.sklearn.load_model(info.model_uri).predict(rows) == pytest.approx(model.predict(rows))
    holder = info.model_id.split("-", 2)[2]
    assert client.get_run(holder).info.status == "FINISHED"


@pytest.mark.spark
def test_spark_models(spark, rows):
    from pyspark.ml import Pipeline
    from pyspark.ml.feature import VectorAssembler
    from pyspark.ml.regression import LinearRegression as SparkRegression

    frame = spark.createDataFrame(rows.assign(label=rows["a"] * 2 + rows["b"]))
    stages = [VectorAssembler(inputCols=["a", "b", "c"], outputCol="features"), SparkRegression(labelCol="label")]
    fitted = Pipeline(stages=stages).fit(frame)
    with mlflow.start_run() as run:
        mlflow.spark.log_model(
            fitted, artifact_path="spark", registered_model_name="by-spark", pip_requirements=["pyspark==4.1.0"]
        )
    for uri in (f"runs:/{run.info.run_id}/spark", "models:/by-spark/1"):
        scored = mlflow.spark.load_model(uri).transform(frame).toPandas()
        assert scored["prediction"].to_numpy() == pytest.approx(scored["label"].to_numpy())


def test_autologging_with_metrics_plots_and_models(rows, client):
    mlflow.sklearn.autolog()
    try:
        with mlflow.start_run() as run:
            LogisticRegression().fit(rows, rows["a"] > 0)
    finally:
        mlflow.sklearn.autolog(disable=True)
    ended = client.get_run(run.info.run_id)
    assert ended.data.params["max_iter"] == "100"
    assert "training_accuracy_score" in ended.data.metrics
    assert "training_confusion_matrix.png" in {entry.path for entry in client.list_artifacts(run.info.run_id)}
    (output,) = ended.outputs.model_outputs
    assert mlflow.sklearn.load_model(f"models:/{output.model_id}").predict(rows).sum() > 0


def test_autologging_a_pipeline_whose_params_are_longer_than_azure_ml_takes(rows, client, capsys):
    steps = [(f"scale_{number}", StandardScaler()) for number in range(40)]
    mlflow.sklearn.autolog(log_models=False)
    try:
        with mlflow.start_run() as run:
            Pipeline([*steps, ("fit", LinearRegression())]).fit(rows, rows["a"])
    finally:
        mlflow.sklearn.autolog(disable=True)
    logged = client.get_run(run.info.run_id).data
    assert logged.params["scale_39__with_std"] == logged.params["fit__fit_intercept"] == "True"
    assert "training_r2_score" in logged.metrics
    said = capsys.readouterr().err.replace("\\'", "'")
    assert "Azure ML refused param 'steps'; everything else of this call is logged" in said


def test_artifacts_again_to_the_same_path(client):
    with mlflow.start_run() as run:
        mlflow.log_text("one", "notes/note.txt")
        mlflow.log_text("two, and longer", "notes/note.txt")
        for value in (1, 2):
            mlflow.log_table({"value": [value]}, "table.json")
            figure, axes = plt.subplots()
            axes.plot([0, value])
            mlflow.log_figure(figure, "figure.png")
            plt.close(figure)
        mlflow.log_dict({"a": 1}, "notes/deep/er.json")
    run_id = run.info.run_id
    assert mlflow.artifacts.load_text(f"runs:/{run_id}/notes/note.txt") == "two, and longer"
    assert mlflow.load_table("table.json", run_ids=[run_id])["value"].tolist() == [1, 2]
    assert sorted(entry.path for entry in client.list_artifacts(run_id)) == ["figure.png", "notes", "table.json"]
    listed = {entry.path: entry.is_dir for entry in client.list_artifacts(run_id, "notes")}
    assert listed == {"notes/deep": True, "notes/note.txt": False}


def test_files_of_a_model_are_listed_once(log_model, client):
    with mlflow.start_run() as run:
        log_model()
    listed = [entry.path for entry in client.list_artifacts(run.info.run_id, "model")]
    assert len(listed) == len(set(listed))
    assert "model/MLmodel" in listed


def test_datasets_and_nested_runs(rows, client):
    with mlflow.start_run() as parent:
        mlflow.log_input(mlflow.data.from_pandas(rows, name="houses"), "training")
        with mlflow.start_run(nested=True) as child:
            mlflow.log_metric("loss", 0.5)
    inputs = client.get_run(parent.info.run_id).inputs.dataset_inputs
    assert [one.dataset.name for one in inputs] == ["houses"]
    assert client.get_run(child.info.run_id).data.tags["mlflow.parentRunId"] == parent.info.run_id


def test_evaluate(model, rows, log_model, client):
    table = rows.assign(label=rows["a"])
    with mlflow.start_run() as run:
        info = log_model()
        outcome = mlflow.evaluate(
            info.model_uri, table, targets="label", model_type="regressor", evaluator_config={"log_explainer": False}
        )
    assert outcome.metrics["mean_absolute_error"] > 0
    assert client.get_run(run.info.run_id).data.metrics.keys() >= {"mean_absolute_error"}


def test_registering_gives_version_one_then_the_next_and_keeps_the_run(log_model, rows, model, client):
    with mlflow.start_run() as run:
        log_model(registered_model_name="prices")
    version = mlflow.register_model(f"runs:/{run.info.run_id}/model", "prices")
    assert version.version in ("2", 2)
    for number in (1, 2):
        assert client.get_model_version("prices", str(number)).run_id == run.info.run_id
        loaded = mlflow.pyfunc.load_model(f"models:/prices/{number}")
        assert loaded.predict(rows) == pytest.approx(model.predict(rows))


def test_a_version_is_promoted_to_another_name(log_model, rows, model, client):
    with mlflow.start_run() as run:
        log_model(registered_model_name="staging")
    client.copy_model_version("models:/staging/1", "production")
    mlflow.register_model("models:/staging/1", "production")
    for number in (1, 2):
        assert client.get_model_version("production", str(number)).run_id == run.info.run_id
        loaded = mlflow.pyfunc.load_model(f"models:/production/{number}")
        assert loaded.predict(rows) == pytest.approx(model.predict(rows))
    with pytest.raises(MlflowException, match=r"^Azure ML has no other names for a model: register its versions"):
        client.rename_registered_model("staging", "elsewhere")


def test_a_local_folder_is_registered(model, rows, tmp_path, client, monkeypatch):
    requirements = ["scikit-learn==1.6.1"]
    mlflow.sklearn.save_model(model, tmp_path / "saved", input_example=rows.head(2), pip_requirements=requirements)
    monkeypatch.chdir(tmp_path)
    for source in (f"file://{tmp_path}/saved", str(tmp_path / "saved"), "file://saved"):
        version = mlflow.register_model(source, "uploaded")
        loaded = mlflow.sklearn.load_model(f"models:/uploaded/{version.version}")
        assert loaded.predict(rows) == pytest.approx(model.predict(rows))
    assert (tmp_path / "saved" / "MLmodel").exists()


def test_a_model_of_another_store_is_not_registered_by_its_address(client):
    client.create_registered_model("elsewhere")
    with pytest.raises(MlflowException, match=r"not in this workspace\. Bring them over by adbazureml\.register"):
        client.create_model_version("elsewhere", "dbfs:/databricks/mlflow-tracking/1/2/artifacts/model")


def test_a_path_as_experiment_is_a_plain_name_in_azure_ml(tracked, client):
    experiment = client.get_experiment_by_name(EXPERIMENT)
    assert experiment.name == EXPERIMENT
    assert mlflow.get_experiment(experiment.experiment_id).name == EXPERIMENT
    with mlflow.start_run() as run:
        pass
    assert run.info.experiment_id == experiment.experiment_id
    plain = azureml_experiment_name(EXPERIMENT)
    assert "/" not in plain
    assert run.info.run_id in [one["info"]["run_id"] for one in tracked.find_runs(plain)]
    assert mlflow.search_runs(experiment_names=[EXPERIMENT])["run_id"].tolist()[0] == run.info.run_id


def test_experiments_are_searched_by_their_paths(client):
    mlflow.set_experiment("/Users/bob/other")
    mlflow.set_experiment("plain")

    def found(filter_string):
        return {experiment.name for experiment in mlflow.search_experiments(filter_string=filter_string)}

    assert found(f"name = '{EXPERIMENT}'") == {EXPERIMENT}
    assert found("name LIKE '/Users/bob/%'") == {"/Users/bob/other"}
    assert found("name = 'plain'") == {"plain"}
    assert EXPERIMENT not in found(f"attribute.name != '{EXPERIMENT}'")


def test_two_paths_never_fall_together_silently(client):
    taken = client.get_experiment_by_name(EXPERIMENT)
    client.set_experiment_tag(taken.experiment_id, "adbazureml.databricks.experiment", "/another/path")
    try:
        with pytest.raises(MlflowException, match="which is '/another/path' already: choose another name"):
            mlflow.set_experiment(EXPERIMENT)
    finally:
        client.set_experiment_tag(taken.experiment_id, "adbazureml.databricks.experiment", EXPERIMENT)


def test_what_azure_ml_lacks_is_told_in_one_sentence(log_model, client, caplog):
    with mlflow.start_run():
        log_model(registered_model_name="lacking")
    with pytest.raises(MlflowException, match=r"^Azure ML has no prompts"):
        getattr(mlflow.genai, "register_prompt", mlflow.register_prompt)("greeting", "Hello {{name}}")
    with pytest.raises(MlflowException, match=r"^Azure ML has no traces"):
        client.search_traces(experiment_ids=[client.get_experiment_by_name(EXPERIMENT).experiment_id])


def test_tracing_stops_nothing(client, capsys):
    @mlflow.trace
    def double(value):
        return value * 2

    with mlflow.start_run() as run:
        assert double(4) == double(double(2)) == 8
        mlflow.log_metric("loss", 0.1)
    mlflow.flush_trace_async_logging()
    if mlflow.__version__ != "3.0.1":
        assert "Failed to send trace" not in capsys.readouterr().err
    assert client.get_run(run.info.run_id).info.status == "FINISHED"


def test_asynchronous_logging_goes_in_batches(tracked, client, monkeypatch):
    monkeypatch.setenv("MLFLOW_ASYNC_LOGGING_BUFFERING_SECONDS", "1")
    with mlflow.start_run() as run:
        for step in range(100):
            mlflow.log_metric("loss", 1 / (step + 1), step=step, synchronous=False)
        mlflow.flush_async_logging()
    assert len(client.get_metric_history(run.info.run_id, "loss")) == 100
    assert len(tracked.requests_to("runs/log-batch")) <= 5


PLAIN_CLIENT = """
import json, sys
from azureml.mlflow.entry_point_loaders import azureml_artifacts_builder, azureml_store_builder
from mlflow.tracking._tracking_service import utils
from mlflow.store.artifact.artifact_repository_registry import get_registered_artifact_repositories
import mlflow
utils._tracking_store_registry.register("azureml", azureml_store_builder)
get_registered_artifact_repositories()["azureml"] = azureml_artifacts_builder
mlflow.set_tracking_uri(sys.argv[1])
run = mlflow.MlflowClient().get_run(sys.argv[2])
folder = mlflow.artifacts.download_artifacts(f"{run.info.artifact_uri}/model")
print(json.dumps({
    "store": type(utils._get_store()).__name__,
    "params": run.data.params,
    "flavors": sorted(mlflow.models.Model.load(folder).flavors),
}))
"""


def test_another_client_without_this_package_sees_ordinary_runs_and_models(tracked, log_model):
    with mlflow.start_run() as run:
        mlflow.log_param("depth", 3)
        log_model()
    done = subprocess.run(
        [sys.executable, "-c", PLAIN_CLIENT, tracked.tracking_uri, run.info.run_id],
        capture_output=True,
        text=True,
        check=True,
    )
    seen = json.loads(done.stdout.splitlines()[-1])
    assert seen == {
        "store": "AzureMLRestStore",
        "params": {"depth": "3"},
        "flavors": ["python_function", "sklearn"],
    }


def test_frames_and_tables_survive(client):
    table = pd.DataFrame({"text": ["ä ö", "#1"], "value": [1.5, 2.5]})
    with mlflow.start_run() as run:
        mlflow.log_table(table, "a folder/table 1.json")
        mlflow.log_text("grüße", "umlaut ä/ß 100%.txt")
    assert mlflow.artifacts.load_text(f"{run.info.artifact_uri}/umlaut ä/ß 100%.txt") == "grüße"
    loaded = mlflow.load_table("a folder/table 1.json", run_ids=[run.info.run_id])
    pd.testing.assert_frame_equal(loaded[["text", "value"]], table)


def test_many_values_of_one_metric_go_within_azure_ml_s_limits(tracked, client):
    with mlflow.start_run() as run:
        points = [mlflow.entities.Metric("loss", 1 / (step + 1), 1000 + step, step) for step in range(1000)]
        client.log_batch(run.info.run_id, metrics=points)
    assert len(client.get_metric_history(run.info.run_id, "loss")) == 1000
    assert len(tracked.requests_to("runs/log-batch")) == 4


def test_a_long_record_of_a_model_fits_into_tags(log_model, client):
    params = {f"param_{number}": "x" * 100 for number in range(40)}
    with mlflow.start_run():
        info = log_model(params=params)
    assert client.get_logged_model(info.model_id).params == params


def test_what_the_service_refuses_is_told_in_its_own_words(client):
    with mlflow.start_run(), pytest.raises(MlflowException, match=":") as error:
        mlflow.set_tag("a:b", "c")
    assert "{" not in str(error.value)


INHERITED = """
import mlflow, sys
mlflow.set_tracking_uri(sys.argv[1])
try:
    mlflow.start_run()
except mlflow.MlflowException as error:
    print(error)
"""


def test_the_id_of_another_run_in_the_environment_is_named(tracked):
    run_id = "0123456789abcdef0123456789abcdef"
    done = subprocess.run(
        [sys.executable, "-c", INHERITED, tracked.tracking_uri],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "MLFLOW_RUN_ID": run_id},
    )
    assert f"MLFLOW_RUN_ID={run_id} came in from the environment of another run" in done.stdout


def test_experiments_are_listed_by_name(azure):
    workspace = AzureMLWorkspace.get(
        name=azure.workspace_name, subscription_id=azure.subscription_id, resource_group=azure.resource_group
    )
    made = {name: workspace.client().create_experiment(name) for name in ("first", "second")}
    assert {name: workspace.experiments[name].experiment_id for name in made} == made
