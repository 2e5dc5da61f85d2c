"""The Azure clouds: public, US Government, China (21Vianet), and any that Azure Resource Manager describes."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cache
from typing import Any

import requests

from adbazureml.errors import WorkspaceError

CLOUD_VARIABLE = "AZUREML_CURRENT_CLOUD"
METADATA_VARIABLE = "ARM_CLOUD_METADATA_URL"
METADATA_SECONDS = 5.0


@dataclass(frozen=True, kw_only=True)
class Cloud:
    """One Azure cloud and its addresses.

    Attributes
    ----------
    name : str
        As azureml-mlflow and the Azure CLI have it: ``AzureCloud``.
    resource_manager : str
        Azure Resource Manager.
    active_directory : str
        Microsoft Entra, which signs identities in.
    storage_suffix : str
        What the host names of storage accounts end with.
    studio : str
        Azure Machine Learning studio.
    portal : str
        Azure portal.
    tracking_suffix : str
        What the host names of Azure ML's tracking servers end with; empty where it is not known.
    """

    name: str
    resource_manager: str
    active_directory: str
    storage_suffix: str
    studio: str
    portal: str
    tracking_suffix: str = ""

    @property
    def scope(self) -> str:
        """The scope to ask a token for, the same one for Azure Resource Manager and for Azure ML."""
        return f"{self.resource_manager}/.default"


# Resource managers, sign-in and storage as azureml-mlflow has them; the other hosts from Microsoft's list of those that
# a firewall must let through.
_KNOWN = {
    cloud.name: cloud
    for cloud in (
        Cloud(
            name="AzureCloud",
            resource_manager="https://management.azure.com",
            active_directory="https://login.microsoftonline.com",
            storage_suffix="core.windows.net",
            studio="https://ml.azure.com",
            portal="https://portal.azure.com",
            tracking_suffix="api.azureml.ms",
        ),
        Cloud(
            name="AzureUSGovernment",
            resource_manager="https://management.usgovcloudapi.net",
            active_directory="https://login.microsoftonline.us",
            storage_suffix="core.usgovcloudapi.net",
            studio="https://ml.azure.us",
            portal="https://portal.azure.us",
            tracking_suffix="api.ml.azure.us",
        ),
        Cloud(
            name="AzureChinaCloud",
            resource_manager="https://management.chinacloudapi.cn",
            active_directory="https://login.chinacloudapi.cn",
            storage_suffix="core.chinacloudapi.cn",
            studio="https://studio.ml.azure.cn",
            portal="https://portal.azure.cn",
            tracking_suffix="api.ml.azure.cn",
        ),
    )
}


def current_cloud(name: str = "") -> Cloud:
    """Return the cloud in use.

    Parameters
    ----------
    name : str
        Its name; empty: what ``AZUREML_CURRENT_CLOUD`` says, or else the public cloud.

    Raises
    ------
    WorkspaceError
        There is no cloud of that name, or ``ARM_CLOUD_METADATA_URL`` is set and does not answer as Azure Resource
        Manager's ``/metadata/endpoints`` does.
    """
    name = name or os.environ.get(CLOUD_VARIABLE, "")
    metadata_url = os.environ.get(METADATA_VARIABLE, "")
    described = _described(metadata_url) if metadata_url else {}
    if not name and len(described) == 1:
        return next(iter(described.values()))
    found = described.get(name or "AzureCloud") or _KNOWN.get(name or "AzureCloud")
    if found is None:
        known = ", ".join(dict.fromkeys((*described, *_KNOWN)))
        raise WorkspaceError(
            f"cloud {name!r}: there is no such Azure cloud; known are {known}. Set the parameter cloud or"
            f" {CLOUD_VARIABLE} to one of them; {METADATA_VARIABLE} describes any other."
        )
    return found


# The clouds of the tracking servers that this process has found in Azure Resource Manager.
_found_at: dict[str, Cloud] = {}


def remember_cloud(host: str, cloud: Cloud) -> None:
    """Note the cloud in which a tracking server was found, for `cloud_of`."""
    _found_at[host] = cloud


def cloud_of(host: str) -> Cloud:
    """Return the cloud of an Azure ML tracking server: where it was found, or else by its name, or the one in use.

    Raises
    ------
    WorkspaceError
        As `current_cloud`, for a host of no known cloud.
    """
    if host in _found_at:
        return _found_at[host]
    return current_cloud(next((name for name, one in _KNOWN.items() if host.endswith(f".{one.tracking_suffix}")), ""))


@cache
def _described(metadata_url: str) -> dict[str, Cloud]:
    """Read the clouds that a resource manager describes; both answers are taken, a list and a single cloud."""
    try:
        answer = requests.get(metadata_url, timeout=METADATA_SECONDS)
        answer.raise_for_status()
        clouds = answer.json()
        return {cloud.name: cloud for cloud in map(_cloud, clouds if isinstance(clouds, list) else [clouds])}
    except (requests.RequestException, KeyError, TypeError, ValueError) as error:
        raise WorkspaceError(
            f"{METADATA_VARIABLE} {metadata_url!r} does not describe any Azure cloud ({type(error).__name__}: {error})."
            " It is the address of a resource manager's /metadata/endpoints?api-version=2019-05-01; unset it to use"
            f" one of {', '.join(_KNOWN)}."
        ) from error


def _cloud(metadata: dict[str, Any]) -> Cloud:
    name, portal = metadata["name"], metadata["portal"].rstrip("/")
    known = _KNOWN.get(name)
    return Cloud(
        name=name,
        resource_manager=metadata["resourceManager"].rstrip("/"),
        active_directory=metadata["authentication"]["loginEndpoint"].rstrip("/"),
        storage_suffix=metadata["suffixes"]["storage"],
        # The description has no studio; azure-ai-ml finds it beside the portal too.
        studio=known.studio if known else portal.replace("://portal.", "://ml.", 1),
        portal=portal,
    )
