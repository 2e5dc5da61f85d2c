"""Linking the two workspaces, by the real azure-mgmt-databricks against an emulated Azure."""

import copy
from html import unescape

import pytest
from tests.emulators.azureml.resources import DATABRICKS, MACHINE_LEARNING
from tests.emulators.databricks import DatabricksEmulator

from adbazureml import AzureMLWorkspace, link_workspaces, show_link, unlink_workspaces
from adbazureml.azure import clouds, long_operations
from adbazureml.errors import CredentialError, WorkspaceError

DATABRICKS_PATH = "Microsoft.Databricks/workspaces"


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(long_operations, "POLL_SECONDS", 0.05)


@pytest.fixture
def manager(azure):
    return azure.resource_manager


@pytest.fixture
def resource(manager):
    """The Databricks workspace, as Azure keeps it."""
    return manager.resources.add_databricks("adb")


@pytest.fixture
def workspace(azure, resource):
    return AzureMLWorkspace.get(
        name=azure.workspace_name, subscription_id=azure.subscription_id, resource_group=azure.resource_group
    )


@pytest.fixture
def other(manager):
    """Resource id of another Azure ML workspace."""
    return manager.resources.add(MACHINE_LEARNING, "other-aml")["id"]


def linked_to(manager, name="adb"):
    found = next(one for one in manager.resources.within(resource_type=DATABRICKS) if one["name"] == name)
    return found["properties"]["parameters"].get("amlWorkspaceId", {}).get("value")


class TestLink:
    def test_sets_the_parameter_and_nothing_else(self, manager, workspace, resource, capsys):
        before = copy.deepcopy(resource)
        link = link_workspaces(workspace, databricks="adb")
        assert link.is_set
        assert link.changed
        after = manager.resources.find(resource["id"])
        assert after["properties"]["parameters"].pop("amlWorkspaceId") == {"type": "String", "value": workspace.arm_id}
        assert after == before
        told = capsys.readouterr().out
        assert "Databricks workspace adb: Succeeded" in told

    def test_twice_is_as_once(self, azure, workspace, capsys):
        link_workspaces(workspace, databricks="adb")
        azure.requests.clear()
        link = link_workspaces(workspace, databricks="adb")
        assert link.is_set
        assert not link.changed
        assert not [one for one in azure.requests if one.method == "PUT"]
        assert "already" in capsys.readouterr().out

    def test_an_id_of_another_spelling_is_the_same(self, manager, workspace, resource):
        link_workspaces(workspace, databricks=resource["id"].replace("resourceGroups", "resourcegroups"))
        parameters = manager.resources.find(resource["id"])["properties"]["parameters"]
        parameters["amlWorkspaceId"]["value"] = workspace.arm_id.lower()
        assert not link_workspaces(workspace, databricks="ADB").changed

    def test_shows_both_pages_and_says_that_tracking_needs_no_link(self, workspace, resource):
        shown = show_link(workspace, databricks="adb")
        assert not shown.is_set
        html = shown._repr_html_()
        assert f"https://portal.azureml.test/#@/resource{resource['id']}/overview" in html
        assert f"https://portal.azureml.test/#@/resource{workspace.arm_id}/overview" in html
        assert "does not use the link" in html
        assert "not linked" in str(shown)

    def test_finds_the_workspace_that_it_runs_in(self, manager, workspace, monkeypatch):
        with DatabricksEmulator() as databricks:
            manager.resources.add_databricks("mine", url=databricks.host.removeprefix("http://"))
            for name, value in databricks.environment.items():
                monkeypatch.setenv(name, value)
            assert link_workspaces(workspace).databricks.name == "mine"
            manager.resources.remove(manager.resources.add_databricks("mine")["id"])
            with pytest.raises(WorkspaceError, match=r"the one at 127\.0\.0\.1.*sees: adb.*Give its resource id"):
                show_link(workspace)

    def test_an_identity_that_sees_no_databricks_workspace_in_azure(self, manager, workspace, resource, monkeypatch):
        manager.resources.remove(resource["id"])
        with DatabricksEmulator() as databricks:
            for name, value in databricks.environment.items():
                monkeypatch.setenv(name, value)
            shown = show_link(workspace, required=False)
        assert not shown.is_set
        assert "can't be seen" in shown.notes[0]
        for text in (str(shown), unescape(shown._repr_html_())):
            assert "the role 'Reader'" in text
            assert "does not use the link" in text

    def test_local_backends_have_nothing_to_link(self, tmp_path, monkeypatch):
        monkeypatch.setenv("ADBAZUREML_HOME", str(tmp_path))
        local_backend = AzureMLWorkspace.get(name="", subscription_id="", resource_group="")
        for done in (show_link(local_backend), link_workspaces(local_backend), unlink_workspaces(local_backend)):
            assert not done.is_set
            assert "would" in done._repr_html_() or "sets amlWorkspaceId" in done._repr_html_()
        assert "used alone" in str(show_link(None))


class TestInTheWay:
    def test_another_link_is_not_replaced_unless_told(self, manager, workspace, resource, other):
        resource["properties"]["parameters"]["amlWorkspaceId"] = {"type": "String", "value": other}
        with pytest.raises(WorkspaceError, match=f"linked to another Azure ML workspace: {other}.*replace_link"):
            link_workspaces(workspace, databricks="adb")
        assert linked_to(manager) == other
        assert "linked to another" in str(show_link(workspace, databricks="adb"))
        assert link_workspaces(workspace, databricks="adb", replace=True).changed
        assert linked_to(manager) == workspace.arm_id

    def test_a_link_that_another_databricks_workspace_holds(self, manager, workspace):
        manager.resources.add_databricks("holder")
        link_workspaces(workspace, databricks="holder")
        with pytest.raises(WorkspaceError, match=r"linked to another Databricks workspace: .*/holder"):
            link_workspaces(workspace, databricks="adb")
        assert linked_to(manager) is None
        manager.resources.one_to_one = True
        with pytest.raises(WorkspaceError, match=r"can't change it now \(Conflict: .*already linked to another"):
            link_workspaces(workspace, databricks="adb", replace=True)
        manager.resources.one_to_one = False
        assert link_workspaces(workspace, databricks="adb", replace=True).is_set
        assert linked_to(manager, "holder") == workspace.arm_id

    def test_a_serverless_workspace_has_no_such_parameter(self, manager, workspace):
        manager.resources.add_databricks("serverless", computeMode="Serverless", parameters=None)
        with pytest.raises(WorkspaceError, match=r"serverless workspace.*does not use the link"):
            link_workspaces(workspace, databricks="serverless")

    def test_private_links_are_linked_with_a_note(self, manager, workspace, resource):
        found = manager.resources.find(workspace.arm_id)
        found["properties"]["publicNetworkAccess"] = "Disabled"
        link = link_workspaces(workspace, databricks="adb")
        assert link.is_set
        assert "private link" in link.notes[0]

    def test_21vianet_is_linked_with_a_note(self, azure, workspace, monkeypatch):
        monkeypatch.setattr(azure._metadata, "cloud", "AzureChinaCloud")
        clouds._described.cache_clear()
        names = {"name": workspace.name, "resource_group": workspace.resource_group}
        found = AzureMLWorkspace.get(**names, subscription_id=workspace.subscription_id, cloud="AzureChinaCloud")
        link = link_workspaces(found, databricks="adb")
        assert link.is_set
        assert "21Vianet" in link.notes[0]


class TestUnlink:
    @pytest.mark.parametrize("by", ["omission", "empty"])
    def test_ends_it_as_azure_lets_it(self, manager, workspace, by):
        link_workspaces(workspace, databricks="adb")
        manager.resources.unlinks_by = by
        done = unlink_workspaces(workspace, databricks="adb")
        assert done.changed
        assert not done.linked_to
        assert not linked_to(manager)
        assert not unlink_workspaces(workspace, databricks="adb").changed

    def test_says_when_azure_keeps_it(self, manager, workspace):
        link_workspaces(workspace, databricks="adb")
        manager.resources.unlinks_by = "nothing"
        with pytest.raises(WorkspaceError, match="keeps the link to"):
            unlink_workspaces(workspace, databricks="adb")

    def test_leaves_the_link_to_another_alone(self, manager, workspace, resource, other):
        resource["properties"]["parameters"]["amlWorkspaceId"] = {"type": "String", "value": other}
        with pytest.raises(WorkspaceError, match=f"another Azure ML workspace than 'ml-workspace': {other}"):
            unlink_workspaces(workspace, databricks="adb")
        assert linked_to(manager) == other


class TestFaults:
    def test_no_permission_to_write(self, manager, workspace):
        manager.deny("PUT", DATABRICKS_PATH)
        with pytest.raises(WorkspaceError) as caught:
            link_workspaces(workspace, databricks="adb")
        message = str(caught.value)
        assert "signed in by the service principal" in message
        assert "Microsoft.Databricks/workspaces/write" in message
        assert "role 'Contributor' on the Databricks workspace" in message

    def test_no_permission_to_read(self, manager, workspace, resource):
        manager.deny("GET", DATABRICKS_PATH)
        with pytest.raises(WorkspaceError, match="may not do that"):
            show_link(workspace, databricks=resource["id"])

    def test_a_name_that_is_not_there(self, workspace):
        with pytest.raises(WorkspaceError, match=r"databricks 'abd': not among .*sees: adb"):
            show_link(workspace, databricks="abd")

    def test_a_name_that_two_have(self, manager, workspace):
        other = manager.resources.add(DATABRICKS, "adb", group="second", properties={"computeMode": "Hybrid"})
        with pytest.raises(WorkspaceError, match=f"more than one.*{other['id']}"):
            show_link(workspace, databricks="adb")

    @pytest.mark.parametrize(
        ("part", "wrong", "message"),
        [
            ("subscription", "00000000-0000-0000-0000-00000000beef", "has no such subscription"),
            ("ml-group", "ml-gruop", "its resource group is not there"),
            ("/adb", "/abd", "there is no such Databricks workspace"),
        ],
    )
    def test_a_wrong_id(self, azure, workspace, resource, part, wrong, message):
        right = azure.subscription_id if part == "subscription" else part
        with pytest.raises(WorkspaceError, match=message):
            show_link(workspace, databricks=resource["id"].replace(right, wrong))

    @pytest.mark.parametrize("status", [429, 503])
    def test_throttling_is_waited_out(self, azure, workspace, status):
        azure.fail_next(1, DATABRICKS_PATH, method="GET", status=status, retry_after=0)
        azure.fail_next(2, DATABRICKS_PATH, method="PUT", status=status, retry_after=0)
        assert link_workspaces(workspace, databricks="adb").is_set
        assert len([one for one in azure.requests if one.method == "PUT"]) == 3

    def test_throttling_that_does_not_end(self, azure, workspace):
        azure.fail_next(1000, DATABRICKS_PATH, method="PUT", status=429, retry_after=0)
        with pytest.raises(WorkspaceError, match=r"is busy .*try again in a few minutes"):
            link_workspaces(workspace, databricks="adb")

    def test_a_lost_answer_is_made_good(self, azure, manager, workspace):
        azure.lose_answer(1, DATABRICKS_PATH, method="PUT")
        assert link_workspaces(workspace, databricks="adb").is_set
        assert linked_to(manager) == workspace.arm_id

    def test_an_operation_that_fails(self, manager, workspace):
        manager.operations.fail_next(DATABRICKS, "ApplianceProvisioningFailed", "The storage account is locked.")
        with pytest.raises(WorkspaceError, match=r"began to change the link, and failed \(.*storage account is locked"):
            link_workspaces(workspace, databricks="adb")
        assert linked_to(manager) is None

    def test_an_operation_that_never_ends(self, manager, workspace):
        manager.operations.never_end_next(DATABRICKS)
        with pytest.raises(WorkspaceError, match=r"has not finished within 0\.\d+ s .*'InProgress'.*run this again"):
            link_workspaces(workspace, databricks="adb", timeout=0.4)
        with pytest.raises(WorkspaceError, match=r"another change of it is under way .*did not end in time"):
            link_workspaces(workspace, databricks="adb", timeout=0.1)

    def test_waits_for_what_is_under_way(self, manager, workspace, resource, capsys):
        state = resource["properties"]
        state["provisioningState"] = "Updating"
        manager.operations.looks = 4
        manager.operations.start(DATABRICKS, resource["id"], lambda: state.update(provisioningState="Succeeded"))
        assert link_workspaces(workspace, databricks="adb").is_set
        assert "adb: Updating; waiting for it" in capsys.readouterr().out

    def test_nobody_signed_in(self, azure, workspace, monkeypatch, tmp_path):
        for name in ("AZURE_TENANT_ID", "AZURE_CLIENT_ID", "AZURE_CLIENT_SECRET"):
            monkeypatch.delenv(name)
        monkeypatch.setenv("PATH", str(tmp_path))
        monkeypatch.setenv("AZURE_POD_IDENTITY_AUTHORITY_HOST", "http://127.0.0.1:1")
        with pytest.raises(CredentialError, match="There is no identity"):
            show_link(workspace, databricks="adb")
