"""The identities that a process may sign in to Azure with, none of which asks anybody anything.

After Databricks' own, variables and order are those of azure-identity's `DefaultAzureCredential`. Its tries at Azure
PowerShell and at the Azure Developer CLI are left out: they find the same person as the Azure CLI, and would double the
wait for an error.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from azure.core.credentials import AccessTokenInfo, SupportsTokenInfo, TokenCredential, TokenRequestOptions

    from adbazureml.azure.clouds import Cloud

TENANT_ID, CLIENT_ID, CLIENT_SECRET = "AZURE_TENANT_ID", "AZURE_CLIENT_ID", "AZURE_CLIENT_SECRET"
_CERTIFICATE, _FEDERATED_TOKEN = "AZURE_CLIENT_CERTIFICATE_PATH", "AZURE_FEDERATED_TOKEN_FILE"
# Any of these makes azure-identity's environment credential whole.
_WHOLE = (
    (TENANT_ID, CLIENT_ID, CLIENT_SECRET),
    (TENANT_ID, CLIENT_ID, _CERTIFICATE),
    (CLIENT_ID, "AZURE_USERNAME", "AZURE_PASSWORD"),
)
# Variables that say which identity there is: when one changes, tokens of the identity before are of no use.
_PREFIXES = ("AZURE_", "IDENTITY_", "IMDS_", "MSI_")
_TIMEOUTS: dict[str, Any] = {
    "connection_timeout": 3,
    "read_timeout": 5,
    "retry_total": 2,
    "retry_connect": 1,
    "retry_read": 1,
    "retry_backoff_factor": 0.2,
    "retry_backoff_max": 1,
}


@dataclass(frozen=True, kw_only=True)
class Identity:
    """One way to sign in.

    Attributes
    ----------
    name : str
        As messages call it.
    seconds : float
        The longest wait for its token.
    decisive : bool
        Whether somebody configured it for this process, so that its refusal is told instead of trying the next one.
    lacks : callable
        Says what must be there for it; empty when it can be tried.
    build : callable
        Makes azure-identity's credential for a cloud.
    """

    name: str
    seconds: float
    decisive: bool
    lacks: Callable[[], str]
    build: Callable[[Cloud], SupportsTokenInfo]


# The service credential that this process signs in with: its name, and what Databricks gave for it.
_chosen: tuple[str, TokenCredential] | None = None


def use_service_credential(name: str, credential: TokenCredential | None) -> None:
    """Let this process sign in with a service credential of Unity Catalog, before all else; None: no longer."""
    global _chosen  # noqa: PLW0603 (as the environment, which the other identities are read from)
    _chosen = (name, credential) if credential else None


def identity_variables() -> dict[str, str]:
    """Return what decides which identity there is: environment variables, secrets among them, and what was chosen."""
    chosen = {"service credential": _chosen[0]} if _chosen else {}
    return chosen | {name: value for name, value in os.environ.items() if name.startswith(_PREFIXES)}


@dataclass(frozen=True)
class _ServiceCredential:
    """A service credential's tokens, of which Databricks tells no more than azure-core's older protocol."""

    credential: TokenCredential

    def get_token_info(self, *scopes: str, options: TokenRequestOptions | None = None) -> AccessTokenInfo:  # noqa: ARG002
        from azure.core.credentials import AccessTokenInfo

        token = self.credential.get_token(*scopes)
        return AccessTokenInfo(token.token, token.expires_on)

    def close(self) -> None:
        """Nothing is kept open."""


def _service_credential(_: Cloud) -> SupportsTokenInfo:
    assert _chosen is not None
    return cast("SupportsTokenInfo", _ServiceCredential(_chosen[1]))


def _service_principal(cloud: Cloud) -> SupportsTokenInfo:
    from azure.identity import EnvironmentCredential

    return EnvironmentCredential(**_at_entra(cloud))


def _workload_identity(cloud: Cloud) -> SupportsTokenInfo:
    from azure.identity import WorkloadIdentityCredential

    return WorkloadIdentityCredential(**_at_entra(cloud))


def _managed_identity(_: Cloud) -> SupportsTokenInfo:
    from azure.identity import ManagedIdentityCredential

    # Off Azure, nobody listens at the metadata address: one attempt must do.
    once = {"connection_timeout": 1, "retry_connect": 0, "retry_read": 0}
    return ManagedIdentityCredential(client_id=os.environ.get(CLIENT_ID) or None, **{**_TIMEOUTS, **once})


def _azure_cli(_: Cloud) -> SupportsTokenInfo:
    from azure.identity import AzureCliCredential

    return AzureCliCredential(tenant_id=os.environ.get(TENANT_ID, ""), process_timeout=_CLI_SECONDS)


def _at_entra(cloud: Cloud) -> dict[str, Any]:
    # Instance discovery asks the public cloud whether it knows the authority: closed networks have no way there, and
    # the authority is one of ours or the resource manager's own.
    return {"authority": urlsplit(cloud.active_directory).netloc, "disable_instance_discovery": True, **_TIMEOUTS}


def _lacks_service_principal() -> str:
    missing = min(([name for name in names if not os.environ.get(name)] for names in _WHOLE), key=len)
    return _not_set(missing)


def _lacks_workload_identity() -> str:
    return _not_set([name for name in (TENANT_ID, CLIENT_ID, _FEDERATED_TOKEN) if not os.environ.get(name)])


def _lacks_azure_cli() -> str:
    return "" if shutil.which("az") else "az is not on the PATH"


def _not_set(names: Sequence[str]) -> str:
    return f"{', '.join(names)} not set" if names else ""


# Together less than the ten seconds after which a sign-in has failed.
_CLI_SECONDS = 5
IDENTITIES = (
    Identity(
        name="service credential of Unity Catalog",
        seconds=9,
        decisive=True,
        lacks=lambda: "" if _chosen else "service_credential is empty",
        build=_service_credential,
    ),
    Identity(
        name="service principal of the environment",
        seconds=9,
        decisive=True,
        lacks=_lacks_service_principal,
        build=_service_principal,
    ),
    Identity(
        name="workload identity",
        seconds=9,
        decisive=True,
        lacks=_lacks_workload_identity,
        build=_workload_identity,
    ),
    Identity(
        name="managed identity",
        seconds=3,
        decisive=False,
        lacks=lambda: "",
        build=_managed_identity,
    ),
    Identity(
        name="Azure CLI",
        seconds=_CLI_SECONDS + 1,
        decisive=False,
        lacks=_lacks_azure_cli,
        build=_azure_cli,
    ),
)
