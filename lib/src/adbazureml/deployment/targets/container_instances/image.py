"""An image of a deployable folder, built by a task of an Azure container registry: no Docker is needed here."""

from __future__ import annotations

import hashlib
import json
import tarfile
import tempfile
from dataclasses import dataclass
from functools import cached_property
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adbazureml.azure.credential import Credential
from adbazureml.deployment.target import with_log
from adbazureml.deployment.targets.container_instances.clients import client_address, explaining_errors
from adbazureml.errors import DeploymentError
from adbazureml.serving import key_guard

if TYPE_CHECKING:
    from azure.mgmt.containerregistry import ContainerRegistryManagementClient
    from azure.mgmt.containerregistrytasks import ContainerRegistryTasksMgmtClient
    from azure.mgmt.containerregistrytasks.models import Run

    from adbazureml.deployment.deployable import Deployable
    from adbazureml.deployment.deployable_folder import DeployableFolder
    from adbazureml.deployment.target import Deadline, Progress

PORT = 5001
REPOSITORY = "adbazureml-endpoints"
# What the server is made of, beside Microsoft's.
_SERVER = tuple(
    Path(key_guard.__file__).with_name(f"{name}.py") for name in ("key_guard", "bounded_queue", "waitress_worker")
)
_RUNS_LOOKED_AT = 100
_BUILD_TIMEOUT_S = 3600
# Seconds in which a worker has to load the model and to answer a request; gunicorn ends it otherwise.
_WORKER_TIMEOUT_S = 600
# The image on which Azure ML builds the environments of its own endpoints: Ubuntu with conda.
_DOCKERFILE = f"""\
FROM mcr.microsoft.com/azureml/inference-base-2204:latest
USER root
RUN useradd --create-home server
COPY environment/conda.yaml /var/azureml-app/conda.yaml
RUN conda env create --quiet --prefix /azureml-envs/model --file /var/azureml-app/conda.yaml
COPY model /var/azureml-app/model
COPY code /var/azureml-app/code
WORKDIR /var/azureml-app/code
ENV PATH=/azureml-envs/model/bin:$PATH
ENV AML_APP_ROOT=/var/azureml-app/code
ENV AZUREML_ENTRY_SCRIPT=score.py
ENV AZUREML_MODEL_DIR=/var/azureml-app/model
USER server
EXPOSE {PORT}
CMD ["python", "-m", "gunicorn", "--worker-class", "waitress_worker.WaitressWorker", \
"--bind", "0.0.0.0:{PORT}", "--timeout", "{_WORKER_TIMEOUT_S}", \
"--access-logfile", "-", "--error-logfile", "/dev/null", "key_guard:application()"]
"""


@dataclass(frozen=True, kw_only=True)
class RegistryAccess:
    """What lets a container group pull from a registry.

    Attributes
    ----------
    server : str
        Name of the registry's host.
    username, password : str
        Its admin user.
    """

    server: str
    username: str
    password: str

    def __repr__(self) -> str:
        return f"RegistryAccess({self.server}, {self.username})"


class ImageRegistry:
    """A container registry by its resource id.

    Parameters
    ----------
    arm_id : str
        Resource id of the registry.
    credential : Credential
        Who asks.
    poll : float
        Seconds between two looks at a build.
    """

    def __init__(self, arm_id: str, credential: Credential, *, poll: float) -> None:
        parts = arm_id.strip("/").split("/")
        self.subscription_id, self.resource_group, self.name = parts[1], parts[3], parts[-1]
        self._credential = credential
        self._poll = poll

    @cached_property
    def access(self) -> RegistryAccess:
        """How to pull from it.

        Raises
        ------
        DeploymentError
            There is no such registry, its admin user is disabled, or this identity may not read them.
        """
        with self._asking():
            found = self._registry.registries.get(self.resource_group, self.name)
            properties = found.properties
            if not properties or not properties.admin_user_enabled:
                raise DeploymentError(
                    f"container registry {self.name!r}: its admin user is disabled, by which containers pull their"
                    f" image. Enable it: az acr update --name {self.name} --admin-enabled true."
                )
            credentials = self._registry.registries.list_credentials(self.resource_group, self.name)
        passwords = [one.value for one in credentials.passwords or () if one.value]
        return RegistryAccess(
            server=properties.login_server or "", username=credentials.username or "", password=passwords[0] or ""
        )

    def image(self, model: Deployable) -> str:
        """Full name of a model's image; it changes with all that the image is made of."""
        made_of = json.dumps([model.fingerprint, _DOCKERFILE, *(file.read_text(encoding="utf-8") for file in _SERVER)])
        return f"{self.access.server}/{REPOSITORY}:{hashlib.sha256(made_of.encode()).hexdigest()[:32]}"

    def build(self, model: Deployable, *, progress: Progress, deadline: Deadline, again: bool = False) -> str:
        """Build a model's image, unless the registry has built it before.

        Parameters
        ----------
        model : Deployable
            The model.
        progress : callable
            Is told what happens.
        deadline : Deadline
            Until when to wait. A build that takes longer goes on, and the next call finds its image.
        again : bool
            Build it in any case: the image is gone.

        Returns
        -------
        str
            Full name of the image.

        Raises
        ------
        DeploymentError
            The build failed, with the end of its log; it is not done in time; or it was refused.
        """
        image = self.image(model)
        name = image.partition("/")[2]
        if again or not self._is_built(name):
            progress("uploading the image's source")
            source = self._upload(model.folder)
            self._wait(self._schedule(source, name), progress, deadline)
        return image

    def _is_built(self, name: str) -> bool:
        with self._asking():
            runs = self._tasks.runs.list(self.resource_group, self.name, top=_RUNS_LOOKED_AT)
            for run, _ in zip(runs, range(_RUNS_LOOKED_AT), strict=False):
                made = [f"{one.repository}:{one.tag}" for one in run.output_images or ()]
                if run.status == "Succeeded" and name in made:
                    return True
        return False

    def _upload(self, folder: DeployableFolder) -> str:
        """Upload the source of the image; where it is, as a run takes it."""
        from azure.storage.blob import BlobClient

        with self._asking():
            place = self._tasks.registries.get_build_source_upload_url(self.resource_group, self.name)
        with tempfile.TemporaryFile() as archive:
            _pack(folder, archive)
            archive.seek(0)
            with (
                explaining_errors("uploading the image's source"),
                BlobClient.from_blob_url(place.upload_url or "") as blob,
            ):
                blob.upload_blob(archive, overwrite=True)
        return place.relative_path or ""

    def _schedule(self, source: str, name: str) -> str:
        from azure.mgmt.containerregistrytasks.models import DockerBuildRequest, PlatformProperties

        request = DockerBuildRequest(
            source_location=source,
            docker_file_path="Dockerfile",
            image_names=[name],
            is_push_enabled=True,
            platform=PlatformProperties(os="Linux", architecture="amd64"),
            timeout=_BUILD_TIMEOUT_S,
        )
        with self._asking():
            return self._tasks.registries.schedule_run(self.resource_group, self.name, request).run_id or ""

    def _wait(self, run_id: str, progress: Progress, deadline: Deadline) -> None:
        for waited in deadline.polls(self._poll):
            with self._asking():
                run: Run = self._tasks.runs.get(self.resource_group, self.name, run_id)
            if run.status == "Succeeded":
                return
            if run.status not in ("Queued", "Started", "Running"):
                status = getattr(run.status, "value", run.status)
                what = f"container registry {self.name!r}: the build of the image ended as {status}"
                reason = f": {run.run_error_message}" if run.run_error_message else ""
                raise with_log(
                    f"{what}{reason} (run {run_id}).", self._log(run_id), source=f"the log of build {run_id}"
                )
            progress(f"building the image, {waited:.0f} s")
        raise deadline.missed(f"container registry {self.name!r}: build {run_id} of the image is not done")

    def _log(self, run_id: str) -> str:
        """The log of a build; empty where it can't be had, as the build's end says more than that."""
        from azure.core.exceptions import AzureError
        from azure.storage.blob import BlobClient

        try:
            link = self._tasks.runs.get_log_sas_url(self.resource_group, self.name, run_id).log_link or ""
            with BlobClient.from_blob_url(link) as blob:
                return blob.download_blob().readall().decode("utf-8", "replace")
        except (AzureError, ValueError):
            return ""

    def _asking(self) -> Any:
        return explaining_errors(f"container registry {self.name!r}")

    @cached_property
    def _registry(self) -> ContainerRegistryManagementClient:
        from azure.mgmt.containerregistry import ContainerRegistryManagementClient

        return ContainerRegistryManagementClient(
            self._credential, self.subscription_id, **client_address(self._credential)
        )

    @cached_property
    def _tasks(self) -> ContainerRegistryTasksMgmtClient:
        from azure.mgmt.containerregistrytasks import ContainerRegistryTasksMgmtClient

        return ContainerRegistryTasksMgmtClient(
            self._credential, self.subscription_id, **client_address(self._credential)
        )


def _pack(folder: DeployableFolder, archive: Any) -> None:
    with tarfile.open(fileobj=archive, mode="w:gz") as source:
        for part in (folder.model, folder.code, folder.conda.parent):
            source.add(part, arcname=part.name)
        for file in _SERVER:
            source.add(file, arcname=f"{folder.code.name}/{file.name}")
        content = _DOCKERFILE.encode()
        entry = tarfile.TarInfo("Dockerfile")
        entry.size = len(content)
        source.addfile(entry, BytesIO(content))
