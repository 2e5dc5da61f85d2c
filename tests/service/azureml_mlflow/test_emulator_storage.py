"""Artifacts, blobs, signing in and Resource Manager, asked by the clients that Azure ML's packages use."""

import pytest
import requests
from azure.core.exceptions import (
    ClientAuthenticationError,
    HttpResponseError,
    ResourceExistsError,
    ResourceNotFoundError,
)
from azure.identity import (
    ClientSecretCredential,
    DefaultAzureCredential,
    DeviceCodeCredential,
    ManagedIdentityCredential,
)
from azure.storage.blob import BlobClient
from azureml.mlflow._restclient.artifact import AzureMachineLearningWorkspaces as ArtifactService
from azureml.mlflow._restclient.artifact.models import ArtifactPath, ArtifactPathList


@pytest.fixture
def service(azure):
    """Microsoft's generated client of the artifact service."""
    scope = azure.identity.scope
    return ArtifactService(DefaultAzureCredential(), azure.url, credential_scopes=[scope]).artifacts


@pytest.fixture
def place(azure):
    """A container, as every operation takes it."""
    workspace = (azure.subscription_id, azure.resource_group, azure.workspace_name)
    return (*workspace, "LocalUpload", "261124T101500-abcd1234")


@pytest.fixture
def stored(azure, place):
    return lambda: azure.artifacts.stored(*place[3:])


def create(service, place, *paths):
    return service.batch_create_empty_artifacts(
        *place, body=ArtifactPathList(paths=[ArtifactPath(path=p) for p in paths])
    )


def blob(address, **options):
    return BlobClient.from_blob_url(address, retry_total=0, **options)


def test_artifact_has_no_bytes_until_they_are_uploaded(service, place, stored):
    created = create(service, place, "model/MLmodel")
    assert stored() == {"model/MLmodel": None}
    address = service.get_content_information(*place, path="model/MLmodel").content_uri
    with pytest.raises(ResourceNotFoundError):
        blob(address).download_blob()
    blob(created.artifact_content_information["model/MLmodel"].content_uri).upload_blob(b"flavors: {}")
    assert blob(address).download_blob().readall() == b"flavors: {}"


def test_batch_tells_of_each_path_that_exists(service, place, stored):
    create(service, place, "a")
    created = create(service, place, "a", "b")
    assert list(created.artifact_content_information) == ["b"]
    assert created.errors["a"].error.code == "UserError"
    assert created.errors["a"].error.message.endswith("/a already exists.")
    assert list(stored()) == ["a", "b"]


def test_batch_takes_a_hundred_paths(service, place):
    create(service, place, *map(str, range(100)))
    with pytest.raises(HttpResponseError, match="Artifact batch size exceeded the limit of 100"):
        create(service, place, *(f"more/{number}" for number in range(101)))


def test_path_is_free_after_a_hard_delete(service, place, stored):
    first = create(service, place, "a").artifact_content_information["a"].content_uri
    blob(first).upload_blob(b"one")
    service.delete_meta_data(*place, path="a", hard_delete=True)
    assert stored() == {}
    again = create(service, place, "a").artifact_content_information["a"].content_uri
    blob(again).upload_blob(b"two")
    assert stored() == {"a": b"two"}


def test_soft_delete_leaves_the_blob(service, place):
    first = create(service, place, "a").artifact_content_information["a"].content_uri
    blob(first).upload_blob(b"one")
    service.delete_batch_meta_data(*place, body=ArtifactPathList(paths=[ArtifactPath(path="a")]))
    again = create(service, place, "a").artifact_content_information["a"].content_uri
    with pytest.raises(ResourceExistsError):
        blob(again).upload_blob(b"two")


def test_content_is_overwritten_only_when_asked(azure, place, stored):
    workspace = f"{azure.url}/artifact/v2.0{azure.workspace.scope}"
    address = f"{workspace}/artifacts/{place[3]}/{place[4]}/content"
    headers = {"Authorization": f"Bearer {azure.identity.issue()}", "Content-Type": "application/octet-stream"}

    def upload(content, **query):
        return requests.post(address, content, params={"path": "a.txt", **query}, headers=headers, timeout=60)

    assert upload(b"one").json()["artifactId"] == f"{place[3]}/{place[4]}/a.txt"
    assert upload(b"two").status_code == 409
    assert stored() == {"a.txt": b"one"}
    assert upload(b"three", allowOverwrite="true").ok
    assert stored() == {"a.txt": b"three"}


def test_list_goes_on_from_page_to_page(azure, service, place):
    azure.artifacts.page_size = 3
    create(service, place, *(f"model/{number} %" for number in range(7)), "notes")
    assert [one.path for one in service.list_in_container(*place, path="model/")] == [f"model/{n} %" for n in range(7)]
    assert len(azure.requests_to("LocalUpload", method="GET")) == 3


def test_upload_that_is_cut_leaves_nothing_and_can_be_completed(azure, service, place, stored):
    address = create(service, place, "a").artifact_content_information["a"].content_uri
    azure.cut_upload(1)
    with pytest.raises(Exception, match=r"Connection|EOF|aborted|closed"):
        blob(address).upload_blob(b"x" * 100_000)
    assert stored() == {"a": None}
    assert azure.requests_to(r"\.blob\.")[-1].status is None
    blob(service.get_sas(*place, path="a").content_uri).upload_blob(b"x" * 100_000)
    assert stored() == {"a": b"x" * 100_000}


def test_large_blob_goes_in_blocks_and_comes_in_ranges(azure):
    content = bytes(range(256)) * 2000
    writer = blob(azure.blobs.sign("large", "rcw"), max_single_put_size=100_000, max_block_size=100_000)
    writer.upload_blob(content, max_concurrency=3)
    assert {one.query.get("comp") for one in azure.requests_to(r"\.blob\.")} == {"block", "blocklist"}
    reader = blob(azure.blobs.sign("large", "r"), max_single_get_size=200_000, max_chunk_get_size=100_000)
    assert reader.download_blob(max_concurrency=3).readall() == content
    assert reader.get_blob_properties().size == len(content)
    assert reader.download_blob(offset=1000, length=10).readall() == content[1000:1010]


def test_signature_opens_one_blob_in_one_way(azure):
    blob(azure.blobs.sign("a", "rcw")).upload_blob(b"one")
    read = azure.blobs.sign("a", "r")
    with pytest.raises(HttpResponseError) as caught:
        blob(read).upload_blob(b"two", overwrite=True)
    assert caught.value.error_code == "AuthorizationPermissionMismatch"
    for wrong in (read.replace("/a?", "/b?"), read.replace("sp=r", "sp=rcw"), read.replace("sig=", "sig=x")):
        with pytest.raises(ClientAuthenticationError):
            blob(wrong).download_blob()
    azure.blobs.signed_for = 0
    with pytest.raises(ClientAuthenticationError):
        blob(azure.blobs.sign("a", "r")).download_blob()


def get(azure, path, token=None, **query):
    token = token or DefaultAzureCredential().get_token(azure.identity.scope).token
    query = {"api-version": "2022-01-01-preview", **query}
    return requests.get(f"{azure.url}{path}", query, headers={"Authorization": f"Bearer {token}"}, timeout=60)


def test_resource_manager_shows_the_workspace(azure):
    told = get(azure, azure.workspace.scope).json()
    assert told["id"] == azure.workspace.scope
    assert told["name"] == azure.workspace_name
    assert told["properties"]["mlFlowTrackingUri"] == azure.tracking_uri
    group = azure.workspace.resource_group_id
    listed = get(azure, f"{group}/providers/Microsoft.MachineLearningServices/workspaces").json()
    assert [one["id"] for one in listed["value"]] == [azure.workspace.scope]


@pytest.mark.parametrize(
    ("part", "code"),
    [
        ("subscription_id", "SubscriptionNotFound"),
        ("resource_group", "ResourceGroupNotFound"),
        ("workspace_name", "ResourceNotFound"),
    ],
)
def test_resource_manager_tells_what_is_not_there(azure, part, code):
    answer = get(azure, azure.workspace.scope.replace(getattr(azure, part), "other"))
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, code)


def test_token_is_asked_for(azure):
    token = azure.identity.issue()
    assert get(azure, azure.workspace.scope, token).ok
    azure.expire_tokens()
    assert get(azure, azure.workspace.scope, token).json()["error"]["code"] == "ExpiredAuthenticationToken"
    assert get(azure, azure.workspace.scope, "made-up").status_code == 401
    assert requests.get(f"{azure.url}{azure.workspace.scope}?api-version=2022-01-01", timeout=60).status_code == 401


def test_only_the_newest_secret_signs_in(azure):
    def sign_in(secret):
        identity = azure.identity
        credential = ClientSecretCredential(identity.tenant_id, identity.client_id, secret, authority=azure.url)
        return credential.get_token(identity.scope).token

    first = azure.environment["AZURE_CLIENT_SECRET"]
    assert sign_in(first) in azure.secrets
    second = azure.rotate_secret()
    with pytest.raises(ClientAuthenticationError, match="AADSTS7000215"):
        sign_in(first)
    assert sign_in(second)


def test_managed_identity_signs_in(azure, monkeypatch):
    for variable, value in azure.managed_identity_environment.items():
        monkeypatch.setenv(variable, value)
    token = ManagedIdentityCredential().get_token(azure.identity.scope).token
    assert get(azure, azure.workspace.scope, token).ok
    monkeypatch.setenv("IDENTITY_HEADER", "wrong")
    with pytest.raises(ClientAuthenticationError):
        ManagedIdentityCredential().get_token(azure.identity.scope)


def test_device_code_waits_for_somebody(azure):
    credential = DeviceCodeCredential(
        tenant_id=azure.identity.tenant_id, authority=azure.url, timeout=1, prompt_callback=lambda *_: None
    )
    with pytest.raises(ClientAuthenticationError, match="Timed out waiting for user"):
        credential.get_token(azure.identity.scope)
