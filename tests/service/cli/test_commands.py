"""The command line against emulated workspaces: as people run it once, and all else within this process."""

import os
import subprocess
import sys
from pathlib import Path

import mlflow
import pytest
from click.testing import CliRunner
from tests.bundle import ROOT
from tests.emulators.databricks import TOKEN, Cluster, DatabricksEmulator, refused

from adbazureml import AzureMLWorkspace, DatabricksWorkspace, Settings, track
from adbazureml.cli import main
from adbazureml.cli.notebook_import import notebooks
from adbazureml.registry.version_tags import COUNTERPART_VERSION

HOME = "/Users/someone@example.com/adbazureml"


@pytest.fixture
def databricks(monkeypatch):
    with DatabricksEmulator() as emulator:
        for name, value in emulator.environment.items():
            monkeypatch.setenv(name, value)
        yield emulator
    assert emulator.crashes == []


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("ADBAZUREML_HOME", str(tmp_path))
    return tmp_path


@pytest.fixture
def names(azure):
    """The options that name the emulated Azure ML workspace."""
    return (
        *("--workspace-name", azure.workspace_name),
        *("--subscription-id", azure.subscription_id),
        *("--resource-group", azure.resource_group),
    )


def run(*arguments, **variables):
    """Run the command in a process of its own, with the environment that this test has."""
    command = [sys.executable, "-m", "adbazureml", *arguments]
    return subprocess.run(
        command, env={**os.environ, **variables}, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL
    )


def call(*arguments, answer=None):
    """Run it in this process."""
    return CliRunner().invoke(main, [*arguments], input=answer)


def test_help_names_every_command():
    done = call("--help")
    assert done.exit_code == 0, done.output
    for command in (
        "check",
        "doctor",
        "import-notebooks",
        "create-workspace",
        "link",
        "status",
        "catch-up",
        "deployment-job",
        "clean-up",
    ):
        assert f"\n  {command} " in done.output
    for command in main.commands:
        assert call(command, "--help").exit_code == 0
    assert [*main.commands["link"].commands] == ["show", "set", "unset"]


def test_console_script_is_the_same_command():
    script = Path(sys.executable).parent / "adbazureml"
    if not script.exists():
        pytest.skip("this environment was made before the script was declared")
    told = subprocess.run([script, "--version"], capture_output=True, text=True, check=True).stdout
    assert told.startswith("adbazureml, version ")


class TestImport:
    def test_puts_the_notebooks_and_says_where_to_attach(self, databricks, tmp_path):
        databricks.clusters["1123-ml"] = Cluster(name="team")
        databricks.clusters["1123-sql"] = Cluster(name="plain", runtime="18.x-scala2.13")
        done = call("import-notebooks")
        assert done.exit_code == 0, done.output
        names = [path.stem for path in sorted((ROOT / "notebooks").glob("[0-9]*.ipynb"))]
        assert len(names) == 9
        for name in names:
            kept = databricks.objects.kept[f"{HOME}/{name}"]
            assert kept.kind == "NOTEBOOK"
            assert kept.content == (ROOT / "notebooks" / f"{name}.ipynb").read_bytes()
        assert f"Imported 9 notebooks: {databricks.host}/#workspace{HOME.replace('@', '%40')}" in done.output
        assert f"team (18.x-cpu-ml-scala2.13, RUNNING): {databricks.host}/compute/clusters/1123-ml" in done.output
        assert "plain" not in done.output

    def test_a_name_in_use_imports_nothing_unless_told(self, databricks):
        assert call("import-notebooks", "/Workspace/Shared/walk").exit_code == 0
        del databricks.objects.kept["/Shared/walk/01_install"]
        databricks.objects.kept["/Shared/walk/02_link"].content = b"{}"
        again = call("import-notebooks", "/Shared/walk")
        assert again.exit_code == 1
        assert "/Shared/walk has 02_link, 03_train_and_log" in again.output
        assert "nothing was imported" in again.output
        assert "/Shared/walk/01_install" not in databricks.objects.kept
        assert call("import-notebooks", "/Shared/walk", "--overwrite").exit_code == 0
        assert databricks.objects.kept["/Shared/walk/02_link"].content != b"{}"

    def test_installs_the_wheel_on_the_cluster(self, databricks, tmp_path, monkeypatch):
        monkeypatch.setattr("adbazureml.workspaces.install.cluster_libraries.FIRST_PAUSE", 0.01)
        wheel = tmp_path / "adbazureml-0.1.0-py3-none-any.whl"
        wheel.write_bytes(b"PK")
        databricks.clusters["1123-ml"] = Cluster(name="team", state="TERMINATED")
        options = ("import-notebooks", "--overwrite", "--wheel", str(wheel), "--cluster-id", "1123-ml")
        refusal = call(*options, answer="n\n")
        assert "Start cluster 1123-ml? [y/N]" in refusal.output
        assert refusal.exit_code == 1
        assert databricks.clusters["1123-ml"].state == "TERMINATED"
        done = call(*options, answer="y\n")
        assert done.exit_code == 0, done.output
        assert databricks.objects.kept[f"{HOME}/{wheel.name}"].content == b"PK"
        assert list(databricks.clusters["1123-ml"].libraries) == [f"/Workspace{HOME}/{wheel.name}"]
        assert f"attach cluster team: {databricks.host}/compute/clusters/1123-ml" in done.output

    def test_no_permission_and_no_such_place(self, databricks):
        databricks.objects.read_only.add("/Shared")
        denied = call("import-notebooks", "/Shared/walk")
        assert denied.exit_code == 1
        assert "You may not write to /Shared/walk" in denied.output
        assert "give a path from the root" in call("import-notebooks", "walk").output
        assert "cluster_id '1123-none'" in call("import-notebooks", "--cluster-id", "1123-none").output

    def test_a_busy_workspace_is_waited_for(self, databricks):
        databricks.fail_next(2, "workspace/import", status=429, retry_after=0)
        assert call("import-notebooks").exit_code == 0

    def test_not_signed_in(self, tmp_path, monkeypatch):
        monkeypatch.setenv("HOME", str(tmp_path))
        monkeypatch.setenv("PATH", str(tmp_path))
        done = call("import-notebooks")
        assert done.exit_code == 1
        assert done.output.startswith(
            "Error: Not signed in to a Databricks workspace. Run this in one; or set DATABRICKS_"
        )
        assert "http_timeout_seconds" not in done.output

    def test_order_is_the_walks(self):
        assert [path.stem[:2] for path in notebooks()] == [f"{number:02}" for number in range(1, 10)]


@pytest.mark.parametrize("command", ["link show", "link set", "link unset", "create-workspace"])
def test_what_needs_an_azure_ml_workspace_says_so_and_makes_no_folder(command, tmp_path, monkeypatch):
    monkeypatch.setenv("ADBAZUREML_HOME", str(tmp_path / "home"))
    done = call(*command.split())
    assert done.exit_code == 1
    assert done.output == (
        "Error: no Azure ML workspace is named: give --subscription-id, --resource-group and --workspace-name.\n"
    )
    assert not (tmp_path / "home").exists()


class TestLink:
    def test_sets_shows_and_ends_the_link(self, azure, databricks, names, monkeypatch):
        monkeypatch.setattr("adbazureml.azure.long_operations.POLL_SECONDS", 0.05)
        resources = azure.resource_manager.resources
        resource = resources.add_databricks("adb", url=databricks.host.removeprefix("http://"))
        azure.resource_manager.operations.looks = 1
        done = call("link", "set", *names)
        assert done.exit_code == 0, done.output
        assert "linked (just changed)" in done.output
        linked = resources.find(resource["id"])["properties"]["parameters"]["amlWorkspaceId"]["value"]
        assert linked == azure.workspace.scope
        assert f"linked to                 {linked}" in call("link", "show", *names).output
        kept = call("link", "unset", *names, answer="n\n")
        assert kept.exit_code == 1
        assert "amlWorkspaceId" in resources.find(resource["id"])["properties"]["parameters"]
        assert "not linked (just changed)" in call("link", "unset", "--yes", *names).output
        assert "amlWorkspaceId" not in resources.find(resource["id"])["properties"]["parameters"]

    def test_says_in_one_sentence_what_is_wrong(self, azure, names):
        wrong = call("link", "show", *names[:-1], "no-such-group", "--databricks-workspace", "adb")
        assert wrong.exit_code == 1
        assert wrong.output.startswith("Error: resource_group 'no-such-group'")
        assert "Traceback" not in wrong.output
        bad = call("link", "show", *names[:3], "not-a-guid", *names[4:])
        assert "subscription_id: 'not-a-guid' is wrong" in bad.output

    def test_makes_a_workspace(self, azure, names, monkeypatch):
        monkeypatch.setattr("adbazureml.azure.long_operations.POLL_SECONDS", 0.05)
        done = call("create-workspace", "--workspace-name", "made", *names[2:], "--location", "northeurope")
        assert done.exit_code == 0, done.output
        assert "Azure ML workspace made: Succeeded" in done.output
        assert "Azure ML workspace made: https://ml.azureml.test/" in done.output


class TestTracking:
    @pytest.fixture
    def experiment(self, home, log_model):
        """One run that Azure ML's local backend does not have yet."""
        workspace = AzureMLWorkspace.get(name="", subscription_id="", resource_group="")
        track(workspace, mode="databricks")
        mlflow.set_experiment("/Users/me/behind")
        with mlflow.start_run():
            mlflow.log_metric("loss", 0.5)
        yield "/Users/me/behind"
        track(mode="databricks")

    def test_status_then_catch_up_then_clean_up(self, experiment, home):
        assert "0 of 1 are in sync" in call("status", "--experiment", experiment).output
        done = run("catch-up", "--experiment", experiment)
        assert done.returncode == 0, done.stdout + done.stderr
        assert done.stdout.count("1 of 1 runs are equal in both workspaces") == 1
        assert "1 of 1 are in sync" in call("status", "--experiment", experiment).output
        listed = call("clean-up", "--experiment", experiment).output
        assert "nothing was deleted: 2 runs." in listed
        assert "Dry run. To delete (run), add --delete" in listed
        assert listed.count(" run ") == 2
        refusal = call("clean-up", "--experiment", experiment, "--delete", "--confirm", "another")
        assert refusal.exit_code == 1
        assert "type the experiment's name" in refusal.output
        assert call("clean-up", "--experiment", experiment, "--delete", answer=f"{experiment}\n").exit_code == 0
        assert "Nothing of the project is left" in call("clean-up", "--experiment", experiment).output

    def test_status_says_where_the_registries_have_another_champion(self, experiment):
        name = Settings().model_name
        workspace = AzureMLWorkspace.get(name="", subscription_id="", resource_group="")
        for client in (DatabricksWorkspace.current().client(), workspace.client()):
            client.create_registered_model(name)
            for number in "12":
                version = client.create_model_version(name, source="dbfs:/somewhere")
                client.set_model_version_tag(name, version.version, COUNTERPART_VERSION, f"{name}/{number}")
            client.set_registered_model_alias(name, "champion", "2")
        said = call("status", "--experiment", experiment).output
        assert f"champion of {name}: version 2 in Databricks, version 2 in Azure ML.\n" in said
        workspace.client().set_registered_model_alias(name, "champion", "1")
        said = call("status", "--experiment", experiment).output
        assert "version 1 in Azure ML. They disagree, as Databricks' is version 2 there: promote it again.\n" in said

    def test_clean_up_leaves_what_others_share_unless_it_is_named(self, azure, names, home):
        resources = azure.resource_manager.resources
        resources.add_parts()
        names = (*names, "--experiment", "/Users/me/nothing-here")
        listed = call("clean-up", *names, "--delete")
        assert listed.exit_code == 0, listed.output
        assert "There is, and nothing was deleted: 1 resource group." in listed.output
        group = ("--delete-kinds", "resource group")
        assert "Dry run. To delete (resource group), add --delete" in call("clean-up", *names, *group).output
        refusal = call("clean-up", *names, *group, "--delete", "--confirm", "/Users/me/nothing-here")
        assert refusal.exit_code == 1
        assert "confirm_resource_group ''" in refusal.output
        assert "expected some of" in call("clean-up", *names, "--delete-kinds", "everything").output
        assert azure.resource_group.lower() in resources.groups

    def test_an_unknown_experiment(self, home):
        done = call("status", "--experiment", "/Users/me/nowhere")
        assert done.exit_code == 1
        assert "there is none of that name" in done.output

    def test_asks_the_workspace_that_the_machine_is_signed_in_to(self, home, databricks):
        def absent(asked):
            raise refused(404, "RESOURCE_DOES_NOT_EXIST", f"Experiment {asked['experiment_name']} is not there.")

        databricks.add({("GET", "/api/2.0/mlflow/experiments/get-by-name"): absent})
        done = call("status", "--experiment", "/Users/me/nowhere")
        assert f"Databricks: {databricks.host}/ml" in done.output
        assert "there is none of that name in Databricks" in done.output
        assert databricks.requests_to("experiments/get-by-name")


def test_check_lists_what_is_needed():
    done = call("check")
    assert done.exit_code == 0, done.output
    assert "azureml-mlflow" in done.output
    assert "MISSING" not in done.output


class TestDefaults:
    """Which Databricks workspace a command talks to, where no variable names one."""

    @pytest.mark.parametrize("command", [("import-notebooks", "/Shared/walk"), ("status", "--experiment", "/Users/x")])
    def test_the_default_profile_is_used_by_all(self, command, databricks, home, monkeypatch):
        monkeypatch.delenv("DATABRICKS_TOKEN")
        monkeypatch.delenv("DATABRICKS_HOST")
        profiles = home / "profiles"
        profiles.write_text(
            f"[other]\nhost = http://127.0.0.1:9\n[DEFAULT]\nhost = {databricks.host}\ntoken = {TOKEN}\n"
        )
        monkeypatch.setenv("DATABRICKS_CONFIG_FILE", str(profiles))
        call(*command)
        assert databricks.requests_to("scim/v2/Me")

    def test_looking_makes_no_folder(self, tmp_path, monkeypatch):
        monkeypatch.setenv("DATABRICKS_CONFIG_FILE", os.devnull)
        monkeypatch.setenv("ADBAZUREML_HOME", str(tmp_path / "none"))
        for command in ("status", "catch-up", "clean-up"):
            done = call(command)
            assert done.exit_code == 1
            assert "Nothing was tracked on this machine yet" in done.output
        assert not (tmp_path / "none").exists()
