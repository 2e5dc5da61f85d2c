"""The model registry for ``azureml://``: azureml-mlflow's, made whole for MLflow 3."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from uuid import uuid4

from azureml.mlflow._store.model_registry.model_registry import AzureMLflowModelRegistry
from mlflow import MlflowClient
from mlflow.entities.model_registry import (
    ModelVersion,
    ModelVersionTag,
    RegisteredModel,
    RegisteredModelAlias,
    RegisteredModelTag,
)
from mlflow.exceptions import RestException
from mlflow.prompt.registry_utils import has_prompt_tag
from mlflow.protos.model_registry_pb2 import CreateModelVersion
from mlflow.store.artifact.runs_artifact_repo import RunsArtifactRepository
from mlflow.utils.proto_json_utils import message_to_json

from adbazureml.azureml_mlflow import connection
from adbazureml.azureml_mlflow.artifact_repository import AzureMLArtifactRepository, newest_model, run_of
from adbazureml.azureml_mlflow.callers import find_caller
from adbazureml.azureml_mlflow.local_folders import local_folder
from adbazureml.azureml_mlflow.mlflow_errors import mlflow_error
from adbazureml.azureml_mlflow.unsupported import check_supported

if TYPE_CHECKING:
    from azureml.mlflow._internal.utils import ServiceContext

# Found again by this tag, a version whose create was not answered is not created twice.
_REQUEST = "adbazureml.request_id"
# Tag of a registered model: the version that has the alias which follows.
_ALIAS = "adbazureml.alias."


class AzureMLModelRegistry(connection.AzureMLRequests, AzureMLflowModelRegistry):
    """MLflow's model registry in an Azure ML workspace.

    Parameters
    ----------
    service_context : azureml.mlflow ServiceContext
        From `connection.connect`.
    uri : str
        The workspace's tracking URI, which is its registry URI as well.
    """

    def __init__(self, service_context: ServiceContext, uri: str):
        super().__init__(service_context)
        self._uri = uri

    def _call_endpoint(
        self,
        api: Any,
        json_body: str | None,
        call_all_endpoints: bool = False,
        extra_headers: Any = None,  # noqa: ARG002 (for Unity Catalog only)
    ) -> Any:
        check_supported(api.DESCRIPTOR.name)
        answer = self._get_response_from_method(api)
        if not call_all_endpoints:
            endpoint, method = self._get_endpoint_from_method(api)
            return self.send(endpoint, method, json_body, answer)
        *earlier, last = self._get_all_endpoints_from_method(api)
        for endpoint, method in earlier:
            try:
                return self.send(endpoint, method, json_body, answer)
            except RestException as error:
                if error.error_code != "ENDPOINT_NOT_FOUND":
                    raise
        endpoint, method = last
        return self.send(endpoint, method, json_body, answer)

    def create_registered_model(self, name: str, tags: Any = None, description: str | None = None, *_: Any) -> Any:
        """Create a registered model; a prompt, which MLflow keeps as one, is refused."""
        if has_prompt_tag({tag.key: tag.value for tag in tags or ()}):
            check_supported("Prompt")
        return super().create_registered_model(name, tags, description)

    # Aliases, which the service lacks: a tag of the registered model each, so that one moves at a stroke.

    def set_registered_model_alias(self, name: str, alias: str, version: str) -> None:
        """Give a version an alias, or move it there from another one."""
        found = self.get_model_version(name, version)
        self.set_registered_model_tag(name, RegisteredModelTag(_ALIAS + alias, str(found.version)))

    def delete_registered_model_alias(self, name: str, alias: str) -> None:
        """Take an alias away; one that is not there is no error, as in MLflow's own stores."""
        if alias in self.get_registered_model(name).aliases:
            self.delete_registered_model_tag(name, _ALIAS + alias)

    def get_model_version_by_alias(self, name: str, alias: str) -> ModelVersion:
        """Find the version that has an alias.

        Raises
        ------
        mlflow.exceptions.MlflowException
            None has.
        """
        version = self.get_registered_model(name).aliases.get(alias)
        if version is None:
            raise mlflow_error(f"Registered model alias {alias} not found.", "INVALID_PARAMETER_VALUE")
        return self.get_model_version(name, version)

    def get_registered_model(self, name: str) -> RegisteredModel:
        """Get a registered model, its aliases among its attributes."""
        model: RegisteredModel = super().get_registered_model(name)
        for key, value in model.tags.items():
            if key.startswith(_ALIAS):
                model._add_alias(RegisteredModelAlias(key.removeprefix(_ALIAS), value))
        return model

    def get_model_version(self, name: str, version: str) -> ModelVersion:
        """Get a version, its aliases among its attributes."""
        found: ModelVersion = super().get_model_version(name, version)
        aliases = self.get_registered_model(name).aliases
        found.aliases = [alias for alias, named in aliases.items() if named == str(found.version)]
        return found

    def create_model_version(  # noqa: PLR0917 (MLflow's signature)
        self,
        name: str,
        source: str,
        run_id: str | None = None,
        tags: Any = None,
        run_link: str | None = None,
        description: str | None = None,
        local_model_path: str | None = None,
        model_id: str | None = None,
    ) -> ModelVersion:
        """Create one version, also when the service's answer is lost on the way.

        Parameters
        ----------
        source : str
            ``azureml://`` artifacts of this workspace, a logged model of it as ``models:/m-…``, a version of it as
            ``models:/<name>/<version>``, or a local folder, which is uploaded.
        run_id : str, optional
            Of a run of this workspace. Without it, the run that ``source`` belongs to.

        Raises
        ------
        mlflow.exceptions.MlflowException
            The source is another store's, or the service refuses.
        """
        del local_model_path, model_id
        source = self._in_this_workspace(_asked_for() or source)
        request = ModelVersionTag(_REQUEST, uuid4().hex)
        body = message_to_json(
            CreateModelVersion(
                name=name,
                source=source,
                run_id=run_id or run_of(source),
                run_link=run_link,
                description=description,
                tags=[tag.to_proto() for tag in (*(tags or ()), request)],
            )
        )
        endpoint, method = self._get_endpoint_from_method(CreateModelVersion)

        def create() -> ModelVersion:
            answer = self.send(endpoint, method, body, CreateModelVersion.Response(), once=True)
            return ModelVersion.from_proto(answer.model_version)

        def find() -> ModelVersion | None:
            versions = self.search_model_versions(f"name = '{name}'", max_results=1000)
            return next((version for version in versions if version.tags.get(_REQUEST) == request.value), None)

        return connection.create_once(create, find)

    def _in_this_workspace(self, source: str) -> str:
        """Where the model's files are in this workspace; a local folder is uploaded first."""
        parts = urlsplit(source)
        if parts.scheme == "runs":
            return self._of_run(source)
        if parts.scheme == "azureml":
            return source
        if parts.scheme == "models":
            name, _, version = parts.path.strip("/").partition("/")
            if version:
                return str(self.get_model_version_download_uri(name, version))
            client = MlflowClient(tracking_uri=self._uri, registry_uri=self._uri)
            return str(client.get_logged_model(name).artifact_location)
        folder = local_folder(source)
        if folder is not None and (folder / "MLmodel").is_file():
            return self._upload(folder)
        raise mlflow_error(
            f"Azure ML cannot register {source!r}: its files are not in this workspace. Bring them over by"
            " adbazureml.register(…, registry='azureml'), or give a local folder that holds an MLmodel file.",
            "INVALID_PARAMETER_VALUE",
        )

    def _of_run(self, uri: str) -> str:
        """Where the files of a ``runs:/`` URI are: by the name of several models, those of the newest."""
        client = MlflowClient(tracking_uri=self._uri, registry_uri=self._uri)
        run_id, path = RunsArtifactRepository.parse_runs_uri(uri)
        newest = newest_model(client, run_id, path)
        if newest is not None and newest.name == path:
            return str(newest.artifact_location)
        return f"{client.get_run(run_id).info.artifact_uri}/{path}"

    def _upload(self, folder: Path) -> str:
        container = f"{time.strftime('%y%m%dT%H%M%S')}-{uuid4().hex[:8]}"
        uri = f"azureml://artifacts/LocalUpload/{container}/{folder.name}"
        AzureMLArtifactRepository(uri, registry_uri=self._uri).log_artifacts(str(folder))
        return uri


def _asked_for() -> str:
    """The ``runs:/`` URI that `mlflow.register_model` was given, which it hands on as the address of the first model.

    Empty where it was not asked for one.
    """
    caller = find_caller("_register_model")
    asked = str(caller.f_locals.get("model_uri", "")) if caller else ""
    return asked if RunsArtifactRepository.is_runs_uri(asked) else ""
