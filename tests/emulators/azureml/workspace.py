"""Which workspace the emulator is, and what its addresses look like."""

from __future__ import annotations

import re
import uuid
from dataclasses import dataclass, field

from .messages import Problem

PROVIDER = "Microsoft.MachineLearningServices"
STORAGE_SUFFIX = "core.azureml.test"

_SCOPE = (
    r"/subscriptions/(?P<subscription>[^/]+)/resourceGroups/(?P<group>[^/]+)"
    rf"/providers/{re.escape(PROVIDER)}/workspaces/(?P<workspace>[^/]+)(?P<rest>/.*)?"
)


def _new_id() -> str:
    return str(uuid.uuid4())


@dataclass(frozen=True)
class Workspace:
    """The workspace, by the names and ids that Azure gives it; ``address`` is host and port of the emulator."""

    address: str
    subscription_id: str = field(default_factory=_new_id)
    resource_group: str = "ml-group"
    name: str = "ml-workspace"
    location: str = "westeurope"
    workspace_id: str = field(default_factory=_new_id)
    tenant_id: str = field(default_factory=_new_id)
    storage_account: str = "mlworkspace1234567890"

    @property
    def resource_group_id(self) -> str:
        return f"/subscriptions/{self.subscription_id}/resourceGroups/{self.resource_group}"

    @property
    def scope(self) -> str:
        """The resource id, which is part of every route."""
        return f"{self.resource_group_id}/providers/{PROVIDER}/workspaces/{self.name}"

    @property
    def tracking_uri(self) -> str:
        return f"azureml://{self.address}/mlflow/v2.0{self.scope}"

    @property
    def storage_url(self) -> str:
        """Where the storage account answers.

        A name of its own would not resolve, so the account is the first part of the path, as storage emulators do it
        for 127.0.0.1. The address still has in it what azureml-mlflow looks for: the account, ``.blob.``, the suffix.
        """
        return f"https://{self.address}/{self.storage_account}.blob.{STORAGE_SUFFIX}"

    def within(self, path: str, prefix: str) -> str:
        """The part of a route after ``prefix``, a regular expression, and the workspace.

        Raises:
            Problem: 404 if the route is of another form, or names another workspace.
        """
        match = re.fullmatch(prefix + _SCOPE, path, re.IGNORECASE)
        if match is None:
            raise Problem(404, "NotFound", f"There is no service at {path}.")
        named = (match["subscription"], match["group"], match["workspace"])
        ours = (self.subscription_id, self.resource_group, self.name)
        if tuple(map(str.lower, named)) != tuple(map(str.lower, ours)):
            raise Problem(404, "UserError", f"Workspace not found: {match['workspace']}.")
        return match["rest"] or ""

    def artifact_uri(self, experiment_id: str, run_id: str) -> str:
        return f"{self.tracking_uri}/experiments/{experiment_id}/runs/{run_id}/artifacts"
