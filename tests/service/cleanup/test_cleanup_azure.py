"""Clean-up where Azure is: Azure ML's own limits and refusals, and the resource group, by Azure's own client."""

import mlflow
import pytest
from tests.emulators.azureml.resources import STORAGE

from adbazureml import AzureMLWorkspace, Settings, clean_up, inventory, link_workspaces, register, show_link, track
from adbazureml.azure import long_operations
from adbazureml.errors import CleanUpError, WorkspaceError

EXPERIMENT = "/Users/ada@example.com/houses/prices"
GROUPS = "Microsoft.Resources/resourceGroups"


@pytest.fixture
def settings(azure):
    return Settings(
        experiment=EXPERIMENT,
        model_name="prices",
        subscription_id=azure.subscription_id,
        resource_group=azure.resource_group,
        workspace_name=azure.workspace_name,
    )


@pytest.fixture
def workspace(azure, settings, tmp_path, monkeypatch):
    """The emulated Azure ML workspace; the local Databricks backend is new. Tracking is left off afterwards."""
    monkeypatch.setenv("ADBAZUREML_HOME", str(tmp_path))
    yield AzureMLWorkspace.of(settings)
    track(mode="databricks")


@pytest.fixture
def arm(azure, monkeypatch):
    """Azure Resource Manager, with what Azure makes beside the Azure ML workspace."""
    monkeypatch.setattr(long_operations, "POLL_SECONDS", 0.05)
    resources = azure.resource_manager.resources
    resources.add_parts()
    resources.add("microsoft.alertsManagement/smartDetectorAlertRules", "Failure Anomalies - ml-insights")
    resources.add("microsoft.insights/actionGroups", "Application Insights Smart Detection")
    resources.add("Microsoft.Compute/virtualMachines", "vm", group="neighbours")
    return azure.resource_manager


def group_of(settings, workspace):
    found = inventory(settings, workspace=workspace)
    return found.only("resource group"), found.left


def delete_group(settings, workspace, *, typed=None, **options):
    found, _ = group_of(settings, workspace)
    options = {"timeout": 20, **options}
    typed = settings.resource_group if typed is None else typed
    return clean_up(found, confirm=EXPERIMENT, confirm_resource_group=typed, **options)


def test_azure_ml_s_side_goes_and_a_refusal_leaves_what_others_need(azure, settings, workspace, log_model):
    track(workspace)
    mlflow.set_experiment(EXPERIMENT)
    with mlflow.start_run():
        log_model()
    with mlflow.start_run() as run:
        log_model()
    register(run, name="prices", workspace=workspace)
    found = inventory(settings, workspace=workspace).only()
    azure.fail_next(1, "model-versions/delete", status=403)
    with pytest.raises(CleanUpError, match=r"1 of 2 could not be deleted \(model version\)") as raised:
        clean_up(found, confirm=EXPERIMENT)
    assert "prices/1: " in str(raised.value)
    rest = inventory(settings, workspace=workspace).only()
    assert [item.kind for item in rest.items] == ["model version", "model", "model", *["run"] * 4]
    azure.fail_next(1, "runs/delete", status=503)
    azure.lose_answer(1, "model-versions/delete")
    clean_up(rest, confirm=EXPERIMENT)
    assert inventory(settings, workspace=workspace).only().items == ()


def test_the_link_is_ended_and_a_neighbour_s_stays(arm, settings, workspace):
    ours, neighbour = arm.resources.add_databricks("adb")["id"], arm.resources.add_databricks("neighbour")
    other = arm.resources.add("Microsoft.MachineLearningServices/workspaces", "other-aml")["id"]
    neighbour["properties"]["parameters"]["amlWorkspaceId"] = {"type": "String", "value": other}
    link_workspaces(workspace, databricks=ours)
    settings = settings.model_copy(update={"databricks_workspace": "adb"})
    found = inventory(settings, workspace=workspace).only("link")
    assert [(item.name, item.where) for item in found.items] == [(f"adb to {workspace.name}", ours)]
    clean_up(found)
    assert show_link(workspace, databricks=ours).is_set
    arm.operations.fail_next("Microsoft.Databricks/workspaces", "InternalServerError", "Try again.")
    with pytest.raises(CleanUpError, match=r"1 of 1 could not be deleted \(link\)"):
        clean_up(found, confirm=EXPERIMENT)
    for _ in range(2):
        # What is gone already counts as deleted.
        assert clean_up(found, confirm=EXPERIMENT).deleted
        assert not show_link(workspace, databricks=ours).is_set
    assert neighbour["properties"]["parameters"]["amlWorkspaceId"]["value"] == other


class TestResourceGroup:
    def test_is_never_deleted_unless_asked_for_by_kind_and_by_name(self, arm, settings, workspace):
        found = inventory(settings, workspace=workspace)
        (group,) = found.items
        assert (group.kind, group.name) == ("resource group", settings.resource_group)
        assert group.note.startswith("all of Application Insights Smart Detection, Failure Anomalies - ml-insights")
        assert group.link.endswith(f"/resourceGroups/{settings.resource_group}/overview")
        clean_up(found.only(), confirm=EXPERIMENT)
        for wrong in ("", settings.resource_group.upper(), "neighbours", EXPERIMENT):
            with pytest.raises(CleanUpError, match=f"type its name: '{settings.resource_group}'. Nothing was deleted"):
                delete_group(settings, workspace, typed=wrong)
        assert settings.resource_group.lower() in arm.resources.groups

    def test_with_somebody_else_s_resource_it_is_left_alone(self, arm, settings, workspace):
        before, _ = group_of(settings, workspace)
        for kind, name in (
            ("Microsoft.Databricks/workspaces", "dbw"),
            ("Microsoft.MachineLearningServices/workspaces", "other-aml"),
            (STORAGE, "otherstorage"),
            ("Microsoft.MachineLearningServices/workspaces/onlineEndpoints", "somebody-s"),
        ):
            added = arm.resources.add(kind, name)
            found, left = group_of(settings, workspace)
            assert found.items == ()
            assert left[-1] == f"resource group {settings.resource_group}: it also holds {kind} {name}."
            # It came after the list was made.
            with pytest.raises(CleanUpError, match=f"It is not deleted. Resource group .* also holds {kind} {name}"):
                clean_up(before, confirm=EXPERIMENT, confirm_resource_group=settings.resource_group)
            arm.resources.remove(added["id"])
        assert settings.resource_group.lower() in arm.resources.groups

    def test_with_somebody_else_s_work_in_azure_ml_it_is_left_alone(self, arm, settings, workspace):
        client = workspace.client()
        client.create_run(client.create_experiment("theirs"))
        client.create_registered_model("theirs")
        client.create_experiment("empty")
        found, left = group_of(settings, workspace)
        assert found.items == ()
        assert "in Azure ML experiment theirs, in Azure ML model theirs." in left[-1]

    def test_what_the_caller_may_not_see_or_delete_is_told(self, arm, settings, workspace):
        arm.deny("DELETE", "/resourcegroups/")
        with pytest.raises(CleanUpError, match=r"AuthorizationFailed: .* Have somebody with the role 'Contributor'"):
            delete_group(settings, workspace)
        arm.deny("GET", r"/resources$")
        found, left = group_of(settings, workspace)
        assert found.items == ()
        assert "it can't be looked into (AuthorizationFailed" in left[-1]

    def test_what_goes_wrong_is_told_and_the_next_try_goes_on_while_the_neighbour_stays(
        self, azure, arm, settings, workspace
    ):
        group = arm.resources.group(settings.resource_group)
        group.locked = True
        with pytest.raises(CleanUpError, match=r"ScopeLocked: .* Remove the lock first"):
            delete_group(settings, workspace)
        group.locked = False
        arm.operations.fail_next(GROUPS, "ResourceGroupDeletionBlocked", "Deletion of 'ml-vault' failed.")
        with pytest.raises(CleanUpError, match="did not delete it"):
            delete_group(settings, workspace)
        arm.operations.never_end_next(GROUPS)
        with pytest.raises(CleanUpError, match=r"Azure has not finished within 0.5 s .* run this again later"):
            delete_group(settings, workspace, timeout=0.5)
        azure.fail_next(2, "/resourcegroups/", status=429, retry_after=0)
        assert delete_group(settings, workspace).deleted
        assert set(arm.resources.groups) == {"neighbours"}
        assert [one["name"] for one in arm.resources.within()] == ["vm"]
        # Gone, it is no longer listed.
        with pytest.raises(WorkspaceError, match="has no such resource group"):
            AzureMLWorkspace.of(settings)
