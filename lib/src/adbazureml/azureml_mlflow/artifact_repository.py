"""Artifacts of Azure ML's runs and of its uploaded models, through azureml-mlflow's own REST clients.

Azure ML lets an artifact's path be created once; to write it again, the address of the existing one is asked for.
Files go to and come from blob storage by signed addresses, which never appear in a message.
"""

from __future__ import annotations

import os
import posixpath
import tempfile
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import as_completed
from pathlib import Path
from typing import TYPE_CHECKING, Any

import mlflow
from mlflow.entities import FileInfo, LoggedModelStatus
from mlflow.store.artifact.artifact_repo import ArtifactRepository
from mlflow.store.artifact.runs_artifact_repo import RunsArtifactRepository

from adbazureml.azure.azureml_refusals import explain_error
from adbazureml.azure.refusals import status_of
from adbazureml.azure.workspace_address import WorkspaceAddress
from adbazureml.azureml_mlflow.connection import connect, renew
from adbazureml.azureml_mlflow.mlflow_errors import code_of, mlflow_error
from adbazureml.azureml_mlflow.retry_policy import RetryPolicy
from adbazureml.azureml_mlflow.transfer_retries import blob_options, time_limits, transfer

if TYPE_CHECKING:
    from azureml.mlflow._client.artifact.base_artifact_client import BaseArtifactsClient
    from azureml.mlflow._internal.utils import ServiceContext
    from mlflow.entities import LoggedModel

# As many paths as azureml-mlflow creates in one request.
_BATCH = 50
_MLMODEL = "MLmodel"
_NAMES_OF_CONFLICT = ("Conflict", "already exists")


class AzureMLArtifactRepository(ArtifactRepository):
    """The artifacts below an ``azureml://`` URI: of a run, or of a model uploaded from a local folder.

    Parameters
    ----------
    artifact_uri : str
        ``azureml://<host>/…/experiments/<id>/runs/<id>/artifacts[/<path>]``, or
        ``azureml://artifacts/LocalUpload/<container>/<path>``, which names no workspace: then it is that of
        ``tracking_uri``, ``registry_uri`` or of MLflow's present ones.
    """

    # None: MLflow's own time limits and retries.
    retry_policy: RetryPolicy | None = None

    def __init__(self, artifact_uri: str, tracking_uri: str | None = None, registry_uri: str | None = None):
        super().__init__(artifact_uri)
        self.tracking_uri, self.registry_uri = tracking_uri, registry_uri
        self._context = connect(_address(artifact_uri, tracking_uri, registry_uri))
        self._client = self._connect()

    def log_artifact(self, local_file: str, artifact_path: str | None = None) -> None:
        """Upload a file, in place of what is at its path."""
        self._upload({self._path(artifact_path, Path(local_file).name): Path(local_file)})

    def log_artifacts(self, local_dir: str, artifact_path: str | None = None) -> None:
        """Upload a folder, in place of what is at the files' paths; a model never in place of another model."""
        folder = Path(local_dir)
        if self._is_logged_as(folder, artifact_path) and not self.claim(artifact_path):
            self._log_beside(folder, artifact_path)
            return
        files = sorted(file for file in folder.rglob("*") if file.is_file())
        self._upload({self._path(artifact_path, file.relative_to(folder).as_posix()): file for file in files})

    def list_artifacts(self, path: str | None = None) -> list[FileInfo]:
        """List what is directly in a folder; the service does not tell sizes."""
        return _children(self._relative_paths(), (path or "").strip("/"))

    def _iter_artifacts_recursive(self, path: str | None) -> Iterator[FileInfo]:
        # One request for the whole tree, where MLflow would list each folder, and each time all of the run.
        inside = f"{path}/" if path else ""
        for found in self._relative_paths():
            if found.startswith(inside):
                yield FileInfo(found, is_dir=False, file_size=None)

    def _download_file(self, remote_file_path: str, local_path: str) -> None:
        from azure.core.exceptions import ResourceNotFoundError
        from azure.storage.blob import BlobClient

        path = self._path(remote_file_path)
        try:
            found = self._ask(lambda client: _call(client, "get_content_information", self.retry_policy, path=path))
        except ResourceNotFoundError as error:
            raise mlflow_error(
                f"There is no artifact {remote_file_path!r} in {self.artifact_uri}.", "RESOURCE_DOES_NOT_EXIST"
            ) from error
        # Written beside its place first: half a file is never taken for a whole one.
        unfinished = Path(f"{local_path}.unfinished")
        unfinished.parent.mkdir(parents=True, exist_ok=True)
        with (
            unfinished.open("wb") as file,
            BlobClient.from_blob_url(found.content_uri, **blob_options(self.retry_policy)) as blob,
        ):

            def read() -> None:
                file.seek(0)
                blob.download_blob().readinto(file)

            transfer(read, remote_file_path, self.retry_policy)
        os.replace(unfinished, local_path)

    def delete_artifacts(self, artifact_path: str | None = None) -> None:
        """Delete a file, or a folder with all in it."""
        wanted = (artifact_path or "").strip("/")
        for found in list(self._relative_paths()):
            if not wanted or found == wanted or found.startswith(f"{wanted}/"):
                self._in_service("delete_meta_data", path=self._path(found), hard_delete=True)

    def claim(self, artifact_path: str | None = None) -> bool:
        """Take a place for a model, unless a model has it already; tell whether it is the caller's now."""
        return bool(self._create([self._path(artifact_path, _MLMODEL)]))

    def release(self) -> None:
        """Give up a place that was taken and then not used."""
        if list(self._relative_paths()) == [_MLMODEL]:
            self.delete_artifacts(_MLMODEL)

    def _is_logged_as(self, folder: Path, artifact_path: str | None) -> bool:
        """Whether a folder holds a model that is logged to this run under a path, as `mlflow.spark` does it."""
        if not artifact_path or self._root or not (folder / _MLMODEL).is_file():
            return False
        lines = (folder / _MLMODEL).read_text(encoding="utf-8", errors="replace").replace("'", "").splitlines()
        return {f"artifact_path: {artifact_path}", f"run_id: {run_of(self.artifact_uri)}"} <= set(lines)

    def _log_beside(self, folder: Path, name: str | None) -> None:
        """Log a model whose place is another one's as a logged model, so that its name leads to it all the same."""
        tracking_uri = _address(self.artifact_uri, self.tracking_uri, self.registry_uri).tracking_uri
        client = mlflow.MlflowClient(tracking_uri)
        run = client.get_run(str(run_of(self.artifact_uri)))
        model = client.create_logged_model(run.info.experiment_id, name, run.info.run_id)
        try:
            AzureMLArtifactRepository(model.artifact_location, tracking_uri).log_artifacts(str(folder))
        except BaseException:
            client.finalize_logged_model(model.model_id, "FAILED")
            raise
        client.finalize_logged_model(model.model_id, "READY")

    def _connect(self) -> BaseArtifactsClient:
        from azureml.mlflow._client.artifact.local_artifact_client import LocalArtifactClient
        from azureml.mlflow._client.artifact.run_artifact_client import RunArtifactsClient
        from azureml.mlflow._store.artifact.utils import artifact_uri_decomp

        parts = artifact_uri_decomp(self.artifact_uri)
        # Inside the service a run's artifacts lie in the container of its id.
        self._origin = parts.get("origin", "ExperimentRun")
        self._container = parts.get("container") or f"dcid.{parts['runid']}"
        self._root = (parts.get("artifact_path") or "").strip("/")
        if "runid" in parts:
            return RunArtifactsClient(self._context, parts["experiment"], parts["runid"], self._root or None)
        return LocalArtifactClient(self._context, self._origin, self._container, self._root)

    def _ask(self, call: Callable[[Any], Any]) -> Any:
        """Call the service, and again with a new token when it answers 401.

        Raises
        ------
        azure.core.exceptions.ResourceNotFoundError
            There is no such artifact.
        mlflow.exceptions.MlflowException
            The service refuses, or does not answer.
        """
        from azure.core.exceptions import AzureError, HttpResponseError, ResourceNotFoundError

        try:
            try:
                return call(self._client)
            except HttpResponseError as error:
                if error.status_code != 401:
                    raise
                renew(self._context)
                self._client = self._connect()
                return call(self._client)
        except ResourceNotFoundError:
            raise
        except AzureError as error:
            said = explain_error(error, f"the artifacts of Azure ML workspace {self._context.workspace_name!r}")
            raise mlflow_error(said, code_of(status_of(error) or None)) from error

    def _in_service(self, operation: str, **arguments: Any) -> Any:
        """Call the artifact service itself, by which a path can be written again or deleted; not so by that of runs."""
        from azureml.mlflow._client.artifact.local_artifact_client import LocalArtifactClient

        def call(_: Any) -> Any:
            client = LocalArtifactClient(self._context, self._origin, self._container, None)
            return getattr(client._client.artifacts, operation)(
                *_scope(self._context),
                origin=self._origin,
                container=self._container,
                **arguments,
                **time_limits(self.retry_policy),
            )

        return self._ask(call)

    def _path(self, *parts: str | None) -> str:
        return posixpath.join(*(part.strip("/") for part in (self._root, *parts) if part))

    def _relative_paths(self) -> Iterator[str]:
        inside = f"{self._root}/" if self._root else ""
        for path in self._ask(
            lambda client: [one.path for one in _call(client, "list_in_container", self.retry_policy)]
        ):
            if path.startswith(inside):
                yield path.removeprefix(inside)

    def _upload(self, files: dict[str, Path]) -> None:
        from mlflow.utils.file_utils import ArtifactProgressBar

        with ArtifactProgressBar.files(desc="Uploading artifacts", total=len(files)) as progress:
            paths = list(files)
            for start in range(0, len(paths), _BATCH):
                batch = paths[start : start + _BATCH]
                created = self._create(batch)
                sent = [self.thread_pool.submit(self._send, path, files[path], created.get(path)) for path in batch]
                for one in as_completed(sent):
                    one.result()
                    progress.update()

    def _create(self, paths: list[str]) -> dict[str, str]:
        """Create empty artifacts; return the signed address of each that was not there before."""

        def call(client: Any) -> Any:
            return _create_empty(client, paths, self.retry_policy)

        answer = self._ask(call)
        for path, problem in (answer.errors or {}).items():
            said = f"{problem.error.code}: {problem.error.message}"
            if not any(name in said for name in _NAMES_OF_CONFLICT):
                raise mlflow_error(f"Azure ML refused artifact {path!r}: {said}", "INVALID_PARAMETER_VALUE")
        return {path: info.content_uri for path, info in (answer.artifact_content_information or {}).items()}

    def _send(self, path: str, file: Path, address: str | None) -> None:
        from azure.storage.blob import BlobClient

        address = address or self._in_service("get_sas", path=path).content_uri
        with file.open("rb") as content, BlobClient.from_blob_url(address, **blob_options(self.retry_policy)) as blob:

            def write() -> None:
                content.seek(0)
                # The path is ours alone: overwriting also makes an answer that was lost harmless.
                blob.upload_blob(content, overwrite=True)

            transfer(write, path, self.retry_policy)


class AzureMLRunsArtifactRepository(RunsArtifactRepository):
    """``runs:/`` URIs; in Azure ML a logged model lies among its run's artifacts, and is not listed a second time.

    Of several models of one name, the name means the newest alone, wherever it lies.
    """

    def list_artifacts(self, path: str | None = None) -> list[FileInfo]:
        """List what is directly in a folder."""
        if (beside := self._newest_beside(path)) is None:
            return super().list_artifacts(path)
        repository, name, inside = beside
        return [
            FileInfo(f"{name}/{found.path}", found.is_dir, found.file_size)
            for found in repository.list_artifacts(inside)
        ]

    def download_artifacts(self, artifact_path: str, dst_path: str | None = None) -> str:
        """Download a file or folder."""
        if (beside := self._newest_beside(artifact_path)) is None:
            return str(super().download_artifacts(artifact_path, dst_path))
        repository, name, inside = beside
        folder = Path(dst_path or tempfile.mkdtemp(), name)
        folder.mkdir(parents=True, exist_ok=True)
        return str(repository.download_artifacts(inside, str(folder)))  # type: ignore[no-untyped-call]

    def _get_logged_model_artifact_repo(self, run_id: str, name: str) -> ArtifactRepository | None:
        return None if self._is_of_azureml else super()._get_logged_model_artifact_repo(run_id, name)

    @property
    def _is_of_azureml(self) -> bool:
        return isinstance(self.repo, AzureMLArtifactRepository)

    def _newest_beside(self, path: str | None) -> tuple[AzureMLArtifactRepository, str, str] | None:
        """The model that a path leads into, its name, and the rest of the path, where another model has the name."""
        address = f"{self.artifact_uri}/{path}" if path else self.artifact_uri
        run_id, inside = self.parse_runs_uri(address)  # type: ignore[no-untyped-call]
        if not self._is_of_azureml or not inside:
            return None
        tracking_uri = getattr(self, "tracking_uri", None)
        newest = newest_model(mlflow.MlflowClient(tracking_uri), run_id, inside)
        if newest is None or newest.artifact_location.endswith(f"/artifacts/{newest.name}"):
            return None
        repository = AzureMLArtifactRepository(newest.artifact_location, tracking_uri)
        return repository, newest.name, inside.removeprefix(newest.name).strip("/")


def newest_model(client: mlflow.MlflowClient, run_id: str, path: str) -> LoggedModel | None:
    """Return the newest logged model of a run by whose name a path begins; None where there is none."""
    run = client.get_run(run_id)
    models = client.search_logged_models([run.info.experiment_id], f"source_run_id = '{run_id}'")
    named = [
        model for model in models if f"{path}/".startswith(f"{model.name}/") and model.status == LoggedModelStatus.READY
    ]
    return max(named, key=lambda model: model.creation_timestamp, default=None)


def run_of(artifact_uri: str) -> str | None:
    """Return the id of the run that an artifact URI belongs to; None for an uploaded model."""
    from azureml.mlflow._store.artifact.utils import artifact_uri_decomp

    run_id: str | None = artifact_uri_decomp(artifact_uri).get("runid")
    return run_id


def _address(*uris: str | None) -> WorkspaceAddress:
    for uri in (*uris, mlflow.get_registry_uri(), mlflow.get_tracking_uri()):
        if found := WorkspaceAddress.find(uri):
            return found
    raise mlflow_error(
        f"{uris[0]} does not say which Azure ML workspace holds it: set the registry URI or the tracking URI to that"
        " workspace's.",
        "INVALID_PARAMETER_VALUE",
    )


def _children(paths: Iterable[str], folder: str) -> list[FileInfo]:
    inside = f"{folder}/" if folder else ""
    children: dict[str, bool] = {}
    for path in paths:
        if path.startswith(inside):
            child, _, below = path.removeprefix(inside).partition("/")
            children[inside + child] = bool(below)
    return [FileInfo(path, is_dir=is_dir, file_size=None) for path, is_dir in sorted(children.items())]


def _scope(context: ServiceContext) -> tuple[str, str, str]:
    return context.subscription_id, context.resource_group_name, context.workspace_name


def _call(client: Any, operation: str, retry_policy: RetryPolicy | None, **arguments: Any) -> Any:
    """Ask the service of runs for a run's artifacts, and the artifact service for others."""
    if _is_of_run(client):
        operations = client._client.run_artifacts
        where = {"experiment_name": client._experiment_name, "run_id": client._run_id}
    else:
        operations = client._client.artifacts
        where = {"origin": client._origin, "container": client._container}
    return getattr(operations, operation)(
        *_scope(client._service_context), **where, **{**time_limits(retry_policy), **arguments}
    )


def _is_of_run(client: Any) -> bool:
    return hasattr(client, "_run_id")


def _create_empty(client: Any, paths: list[str], retry_policy: RetryPolicy | None) -> Any:
    from azureml.mlflow._restclient.artifact import models
    from azureml.mlflow._restclient.run_artifact import models as of_runs

    kinds: Any = of_runs if _is_of_run(client) else models
    body = kinds.ArtifactPathList(paths=[kinds.ArtifactPath(path=path) for path in paths])
    # A repeat after a lost answer only makes the paths exist already, which `_send` overwrites.
    again: dict[str, Any] = {"retry_on_methods": frozenset(["POST"])}
    if retry_policy is None:
        again["retry_connect"] = 5
    return _call(client, "batch_create_empty_artifacts", retry_policy, body=body, **again)
