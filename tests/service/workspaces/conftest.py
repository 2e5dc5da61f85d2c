"""An Azure of our own on loopback, and an environment in which nobody is signed in to any other."""

import os
import socket
import stat
import sys
from pathlib import Path

import pytest

from adbazureml.azure.identities import identity_variables


@pytest.fixture
def nobody(monkeypatch, tmp_path):
    """No identity anywhere: no variables, no metadata address, and of all commands only those of `az`."""
    for variable in [*identity_variables(), "AZUREML_CURRENT_CLOUD", "ARM_CLOUD_METADATA_URL"]:
        monkeypatch.delenv(variable, raising=False)
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        monkeypatch.setenv("AZURE_POD_IDENTITY_AUTHORITY_HOST", f"http://127.0.0.1:{closed.getsockname()[1]}")
    commands = tmp_path / "commands"
    commands.mkdir()
    monkeypatch.setenv("PATH", str(commands))
    return commands


@pytest.fixture
def cloud(nobody, azureml_emulator, monkeypatch):
    """The emulated cloud, with nobody signed in."""
    for name, value in azureml_emulator.cloud_environment.items():
        monkeypatch.setenv(name, value)
    yield azureml_emulator
    azureml_emulator.clear_faults()
    azureml_emulator.requests.clear()


@pytest.fixture
def azure(cloud, monkeypatch):
    """The emulated cloud, with its service principal in the environment."""
    for name, value in cloud.environment.items():
        monkeypatch.setenv(name, value)
    return cloud


@pytest.fixture
def names(azureml_emulator):
    """What a person gives to find the workspace."""
    return {
        "name": azureml_emulator.workspace_name,
        "subscription_id": azureml_emulator.subscription_id,
        "resource_group": azureml_emulator.resource_group,
    }


@pytest.fixture
def az(nobody):
    """Put an Azure CLI on the PATH, whose body is a Python script; it notes each call in the file returned."""

    def install(body: str) -> Path:
        calls = nobody / "calls"
        command = nobody / "az"
        command.write_text(
            f"#!{sys.executable} -S\nimport json, sys, time\n"
            f"open({os.fspath(calls)!r}, 'a').write(' '.join(sys.argv[1:]) + '\\n')\n{body}\n"
        )
        command.chmod(command.stat().st_mode | stat.S_IXUSR)
        return calls

    return install


@pytest.fixture
def silent_address():
    """An address that takes connections and never says anything."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(64)
        yield f"127.0.0.1:{listener.getsockname()[1]}"
