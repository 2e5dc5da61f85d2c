"""The Databricks workspace."""

from __future__ import annotations

import os
from collections.abc import Iterator
from configparser import ConfigParser
from configparser import Error as ConfigParserError
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cache, wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import requests

from adbazureml import runtime
from adbazureml.azure.outages import outage, within
from adbazureml.errors import WorkspaceError
from adbazureml.text import first_line, keep_secret, name_parts, redacted
from adbazureml.workspaces.base import Workspace
from adbazureml.workspaces.local_backend import local_backend

if TYPE_CHECKING:
    from databricks.sdk import WorkspaceClient

# A request to a workspace that is there takes less than a second; what is beyond the whole time is said to be away.
HTTP_SECONDS, ALL_SECONDS = 8.0, 20.0
_CHOSEN_BY = ("DATABRICKS_CONFIG_PROFILE", "DATABRICKS_AZURE_RESOURCE_ID")

_signed_in: ContextVar[bool] = ContextVar("signed_in", default=False)


@dataclass(frozen=True, kw_only=True, repr=True)
class DatabricksWorkspace(Workspace):
    """The Databricks workspace that runs the notebook, or its local backend."""

    @classmethod
    def current(cls) -> DatabricksWorkspace:
        """Return the workspace of this notebook."""
        if not runtime.on_databricks() and not _signed_in.get():
            return cls(**local_backend("databricks"))
        client, workspace_id = reached_databricks()
        return cls(
            name=workspace_id,
            tracking_uri="databricks",
            registry_uri="databricks-uc",
            url=f"{client.config.host}/ml",
        )

    @staticmethod
    @contextmanager
    def signed_in() -> Iterator[None]:
        """Within the ``with`` block, also a local machine's workspace is the one that it is signed in to."""
        token = _signed_in.set(True)
        try:
            yield
        finally:
            _signed_in.reset(token)

    def model_url(self, name: str, version: str) -> str:
        """Address of a model version's page; Unity Catalog's for a name in three parts."""
        if name.count(".") == 2 and self.url.endswith("/ml"):
            host = self.url.removesuffix("/ml")
            return f"{host}/explore/data/models/{name.replace('.', '/')}/version/{version}"
        return super().model_url(name, version)

    def table_url(self, name: str) -> str:
        """Address of a table's page; empty for a name without catalog and schema, and for a local backend."""
        parts = name_parts(name)
        if len(parts) != 3 or not self.url.endswith("/ml"):
            return ""
        return f"{self.url.removesuffix('/ml')}/explore/data/{'/'.join(map(quote, parts))}"


def databricks_sign_in(**config: Any) -> WorkspaceClient:
    """Return Databricks' own client of the workspace that this process runs in, or that it is signed in to.

    Parameters
    ----------
    **config
        Fields of `databricks.sdk.core.Config`.

    Raises
    ------
    WorkspaceError
        It is signed in to none.
    """
    from databricks.sdk import WorkspaceClient
    from databricks.sdk.core import Config

    _redact_reports()
    try:
        client = WorkspaceClient(config=Config(**config))
    except ValueError as error:
        if outage(error):
            raise WorkspaceError(_explain_no_answer(error)) from error
        raise WorkspaceError(
            f"Not signed in to a Databricks workspace{_explain_sign_in_error(error)}. Run this in one; or set"
            " DATABRICKS_HOST and DATABRICKS_TOKEN, or DATABRICKS_CONFIG_PROFILE."
        ) from error
    for secret in (client.config.token, client.config.client_secret, client.config.password):
        keep_secret(secret)
    return client


def _explain_sign_in_error(error: ValueError) -> str:
    """Say what is wrong with a sign-in that was given; the client's report on its own settings is left out."""
    said = str(error).split(" Config: ")[0].rstrip(".")
    return "" if "cannot configure default credentials" in said else f": {said}"


def reached_databricks() -> tuple[WorkspaceClient, str]:
    """Return Databricks' own client of this workspace, which has answered, and the workspace's id.

    Outside Databricks, where the address may be wrong and the network may lack, a host that is silent is waited for
    `ALL_SECONDS` at most; the client's own limits are minutes, and hold for each of its requests.

    Raises
    ------
    WorkspaceError
        It is signed in to none, the workspace does not answer, or it does not accept the identity.
    """
    from databricks.sdk.errors import DatabricksError

    def ask() -> str:
        bounds = {} if runtime.on_databricks() else {"http_timeout_seconds": HTTP_SECONDS, "retry_timeout_seconds": 1}
        return f"{databricks_sign_in(**bounds).get_workspace_id()}"

    try:
        # On a cluster the client signs in with what the notebook's own thread has.
        workspace_id = ask() if runtime.on_databricks() else within(ALL_SECONDS, ask)
    except (DatabricksError, requests.RequestException, TimeoutError, KeyError, TypeError) as error:
        raise WorkspaceError(_explain_no_answer(error)) from error
    return databricks_sign_in(), workspace_id


def is_signed_in() -> bool:
    """Whether a Databricks workspace is chosen on this machine, in one of the ways of the Databricks CLI."""
    return bool(chosen_host() or any(os.environ.get(name) for name in _CHOSEN_BY))


def chosen_host() -> str:
    """Address in ``DATABRICKS_HOST``, in the profile that ``DATABRICKS_CONFIG_PROFILE`` names, or in ``DEFAULT``."""
    if host := os.environ.get("DATABRICKS_HOST"):
        return host
    # A profile does not inherit what DEFAULT says.
    profiles = ConfigParser(interpolation=None, strict=False, default_section="")
    with suppress(ConfigParserError, UnicodeDecodeError):
        profiles.read(Path(os.environ.get("DATABRICKS_CONFIG_FILE") or "~/.databrickscfg").expanduser())
    return profiles.get(os.environ.get("DATABRICKS_CONFIG_PROFILE") or "DEFAULT", "host", fallback="")


def _explain_no_answer(error: Exception) -> str:
    """Say what a first answer that failed means."""
    from databricks.sdk.errors import PermissionDenied, Unauthenticated

    whose = f"The Databricks workspace {chosen_host()}".rstrip()
    said = first_line(error)
    if isinstance(error, (Unauthenticated, PermissionDenied)) and "not JSON" not in said:
        return (
            f"{whose} does not accept this sign-in ({said}). Make a new token there (Settings, Developer), and check"
            " that DATABRICKS_TOKEN or the profile is for this workspace."
        )
    why = outage(error)
    if not why and isinstance(error, (KeyError, TypeError)):
        why = "it does not answer as a Databricks workspace does"
    return f"{whose} can't be reached: {why or said}. Check DATABRICKS_HOST or the profile, the network and the proxy."


@cache
def _redact_reports() -> None:
    """Let databricks-sdk tell of a request without its credentials.

    It has no switch for that, and MLflow raises the report as an error of its own, in the user's notebook, where none
    of our code is on the way. Each of the SDK's versions makes its reports, for errors and for its log, in this method.
    """
    from databricks.sdk.logger import RoundTrip

    generate = RoundTrip.generate

    @wraps(generate)
    def without_secrets(self: RoundTrip) -> str:
        return redacted(generate(self))

    RoundTrip.generate = without_secrets  # type: ignore[method-assign]
