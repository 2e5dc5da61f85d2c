"""Each command, where a host is dead, silent, wrong or does not let one in: one sentence, soon, and no traceback."""

import os
import signal
import socket
import subprocess
import sys
import time

import pytest
from click.testing import CliRunner
from mlflow.utils.rest_utils import get_workspace_client
from tests.emulators.babbling import Babbling, BabblingHost
from tests.emulators.databricks import DatabricksEmulator
from tests.service.text.test_redaction import AZUREML, COMMANDS

from adbazureml.azure import credential, resource_manager
from adbazureml.cli import doctor, main
from adbazureml.workspaces import databricks, probe

# Of each command, on a busy machine; without limits it takes minutes.
SOON = 60.0
ASKS_DATABRICKS = ("import-notebooks", "status", "catch-up", "clean-up", "doctor")
ASKS_AZURE = ("create-workspace", "link show", "link set", "link unset", "status", "catch-up", "clean-up", "doctor")


@pytest.fixture(autouse=True)
def limits(monkeypatch):
    """The limits that a command keeps, made short."""
    monkeypatch.setattr(databricks, "HTTP_SECONDS", 0.3)
    monkeypatch.setattr(databricks, "ALL_SECONDS", 8.0)
    monkeypatch.setattr(doctor, "ALL_SECONDS", 3.0)
    monkeypatch.setattr(doctor, "REQUEST_SECONDS", 0.3)
    monkeypatch.setattr(probe, "READ_SECONDS", 0.3)
    monkeypatch.setattr(resource_manager, "READ_SECONDS", 0.3)
    monkeypatch.setattr(resource_manager, "ALL_SECONDS", 0.5)
    monkeypatch.setattr(credential, "SIGN_IN_SECONDS", 1.0)


@pytest.fixture
def silent():
    """A host that takes connections, and never says a word."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(64)
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"


@pytest.fixture
def adb(monkeypatch):
    with DatabricksEmulator() as emulator:
        for name, value in emulator.environment.items():
            monkeypatch.setenv(name, value)
        get_workspace_client.cache_clear()
        yield emulator


@pytest.fixture
def names(azure):
    return (
        *("--workspace-name", azure.workspace_name),
        *("--subscription-id", azure.subscription_id),
        *("--resource-group", azure.resource_group),
    )


def said_by(command, names, expected):
    arguments = [word for part in COMMANDS[command] for word in (names if part == AZUREML else (part,))]
    began = time.monotonic()
    done = CliRunner().invoke(main, [*command.split(), *arguments])
    assert time.monotonic() - began < SOON
    assert isinstance(done.exception, SystemExit), done.exception
    assert done.exit_code in (1, 2)
    assert "Traceback" not in done.output
    assert expected in done.output, done.output
    if command != "doctor":
        assert done.output.count("Error: ") == 1


FAULTS = {
    "refused": "can't be reached: the connection is refused. Check DATABRICKS_HOST",
    "silent": "can't be reached: it does not answer",
    "unknown name": "can't be reached: no host of this name is known here",
    "html 200": "not JSON: a proxy or a wrong host?",
    "html 403": "HTML page, not JSON: a proxy or a wrong host?",
    "wrong token": "does not accept this sign-in",
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("command", ASKS_DATABRICKS)
def test_databricks(command, fault, adb, names, silent, monkeypatch):
    if command == "doctor" and fault in ("html 200", "html 403"):
        pytest.skip("its first check takes any answer for a host; test_doctor.py has the second")
    hosts = {"refused": "http://127.0.0.1:9", "silent": silent, "unknown name": "http://no-such-host.invalid"}
    if fault == "wrong token":
        monkeypatch.setenv("DATABRICKS_TOKEN", "dapi-old")
        said_by(command, names, FAULTS[fault])
    elif fault in hosts:
        monkeypatch.setenv("DATABRICKS_HOST", hosts[fault])
        said_by(command, names, FAULTS[fault])
    else:
        with BabblingHost(fault) as host:
            monkeypatch.setenv("DATABRICKS_HOST", host.url)
            said_by(command, names, FAULTS[fault])


@pytest.mark.parametrize(
    ("fault", "path", "expected"),
    [
        ("silent", "/subscriptions", "did not serve: no answer within"),
        ("html 403", "/subscriptions", "HTML page, not JSON"),
        ("html 200", "/subscriptions", "Azure Resource Manager"),
        ("no rights", "/subscriptions", "role"),
        ("silent", "/adfs", "by the service principal of the environment: no answer within"),
        ("html 403", "/adfs", "Could not sign in to Azure"),
    ],
)
@pytest.mark.parametrize("command", ASKS_AZURE)
def test_azure(command, fault, path, expected, azure, adb, names, monkeypatch):
    if fault == "silent":
        azure.hang_next(99, path, seconds=20)
    elif fault == "no rights":
        azure.fail_next(99, path, status=403)
    else:
        azure._service.put_before([(path, Babbling(fault))])
    said_by(command, names, expected)


@pytest.mark.parametrize("fault", ["silent", "html 200"])
@pytest.mark.parametrize("command", ["status", "catch-up", "clean-up", "doctor"])
def test_the_tracking_server(command, fault, azure, adb, names):
    if fault == "silent":
        azure.hang_next(99, "/mlflow/", seconds=20)
    else:
        azure._service.put_before([("/mlflow/", Babbling("html 200"))])
    said_by(command, names, "The tracking server of Azure ML workspace")


def test_ctrl_c_ends_a_command_at_once(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as listening:
        host = f"http://127.0.0.1:{listening.getsockname()[1]}"
        variables = {"DATABRICKS_HOST": host, "DATABRICKS_TOKEN": "x", "ADBAZUREML_HOME": str(tmp_path)}
        command = [sys.executable, "-m", "adbazureml", "status"]
        with subprocess.Popen(command, env={**os.environ, **variables}, stderr=subprocess.PIPE, text=True) as asking:
            listening.settimeout(240)
            asked, _ = listening.accept()
            with asked:
                asking.send_signal(signal.SIGINT)
                # The host would be given up after half a minute.
                _, said = asking.communicate(timeout=20)
    assert said.strip() == "Stopped by you."
    assert asking.returncode == 130
