"""What every test may ask for: a folder of its own for the local backends, and one Spark session for all.

A test's tier is the folder that it is in: `unit` starts no process, server or JVM, `spark` shares one session,
`service` talks to emulators and real servers on loopback, `walk` runs notebooks and jobs. A marker of another tier on a
test wins over its folder. The marker `full` keeps a test for `make test-full`.
"""

import os
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LinearRegression
from tests.bundle import ROOT
from tests.empty_databases import databases_are_copied
from tests.emulators.fixtures import azure, azureml_emulator, tracking_server

from adbazureml import AzureMLWorkspace, DatabricksWorkspace, runtime, track
from adbazureml.runtime import local_spark
from adbazureml.tracking import outbox

__all__ = ["azure", "azureml_emulator", "databases_are_copied", "tracking_server"]

# The variables that this package and its clients read.
OURS = ("ADBAZUREML_", "MLFLOW_", "DATABRICKS_", "AZURE_", "AZUREML_")


TIERS = ("unit", "spark", "service", "walk")
HERE = Path(__file__).parent
# Parts of the paths of those files that take longest, these first.
LONGEST = (
    "notebooks/",
    "tests/walk/test_walk",
    "deployment/managed_online",
    "deployment/test_lifetime",
    "tracking/test_dual",
    "deployment/container_instances",
    "tracking/test_faults",
    "tracking/test_databricks",
    "deployment/test_contract",
    "cli/test_dead_hosts",
)
# What the files of such a folder share, containers and registered models, takes longer than most of their tests.
TOGETHER = ("managed_online", "container_instances", "model_serving")


def pytest_configure():
    """Let a JVM that lives for minutes do without its second compiler, which takes a third of its time."""
    os.environ["JDK_JAVA_OPTIONS"] = "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC"


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """Give each test the marker of its folder, unless it has one of another tier; before xdist reads the groups."""
    for item in items:
        if not any(item.get_closest_marker(tier) for tier in TIERS):
            # Below this folder: whoever cloned the project may have called a folder so too.
            parts = item.path.relative_to(HERE).parts if item.path.is_relative_to(HERE) else ()
            folder = next((part for part in parts if part in TIERS), "walk")
            item.add_marker(getattr(pytest.mark, folder))
        # What a file or a folder shares, such as a server, is started by one worker.
        if not item.get_closest_marker("xdist_group"):
            item.add_marker(pytest.mark.xdist_group(_group(item.path)))
    # What takes longest begins first, so that no worker is left with it alone at the end.
    items.sort(key=lambda item: next((at for at, part in enumerate(LONGEST) if part in str(item.path)), len(LONGEST)))


def _group(file):
    # The walk goes on where the notebooks, each by itself, ended.
    if file.suffix == ".ipynb" or file.name == "test_walk.py":
        return "walk"
    return str(file.parent if file.parent.name in TOGETHER else file)


@pytest.fixture(autouse=True)
def tier_is_kept(request):
    """A test that uses Spark is of a tier that has it: a run of the others starts no JVM."""
    if "spark" in request.fixturenames and not (
        request.node.get_closest_marker("spark") or request.node.get_closest_marker("walk")
    ):
        pytest.fail("this test uses Spark: put it into tests/spark, or mark it")


@pytest.fixture(scope="session", autouse=True)
def home(tmp_path_factory):
    """The folder of the local backends, for the whole test run; no parameter leaks in from outside."""
    for variable in list(os.environ):
        if variable.startswith(OURS):
            del os.environ[variable]
    folder = tmp_path_factory.mktemp("home")
    os.environ[runtime.HOME_VARIABLE] = str(folder)
    # The environments of local endpoints outlast a run: they are told apart by what is in them.
    environments = ROOT / ".local" / "environments"
    environments.mkdir(parents=True, exist_ok=True)
    (folder / "environments").symlink_to(environments)
    # A SQLite store without an artifact location makes its folder in the working directory. Spark's workers still
    # find the models that tests define.
    os.chdir(folder)
    os.environ["PYTHONPATH"] = str(ROOT)
    # One Spark session serves all tests, whichever starts it, and whatever home that one has: its tables are here.
    (folder / "warehouse").mkdir()
    local_spark._warehouse = lambda: folder / "warehouse"
    return folder


@pytest.fixture(scope="module", autouse=True)
def clean_slate():
    """What a file of tests changed of the environment and of MLflow's own state ends with it."""
    # MLflow keeps the experiment that a fixture of the whole session chose in the environment too.
    for leaked in ("MLFLOW_EXPERIMENT_ID", "MLFLOW_RUN_ID"):
        os.environ.pop(leaked, None)
    before = {name: value for name, value in os.environ.items() if name.startswith(OURS)}
    yield
    for name in [name for name in os.environ if name.startswith(OURS)]:
        del os.environ[name]
    os.environ.update(before)
    mlflow.set_tracking_uri(None)
    mlflow.set_registry_uri(None)
    mlflow.tracking.fluent._active_experiment_id = None
    forget_outboxes()


@pytest.fixture(autouse=True)
def nobody_waits_for_an_earlier_test():
    """What a test left to bring over goes with its workspace: `flush` of a later one would wait for it."""
    yield
    forget_outboxes()


def forget_outboxes():
    """Let the threads of outboxes end: of workspaces that are gone by now, nobody waits, nor is told at exit."""
    outbox.close_outboxes()
    outbox._outboxes.clear()


@pytest.fixture(scope="session")
def spark(home):
    """The local Spark session with Delta Lake, one for all tests.

    >>> def test_rows(spark):
    ...     spark.range(3).write.saveAsTable("three", format="delta")
    ...     assert spark.table("three").count() == 3
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(local_spark._SMALL_MACHINE, "spark.python.daemon.module", "tests.warm_daemon")
        session = runtime.spark()
    # Of a few rows, planning and compiling take longer than running. Walks and child processes have Spark as users do.
    for key, value in {
        "spark.sql.codegen.wholeStage": "false",
        "spark.sql.codegen.factoryMode": "NO_CODEGEN",
        "spark.sql.adaptive.enabled": "false",
        "spark.sql.shuffle.partitions": "1",
        "spark.databricks.delta.snapshotPartitions": "1",
    }.items():
        session.conf.set(key, value)
    yield session
    session.stop()


@pytest.fixture
def workspace(tmp_path, monkeypatch):
    """The local Azure ML backend; its Databricks counterpart is the primary. Tracking is left off afterwards."""
    monkeypatch.setenv("ADBAZUREML_HOME", str(tmp_path))
    yield AzureMLWorkspace.get(name="", subscription_id="", resource_group="")
    while mlflow.active_run():
        mlflow.end_run()
    track(mode="databricks")


@pytest.fixture
def azureml(workspace):
    """A client of the Azure ML side, as somebody without this package would use it."""
    return mlflow.MlflowClient(tracking_uri=workspace.tracking_uri, registry_uri=workspace.registry_uri)


@pytest.fixture
def databricks(workspace):
    """A client of the Databricks side."""
    uri = DatabricksWorkspace.current().tracking_uri
    return mlflow.MlflowClient(tracking_uri=uri, registry_uri=uri)


@pytest.fixture(scope="session")
def rows():
    generator = np.random.default_rng(0)
    return pd.DataFrame(generator.normal(size=(40, 3)), columns=["a", "b", "c"])


@pytest.fixture(scope="session")
def model(rows):
    return LinearRegression().fit(rows, rows["a"] * 2 + rows["b"])


@pytest.fixture(scope="session")
def log_model(model, rows):
    """Log the small model into the active run; requirements are given, as guessing them takes seconds."""

    def log(name="model", **options):
        options = {"input_example": rows.head(3), "pip_requirements": ["scikit-learn==1.6.1"], **options}
        return mlflow.sklearn.log_model(model, name=name, **options)

    return log


@pytest.fixture(scope="session")
def shell():
    """The notebook that this process is: IPython starts once only."""
    from IPython.testing.globalipapp import start_ipython

    return start_ipython()


@pytest.fixture
def run_cells(shell):
    """Run cells in a namespace that is empty but for what Databricks puts there; return the namespace."""

    def run(sources, **given):
        shell.user_ns.update(given)
        before = set(shell.user_ns)
        try:
            for source in sources:
                shell.run_cell(source).raise_error()
            return dict(shell.user_ns)
        finally:
            for name in set(shell.user_ns) - before | set(given):
                shell.user_ns.pop(name, None)

    return run


@pytest.fixture
def on_cluster(monkeypatch):
    monkeypatch.setenv("DATABRICKS_RUNTIME_VERSION", "18.0")
