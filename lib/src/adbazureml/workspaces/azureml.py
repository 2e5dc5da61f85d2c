"""The Azure Machine Learning workspace."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

from adbazureml import runtime
from adbazureml.azure.azureml_refusals import NEEDED_ROLE
from adbazureml.azure.clouds import Cloud, cloud_of, current_cloud, remember_cloud
from adbazureml.azure.credential import Credential, credential_for, sign_in_by
from adbazureml.azure.refusals import RefusedError
from adbazureml.azure.resource_manager import read_resource
from adbazureml.azure.workspace_address import WorkspaceAddress, arm_id, parse_arm_id
from adbazureml.errors import WorkspaceError
from adbazureml.workspaces.base import Workspace
from adbazureml.workspaces.config_file import read_config
from adbazureml.workspaces.local_backend import local_backend

if TYPE_CHECKING:
    from mlflow.entities import Experiment

    from adbazureml.settings import Settings

API_VERSION = "2024-04-01"


@dataclass(frozen=True, kw_only=True, repr=True)
class AzureMLWorkspace(Workspace):
    """An Azure Machine Learning workspace, or its local backend.

    Attributes
    ----------
    location : str
        Region, such as ``westeurope``. It and all that follows are empty for a local backend.
    arm_id : str
        Resource id in Azure Resource Manager.
    workspace_id : str
        The workspace's own id, a GUID; empty where the workspace was read from a URI alone.
    tenant_id : str
        Tenant of its subscription, which links name; empty where it is not known.
    """

    location: str = ""
    arm_id: str = ""
    workspace_id: str = ""
    tenant_id: str = ""

    @classmethod
    def get(
        cls,
        *,
        name: str,
        subscription_id: str,
        resource_group: str,
        cloud: str = "",
        secret_scope: str = "",
        service_credential: str = "",
    ) -> AzureMLWorkspace:
        """Find the workspace in Azure Resource Manager; with all three names empty, the local backend.

        Signs in with what `Credential` finds, and never asks anybody. Workspaces of several clouds go together in one
        process: ``AZUREML_CURRENT_CLOUD`` is read and never set. Another process that is given a tracking URI alone
        tells the three clouds of Microsoft by its host; for any other, set the variable there.

        Parameters
        ----------
        name, subscription_id, resource_group : str
            The workspace.
        cloud : str
            Name of the Azure cloud; empty: ``AZUREML_CURRENT_CLOUD``, or else the public one.
        secret_scope : str
            Databricks secret scope to take a service principal from, see `sign_in_from`; empty: the environment, a
            managed identity or the Azure CLI.
        service_credential : str
            Service credential of Unity Catalog to sign in with, before all else, see `sign_in_by`; empty: none.

        Raises
        ------
        CredentialError
            There is no identity to sign in with, or Microsoft Entra refused it.
        WorkspaceError
            There is no such workspace, resource group or subscription; this identity may not read it; Azure does not
            answer; or, on Databricks, no workspace is named.
        """
        if not (name or subscription_id or resource_group):
            return cls._local_backend()
        sign_in_by(service_credential=service_credential, secret_scope=secret_scope)
        chosen = current_cloud(cloud)
        credential = credential_for(chosen)
        resource_id = arm_id(subscription_id, resource_group, name)
        try:
            found = read_resource(resource_id, api_version=API_VERSION, credential=credential)
        except RefusedError as error:
            named = {"workspace_name": name, "subscription_id": subscription_id, "resource_group": resource_group}
            raise WorkspaceError(_explain_error(error, credential, **named)) from error
        return cls._found(found, chosen)

    @classmethod
    def of(cls, settings: Settings) -> AzureMLWorkspace | None:
        """Find the workspace that the settings name; None when both tracking and registry are Databricks' alone.

        Raises
        ------
        WorkspaceError
            As `get`.
        """
        if settings.tracking == settings.registry == "databricks":
            return None
        return cls.get(
            name=settings.workspace_name,
            subscription_id=settings.subscription_id,
            resource_group=settings.resource_group,
            cloud=settings.cloud,
            secret_scope=settings.secret_scope,
            service_credential=settings.service_credential,
        )

    @classmethod
    def from_config(
        cls,
        path: str | os.PathLike[str] | None = None,
        *,
        file_name: str = "",
        cloud: str = "",
        secret_scope: str = "",
        service_credential: str = "",
    ) -> AzureMLWorkspace:
        """Find the workspace that Azure ML's ``config.json`` names, as azureml-core and azure-ai-ml do.

        Parameters
        ----------
        path : str or path-like, optional
            The file, or the folder from which to search upwards, also in each folder's ``.azureml``; left out: the
            working directory.
        file_name : str
            The file's name; empty: ``config.json``.
        cloud, secret_scope, service_credential : str
            As in `get`.

        Raises
        ------
        WorkspaceError
            There is no such file, it names no workspace, or as `get`.
        """
        named = read_config(path, file_name)
        name = named.pop("workspace_name")
        return cls.get(
            name=name, **named, cloud=cloud, secret_scope=secret_scope, service_credential=service_credential
        )

    @classmethod
    def from_uri(cls, tracking_uri: str) -> AzureMLWorkspace:
        """Return the workspace that a tracking URI names; nobody is asked, so its region and its ids stay unknown.

        Raises
        ------
        WorkspaceError
            The URI names no Azure ML workspace.
        """
        address = WorkspaceAddress.find(tracking_uri)
        if address is None:
            raise WorkspaceError(
                f"tracking URI {tracking_uri!r} names no Azure ML workspace: expected azureml://<host>/mlflow/v2.0"
                f"{arm_id('<id>', '<group>', '<name>')}, as AzureMLWorkspace.get(…).tracking_uri has it."
            )
        return cls._at(address, cloud_of(address.host))

    @property
    def subscription_id(self) -> str:
        """Id of its subscription; empty for a local backend."""
        return parse_arm_id(self.arm_id).subscription_id if self.arm_id else ""

    @property
    def resource_group(self) -> str:
        """Its resource group; empty for a local backend."""
        return parse_arm_id(self.arm_id).resource_group if self.arm_id else ""

    @property
    def cloud(self) -> Cloud:
        """The Azure cloud that it is in; of a local backend, the one in use."""
        address = WorkspaceAddress.find(self.tracking_uri)
        return cloud_of(address.host) if address else current_cloud()

    @property
    def experiments(self) -> dict[str, Experiment]:
        """Its experiments by name, as MLflow describes them."""
        client = self.client()
        found: list[Experiment] = []
        token = None
        while True:
            page = client.search_experiments(page_token=token)
            found += page
            token = page.token
            if not token:
                return {one.name: one for one in found}

    def get_mlflow_tracking_uri(self) -> str:
        """Tracking URI of the workspace, by the name that azureml-core gave this call."""
        return self.tracking_uri

    def experiment_url(self, experiment_id: str) -> str:
        """Address of an experiment's page in Azure Machine Learning studio."""
        return self._page(f"experiments/id/{experiment_id}") or super().experiment_url(experiment_id)

    def run_url(self, experiment_id: str, run_id: str) -> str:
        """Address of a run's page in Azure Machine Learning studio."""
        return self._page(f"experiments/id/{experiment_id}/runs/{run_id}") or super().run_url(experiment_id, run_id)

    def model_url(self, name: str, version: str) -> str:
        """Address of a model version's page in Azure Machine Learning studio."""
        return self._page(f"model/{quote(name)}:{version}/details") or super().model_url(name, version)

    def endpoint_url(self, name: str) -> str:
        """Address of an online endpoint's page in Azure ML studio; the workspace's own for a local backend."""
        return self._page(f"endpoints/realtime/{quote(name)}/detail") or self.url

    def monitoring_url(self) -> str:
        """Address of the page that lists monitors in Azure Machine Learning studio."""
        return self._page("monitoring") or self.url

    def facts(self) -> dict[str, str]:
        """Region, resource id and workspace id, as far as they are known."""
        facts = {"region": self.location, "ARM id": self.arm_id, "workspace id": self.workspace_id}
        return {name: value for name, value in facts.items() if value}

    def _page(self, path: str) -> str:
        """Address of a page of the studio; empty for a local backend."""
        return urlsplit(self.url)._replace(path=f"/{path}").geturl() if self.arm_id else ""

    @classmethod
    def _local_backend(cls) -> AzureMLWorkspace:
        if runtime.on_databricks():
            raise WorkspaceError(
                "name, subscription_id and resource_group are empty, and the local backend is for local"
                " machines: name the Azure ML workspace, or set tracking and registry to 'databricks'."
            )
        return cls(**local_backend("azureml"))

    @classmethod
    def _found(cls, resource: dict[str, Any], cloud: Cloud) -> AzureMLWorkspace:
        properties = resource.get("properties", {})
        address = WorkspaceAddress.find(properties.get("mlFlowTrackingUri"))
        if address is None:
            raise WorkspaceError(
                f"name {resource.get('name')!r}: it has no MLflow tracking server; its provisioning state is"
                f" {properties.get('provisioningState', 'unknown')!r}. Wait until it is 'Succeeded', or choose another."
            )
        remember_cloud(address.host, cloud)
        return cls._at(
            address,
            cloud,
            location=resource.get("location", ""),
            workspace_id=properties.get("workspaceId", ""),
            tenant_id=properties.get("tenantId") or (resource.get("identity") or {}).get("tenantId") or "",
        )

    @classmethod
    def _at(cls, address: WorkspaceAddress, cloud: Cloud, *, tenant_id: str = "", **known: str) -> AzureMLWorkspace:
        return cls(
            name=address.name,
            tracking_uri=address.tracking_uri,
            registry_uri=address.tracking_uri,
            url=address.studio_page(cloud.studio, tenant_id=tenant_id),
            arm_id=address.arm_id,
            tenant_id=tenant_id,
            **known,
        )


# What an answer of Azure Resource Manager means for the parameters: by its code, or else by its status.
_NO_SUBSCRIPTION = (
    "subscription_id {subscription_id!r}: {cloud} has no such subscription for this identity ({identity}). It is a"
    " GUID, shown in the Azure portal under Subscriptions; the parameter cloud names another cloud."
)
_REFUSALS = {
    "SubscriptionNotFound": _NO_SUBSCRIPTION,
    "InvalidSubscriptionId": _NO_SUBSCRIPTION,
    "ResourceGroupNotFound": (
        "resource_group {resource_group!r}: subscription {subscription_id} has no such resource group. Give the one"
        " that holds the Azure ML workspace, not the managed one of Databricks."
    ),
    "404": (
        "name {workspace_name!r}: resource group {resource_group!r} of subscription {subscription_id} has no"
        " such Azure ML workspace. Give the name of the Azure ML workspace, not of the Databricks one."
    ),
    "InvalidAuthenticationTokenTenant": (
        "subscription_id {subscription_id!r} belongs to another tenant than this identity ({identity}): set"
        " AZURE_TENANT_ID to the subscription's tenant, or run `az login --tenant` for it."
    ),
    "401": (
        "name {workspace_name!r}: {cloud} does not accept this identity ({identity}), not even with a new"
        " token ({answer}). Check AZURE_TENANT_ID and the parameter cloud."
    ),
    "403": (
        f"name {{workspace_name!r}}: this identity ({{identity}}) may not read it ({{answer}}). Give it {NEEDED_ROLE}."
    ),
}
_OTHER_REFUSAL = "name {workspace_name!r}: Azure Resource Manager answered {status}: {answer}"


def _explain_error(error: RefusedError, credential: Credential, **parameters: str) -> str:
    text = _REFUSALS.get(error.code) or _REFUSALS.get(str(error.status)) or _OTHER_REFUSAL
    identity = f"signed in by the {credential.identity}"
    return text.format(
        **parameters, cloud=credential.cloud.name, identity=identity, status=error.status, answer=str(error).rstrip(".")
    )
