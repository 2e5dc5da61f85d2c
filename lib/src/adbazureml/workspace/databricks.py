"""The Databricks workspace."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from adbazureml import runtime
from adbazureml.errors import WorkspaceError
from adbazureml.text import name_parts
from adbazureml.workspace.stand_in import stand_in
from adbazureml.workspace.workspace import Workspace

if TYPE_CHECKING:
    from databricks.sdk import WorkspaceClient

_signed_in: ContextVar[bool] = ContextVar("signed_in", default=False)


@dataclass(frozen=True, kw_only=True, repr=True)
class DatabricksWorkspace(Workspace):
    """The Databricks workspace that runs the notebook, or its local stand-in."""

    @classmethod
    def current(cls) -> DatabricksWorkspace:
        """Return the workspace of this notebook."""
        if not runtime.on_databricks() and not _signed_in.get():
            return cls(**stand_in("databricks"))
        client = databricks_sign_in()
        return cls(
            name=f"{client.get_workspace_id()}",
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
        """Address of a table's page; empty for a name without catalog and schema, and for a stand-in."""
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

    try:
        return WorkspaceClient(config=Config(**config))
    except ValueError as error:
        raise WorkspaceError(
            f"Not signed in to a Databricks workspace: {error} Run this in one; or set DATABRICKS_HOST and"
            " DATABRICKS_TOKEN, or DATABRICKS_CONFIG_PROFILE."
        ) from error
