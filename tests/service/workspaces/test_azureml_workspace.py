"""The workspace as Azure Resource Manager knows it, and what is said when it can't be had."""

import json
import re
import time
from dataclasses import replace

import pytest
from azure.ai.ml import MLClient
from tests.emulators.azureml.messages import Problem

from adbazureml import AzureMLWorkspace, Settings, show_workspaces
from adbazureml.azure import resource_manager
from adbazureml.azure.clouds import current_cloud
from adbazureml.azure.credential import Credential
from adbazureml.azure.workspace_address import WorkspaceAddress
from adbazureml.errors import CredentialError, WorkspaceError
from adbazureml.workspaces import DatabricksWorkspace, azureml

ARM = "^/subscriptions/"


@pytest.fixture
def quick(monkeypatch):
    """Retries without the wait between them."""
    monkeypatch.setattr(resource_manager, "_FIRST_PAUSE", 0.01)


class TestFound:
    def test_has_what_mlflow_and_a_reader_need(self, azure, names):
        workspace = AzureMLWorkspace.get(**names)
        assert workspace.name == names["name"]
        assert workspace.tracking_uri == workspace.registry_uri == azure.tracking_uri
        assert workspace.get_mlflow_tracking_uri() == azure.tracking_uri
        assert workspace.location == "westeurope"
        assert workspace.arm_id == azure.workspace.scope
        assert workspace.workspace_id == azure.workspace.workspace_id
        assert workspace.tenant_id == azure.workspace.tenant_id

    def test_by_one_request(self, azure, names):
        AzureMLWorkspace.get(**names)
        [request] = azure.requests_to(ARM)
        assert request.query == {"api-version": "2024-04-01"}

    def test_whatever_the_case_of_the_names(self, azure, names):
        shouted = {name: value.upper() for name, value in names.items()}
        assert AzureMLWorkspace.get(**shouted) == AzureMLWorkspace.get(**names)

    def test_tracking_uri_of_an_older_form(self, azure, names, monkeypatch):
        older = azure.tracking_uri.replace("v2.0", "v1.0").replace("resourceGroups", "resourcegroups")
        monkeypatch.setattr(type(azure.workspace), "tracking_uri", older)
        uri = AzureMLWorkspace.get(**names).tracking_uri
        assert uri == older.replace("v1.0", "v2.0").replace("resourcegroups", "resourceGroups")

    def test_a_cloud_given_is_the_workspace_s_own(self, azure, names, monkeypatch):
        monkeypatch.delenv("AZUREML_CURRENT_CLOUD")
        found = AzureMLWorkspace.get(**names, cloud=azure.cloud)
        monkeypatch.setenv("AZUREML_CURRENT_CLOUD", "AzureChinaCloud")
        assert AzureMLWorkspace.from_uri(found.tracking_uri).cloud.name == azure.cloud

    def test_named_by_the_settings(self, azure, names):
        values = {**names, "workspace_name": names["name"]}
        del values["name"]
        settings = Settings.checked({**values, "cloud": azure.cloud})
        assert AzureMLWorkspace.of(settings).arm_id == azure.workspace.scope

    def test_shows_its_region_and_ids(self, azure, names):
        workspace = AzureMLWorkspace.get(**names)
        html = workspace._repr_html_()
        for shown in (workspace.location, workspace.arm_id, workspace.workspace_id):
            assert f"<td>{shown}</td>" in html

    def test_stands_beside_the_databricks_one(self, azure, names, workspace):
        # The local backend for the tracking server, whose part is not this one's.
        found = replace(AzureMLWorkspace.get(**names), tracking_uri=workspace.tracking_uri)
        html = show_workspaces(DatabricksWorkspace.current(), found)._repr_html_()
        assert f"<tr><td>region</td><td></td><td>{found.location}</td></tr>" in html
        assert f"<tr><td>ARM id</td><td></td><td>{found.arm_id}</td></tr>" in html


class TestLinks:
    SCOPE = "/subscriptions/s/resourceGroups/g/providers/Microsoft.MachineLearningServices/workspaces/w"

    @pytest.mark.parametrize(
        ("cloud", "studio"),
        [
            ("AzureCloud", "https://ml.azure.com"),
            ("AzureUSGovernment", "https://ml.azure.us"),
            ("AzureChinaCloud", "https://studio.ml.azure.cn"),
        ],
    )
    def test_lead_to_the_studio_of_the_cloud(self, nobody, monkeypatch, cloud, studio):
        monkeypatch.setenv("AZUREML_CURRENT_CLOUD", cloud)
        workspace = AzureMLWorkspace.from_uri(f"azureml://host/mlflow/v2.0{self.SCOPE}")
        where = f"?wsid={self.SCOPE}"
        assert workspace.url == f"{studio}/{where}"
        assert workspace.experiment_url("e-1") == f"{studio}/experiments/id/e-1{where}"
        assert workspace.run_url("e-1", "r-2") == f"{studio}/experiments/id/e-1/runs/r-2{where}"
        assert workspace.model_url("prices", "3") == f"{studio}/model/prices:3/details{where}"
        assert workspace.endpoint_url("prices") == f"{studio}/endpoints/realtime/prices/detail{where}"

    def test_name_the_tenant_where_it_is_known(self, azure, names):
        url = AzureMLWorkspace.get(**names).run_url("e-1", "r-2")
        scope, tenant = azure.workspace.scope, azure.workspace.tenant_id
        assert url == f"https://ml.azureml.test/experiments/id/e-1/runs/r-2?wsid={scope}&tid={tenant}"

    @pytest.mark.usefixtures("nobody")
    def test_a_run_s_artifact_uri_names_its_workspace_too(self):
        uri = f"azureml://host/mlflow/v2.0{self.SCOPE}/experiments/e/runs/r/artifacts"
        workspace = AzureMLWorkspace.from_uri(uri)
        assert workspace.arm_id == self.SCOPE
        assert workspace.tracking_uri == f"azureml://host/mlflow/v2.0{self.SCOPE}"

    @pytest.mark.parametrize("uri", ["databricks", "sqlite:///mlflow.db", "azureml://artifacts/LocalUpload/c/model"])
    def test_another_uri_is_none_of_a_workspace(self, uri):
        assert WorkspaceAddress.find(uri) is None
        with pytest.raises(WorkspaceError, match=re.escape(f"tracking URI {uri!r} names no Azure ML workspace")):
            AzureMLWorkspace.from_uri(uri)


class TestNotFound:
    @pytest.mark.parametrize(
        ("parameter", "value", "message"),
        [
            ("name", "other", r"name 'other': resource group '.+' of subscription .+ has no such Azure ML"),
            ("resource_group", "other", r"resource_group 'other': subscription .+ has no such resource group"),
            ("subscription_id", "0" * 8, r"subscription_id '00000000': Emulated.+ has no such subscription for this"),
        ],
    )
    def test_names_the_parameter(self, azure, names, parameter, value, message):
        with pytest.raises(WorkspaceError, match=message):
            AzureMLWorkspace.get(**{**names, parameter: value})

    def test_no_permission(self, azure, names):
        azure.fail_next(1, ARM, status=403)
        with pytest.raises(WorkspaceError) as caught:
            AzureMLWorkspace.get(**names)
        message = str(caught.value)
        assert f"name '{names['name']}': this identity (signed in by the service principal" in message
        assert azure.identity.client_id in message
        assert "role 'AzureML Data Scientist'" in message

    def test_a_workspace_that_is_still_being_made(self, azure, names, monkeypatch):
        resource = azure.resource_manager.resources.find(azure.workspace.scope)
        monkeypatch.setitem(resource["properties"], "mlFlowTrackingUri", None)
        with pytest.raises(
            WorkspaceError, match="has no MLflow tracking server; its provisioning state is 'Succeeded'"
        ):
            AzureMLWorkspace.get(**names)

    @pytest.mark.usefixtures("cloud")
    def test_nobody_signed_in(self, names):
        with pytest.raises(CredentialError, match="There is no identity to sign in to Azure"):
            AzureMLWorkspace.get(**names)

    @pytest.mark.usefixtures("azure")
    def test_an_unknown_cloud(self, names):
        with pytest.raises(WorkspaceError, match="cloud 'Moon': there is no such Azure cloud"):
            AzureMLWorkspace.get(**names, cloud="Moon")


class TestTokens:
    def test_one_that_is_no_longer_accepted_is_renewed(self, azure, names):
        AzureMLWorkspace.get(**names)
        azure.expire_tokens()
        assert AzureMLWorkspace.get(**names).name == names["name"]
        assert [request.status for request in azure.requests_to(ARM)] == [200, 401, 200]

    def test_but_once_only(self, azure, names):
        azure.fail_next(3, ARM, status=401)
        with pytest.raises(WorkspaceError, match=r"does not accept this identity .* not even with a new token"):
            AzureMLWorkspace.get(**names)
        assert len(azure.requests_to(ARM)) == 2

    def test_of_another_tenant(self, azure, names, monkeypatch):
        def refuse(_):
            raise Problem(401, "InvalidAuthenticationTokenTenant", "The access token is from the wrong issuer.")

        monkeypatch.setattr(azure.resource_manager.identity, "check", refuse)
        with pytest.raises(WorkspaceError, match=r"subscription_id '.+' belongs to another tenant .*AZURE_TENANT_ID"):
            AzureMLWorkspace.get(**names)


class TestTrouble:
    @pytest.mark.parametrize("status", [429, 500, 503])
    def test_is_ridden_out(self, azure, names, quick, status):
        azure.fail_next(2, ARM, status=status)
        assert AzureMLWorkspace.get(**names).name == names["name"]
        assert [request.status for request in azure.requests_to(ARM)] == [status, status, 200]

    def test_after_the_pause_that_the_service_asks_for(self, azure, names, quick):
        azure.fail_next(1, ARM, status=429, retry_after=1)
        start = time.monotonic()
        AzureMLWorkspace.get(**names)
        assert time.monotonic() - start >= 1

    def test_but_not_one_of_an_hour(self, azure, names):
        azure.fail_next(1, ARM, status=429, retry_after=3600)
        start = time.monotonic()
        with pytest.raises(WorkspaceError, match="did not serve: it answered 429"):
            AzureMLWorkspace.get(**names)
        assert time.monotonic() - start < 60

    def test_and_not_for_ever(self, azure, names, quick):
        azure.fail_next(100, ARM, status=503)
        with pytest.raises(WorkspaceError, match="did not serve: it answered 503"):
            AzureMLWorkspace.get(**names)
        assert len(azure.requests_to(ARM)) == resource_manager.ATTEMPTS

    def test_a_dropped_connection(self, azure, names, quick):
        azure.drop_next(2, ARM)
        assert AzureMLWorkspace.get(**names).name == names["name"]

    def test_an_answer_that_does_not_come(self, azure, names, quick, monkeypatch):
        monkeypatch.setattr(resource_manager, "READ_SECONDS", 0.1)
        azure.hang_next(100, ARM, seconds=5)
        with pytest.raises(WorkspaceError, match=r"Azure Resource Manager of .+ did not serve: no answer within"):
            AzureMLWorkspace.get(**names)

    @pytest.mark.usefixtures("cloud")
    def test_a_host_that_is_not_there(self, names, quick, az, monkeypatch):
        # The Azure CLI gives tokens for any cloud.
        az('print(json.dumps({"accessToken": "of-az", "expires_on": 4000000000}))')
        away = replace(current_cloud(), resource_manager="https://127.0.0.1:9")
        monkeypatch.setattr(azureml, "current_cloud", lambda _: away)
        with pytest.raises(WorkspaceError, match=r"at https://127\.0\.0\.1:9 did not serve: .*check the network"):
            AzureMLWorkspace.get(**names)

    def test_a_certificate_that_is_not_trusted(self, azure, names, monkeypatch):
        AzureMLWorkspace.get(**names)
        monkeypatch.delenv("REQUESTS_CA_BUNDLE")
        with pytest.raises(WorkspaceError, match="its certificate is not trusted here; REQUESTS_CA_BUNDLE names"):
            AzureMLWorkspace.get(**names)


def test_no_secret_in_what_is_shown_or_raised(azure, names, quick):
    workspace = AzureMLWorkspace.get(**names)
    seen = [repr(workspace), workspace._repr_html_()]
    for status in (401, 403, 503):
        azure.fail_next(resource_manager.ATTEMPTS, ARM, status=status)
        with pytest.raises(WorkspaceError) as caught:
            AzureMLWorkspace.get(**names)
        azure.clear_faults()
        seen.append(repr(caught.getrepr(style="long")))
    assert not [secret for secret in azure.secrets for text in seen if secret in text]


class TestConfigFile:
    """Azure ML's config.json, as azure-ai-ml reads it too."""

    @pytest.fixture
    def written(self, names):
        workspace = {
            "workspace_name": names["name"],
            **{key: names[key] for key in ("subscription_id", "resource_group")},
        }
        return json.dumps(workspace)

    @pytest.mark.parametrize("place", ["config.json", ".azureml/config.json", "aml_config/project.json"])
    def test_is_searched_upwards(self, place, azure, names, written, tmp_path, monkeypatch):
        (tmp_path / place).parent.mkdir(exist_ok=True)
        (tmp_path / place).write_text(written)
        below = tmp_path / "deep" / "below"
        below.mkdir(parents=True)
        monkeypatch.chdir(below)
        found = AzureMLWorkspace.from_config()
        assert found == AzureMLWorkspace.get(**names)
        assert (found.subscription_id, found.resource_group) == (azure.subscription_id, azure.resource_group)
        theirs = MLClient.from_config(Credential(current_cloud()), cloud="AzureCloud")
        assert (theirs.workspace_name, theirs.resource_group_name) == (found.name, found.resource_group)

    def test_may_be_named(self, azure, names, written, tmp_path):
        (tmp_path / "team.json").write_text(written)
        (tmp_path / "old.json").write_text(json.dumps({"Scope": azure.workspace.scope}))
        wanted = AzureMLWorkspace.get(**names)
        assert AzureMLWorkspace.from_config(tmp_path / "team.json") == wanted
        assert AzureMLWorkspace.from_config(path=str(tmp_path), file_name="old.json") == wanted

    def test_says_what_is_wrong_with_it(self, tmp_path):
        with pytest.raises(WorkspaceError, match=r"nor a folder above it has team\.json"):
            AzureMLWorkspace.from_config(tmp_path, file_name="team.json")
        (tmp_path / "config.json").write_text('{"workspace_name": "w"}')
        with pytest.raises(WorkspaceError, match="names no Azure ML workspace"):
            AzureMLWorkspace.from_config(tmp_path)
