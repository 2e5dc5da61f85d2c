"""What Azure's management clients have in common here: how they are made, and what their refusals mean."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from adbazureml.azure.refusals import code_of, message_of, status_of
from adbazureml.errors import DeploymentError
from adbazureml.text import first_line, redacted

if TYPE_CHECKING:
    from azure.core.exceptions import HttpResponseError

    from adbazureml.azure.credential import Credential

# With azure-core's pauses about half a minute; its own ten attempts would take a quarter of an hour.
_RETRIES = 5
_CONNECT_S, _READ_S = 10, 30
# What to do about it, by the service's code or else by status.
_CURES = {
    "AuthorizationFailed": (
        "give this identity the role 'Contributor' on the resource group, or have it given; it takes minutes until a"
        " new role counts"
    ),
    "ContainerGroupQuotaReached": (
        "set a smaller instance_type, delete what is not needed, or have the quota raised (Azure portal: Subscriptions,"
        " Usage + quotas); while a new version comes up, the endpoint takes twice its cores"
    ),
    "DnsNameLabelNotAvailable": "somebody else in this region has the name: choose another name",
    "InaccessibleImage": "check that the container registry lets its admin user pull, from public networks",
    "MissingSubscriptionRegistration": (
        "register the resource provider: az provider register --namespace Microsoft.ContainerInstance"
    ),
    "ServiceUnavailable": "the region has no room now: set a smaller instance_type, or try again later",
    "TasksOperationsNotAllowed": (
        "this subscription may not build images in the registry, as those on free credit: have it allowed by Azure"
        " support, or use a registry of another subscription"
    ),
    "401": "check AZURE_TENANT_ID and the parameter cloud",
    "404": "check its name",
    "429": "Azure asks for fewer requests: try again later",
}
_LATER = "try again later"


class AzureRefusedError(DeploymentError):
    """Azure refused.

    Attributes
    ----------
    code : str
        Azure's code, such as ``ContainerGroupQuotaReached``.
    status : int
        HTTP status.
    """

    def __init__(self, message: str, *, code: str, status: int) -> None:
        super().__init__(message)
        self.code = code
        self.status = status


@contextmanager
def explaining_errors(what: str) -> Iterator[None]:
    """Turn what Azure's clients raise into one sentence.

    Parameters
    ----------
    what : str
        Beginning of the sentence: the setting, and its value.

    Raises
    ------
    AzureRefusedError
        Azure refused.
    DeploymentError
        It does not answer.
    """
    from azure.core.exceptions import AzureError, HttpResponseError

    try:
        yield
    except HttpResponseError as error:
        raise _explain_error(what, error) from error
    except AzureError as error:
        said = redacted(str(error).strip().partition("\n")[0])
        # Its cause would show the whole signed address.
        raise DeploymentError(f"{what}: Azure does not answer ({said}); {_LATER}, or check the network.") from None


def client_address(credential: Credential) -> dict[str, Any]:
    """Arguments by which a management client works in the credential's cloud."""
    cloud = credential.cloud
    return {
        "base_url": cloud.resource_manager,
        "credential_scopes": [cloud.scope],
        "retry_total": _RETRIES,
        "connection_timeout": _CONNECT_S,
        "read_timeout": _READ_S,
    }


def _explain_error(what: str, error: HttpResponseError) -> AzureRefusedError:
    status, code = status_of(error), code_of(error)
    cure = _CURES.get(code) or _CURES.get(str(status)) or _LATER
    said = first_line(message_of(error))
    return AzureRefusedError(f"{what}: Azure refused ({said}): {cure}.", code=code, status=status)
