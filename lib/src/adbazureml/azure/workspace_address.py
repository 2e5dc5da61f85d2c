"""The address of an Azure ML workspace: its host and the names that Azure Resource Manager knows it by."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import urlencode, urlsplit

# Azure Resource Manager takes any case and answers in any; azureml-mlflow takes this spelling only.
_PROVIDER = "Microsoft.MachineLearningServices/workspaces"
_WORKSPACE = re.compile(
    r"/subscriptions/(?P<subscription_id>[^/]+)/resourceGroups/(?P<resource_group>[^/]+)"
    rf"/providers/{re.escape(_PROVIDER)}/(?P<name>[^/]+)",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class WorkspaceAddress:
    """Where an Azure ML workspace is.

    Attributes
    ----------
    host : str
        Host of its tracking server: of the region, or of its private endpoint.
    subscription_id, resource_group, name : str
        The names that Azure Resource Manager knows it by.
    """

    host: str
    subscription_id: str
    resource_group: str
    name: str

    @classmethod
    def find(cls, uri: str | None) -> WorkspaceAddress | None:
        """Read a tracking, registry or artifact URI, however it is spelled; None when it names no workspace."""
        parts = urlsplit(uri or "")
        found = _WORKSPACE.search(parts.path)
        return cls(parts.netloc, *found.groups()) if found and parts.scheme in ("azureml", "adbazureml") else None

    @property
    def arm_id(self) -> str:
        """Resource id of the workspace."""
        return arm_id(self.subscription_id, self.resource_group, self.name)

    @property
    def tracking_uri(self) -> str:
        """MLflow tracking URI as azureml-mlflow wants it."""
        return f"azureml://{self.host}/mlflow/v2.0{self.arm_id}"

    def studio_page(self, studio: str, path: str = "", *, tenant_id: str = "") -> str:
        """Address of one of its pages in the cloud's Azure Machine Learning studio; without a path, the first one."""
        query = {"wsid": self.arm_id, **({"tid": tenant_id} if tenant_id else {})}
        return f"{studio}/{path}?{urlencode(query, safe='/')}"


def parse_arm_id(resource_id: str) -> WorkspaceAddress:
    """Read a workspace's resource id; the host is not in it."""
    found = _WORKSPACE.search(resource_id)
    if found is None:
        raise ValueError(f"{resource_id!r} is no resource id of an Azure ML workspace")
    return WorkspaceAddress("", *found.groups())


def arm_id(subscription_id: str, resource_group: str, name: str) -> str:
    """Resource id of a workspace in Azure Resource Manager."""
    return f"/subscriptions/{subscription_id}/resourceGroups/{resource_group}/providers/{_PROVIDER}/{name}"
