"""The whole walk as `make run` runs it, in one kernel, on what the day before left behind."""

import html
import importlib
import os
import signal
import subprocess
import sys
import time

import mlflow
import nbformat
import psutil
import pytest
from tests import warm_spark
from tests.bundle import ROOT

from adbazureml import AzureMLWorkspace, DatabricksWorkspace, runtime
from adbazureml.azureml_mlflow.experiment_names import azureml_experiment_name


@pytest.fixture(scope="module")
def walked(tmp_path_factory):
    """The next day: walk once more where each notebook ran by itself before; yield the folder that this leaves.

    Where no notebook ran in this run of tests, the first day is a walk too.
    """
    folder = warm_spark.HOME if warm_spark.HOME.is_absolute() else tmp_path_factory.mktemp("walk")
    os.environ[runtime.HOME_VARIABLE] = str(folder)
    # It is a script, which finds its neighbours beside it.
    sys.path.insert(0, str(ROOT / "tools"))
    walk = importlib.import_module("walk")
    warm_spark.WARM.free()
    if not (folder / "task_values.json").exists():
        walk.walk(walk.notebooks())
        warm_spark.WARM.free()
    walk.walk(walk.notebooks())
    warm_spark.WARM.free()
    return folder


@pytest.mark.full
def test_a_walk_that_is_killed_is_walked_again(tmp_path):
    """Killed while its endpoint starts: the next walk begins anew, and nothing of the first is left running."""
    # With a JVM of its own, which is killed with it.
    own = {name: value for name, value in os.environ.items() if name not in warm_spark.VARIABLES}
    environment = {**own, runtime.HOME_VARIABLE: str(tmp_path)}
    command = [sys.executable, str(ROOT / "tools" / "walk.py")]
    with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL) as killed:
        while killed.poll() is None and not list(tmp_path.glob("endpoints/**/server.log")):
            time.sleep(0.1)
        killed.kill()
    assert killed.returncode == -signal.SIGKILL
    assert_nothing_runs(tmp_path)
    subprocess.run(command, env=environment, check=True)


def assert_nothing_runs(folder):
    """No process that names the folder is left; Spark's Java takes a moment to follow its Python."""
    deadline = time.monotonic() + 20
    while True:
        commands = (" ".join(process.info["cmdline"] or []) for process in psutil.process_iter(["cmdline"]))
        left = [command for command in commands if str(folder) in command]
        if not left or time.monotonic() > deadline:
            break
        time.sleep(0.2)
    assert not left


def clients():
    workspaces = (DatabricksWorkspace.current(), AzureMLWorkspace.get(name="", subscription_id="", resource_group=""))
    return [mlflow.MlflowClient(place.tracking_uri, place.registry_uri) for place in workspaces]


def test_both_workspaces_hold_the_same_runs(walked):
    databricks, azureml = clients()
    (experiment,) = (one for one in databricks.search_experiments() if one.name.startswith("/Users/"))
    theirs = azureml.get_experiment_by_name(azureml_experiment_name(experiment.name))
    ours = {run.info.run_id: run for run in databricks.search_runs([experiment.experiment_id])}
    counterparts = azureml.search_runs([theirs.experiment_id])
    assert len(ours) == len(counterparts) == 18
    for counterpart in counterparts:
        run = ours[counterpart.data.tags["adbazureml.databricks.run_id"]]
        assert counterpart.data.metrics == run.data.metrics
        assert counterpart.data.params == run.data.params
        assert counterpart.info.status == run.info.status == "FINISHED"
        for key in run.data.metrics:
            history, copied = (
                client.get_metric_history(which.info.run_id, key)
                for client, which in ((databricks, run), (azureml, counterpart))
            )
            assert len(history) == len(copied) == (30 if key == "epoch_loss" else len(history))


def test_registering_twice_made_one_version_of_each_flavour(walked):
    """One a day."""
    for client in clients():
        for name in ("adbazureml_diabetes", "adbazureml_diabetes_spark"):
            assert sorted(int(one.version) for one in client.search_model_versions(f"name = '{name}'")) == [1, 2]


def test_the_champion_is_the_second_day_s_version_in_both_workspaces(walked):
    """Trained on the same rows, it is as good."""
    for client in clients():
        assert str(client.get_model_version_by_alias("adbazureml_diabetes", "champion").version) == "2"
    assert runtime.handed_on()["verdict"] == (
        "adbazureml_diabetes/2 may take the place of version 1: mean absolute error 40.89 against 40.89, no different"
        " beyond chance (95 %: +0 to +0)."
    )
    assert "No drift in 11 columns" in runtime.handed_on()["drift"]


def test_a_better_challenger_took_over_and_a_worse_one_did_not_and_both_registries_say_why(walked):
    """Each day anew, beside the walk's own model."""
    name = "adbazureml_diabetes_challengers"
    for client in clients():
        assert str(client.get_model_version_by_alias(name, "champion").version) == "5"
        better, worse = (client.get_model_version(name, number).description for number in ("5", "6"))
        assert f"{name}/5 may take the place of version 4: mean absolute error 40.89 against 65.29, better (" in better
        assert f"{name}/6 fails, version 5 stays: mean absolute error " in worse
        assert worse.endswith("by more than 2%.")
    assert (
        f"champion of {name}: version 5 in Databricks, version 5 in Azure ML."
        in importlib.import_module("walk").summary()
    )


def test_a_shift_that_is_one_is_found_and_nothing_else(walked):
    kept = nbformat.read(walked / "executed" / "08_monitor.ipynb", as_version=4)
    (shown,) = (cell for cell in kept.cells if cell.id == "shifted")
    assert "1 of 10 columns drifted (442 rows against " in str(shown.outputs)


def test_scoring_twice_scored_each_row_once(walked):
    """89 rows at first, and as many more each day."""
    assert runtime.handed_on()["scored"] == "267 rows in table diabetes_predictions"
    code = (
        "from adbazureml import spark\n"
        "table = spark().table('diabetes_predictions')\n"
        "print('rows', table.count(), table.select('patient_id').distinct().count(), table.dropna().count())"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert said.split("rows ")[1].split() == ["267", "267", "267"]


def test_the_report_tells_each_step_with_its_pictures(walked):
    """The page that the summary writes, and the one that the last run of the walk keeps."""
    importlib.import_module("walk").summary()
    page = (walked / "report.html").read_text(encoding="utf-8")
    for said in (runtime.handed_on()["verdict"], runtime.handed_on()["drift"], "Endpoint diabetes answers as models:/"):
        assert html.escape(said) in page
    assert page.count('src="data:image/png;base64,') == 3
    databricks, _ = clients()
    (experiment,) = (one for one in databricks.search_experiments() if one.name.startswith("/Users/"))
    (kept, *_) = databricks.search_runs([experiment.experiment_id], "tags.`adbazureml.stage` = 'monitor'")
    assert "report.html" in {one.path for one in databricks.list_artifacts(kept.info.run_id)}


def test_no_endpoint_is_left_running(walked):
    assert_nothing_runs(walked)


def test_pictures_and_tables_are_kept(walked):
    pictures = [
        (path.stem, cell.id)
        for path in sorted((walked / "executed").glob("*.ipynb"))
        for cell in nbformat.read(path, as_version=4).cells
        if cell.cell_type == "code" and any("image/png" in output.get("data", {}) for output in cell.outputs)
    ]
    assert pictures == [
        ("03_train_and_log", "curve"),
        ("05_validate", "plot"),
        ("07_batch_score", "histogram"),
        ("08_monitor", "plot"),
        ("08_monitor", "shifted"),
    ]


def test_no_library_warns_in_a_notebook(walked):
    warned = [
        (path.stem, cell.id, output["text"])
        for path in sorted((walked / "executed").glob("*.ipynb"))
        for cell in nbformat.read(path, as_version=4).cells
        if cell.cell_type == "code"
        for output in cell.outputs
        if output.get("name") == "stderr" and "Warning" in output["text"]
    ]
    assert warned == []


def test_the_dry_run_lists_what_was_made_and_deleting_needs_the_name(walked):
    kept = nbformat.read(walked / "executed" / "09_clean_up.ipynb", as_version=4)
    (listed,) = (cell for cell in kept.cells if cell.id == "list")
    assert "nothing was" in listed.outputs[-1]["data"]["text/html"]
    # 18 runs, 10 versions and 3 models in each workspace, 3 tables, 1 checkpoint
    code = """
from adbazureml import AzureMLWorkspace, DatabricksWorkspace, Settings, clean_up, inventory
from adbazureml.errors import CleanUpError
import mlflow
settings = Settings()
workspace = AzureMLWorkspace.of(settings)
neighbours = mlflow.MlflowClient(workspace.tracking_uri, workspace.registry_uri)
neighbours.create_registered_model("neighbour")
neighbours.create_run(neighbours.create_experiment("neighbour"))
found = inventory(settings, workspace=workspace)
assert len(found.items) == 66, len(found.items)
try:
    clean_up(found, confirm="something else")
except CleanUpError as error:
    assert "type the experiment's name: '/Users/" in str(error)
assert len(inventory(settings, workspace=workspace).items) == 66
clean_up(found, confirm=found.experiment)
assert not inventory(settings, workspace=workspace).items
assert neighbours.search_registered_models()[0].name == "neighbour"
assert len(neighbours.search_runs([neighbours.get_experiment_by_name("neighbour").experiment_id])) == 1
"""
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"ADBAZUREML_EPOCHS": "none"}, "epochs: 'none' is wrong; expected"),
        ({"ADBAZUREML_EPOCS": "3"}, "ADBAZUREML_EPOCS: no such parameter"),
        ({"ADBAZUREML_HOME": "/proc/adbazureml"}, "can't be written"),
        ({"ADBAZUREML_TRAINING_TABLE": "houses"}, "training_table 'houses': there is no such table"),
    ],
)
def test_make_run_ends_with_one_clear_sentence(variables, said, tmp_path):
    environment = {**os.environ, "ADBAZUREML_HOME": str(tmp_path), **variables}
    done = subprocess.run(
        [sys.executable, str(ROOT / "tools" / "walk.py")], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert len(done.stderr.strip().splitlines()) <= 2
    assert_nothing_runs(tmp_path)
