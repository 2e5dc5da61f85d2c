"""`adbazureml doctor` against both emulated workspaces: all is fine, and each check fails in its turn."""

import time

import pytest
from click.testing import CliRunner
from tests.emulators.azureml.messages import Answer
from tests.emulators.babbling import Babbling
from tests.emulators.databricks import DatabricksEmulator

from adbazureml.azure import resource_manager
from adbazureml.cli import doctor, main
from adbazureml.workspaces import databricks, probe

CHECKS = (
    *("Databricks host", "Databricks sign-in", "catalog", "schema", "volume"),
    *("Azure sign-in", "Resource Manager", "Azure ML workspace", "tracking server", "registry", "storage", "link"),
)
ME = "someone@example.com"


@pytest.fixture
def adb(monkeypatch):
    with DatabricksEmulator() as emulator:
        for name, value in emulator.environment.items():
            monkeypatch.setenv(name, value)
        catalog = emulator.catalog
        catalog.add_securable("catalog", "main", {"account users": {"USE_CATALOG"}})
        catalog.add_securable(
            "schema", "main.team", {ME: {"USE_SCHEMA", "SELECT", "MODIFY", "CREATE_TABLE", "CREATE_MODEL"}}
        )
        catalog.add_securable("volume", "main.team.files", {}, owner=ME)
        yield emulator


@pytest.fixture
def linked(azure, adb):
    azure.resource_manager.resources.add_parts()
    link = {"type": "String", "value": azure.workspace.scope}
    resource = azure.resource_manager.resources.add_databricks("adb", url=adb.host.removeprefix("http://"))
    resource["properties"]["parameters"]["amlWorkspaceId"] = link
    return resource


def ask(azure):
    options = {
        "workspace-name": azure.workspace_name,
        "subscription-id": azure.subscription_id,
        "resource-group": azure.resource_group,
        **{"catalog": "main", "schema": "team", "volume": "files"},
    }
    done = CliRunner().invoke(
        main, ["doctor", *(word for name, value in options.items() for word in (f"--{name}", value))]
    )
    assert "Traceback" not in done.output
    states = {}
    for line in done.output.splitlines():
        states[line[:20].strip()] = line[21:33].strip()
    return done, states


def test_all_is_fine(azure, adb, linked):
    done, states = ask(azure)
    assert states == dict.fromkeys(CHECKS, "fine"), done.output
    assert done.exit_code == 0
    assert "linked" not in done.output
    assert done.output.splitlines()[-1].split() == ["link", "fine", "set"]


def _no_host(azure, adb, monkeypatch, linked):
    monkeypatch.setenv("DATABRICKS_HOST", "http://127.0.0.1:9")


def _wrong_token(azure, adb, monkeypatch, linked):
    monkeypatch.setenv("DATABRICKS_TOKEN", "dapi-old")


def _no_catalog(azure, adb, monkeypatch, linked):
    del adb.catalog.securables["catalog", "main"]


def _no_right(azure, adb, monkeypatch, linked):
    adb.catalog.grants["schema", "main.team"][ME] -= {"CREATE_MODEL", "MODIFY"}


def _not_mine(azure, adb, monkeypatch, linked):
    adb.catalog.securables["volume", "main.team.files"]["owner"] = "admins"


def _wrong_secret(azure, adb, monkeypatch, linked):
    monkeypatch.setenv("AZURE_CLIENT_SECRET", "wrong")


def _babbling(path):
    def break_down(azure, adb, monkeypatch, linked):
        azure._service.put_before([(path, Babbling("html 403"))])

    return break_down


def _no_workspace(azure, adb, monkeypatch, linked):
    azure.resource_manager.resources.remove(azure.workspace.scope)


def _no_role(azure, adb, monkeypatch, linked):
    azure.fail_next(9, "experiments/search", status=403)


def _closed(azure, adb, monkeypatch, linked):
    refusal = Answer(403, b"<Error/>", {"x-ms-error-code": "AuthorizationFailure"})
    monkeypatch.setattr(azure.blobs, "answer", lambda _: refusal)


def _linked_to_another(azure, adb, monkeypatch, linked):
    linked["properties"]["parameters"]["amlWorkspaceId"]["value"] = f"{azure.workspace.scope}-other"


FAULTS = {
    "Databricks host": (_no_host, "can't be reached: the connection is refused. Check DATABRICKS_HOST"),
    "Databricks sign-in": (_wrong_token, "Make a new token there"),
    "catalog": (_no_catalog, "catalog 'main': there is none of this name"),
    "schema": (_no_right, f"GRANT MODIFY, CREATE MODEL ON SCHEMA main.team TO `{ME}`."),
    "volume": (_not_mine, f"GRANT READ VOLUME, WRITE VOLUME ON VOLUME main.team.files TO `{ME}`."),
    "Azure sign-in": (_wrong_secret, "Could not sign in to Azure"),
    "Resource Manager": (_babbling("/subscriptions"), "an HTML page, not JSON: a proxy or a wrong host?"),
    "Azure ML workspace": (_no_workspace, "has no such Azure ML workspace"),
    "tracking server": (_no_role, "Give this identity the role 'AzureML Data Scientist'"),
    "registry": (_babbling("/mlflow/.*registered-models"), "The registry of Azure ML workspace"),
    "storage": (_closed, "does not let this network in: allow it in the storage account"),
    "link": (_linked_to_another, "`adbazureml link set --replace` changes it"),
}
NEEDED_BY = {
    "Databricks host": {"Databricks sign-in", "catalog", "schema", "volume", "link"},
    "Databricks sign-in": {"catalog", "schema", "volume", "link"},
    "catalog": {"schema", "volume"},
    "schema": {"volume"},
    "Azure sign-in": {"Resource Manager", "Azure ML workspace", "tracking server", "registry", "storage", "link"},
    "Resource Manager": {"Azure ML workspace", "tracking server", "registry", "storage", "link"},
    "Azure ML workspace": {"tracking server", "registry", "storage", "link"},
    "tracking server": {"registry"},
}


def test_every_check_is_made_to_fail():
    assert tuple(FAULTS) == CHECKS


@pytest.mark.parametrize("check", FAULTS)
def test_one_fails_and_says_what_to_do(check, azure, adb, linked, monkeypatch):
    break_down, said = FAULTS[check]
    break_down(azure, adb, monkeypatch, linked)
    done, states = ask(azure)
    assert done.exit_code == 1
    failed = next(line for line in done.output.splitlines() if line.startswith(check))
    assert said in failed
    wanted = dict.fromkeys(CHECKS, "fine") | dict.fromkeys(NEEDED_BY.get(check, ()), "not checked")
    assert states == wanted | {check: "FAILED"}, done.output


def test_it_ends_in_time_however_dead_a_host_is(azure, adb, linked, monkeypatch):
    monkeypatch.setattr(doctor, "ALL_SECONDS", 1.0)
    azure.hang_next(99, "/", seconds=120)
    adb.hang_next(99, "/", seconds=120)
    began = time.monotonic()
    done, states = ask(azure)
    assert time.monotonic() - began < 60
    assert done.exit_code == 1
    assert set(states.values()) == {"FAILED", "not checked"}


def test_its_own_limits_fit_into_half_a_minute():
    assert doctor.ALL_SECONDS <= 30
    for limit in (databricks.ALL_SECONDS, resource_manager.ALL_SECONDS + resource_manager.READ_SECONDS):
        assert limit <= 30
    assert probe.CONNECT_SECONDS + probe.READ_SECONDS <= 30


def test_a_list_in_a_message_is_told_in_one_line():
    said = "There is none. Tried, in this order:\n  az: not there\n  a token: refused\nSet one, or run `az login`."
    told = "There is none. Tried, in this order: az: not there; a token: refused. Set one, or run `az login`."
    assert doctor._in_one_line(said) == told
