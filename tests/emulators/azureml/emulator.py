"""An Azure ML workspace on loopback."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
import uuid
from collections.abc import MutableMapping
from pathlib import Path
from types import TracebackType
from typing import Any

from adbazureml.azure import clouds

from .arm import CloudMetadata, ResourceManager
from .artifacts import EXPERIMENT_RUN, Artifacts
from .assets import Assets
from .backend import Backend
from .blobs import Blobs
from .faults import Effect, Fault
from .identity import TENANT, Identity
from .inference import ROUTES, Inference
from .live_metrics import LiveMetrics
from .mlflow_server import MLflowServer
from .monitors import Monitors
from .online import OnlineEndpoints
from .registry import Registry
from .service import Emulator, HttpsService
from .shared_registries import ROUTES as REGISTRY_ROUTES
from .shared_registries import SharedRegistries
from .tracking import Tracking
from .workspace import STORAGE_SUFFIX, Workspace


class AzureMLEmulator(Emulator):
    """A workspace that answers while its ``with`` block runs.

    The real azureml-mlflow, azure-identity and azure-storage-blob talk to it once `environment` is set, in a child
    process by that alone, in this one by `activate`.

    >>> with AzureMLEmulator() as azureml:
    ...     azureml.activate()
    ...     mlflow.set_tracking_uri(azureml.tracking_uri)

    Attributes:
        workspace: its ids and names.
        identity: who may sign in.
        tracking, artifacts, blobs: the services, for what a test wants to set (limits, page size, signatures).
        assets, online: likewise the attached computes, and the online endpoints, whose deployments really run.
        monitors: likewise the data assets and monitoring schedules.
        registries: likewise the registries that workspaces share.
        resource_manager: the subscription, its resources and its long-running operations.
    """

    _service: HttpsService

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="azureml-"))
        self._service = HttpsService(self._folder)
        self._server = MLflowServer()
        self.cloud = f"EmulatedCloud-{uuid.uuid4().hex[:8]}"
        url = self._service.url
        self.workspace = Workspace(self._service.address)
        self.identity = Identity(url)
        backend = Backend(self.workspace, self._server)
        self.blobs = Blobs(self._folder / "blobs", self.workspace.storage_url)
        self.artifacts = Artifacts(self.workspace, self.identity, backend, self.blobs)
        registry = Registry(backend, self.artifacts)
        self.tracking = Tracking(self.workspace, self.identity, backend, registry)
        self.assets = Assets(self.workspace, backend, registry, self.artifacts, self.blobs)
        self.online = OnlineEndpoints(self.workspace, self.identity, self.assets, self._folder)
        self.live_metrics = LiveMetrics()
        self.registries = SharedRegistries(self.workspace, self.identity, self.assets)
        self.monitors = Monitors(self.workspace, self.online.operations)
        self._backend = backend
        self._metadata = CloudMetadata(self.cloud, url)
        self.resource_manager = ResourceManager(
            self.workspace,
            self.identity,
            inside=(self.assets.answer, self.online.answer, self.monitors.answer, self.live_metrics.answer),
            operations=self.online.operations.answer,
        )

    def __enter__(self) -> AzureMLEmulator:
        self._service.serve(
            [
                (rf"/{re.escape(self.workspace.storage_account)}\.blob\.{re.escape(STORAGE_SUFFIX)}/", self.blobs),
                (r"/mlflow/", self.tracking),
                (r"/(?:history|artifact)/", self.artifacts),
                (r"/subscriptions", self.resource_manager),
                (r"/metadata/endpoints", self._metadata),
                (ROUTES, Inference(self.identity, self.online, self.live_metrics)),
                (rf"/(?:{TENANT}|msi)/", self.identity),
                (REGISTRY_ROUTES, self.registries),
            ]
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._service.close()
        self.online.close()
        self._server.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    # Where it is, and how to get in

    @property
    def url(self) -> str:
        """Address of Resource Manager and of all other services."""
        return self._service.url

    @property
    def tracking_uri(self) -> str:
        return self.workspace.tracking_uri

    @property
    def subscription_id(self) -> str:
        return self.workspace.subscription_id

    @property
    def resource_group(self) -> str:
        return self.workspace.resource_group

    @property
    def workspace_name(self) -> str:
        return self.workspace.name

    @property
    def cloud_environment(self) -> dict[str, str]:
        """The variables that make a process use this cloud, without a credential."""
        beyond = os.environ.get("NO_PROXY") or os.environ.get("no_proxy") or ""
        no_proxy = ",".join(filter(None, ("127.0.0.1", "localhost", beyond)))
        return {
            "REQUESTS_CA_BUNDLE": str(self._service.authority),
            # Installers go on to reach the package index.
            "SSL_CERT_FILE": str(self._service.ca_bundle),
            "PIP_CERT": str(self._service.ca_bundle),
            "NO_PROXY": no_proxy,
            "no_proxy": no_proxy,
            "AZUREML_CURRENT_CLOUD": self.cloud,
            "ARM_CLOUD_METADATA_URL": f"{self.url}/metadata/endpoints?api-version=2019-05-01",
            "AZURE_AUTHORITY_HOST": self.url,
            # azure-ai-ml looks for registries there, in a cloud that it does not know.
            "REGISTRY_DISCOVERY_ENDPOINT_URL": f"{self.url}/",
        }

    @property
    def environment(self) -> dict[str, str]:
        """The variables that a client process needs; it signs in as a service principal."""
        return {
            **self.cloud_environment,
            "AZURE_TENANT_ID": self.identity.tenant_id,
            "AZURE_CLIENT_ID": self.identity.client_id,
            "AZURE_CLIENT_SECRET": self.identity.client_secret,
        }

    @property
    def managed_identity_environment(self) -> dict[str, str]:
        """Likewise for a process that has a managed identity."""
        return {
            **self.cloud_environment,
            "IDENTITY_ENDPOINT": f"{self.url}/msi/token",
            "IDENTITY_HEADER": self.identity.identity_header,
        }

    def activate(self, environment: MutableMapping[str, str] = os.environ) -> None:
        """Set `environment` in this process.

        azureml-mlflow reads the list of clouds when MLflow is imported, so where that is done already, its list
        learns of this cloud. Another emulator may have described its own at the same address.
        """
        environment.update(self.environment)
        clouds._described.cache_clear()
        from azureml.mlflow._common._cloud import cloud

        cloud.KNOWN_CLOUDS.update(cloud._convert_arm_to_cli([self._metadata.description]))

    def describe_too(self, other: AzureMLEmulator) -> None:
        """Describe another cloud beside this one, to clients that ask from now on; the same identity signs in there."""
        self._metadata.others.append(other._metadata)
        other.identity.client_id, other.identity.client_secret = self.identity.client_id, self.identity.client_secret
        clouds._described.cache_clear()

    # What it does to the next requests, beside what every emulator can

    def cut_upload(self, count: int, path: str = r"\.blob\.") -> None:
        """Take half of a blob that is being written, keep nothing, and close the connection."""
        self._service.faults.add(Fault(Effect.CUT_UPLOAD, re.compile(path), count, "PUT"))

    def expire_tokens(self) -> None:
        """Refuse all tokens given out so far."""
        self.identity.expire_tokens()

    def rotate_secret(self, new: str | None = None) -> str:
        """Sign in nobody who does not know the new secret."""
        return self.identity.rotate_secret(new)

    @property
    def crashes(self) -> list[BaseException]:
        """Exceptions of the emulator itself, which no test should see."""
        return [*self._service.crashes, *self.online.operations.crashes]

    # What it holds

    @property
    def secrets(self) -> set[str]:
        """Every secret, token and signature so far: none of them may turn up in a log."""
        return self.identity.given_out | self.blobs.signatures

    def run_artifacts(self, run_id: str) -> dict[str, bytes | None]:
        """What each artifact path of a run holds; None where the bytes never came."""
        return self.artifacts.stored(EXPERIMENT_RUN, f"dcid.{run_id}")

    def find_runs(self, experiment_name: str) -> list[dict[str, Any]]:
        """The runs of an experiment, the newest first, as the REST API shows them, deleted ones too."""
        experiment_id = self._backend.find_experiment(experiment_name)["experiment_id"]
        asked = {"experiment_ids": [experiment_id], "run_view_type": "ALL", "max_results": 1000}
        return list(self._backend.ask("POST", "mlflow/runs/search", asked).get("runs", ()))

    def find_model_versions(self, name: str) -> list[dict[str, Any]]:
        """The versions of a registered model as the REST API shows them."""
        asked = {"filter": f"name = '{name}'", "max_results": 1000}
        return list(self._backend.ask_registry("GET", "mlflow/model-versions/search", asked).get("model_versions", ()))
