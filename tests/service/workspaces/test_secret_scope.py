"""A service principal that Databricks keeps in a secret scope, read in a notebook with an emulated `dbutils`."""

import os

import pytest
from IPython.core.interactiveshell import InteractiveShell
from traitlets.config import Config

from adbazureml import AzureMLWorkspace
from adbazureml.azure.credential import sign_in_from
from adbazureml.errors import EnvironmentNotReadyError

VARIABLES = ("AZURE_TENANT_ID", "AZURE_CLIENT_ID", "AZURE_CLIENT_SECRET")


class Secrets:
    """`dbutils.secrets`, which raises an error of the JVM's for what is not there."""

    def __init__(self, scope, secrets):
        self.scope, self.secrets = scope, secrets

    def get(self, scope, key):
        if scope != self.scope or key not in self.secrets:
            raise RuntimeError(f"Secret does not exist with scope: {scope} and key: {key}\nat com.databricks.…")
        return self.secrets[key]


@pytest.fixture(scope="module")
def shell():
    there = InteractiveShell.initialized()
    yield InteractiveShell.instance(config=Config(HistoryManager={"enabled": False}))
    if not there:
        InteractiveShell.clear_instance()


@pytest.fixture
def scope(shell, cloud, monkeypatch):
    """A secret scope `ml` that holds the emulated service principal."""
    monkeypatch.setenv("DATABRICKS_RUNTIME_VERSION", "18.0")
    principal = {
        "azure-tenant-id": cloud.identity.tenant_id,
        "azure-client-id": cloud.identity.client_id,
        "azure-client-secret": cloud.identity.client_secret,
    }
    secrets = Secrets("ml", principal)
    shell.user_ns["dbutils"] = type("Dbutils", (), {"secrets": secrets})()
    for variable in VARIABLES:
        # So that what the test sets is taken back.
        monkeypatch.setenv(variable, "")
    yield secrets.secrets
    del shell.user_ns["dbutils"]


def test_signs_in(scope, cloud, names):
    assert AzureMLWorkspace.get(**names, secret_scope="ml").arm_id == cloud.workspace.scope


def test_processes_started_from_the_notebook_share_it(scope):
    sign_in_from("ml")
    assert {name: os.environ[name.upper().replace("-", "_")] for name in scope} == scope


@pytest.mark.parametrize("missing", ["azure-tenant-id", "azure-client-secret"])
def test_a_missing_secret_is_named_and_nothing_is_set(scope, missing):
    del scope[missing]
    with pytest.raises(EnvironmentNotReadyError) as caught:
        sign_in_from("ml")
    assert f"secret_scope 'ml': its secret '{missing}' can't be read" in str(caught.value)
    assert f"databricks secrets put-secret ml {missing}" in str(caught.value)
    assert not any(os.environ[variable] for variable in VARIABLES)


def test_an_empty_secret_is_named(scope):
    scope["azure-client-secret"] = ""
    with pytest.raises(EnvironmentNotReadyError, match="its secret 'azure-client-secret' is empty"):
        sign_in_from("ml")


def test_a_local_machine_has_none(monkeypatch):
    monkeypatch.delenv("DATABRICKS_RUNTIME_VERSION", raising=False)
    with pytest.raises(EnvironmentNotReadyError, match="secret_scope 'ml': secret scopes are Databricks'"):
        sign_in_from("ml")
