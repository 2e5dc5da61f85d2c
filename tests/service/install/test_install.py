"""Requirements and what mends them; on a cluster by the real databricks-sdk against an emulated workspace."""

import os
import shutil
import subprocess
import sys
import zipfile
from configparser import ConfigParser
from importlib import metadata
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
from databricks.sdk import WorkspaceClient
from databricks.sdk.config import Config
from packaging.requirements import Requirement
from tests.bundle import ROOT
from tests.emulators.databricks import TOKEN, Cluster, DatabricksEmulator

from adbazureml import check, install_missing, model_requirements, verify
from adbazureml.errors import EnvironmentNotReadyError, SettingsError, WorkspaceError
from adbazureml.workspaces import install
from adbazureml.workspaces.install import CLUSTER_ID_CONF, InstallReport, Row
from adbazureml.workspaces.install.import_check import modules

LIB = ROOT / "lib"
# Before any emulator's certificate takes the place of those of package indexes.
OUTSIDE = dict(os.environ)
CLUSTER = "1123-101010-walk"
PRESENT = Row("mlflow", ">=3", "3.8.1", fine=True)
ABSENT = Row("azureml-mlflow-duplicate", ">=1.62,<2", None, fine=False)
OUTDATED = Row("databricks-sdk-duplicate", ">=0.49", "0.1.0", fine=False)
REPORT = InstallReport((PRESENT, ABSENT, OUTDATED))


@pytest.fixture
def databricks():
    with DatabricksEmulator() as emulator:
        emulator.clusters[CLUSTER] = Cluster()
        yield emulator


@pytest.fixture
def client(databricks):
    return WorkspaceClient(host=databricks.host, token=TOKEN)


@pytest.fixture
def job_context(monkeypatch):
    """What Databricks puts into every process of a notebook, for a notebook that a job runs."""
    context = SimpleNamespace(jobId="11", idInJob="12", isInJob=True, isInNotebook=True)
    module = ModuleType("dbruntime.databricks_repl_context")
    module.get_context = lambda: context
    monkeypatch.setitem(sys.modules, "dbruntime", ModuleType("dbruntime"))
    monkeypatch.setitem(sys.modules, "dbruntime.databricks_repl_context", module)


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(install.cluster_libraries, "FIRST_PAUSE", 0.01)


class TestCheck:
    def test_local_machine_needs_the_wheels_dependencies_and_spark(self):
        names = {requirement.name for requirement in install.requirements()}
        assert {"mlflow", "azureml-mlflow", "pydantic", "pyspark", "delta-spark"} <= names

    @pytest.mark.usefixtures("on_cluster")
    def test_cluster_brings_spark_itself(self):
        names = {requirement.name for requirement in install.requirements()}
        assert {"mlflow", "azureml-mlflow"} <= names
        assert not {"pyspark", "delta-spark"} & names
        assert "Java" not in {row.package for row in check().rows}

    def test_this_machine_is_fine(self):
        report = check()
        assert report.missing == ()
        assert install_missing(report) is report
        found = {row.package: row.found for row in report.rows}
        assert found["mlflow"] == metadata.version("mlflow")
        assert found["Java"]

    def test_shows_as_a_table(self):
        shown = REPORT._repr_html_()
        assert shown.count("<tr>") == 1 + len(REPORT.rows)
        assert "&gt;=1.62,&lt;2" in shown
        assert shown.count("<b>missing</b>") == 2


OF_THE_EXTRA = frozenset(
    Requirement(line).name for line in metadata.requires("adbazureml") if line.endswith('extra == "deploy"')
)


class TestDeployTarget:
    """Endpoints in Azure need the wheel's extra `deploy`, and nothing else does."""

    @pytest.mark.parametrize("target", ["azureml", "aks", "aci"])
    def test_an_endpoint_in_azure_needs_the_extra(self, on_cluster, target):
        assert "azure-ai-ml" in OF_THE_EXTRA
        rows = {row.package: row for row in check(deploy_target=target).rows}
        assert set(rows) >= OF_THE_EXTRA
        assert {name for name, row in rows.items() if row.note == f"for deploy_target {target}"} == OF_THE_EXTRA

    @pytest.mark.parametrize("target", ["local", "databricks"])
    def test_others_do_not(self, on_cluster, target):
        assert not OF_THE_EXTRA & {row.package for row in check(deploy_target=target).rows}

    def test_what_is_missing_of_it_is_said(self, on_cluster, monkeypatch, job_context):
        found = metadata.version
        absent = "azure-mgmt-containerinstance"

        def version(package):
            if package == absent:
                raise metadata.PackageNotFoundError(package)
            return found(package)

        monkeypatch.setattr(metadata, "version", version)
        assert check().missing == ()
        with pytest.raises(EnvironmentNotReadyError, match=f"Missing: {absent}>=10.1,<11|Missing: {absent}<11,>=10.1"):
            install_missing(check(deploy_target="aci"))

    def test_locally_it_is_the_environments(self, monkeypatch):
        assert install.asked_deploy_target() == "local"
        monkeypatch.setenv("ADBAZUREML_DEPLOY_TARGET", "aks")
        assert install.asked_deploy_target() == "aks"

    def test_a_wrong_one_is_named(self, monkeypatch):
        monkeypatch.setenv("ADBAZUREML_DEPLOY_TARGET", "azure")
        with pytest.raises(SettingsError, match="deploy_target: 'azure' is wrong"):
            install.asked_deploy_target()


class TestLocally:
    def test_says_which_packages_and_how(self):
        with pytest.raises(
            EnvironmentNotReadyError, match=r"azureml-mlflow-duplicate>=1\.62,<2 \(found none\)"
        ) as raised:
            install_missing(REPORT)
        assert "databricks-sdk-duplicate>=0.49 (found 0.1.0)" in str(raised.value)
        assert "`make`" in str(raised.value)
        assert "pip install 'azureml-mlflow-duplicate>=1.62,<2' 'databricks-sdk-duplicate>=0.49'" in str(raised.value)

    def test_says_how_to_get_java(self, monkeypatch, tmp_path):
        monkeypatch.setenv("JAVA_HOME", str(tmp_path))
        monkeypatch.setenv("PATH", str(tmp_path))
        monkeypatch.setattr("adbazureml.runtime.java._WHERE_JAVA_LIVES", ())
        report = check()
        assert [row.package for row in report.missing] == ["Java"]
        with pytest.raises(EnvironmentNotReadyError, match="Spark needs Java 17 or 21") as raised:
            install_missing(report)
        assert "pip install" not in str(raised.value)

    def test_serverless_is_only_looked_at(self, monkeypatch, on_cluster, databricks, client):
        monkeypatch.setenv("IS_SERVERLESS", "TRUE")
        with pytest.raises(EnvironmentNotReadyError, match=r"%pip install 'azureml-mlflow-duplicate>=1\.62,<2'"):
            install_missing(REPORT, cluster_id=CLUSTER, client=client)
        assert databricks.requests == []


@pytest.mark.usefixtures("on_cluster", "quick")
class TestOnACluster:
    def test_installs_what_is_missing_and_waits(self, databricks, client, capsys):
        after = install_missing(REPORT, cluster_id=CLUSTER, client=client)
        [asked] = databricks.requests_to("/libraries/install")
        assert asked.body == {
            "cluster_id": CLUSTER,
            "libraries": [
                {"pypi": {"package": "azureml-mlflow-duplicate>=1.62,<2"}},
                {"pypi": {"package": "databricks-sdk-duplicate>=0.49"}},
            ],
        }
        assert after.missing == ()
        assert after.rows[0] == PRESENT
        assert "restartPython" in after.rows[1].note
        told = capsys.readouterr().out
        for state in ("PENDING", "RESOLVING", "INSTALLING", "INSTALLED"):
            assert told.count(f"azureml-mlflow-duplicate>=1.62,<2: {state} ") == 1

    def test_finds_what_is_visible_at_once(self, databricks, client):
        stale = InstallReport((Row("mlflow", ">=3", None, fine=False),))
        [row] = install_missing(stale, cluster_id=CLUSTER, client=client).rows
        assert row == Row("mlflow", ">=3", metadata.version("mlflow"), fine=True)

    def test_nothing_missing_asks_nobody(self, databricks, client):
        report = InstallReport((PRESENT,))
        assert install_missing(report, cluster_id=CLUSTER, client=client) is report
        assert databricks.requests == []

    def test_twice_is_as_once(self, databricks, client):
        first = install_missing(REPORT, cluster_id=CLUSTER, client=client)
        assert install_missing(REPORT, cluster_id=CLUSTER, client=client) == first
        assert len(databricks.clusters[CLUSTER].libraries) == 2

    @pytest.mark.spark
    def test_asks_spark_which_cluster_this_is(self, databricks, client, spark):
        with pytest.raises(EnvironmentNotReadyError, match="give cluster_id"):
            install_missing(REPORT, client=client)
        spark.conf.set(CLUSTER_ID_CONF, CLUSTER)
        try:
            stale = InstallReport((Row("packaging", ">=24", None, fine=False),))
            assert install_missing(stale, client=client).missing == ()
            absent = InstallReport((ABSENT,))
            with pytest.raises(
                EnvironmentNotReadyError, match=r"of no use: azureml-mlflow-duplicate .*does not import"
            ):
                install_missing(absent, client=client)
        finally:
            spark.conf.unset(CLUSTER_ID_CONF)

    def test_signs_in_by_itself(self, databricks, monkeypatch):
        monkeypatch.setenv("DATABRICKS_HOST", databricks.host)
        monkeypatch.setenv("DATABRICKS_TOKEN", TOKEN)
        assert install_missing(REPORT, cluster_id=CLUSTER).missing == ()

    def test_not_signed_in(self, monkeypatch, tmp_path):
        monkeypatch.setenv("HOME", str(tmp_path))
        monkeypatch.setenv("PATH", str(tmp_path))
        with pytest.raises(WorkspaceError, match="Not signed in to a Databricks workspace"):
            install_missing(REPORT, cluster_id=CLUSTER)

    def test_service_that_stays_busy(self, databricks):
        databricks.fail_next(1_000, "/libraries/install", status=429, retry_after=0)
        impatient = WorkspaceClient(config=Config(host=databricks.host, token=TOKEN, retry_timeout_seconds=1))
        with pytest.raises(EnvironmentNotReadyError, match=f"Cluster {CLUSTER}: the workspace was busy"):
            install_missing(REPORT, cluster_id=CLUSTER, client=impatient)

    def test_failed_package_gives_the_services_reason(self, databricks, client):
        reason = "ERROR: No matching distribution found for azureml-mlflow-duplicate"
        databricks.clusters[CLUSTER].broken["azureml-mlflow-duplicate>=1.62,<2"] = reason
        with pytest.raises(EnvironmentNotReadyError, match=reason):
            install_missing(REPORT, cluster_id=CLUSTER, client=client)

    def test_stopped_cluster(self, databricks, client):
        databricks.clusters[CLUSTER].state = "TERMINATED"
        with pytest.raises(EnvironmentNotReadyError, match=f"Cluster {CLUSTER} is TERMINATED: start it"):
            install_missing(REPORT, cluster_id=CLUSTER, client=client)
        assert databricks.requests_to("/libraries/install") == []

    def test_stopped_cluster_is_started_when_told(self, databricks, client, capsys):
        databricks.clusters[CLUSTER].state = "TERMINATED"
        with pytest.raises(EnvironmentNotReadyError, match="start=True"):
            install_missing(REPORT, cluster_id=CLUSTER, client=client)
        assert install_missing(REPORT, cluster_id=CLUSTER, client=client, start=True).missing == ()
        told = capsys.readouterr().out
        assert f"cluster {CLUSTER}: PENDING" in told
        assert f"cluster {CLUSTER}: RUNNING" in told

    def test_cluster_that_is_starting_is_waited_for(self, databricks, client):
        databricks.clusters[CLUSTER].state = "PENDING"
        assert install_missing(REPORT, cluster_id=CLUSTER, client=client).missing == ()
        assert databricks.requests_to("clusters/start") == []

    def test_cluster_that_does_not_start(self, databricks, client):
        databricks.clusters[CLUSTER].state = "TERMINATED"
        databricks.clusters[CLUSTER].will_not_start = "The quota of cores is used up."
        with pytest.raises(EnvironmentNotReadyError, match=r"did not start: CLOUD_PROVIDER_LAUNCH_FAILURE.*quota"):
            install_missing(REPORT, cluster_id=CLUSTER, client=client, start=True)

    def test_cluster_that_starts_for_too_long(self, databricks, client):
        databricks.clusters[CLUSTER].state = "TERMINATED"
        databricks.clusters[CLUSTER].looks_to_start = 1_000
        with pytest.raises(EnvironmentNotReadyError, match=r"has not started within 0\.2 s"):
            install_missing(REPORT, cluster_id=CLUSTER, client=client, start=True, timeout=0.2)

    def test_no_permission_to_start(self, databricks, client):
        databricks.clusters[CLUSTER].state = "TERMINATED"
        databricks.clusters[CLUSTER].may_restart = False
        with pytest.raises(EnvironmentNotReadyError, match=r"You may not start cluster.*CAN RESTART"):
            install_missing(REPORT, cluster_id=CLUSTER, client=client, start=True)

    @pytest.mark.parametrize("look", [1, 3])
    def test_cluster_that_dies_during_the_installation(self, databricks, client, look):
        databricks.clusters[CLUSTER].dies_at_look = look
        with pytest.raises(EnvironmentNotReadyError, match=r"ended during the installation: DRIVER_UNREACHABLE"):
            install_missing(REPORT, cluster_id=CLUSTER, client=client, timeout=20)

    def test_a_wheel_of_the_workspace(self, databricks, client):
        path = "/Workspace/Users/someone@example.com/adbazureml-0.1.0-py3-none-any.whl"
        install.install_wheel(path, cluster_id=CLUSTER, client=client)
        assert list(databricks.clusters[CLUSTER].libraries) == [path]

    def test_in_a_job_nothing_is_installed(self, databricks, client, job_context):
        with pytest.raises(EnvironmentNotReadyError, match="A job's libraries come from its definition"):
            install_missing(REPORT, cluster_id=CLUSTER, client=client)
        assert databricks.requests == []

    def test_no_permission(self, databricks, client):
        databricks.clusters[CLUSTER].may_manage = False
        with pytest.raises(EnvironmentNotReadyError, match=r"You may not install libraries.*CAN MANAGE"):
            install_missing(REPORT, cluster_id=CLUSTER, client=client)

    def test_unknown_cluster(self, databricks, client):
        with pytest.raises(EnvironmentNotReadyError, match=r"Cluster elsewhere does not exist.*Check cluster_id"):
            install_missing(REPORT, cluster_id="elsewhere", client=client)

    @pytest.mark.parametrize("status", [429, 503])
    @pytest.mark.parametrize("path", ["/clusters/get", "/libraries/install", "/libraries/cluster-status"])
    def test_waits_as_long_as_a_busy_service_says(self, databricks, client, path, status):
        databricks.fail_next(1, path, status=status, retry_after=0)
        assert install_missing(REPORT, cluster_id=CLUSTER, client=client).missing == ()
        assert len(databricks.requests_to(path)) >= 2

    def test_goes_on_asking_after_a_failed_look(self, databricks, client):
        databricks.fail_next(2, "/libraries/cluster-status", status=500)
        assert install_missing(REPORT, cluster_id=CLUSTER, client=client).missing == ()

    def test_gives_up_in_time(self, databricks, client):
        databricks.fail_next(1_000, "/libraries/cluster-status", status=500)
        with pytest.raises(EnvironmentNotReadyError, match=r"within 0\.5 s .*unknown.*run this again"):
            install_missing(REPORT, cluster_id=CLUSTER, client=client, timeout=0.5)


class TestVerify:
    def test_imports_what_is_there_and_says_what_does_not(self, tmp_path, monkeypatch):
        for name, code in (("sound", ""), ("broken", "raise RuntimeError('built for another')"), ("dies", "")):
            (tmp_path / f"{name}.py").write_text(code)
        monkeypatch.setenv("PYTHONPATH", str(tmp_path))
        rows = [Row(name, ">=1", "1.0", fine=True) for name in ("sound", "broken", "python-dateutil", "PyYAML")]
        seen = {row.package: row for row in verify(InstallReport((*rows, ABSENT))).rows}
        assert seen["sound"].fine
        # Of other names than their modules'.
        assert seen["python-dateutil"].fine
        assert seen["PyYAML"].fine
        assert not seen["broken"].fine
        assert seen["broken"].note == "does not import: RuntimeError: built for another"
        assert seen[ABSENT.package] == ABSENT

    def test_a_package_that_ends_its_process(self, tmp_path, monkeypatch):
        (tmp_path / "deadly.py").write_text("import os; os._exit(3)")
        monkeypatch.setenv("PYTHONPATH", str(tmp_path))
        [row] = verify(InstallReport((Row("deadly", ">=1", "1.0", fine=True),))).rows
        assert "ended with 3" in row.note
        with pytest.raises(EnvironmentNotReadyError, match=r"There, but of no use: deadly 1\.0 does not import"):
            install_missing(InstallReport((row,)))

    @pytest.mark.parametrize(
        ("package", "module"),
        [
            ("azure-mgmt-databricks", "azure.mgmt.databricks"),
            ("azureml-mlflow", "azureml.mlflow"),
            ("scikit-learn", "sklearn"),
            ("ipython", "IPython"),
            ("mlflow", "mlflow"),
        ],
    )
    def test_which_module_is_the_packages_own(self, package, module):
        assert modules(package) == [module]


class TestModelRequirements:
    def test_pins_what_is_here(self):
        versions = {name: metadata.version(name) for name in ("mlflow", "scikit-learn", "pyspark")}
        assert model_requirements("scikit-learn", "pyspark") == [f"{name}=={found}" for name, found in versions.items()]

    def test_leaves_out_what_pypi_does_not_have(self, monkeypatch, tmp_path):
        (tmp_path / "torchlike.py").write_text("__version__ = '2.9.0+cpu'")
        (tmp_path / "sparklike.py").write_text("__version__ = '4.1.0.dev0'")
        monkeypatch.syspath_prepend(tmp_path)
        assert model_requirements("torchlike", "sparklike")[1:] == ["torchlike==2.9.0", "sparklike==4.1.0"]

    def test_unknown_package(self):
        with pytest.raises(EnvironmentNotReadyError, match="scikit-lern is not installed"):
            model_requirements("scikit-lern")


def test_importing_the_room_is_cheap():
    heavy = "[name for name in ('mlflow', 'databricks.sdk', 'pyspark') if name in sys.modules]"
    code = f"import sys, adbazureml.workspaces.install; sys.exit(str({heavy}) if {heavy} else 0)"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A copy of what is built, so that nothing is left in the source; an earlier build left a file in it."""
    folder = tmp_path_factory.mktemp("wheel")
    lib = shutil.copytree(LIB, folder / "lib", ignore=shutil.ignore_patterns("build", "dist", "*.egg-info"))
    shutil.copytree(LIB.parent / "notebooks", folder / "notebooks")
    stale = lib / "build" / "lib" / "adbazureml" / "gone"
    stale.mkdir(parents=True)
    (stale / "__init__.py").touch()
    return lib


@pytest.fixture(scope="module")
def wheel(source, tmp_path_factory):
    """The wheel as the bundle, `make wheel` and pip build it."""
    return build(source, tmp_path_factory.mktemp("dist"))


def build(source, target):
    """Build the wheel of a folder, by uv or pip, whichever this environment has."""
    command = [*_front_end(), str(target), str(source)]
    built = subprocess.run(command, env=OUTSIDE, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stdout + built.stderr
    [path] = target.glob("*.whl")
    return path


def _front_end():
    """Return a command that builds a wheel: an environment that uv made has no pip."""
    pip = ["-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir"]
    for python in filter(None, (sys.executable, shutil.which("python3"), shutil.which("python"))):
        if subprocess.run([python, "-m", "pip", "--version"], capture_output=True, check=False).returncode == 0:
            return [python, *pip]
    if uv := shutil.which("uv"):
        return [uv, "build", "--quiet", "--wheel", "--out-dir"]
    pytest.skip("neither pip nor uv is here to build a wheel")


@pytest.mark.full
def test_a_wheel_by_way_of_a_source_distribution_is_the_same(source, wheel, tmp_path):
    """So `uv build` and `python -m build` make it."""
    uv = Path(sys.executable).with_name("uv")
    subprocess.run([uv, "build", "--sdist", "--quiet", "--out-dir", tmp_path, source], check=True)
    [made] = tmp_path.glob("*.tar.gz")
    shutil.unpack_archive(made, tmp_path, filter="data")
    [unpacked] = [path for path in tmp_path.iterdir() if path.is_dir()]
    again = build(unpacked, tmp_path / "dist")
    with zipfile.ZipFile(wheel) as one, zipfile.ZipFile(again) as other:
        assert set(one.namelist()) == set(other.namelist())


@pytest.mark.full
def test_without_the_notebooks_there_is_no_wheel(tmp_path):
    alone = shutil.copytree(LIB, tmp_path / "lib", ignore=shutil.ignore_patterns("build", "dist", "*.egg-info"))
    refused = subprocess.run([*_front_end(), str(tmp_path), str(alone)], capture_output=True, text=True, check=False)
    assert refused.returncode != 0
    assert "The notebooks are missing" in refused.stdout + refused.stderr


def test_wheel_is_whole(wheel):
    assert wheel.name == f"adbazureml-{metadata.version('adbazureml')}-py3-none-any.whl"
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        modules = {path.relative_to(LIB / "src").as_posix() for path in (LIB / "src").rglob("*.py")}
        assert "adbazureml/py.typed" in names
        assert {name for name in names if name.endswith(".py")} == modules
        notebooks = {f"adbazureml/notebooks/{path.name}" for path in (LIB.parent / "notebooks").glob("*.ipynb")}
        assert {name for name in names if name.endswith(".ipynb")} == notebooks
        [entry_points] = [name for name in names if name.endswith("entry_points.txt")]
        parser = ConfigParser()
        parser.optionxform = str
        parser.read_string(archive.read(entry_points).decode())
    stores = dict(parser["mlflow.tracking_store"])
    assert "databricks" in stores
    assert parser["console_scripts"]["adbazureml"] == "adbazureml.__main__:run"
    points = metadata.distribution("adbazureml").entry_points
    assert stores == {point.name: point.value for point in points if point.group == "mlflow.tracking_store"}
