"""Make an Azure ML workspace with what it needs, by the real azure-mgmt-resource against an emulated Azure."""

import pytest
from tests.emulators.azureml import AzureMLEmulator
from tests.emulators.azureml.resources import INSIGHTS, LOGS, MACHINE_LEARNING, STORAGE, VAULTS

from adbazureml import create_workspace
from adbazureml.azure import long_operations
from adbazureml.errors import SettingsError, WorkspaceError


@pytest.fixture
def azure(nobody, monkeypatch):
    """A subscription of its own, whose service principal is in the environment."""
    monkeypatch.setattr(long_operations, "POLL_SECONDS", 0.02)
    with AzureMLEmulator() as emulator:
        for name, value in emulator.environment.items():
            monkeypatch.setenv(name, value)
        emulator.resource_manager.resources.add_group("new-group", "northeurope")
        yield emulator
    assert emulator.crashes == []


@pytest.fixture
def manager(azure):
    return azure.resource_manager


@pytest.fixture
def names(azure):
    return {"name": "new-ws", "subscription_id": azure.subscription_id, "resource_group": "new-group"}


def made(manager):
    return {one["type"]: one for one in manager.resources.within(group="new-group")}


def puts(azure):
    return [one.path.rpartition("/")[2] for one in azure.requests if one.method == "PUT"]


class TestCreate:
    def test_with_all_that_it_needs(self, manager, names, capsys):
        workspace = create_workspace(**names)
        assert (workspace.name, workspace.location) == ("new-ws", "northeurope")
        assert workspace.tracking_uri.endswith("/workspaces/new-ws")
        there = made(manager)
        assert set(there) == {LOGS, INSIGHTS, STORAGE, VAULTS, MACHINE_LEARNING}
        properties = there[MACHINE_LEARNING]["properties"]
        assert properties["storageAccount"] == there[STORAGE]["id"]
        assert properties["keyVault"] == there[VAULTS]["id"]
        assert properties["applicationInsights"] == there[INSIGHTS]["id"]
        assert there[INSIGHTS]["properties"]["WorkspaceResourceId"] == there[LOGS]["id"]
        assert there[VAULTS]["properties"]["tenantId"] == manager.workspace.tenant_id
        assert there[STORAGE]["properties"]["allowBlobPublicAccess"] is False
        assert all(one["tags"] == {"created-by": "adbazureml"} for one in there.values())
        told = capsys.readouterr().out
        assert "Azure ML workspace new-ws: Succeeded" in told
        assert "storage account newws" in told

    def test_twice_is_as_once(self, azure, names):
        first = create_workspace(**names)
        azure.requests.clear()
        assert create_workspace(**names) == first
        assert puts(azure) == []

    def test_goes_on_where_it_died(self, azure, manager, names):
        manager.operations.fail_next(MACHINE_LEARNING, "InternalServerError", "Something broke.")
        with pytest.raises(WorkspaceError, match=r"Azure ML workspace new-ws: making it failed \(.*Something broke"):
            create_workspace(**names)
        before = made(manager)
        azure.requests.clear()
        assert create_workspace(**names).name == "new-ws"
        assert puts(azure) == ["new-ws"]
        assert {kind: one["id"] for kind, one in before.items()}.items() <= {
            kind: one["id"] for kind, one in made(manager).items()
        }.items()

    def test_by_names_and_by_ids_of_what_exists(self, manager, names):
        vault = manager.resources.add(VAULTS, "their-vault")["id"]
        insights = manager.resources.add(INSIGHTS, "their-insights")["id"]
        create_workspace(**names, storage_account="chosenstorage", key_vault=vault, application_insights=insights)
        there = made(manager)
        assert set(there) == {STORAGE, MACHINE_LEARNING}
        assert there[STORAGE]["name"] == "chosenstorage"
        assert there[MACHINE_LEARNING]["properties"]["keyVault"] == vault

    def test_leaves_what_is_there_as_its_owner_has_set_it(self, manager, names):
        manager.resources.add(STORAGE, "ours", group="new-group", properties={"allowBlobPublicAccess": True})
        create_workspace(**names, storage_account="ours")
        assert made(manager)[STORAGE]["properties"]["allowBlobPublicAccess"] is True


class TestFaults:
    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"resource_group": "no-group"}, "resource_group 'no-group': .*Make it first"),
            ({"subscription_id": "00000000-0000-0000-0000-00000000beef"}, "has no such subscription"),
        ],
    )
    def test_a_wrong_place(self, names, change, message):
        with pytest.raises(WorkspaceError, match=message):
            create_workspace(**{**names, **change})

    def test_no_permission(self, manager, names):
        manager.deny("PUT", "Microsoft.Storage")
        with pytest.raises(WorkspaceError, match=r"storage account newws\w+: this identity .*'Contributor'"):
            create_workspace(**names)

    def test_a_name_that_somebody_else_has(self, manager, names):
        manager.resources.taken.add("chosenstorage")
        with pytest.raises(WorkspaceError, match=r"storage account chosenstorage: the name is taken"):
            create_workspace(**names, storage_account="chosenstorage")

    def test_a_name_of_a_workspace_that_can_be_recovered(self, manager, names):
        group = f"/subscriptions/{names['subscription_id']}/resourceGroups/new-group"
        manager.resources.soft_deleted.add(f"{group}/providers/{MACHINE_LEARNING}/new-ws".lower())
        with pytest.raises(WorkspaceError, match=r"Azure ML workspace new-ws: the name is taken.*recover or purge"):
            create_workspace(**names)

    def test_throttling_is_waited_out(self, azure, names):
        azure.fail_next(3, "Microsoft.", method="PUT", status=429, retry_after=0)
        assert create_workspace(**names).name == "new-ws"

    @pytest.mark.parametrize("what", ["storageAccounts", "components", "workspaces/new-ws"])
    def test_a_lost_answer_is_made_good(self, azure, manager, names, what):
        azure.lose_answer(1, what, method="PUT")
        assert create_workspace(**names).name == "new-ws"
        assert set(made(manager)) == {LOGS, INSIGHTS, STORAGE, VAULTS, MACHINE_LEARNING}
        assert len(list(manager.resources.within(group="new-group"))) == 5

    def test_waits_for_what_an_earlier_call_began(self, azure, manager, names, capsys):
        manager.operations.looks = 30
        with pytest.raises(WorkspaceError, match=r"storage account .*go on from there"):
            create_workspace(**names, timeout=0.1)
        azure.requests.clear()
        assert create_workspace(**names).name == "new-ws"
        assert "Creating; waiting for it" in capsys.readouterr().out
        # The storage account was not asked for again.
        assert len(puts(azure)) == 2

    def test_an_operation_that_never_ends(self, manager, names):
        manager.operations.never_end_next(STORAGE)
        with pytest.raises(WorkspaceError, match=r"storage account .* has not finished within .*go on from there"):
            create_workspace(**names, timeout=3)


def test_settings_of_a_new_workspace_are_checked():
    from adbazureml import Settings

    with pytest.raises(SettingsError, match="create_workspace: 'perhaps' is wrong"):
        Settings.checked({"create_workspace": "perhaps"})
