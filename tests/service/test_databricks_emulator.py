"""The emulated Databricks workspace, as the real databricks-sdk sees it."""

import base64
import io

import pytest
from databricks.sdk import WorkspaceClient
from databricks.sdk.errors import InvalidParameterValue, NotFound, PermissionDenied, ResourceAlreadyExists
from databricks.sdk.service.compute import State
from databricks.sdk.service.jobs import JobParameterDefinition, NotebookTask, RunLifeCycleState, RunResultState, Task
from databricks.sdk.service.workspace import ImportFormat, ObjectType
from tests.emulators.databricks import ORG_ID, TOKEN, Cluster, DatabricksEmulator

FOLDER = "/Users/someone@example.com/walk"


@pytest.fixture
def databricks():
    with DatabricksEmulator() as emulator:
        yield emulator
    assert emulator.crashes == []


@pytest.fixture
def client(databricks):
    return WorkspaceClient(host=databricks.host, token=TOKEN)


def test_who_is_signed_in_and_where(client):
    assert client.current_user.me().user_name == "someone@example.com"
    assert client.get_workspace_id() == ORG_ID


def test_a_wrong_token(databricks):
    with pytest.raises(PermissionDenied, match="Invalid access token"):
        WorkspaceClient(host=databricks.host, token="another").current_user.me()


def test_clusters_come_in_pages_and_start(databricks, client):
    databricks.compute.page_size = 2
    for number in range(5):
        databricks.clusters[f"c{number}"] = Cluster(state="TERMINATED")
    assert [one.cluster_id for one in client.clusters.list()] == ["c0", "c1", "c2", "c3", "c4"]
    assert len(databricks.requests_to("clusters/list")) == 3
    client.clusters.start("c1")
    states = [client.clusters.get("c1").state for _ in range(3)]
    assert states == [State.PENDING, State.RUNNING, State.RUNNING]
    with pytest.raises(NotFound, match="Cluster c9 does not exist"):
        client.clusters.get("c9")


class TestObjects:
    def test_notebooks_go_in_and_out(self, client):
        client.workspace.mkdirs(f"{FOLDER}/deep")
        content = b'{"cells": []}'
        client.workspace.import_(
            f"{FOLDER}/one", format=ImportFormat.JUPYTER, content=base64.b64encode(content).decode()
        )
        client.workspace.upload(f"/Workspace{FOLDER}/wheel.whl", io.BytesIO(b"PK"), format=ImportFormat.AUTO)
        kinds = {one.path.rpartition("/")[2]: one.object_type for one in client.workspace.list(FOLDER)}
        assert kinds == {"deep": ObjectType.DIRECTORY, "one": ObjectType.NOTEBOOK, "wheel.whl": ObjectType.FILE}
        assert client.workspace.download(f"{FOLDER}/one").read() == content
        assert base64.b64decode(client.workspace.export(f"{FOLDER}/wheel.whl").content) == b"PK"
        with pytest.raises(ResourceAlreadyExists):
            client.workspace.upload(f"{FOLDER}/one", io.BytesIO(content), format=ImportFormat.JUPYTER)
        client.workspace.delete(FOLDER, recursive=True)
        with pytest.raises(NotFound):
            list(client.workspace.list(FOLDER))

    def test_a_folder_that_is_missing_or_closed(self, databricks, client):
        with pytest.raises(NotFound, match="parent folder"):
            client.workspace.upload(f"{FOLDER}/one", io.BytesIO(b"{}"), format=ImportFormat.JUPYTER)
        databricks.objects.read_only.add("/Shared")
        with pytest.raises(PermissionDenied):
            client.workspace.mkdirs("/Shared/walk")


def test_secrets(client):
    client.secrets.create_scope("walk")
    client.secrets.put_secret("walk", "azure-client-id", string_value="id")
    assert [one.key for one in client.secrets.list_secrets("walk")] == ["azure-client-id"]
    assert base64.b64decode(client.secrets.get_secret("walk", "azure-client-id").value) == b"id"
    with pytest.raises(NotFound, match="Scope other does not exist"):
        client.secrets.get_secret("other", "azure-client-id")


class TestJobs:
    @pytest.fixture
    def job_id(self, client):
        task = Task(task_key="train", notebook_task=NotebookTask(notebook_path=f"{FOLDER}/03"))
        parameters = [JobParameterDefinition(name="epochs", default="3")]
        return client.jobs.create(name="walk", tasks=[task], parameters=parameters).job_id

    def test_a_run_goes_through_its_states(self, client, job_id):
        started = client.jobs.run_now(job_id, job_parameters={"epochs": "5"})
        seen = [client.jobs.get_run(started.run_id).state for _ in range(3)]
        assert [one.life_cycle_state for one in seen] == [
            RunLifeCycleState.PENDING,
            RunLifeCycleState.RUNNING,
            RunLifeCycleState.TERMINATED,
        ]
        assert seen[-1].result_state == RunResultState.SUCCESS
        assert [run.run_id for run in client.jobs.list_runs(job_id=job_id)] == [started.run_id]

    def test_a_run_that_fails(self, databricks, client, job_id):
        databricks.jobs.failing["train"] = "the cluster was lost"
        run_id = client.jobs.run_now(job_id).run_id
        last = [client.jobs.get_run(run_id) for _ in range(3)][-1]
        assert last.state.result_state == RunResultState.FAILED
        assert last.tasks[0].state.state_message == "the cluster was lost"

    def test_what_is_unknown(self, client, job_id):
        with pytest.raises(InvalidParameterValue, match="epocs"):
            client.jobs.run_now(job_id, job_parameters={"epocs": "5"})
        client.jobs.delete(job_id)
        assert list(client.jobs.list()) == []


def test_models_and_tables_of_unity_catalog(databricks, client):
    databricks.catalog.page_size = 1
    databricks.catalog.add_model("main.ml.Diabetes", 1, 2)
    databricks.catalog.add_model("main.ml.other")
    databricks.catalog.add_table("main.ml.rows")
    names = [one.full_name for one in client.registered_models.list(catalog_name="main", schema_name="ml")]
    assert names == ["main.ml.diabetes", "main.ml.other"]
    assert [one.version for one in client.model_versions.list("main.ml.diabetes")] == [1, 2]
    client.registered_models.set_alias("main.ml.diabetes", "champion", 2)
    assert client.model_versions.get_by_alias("main.ml.diabetes", "champion").version == 2
    with pytest.raises(InvalidParameterValue, match="not empty"):
        client.registered_models.delete("main.ml.diabetes")
    for version in (1, 2):
        client.model_versions.delete("main.ml.diabetes", version)
    client.registered_models.delete("main.ml.diabetes")
    client.tables.delete("main.ml.rows")
    databricks.catalog.read_only.add("main")
    with pytest.raises(PermissionDenied):
        client.registered_models.delete("main.ml.other")


def test_another_service_is_plugged_in(databricks, client):
    databricks.add({("GET", "/api/2.0/serving-endpoints/(?P<name>[^/]+)"): lambda asked: {"name": asked["name"]}})
    assert client.serving_endpoints.get("diabetes").name == "diabetes"
    databricks.fail_next(1, "serving-endpoints", status=429, retry_after=0)
    assert client.serving_endpoints.get("diabetes").name == "diabetes"
    assert [one.status for one in databricks.requests_to("serving-endpoints")] == [200, 429, 200]
