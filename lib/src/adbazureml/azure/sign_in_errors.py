"""What a refused sign-in means, in words that name the setting; no secret ever passes through."""

from __future__ import annotations

import os
import re
from subprocess import TimeoutExpired
from typing import TYPE_CHECKING

from adbazureml.azure.identities import CLIENT_ID, CLIENT_SECRET, TENANT_ID
from adbazureml.text import redacted

if TYPE_CHECKING:
    from adbazureml.azure.clouds import Cloud

# What azure-identity and urllib3 put before the reason.
_CHAFF = (
    re.compile(r"^Authentication failed: "),
    re.compile(r"^\w+ authentication unavailable[.,]?\s*"),
    re.compile(r"<[^<>]+ object at 0x[0-9a-f]+>: "),
)
_UNKNOWN_TENANT = (
    "{tenant_id_variable} {tenant!r}: {authority} knows no such tenant. Check the id, and that the tenant belongs to"
    " cloud {cloud} (parameter cloud)"
)
_NEW_AZ_LOGIN = "the sign-in of the Azure CLI is no longer good: run `az login` again"
_FEDERATION = (
    "the token of the workload identity is not accepted for application {client!r}: check the federated credential's"
    " issuer, subject and audience, and that AZURE_FEDERATED_TOKEN_FILE is renewed"
)
# https://learn.microsoft.com/entra/identity-platform/reference-error-codes
_MEANINGS = {
    "7000215": (
        "{secret_variable} is no secret of application {client!r}. Give the secret's value, not its id (in Microsoft"
        " Entra: App registrations, Certificates & secrets); with secret_scope, put it into the scope"
    ),
    "7000222": (
        "the secret of application {client!r} in {secret_variable} has expired. Make a new one (in Microsoft Entra: App"
        " registrations, Certificates & secrets); with secret_scope, put it into the scope"
    ),
    "700016": (
        "{client_id_variable} {client!r}: tenant {tenant!r} has no such application. Check {client_id_variable} and"
        " {tenant_id_variable}"
    ),
    "7000112": "application {client!r} is disabled: have it enabled in tenant {tenant!r}, or use another",
    "90002": _UNKNOWN_TENANT,
    "900023": _UNKNOWN_TENANT,
    "500011": (
        "tenant {tenant!r} does not know {resource_manager}: it belongs to another cloud than {cloud}. Set the"
        " parameter cloud, or AZUREML_CURRENT_CLOUD"
    ),
    "53003": "a conditional access policy of tenant {tenant!r} forbids it from here: ask the tenant's administrator",
    "70021": _FEDERATION,
    "700024": _FEDERATION,
    "700213": _FEDERATION,
    "50076": _NEW_AZ_LOGIN,
    "50078": _NEW_AZ_LOGIN,
    "50173": _NEW_AZ_LOGIN,
    "70043": _NEW_AZ_LOGIN,
    "700082": _NEW_AZ_LOGIN,
}


def explain_sign_in_error(error: BaseException, cloud: Cloud) -> str:
    """Say what an error of azure-identity means: one of Microsoft Entra's codes, a network that fails, or its text."""
    from azure.core.exceptions import ServiceRequestError, ServiceResponseError

    text = redacted(str(getattr(error, "message", "") or error))
    names = {
        "tenant": os.environ.get(TENANT_ID, ""),
        "client": os.environ.get(CLIENT_ID, ""),
        "tenant_id_variable": TENANT_ID,
        "client_id_variable": CLIENT_ID,
        "secret_variable": CLIENT_SECRET,
        "authority": cloud.active_directory,
        "resource_manager": cloud.resource_manager,
        "cloud": cloud.name,
    }
    for code in re.findall(r"AADSTS(\d+)", text):
        if code in _MEANINGS:
            return f"{_MEANINGS[code].format(**names)} (AADSTS{code})"
    if "Unable to get authority configuration" in text:
        # MSAL keeps the answer to itself.
        return _UNKNOWN_TENANT.format(**names)
    if isinstance(error.__cause__, TimeoutExpired):
        return f"az did not answer within {error.__cause__.timeout:.0f} s"
    if isinstance(error.__cause__, (ServiceRequestError, ServiceResponseError)):
        return f"{cloud.active_directory} can't be reached: check network and proxy ({_first_line(text)})"
    return _first_line(text)


def _first_line(text: str) -> str:
    for pattern in _CHAFF:
        text = pattern.sub("", text)
    line = next((line.strip() for line in text.splitlines() if line.strip()), "not available here")
    return line.rstrip(".")
