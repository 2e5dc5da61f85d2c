"""The page for the one who sets a team up: what it names is there, and its commands give a job its sign-in."""

import json
import os
import re
import shlex
import time

import pytest
from azure.core.credentials import AccessToken
from databricks.sdk import WorkspaceClient
from databricks.sdk.service.workspace import AclPermission
from IPython.core.interactiveshell import InteractiveShell
from tests.bundle import BUNDLE, RESOURCES, ROOT
from tests.emulators.databricks import TOKEN, DatabricksEmulator
from tests.emulators.dbutils import Dbutils
from traitlets.config import Config

from adbazureml import AzureMLWorkspace, Settings
from adbazureml.azure.clouds import current_cloud
from adbazureml.azure.credential import credential_for, sign_in_by
from adbazureml.azure.identities import identity_variables, use_service_credential
from adbazureml.errors import EnvironmentNotReadyError

SECRETS = ("azure-tenant-id", "azure-client-id", "azure-client-secret")
PAGE = (ROOT / "docs" / "set-up-for-a-team.md").read_text()
BLOCKS = re.findall(r"^```\w*\n(.*?)^```$", PAGE, flags=re.M | re.S)
WORKFLOWS = "".join(
    (ROOT / path).read_text() for path in (".github/workflows/deploy.yml", ".azure-pipelines/deploy.yml")
)


def commands(*start):
    """The page's commands that begin with these words, each as its words."""
    found = [
        shlex.split(command)
        for block in BLOCKS
        for command in re.split(r"\n(?=\S)", block.strip())
        if command.startswith(" ".join(start))
    ]
    assert found
    return found


class ManagedIdentity:
    """What Databricks gives for a service credential: no more than tokens."""

    def __init__(self, azure):
        self._azure = azure

    def get_token(self, *scopes, **_):
        assert scopes == (self._azure.identity.scope,)
        return AccessToken(self._azure.identity.issue(), int(time.time()) + 3600)


@pytest.fixture
def dbutils():
    """Put a `dbutils` into the notebook that this process is."""
    there = InteractiveShell.initialized()
    shell = InteractiveShell.instance(config=Config(HistoryManager={"enabled": False}))
    yield lambda given: shell.user_ns.update(dbutils=given)
    shell.user_ns.pop("dbutils", None)
    if not there:
        InteractiveShell.clear_instance()


@pytest.fixture
def job(azureml_emulator, monkeypatch, tmp_path):
    """A job's process: in the emulated cloud, on Databricks, and signed in nowhere."""
    for variable in [*identity_variables(), "AZUREML_CURRENT_CLOUD"]:
        monkeypatch.delenv(variable, raising=False)
    for name, value in azureml_emulator.cloud_environment.items():
        monkeypatch.setenv(name, value)
    for name in ("AZURE_TENANT_ID", "AZURE_CLIENT_ID", "AZURE_CLIENT_SECRET"):
        # So that what the sign-in sets is taken back.
        monkeypatch.setenv(name, "")
    monkeypatch.setenv("DATABRICKS_RUNTIME_VERSION", "18.0")
    monkeypatch.setenv("PATH", str(tmp_path))
    yield azureml_emulator
    use_service_credential("", None)


def test_the_secret_scope_signs_a_job_in_to_azure(job, dbutils):
    """Its commands, as the SDK sends them, then the job's parameter `secret_scope`."""
    values = {
        "azure-tenant-id": job.identity.tenant_id,
        "azure-client-id": job.identity.client_id,
        "azure-client-secret": job.identity.client_secret,
    }
    rights = {}
    with DatabricksEmulator() as databricks:
        databricks.add(
            {
                ("POST", "/api/2.0/secrets/acls/put"): lambda asked: rights.update(
                    {asked["principal"]: asked["permission"]}
                )
            }
        )
        client = WorkspaceClient(host=databricks.host, token=TOKEN)
        for _, _, verb, scope, *more in commands("databricks", "secrets"):
            if verb == "create-scope":
                client.secrets.create_scope(scope)
            elif verb == "put-secret":
                client.secrets.put_secret(scope, more[0], string_value=values[more[0]])
            else:
                assert verb == "put-acl"
                client.secrets.put_acl(scope, more[0], AclPermission(more[1]))
        kept = databricks.secrets.scopes
    assert rights == {"APP_ID": "READ"}
    [scope] = kept
    assert f"the variable `secret_scope` to `{scope}`" in " ".join(PAGE.split())
    dbutils(Dbutils(in_job=True, secrets=kept))
    workspace = AzureMLWorkspace.get(
        name=job.workspace_name,
        subscription_id=job.subscription_id,
        resource_group=job.resource_group,
        secret_scope=scope,
    )
    assert workspace.arm_id == job.workspace.scope
    assert os.environ["AZURE_CLIENT_ID"] == job.identity.client_id


def test_the_service_credential_signs_a_job_in_to_azure(job, dbutils):
    """By the name that the page's commands give it, before a secret scope, and without any secret."""
    [[*_, described]] = commands("databricks", "credentials", "create-credential")
    credential = json.loads(described)
    assert credential["purpose"] == "SERVICE"
    [[*_, kind, name, _, granted]] = commands("databricks", "grants", "update", "credential")
    assert (kind, name) == ("credential", credential["name"])
    assert json.loads(granted)["changes"] == [{"principal": "APP_ID", "add": ["ACCESS"]}]
    assert f"the variable `service_credential` to `{name}`" in " ".join(PAGE.split())
    given = Dbutils(in_job=True, service_credentials={name: ManagedIdentity(job)})
    dbutils(given)
    where = {key: getattr(job, key) for key in ("workspace_name", "subscription_id", "resource_group")}
    settings = Settings.checked({**where, "service_credential": name, "secret_scope": "nowhere"})
    workspace = AzureMLWorkspace.of(settings)
    assert workspace.arm_id == job.workspace.scope
    assert workspace.client().search_experiments()
    assert not os.environ["AZURE_CLIENT_SECRET"]


def test_a_service_credential_that_a_job_may_not_use_is_named(job, dbutils):
    dbutils(Dbutils(in_job=True))
    with pytest.raises(EnvironmentNotReadyError, match=r"'azureml' can't be used \(PERMISSION_DENIED"):
        sign_in_by(service_credential="azureml")
    given = Dbutils(in_job=True)
    del given.credentials
    dbutils(given)
    with pytest.raises(EnvironmentNotReadyError, match="leave it empty and set secret_scope"):
        sign_in_by(service_credential="azureml")


def test_a_secret_scope_named_later_signs_in_instead(job, dbutils):
    principal = {name: getattr(job.identity, name.replace("azure-", "").replace("-", "_")) for name in SECRETS}
    credentials = {"azureml": ManagedIdentity(job)}
    dbutils(Dbutils(in_job=True, secrets={"scope": principal}, service_credentials=credentials))
    sign_in_by(service_credential="azureml")
    credential = credential_for(current_cloud())
    credential.get_token(credential.cloud.scope)
    assert credential.identity == "service credential of Unity Catalog"
    sign_in_by(secret_scope="scope")
    credential.get_token(credential.cloud.scope)
    assert credential.identity == "service principal of the environment"


def test_on_a_laptop_there_is_no_service_credential(monkeypatch):
    monkeypatch.delenv("DATABRICKS_RUNTIME_VERSION", raising=False)
    with pytest.raises(EnvironmentNotReadyError, match="leave service_credential empty, and sign in with `az login`"):
        sign_in_by(service_credential="azureml")


def test_federated_sign_in_is_by_the_variables_that_azure_identity_reads():
    """That a token of such a file signs in is in workspace/test_credential.py."""
    [block] = [block for block in BLOCKS if "spark_env_vars:" in block]
    named = set(re.findall(r"^  (AZURE_\w+):", block, flags=re.M))
    assert named == {"AZURE_TENANT_ID", "AZURE_CLIENT_ID", "AZURE_FEDERATED_TOKEN_FILE"}


def test_variables_are_the_bundles_and_those_of_ci_are_all_named():
    for step in re.findall(r"the (?:bundle's )?variables? `(\w+)`", PAGE):
        assert step in BUNDLE["variables"]
    for variable in re.findall(r"(?:vars\.|\$\()([A-Z_]+)", WORKFLOWS):
        assert re.search(rf"\b{variable}\b", PAGE), variable


def test_what_can_be_taken_over_is_what_the_bundle_keeps():
    declared = {key for kind in ("schemas", "volumes", "experiments") for key in RESOURCES[kind]}
    bound = {words[4] for words in commands("databricks", "bundle", "deployment", "bind")}
    assert bound == declared - {"tmp"}


def test_rights_in_unity_catalog_are_those_of_its_api():
    from databricks.sdk.service.catalog import Privilege

    granted = set(re.findall(r"[A-Z]+(?:_[A-Z]+)*", "".join(re.findall(r'"add": (\[.*?\])', PAGE))))
    assert granted == {"USE_CATALOG", "CREATE_SCHEMA", "USE_SCHEMA", "SELECT", "ACCESS"}
    assert granted <= {privilege.value for privilege in Privilege}


def test_readers_of_the_readme_find_it():
    assert "(docs/set-up-for-a-team.md)" in (ROOT / "README.md").read_text()
    assert len(PAGE.splitlines()) <= 130, "two pages"
