"""Clusters and what is installed on them."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from .routes import Asked, Routes, page, refused, required

if TYPE_CHECKING:
    from .emulator import DatabricksEmulator

# What a library goes through on a running cluster; each look at it takes it one step on.
STEPS = ("PENDING", "RESOLVING", "INSTALLING")
ALIVE = ("RUNNING", "RESIZING")


@dataclass
class Library:
    """One library on a cluster, and how far it is."""

    asked: dict[str, Any]
    looks: int = 0

    @property
    def name(self) -> str:
        """The package of a PyPI library; the path of a wheel."""
        if "pypi" in self.asked:
            return str(self.asked["pypi"]["package"])
        return str(self.asked.get("whl") or json.dumps(self.asked))


@dataclass
class Cluster:
    """A cluster, what is on it, and what its user may do.

    Attributes:
        state: as the service has it: RUNNING, TERMINATED, PENDING…
        name: as people call it.
        runtime: key of its Databricks Runtime.
        may_manage, may_restart: what the user may do.
        looks_to_start: how often it is looked at until a start is through.
        will_not_start: why it never runs; empty: it starts.
        dies_at_look: at which look at its libraries, counted from 1, it is terminated; 0: it is not.
        broken: packages that fail to install, each with the service's message.
        skipped: packages that are left out, as on a shared cluster.
    """

    state: str = "RUNNING"
    name: str = "ml"
    runtime: str = "18.x-cpu-ml-scala2.13"
    may_manage: bool = True
    may_restart: bool = True
    looks_to_start: int = 2
    will_not_start: str = ""
    dies_at_look: int = 0
    broken: dict[str, str] = field(default_factory=dict)
    skipped: set[str] = field(default_factory=set)
    libraries: dict[str, Library] = field(default_factory=dict)
    reason: dict[str, Any] | None = None
    looks: int = 0

    def look(self) -> None:
        if self.state != "PENDING":
            return
        self.looks_to_start -= 1
        if self.looks_to_start > 0:
            return
        self.state = "TERMINATED" if self.will_not_start else "RUNNING"
        if self.will_not_start:
            self.reason = {"code": "CLOUD_PROVIDER_LAUNCH_FAILURE", "type": "CLOUD_FAILURE", "parameters": {}}

    def look_at_libraries(self) -> None:
        self.looks += 1
        if self.looks == self.dies_at_look:
            self.state = "TERMINATED"
            self.reason = {"code": "DRIVER_UNREACHABLE", "type": "CLOUD_FAILURE", "parameters": {}}


class Compute:
    """The clusters and libraries of the workspace."""

    page_size = 20

    def __init__(self, workspace: DatabricksEmulator) -> None:
        self._workspace = workspace
        self.clusters: dict[str, Cluster] = {}

    def routes(self) -> Routes:
        return {
            ("GET", "/api/2.1/clusters/get"): self._get,
            ("GET", "/api/2.1/clusters/list"): self._list,
            ("POST", "/api/2.1/clusters/start"): self._start,
            ("POST", "/api/2.1/clusters/delete"): self._terminate,
            ("GET", "/api/2.0/libraries/cluster-status"): self._library_status,
            ("POST", "/api/2.0/libraries/install"): self._install,
            ("POST", "/api/2.0/libraries/uninstall"): self._uninstall,
        }

    def _get(self, asked: Asked) -> dict[str, Any]:
        cluster = self._find(asked)
        cluster.look()
        return self._shown(asked["cluster_id"], cluster)

    def _list(self, asked: Asked) -> dict[str, Any]:
        return page([self._shown(*item) for item in self.clusters.items()], "clusters", asked, self.page_size)

    def _start(self, asked: Asked) -> dict[str, Any]:
        cluster = self._find(asked)
        if not cluster.may_restart:
            raise self._denied("Restart", asked)
        if cluster.state != "TERMINATED":
            message = f"Cluster {asked['cluster_id']} is in unexpected state {cluster.state.title()}."
            raise refused(400, "INVALID_STATE", message)
        cluster.state, cluster.reason = "PENDING", None
        for library in cluster.libraries.values():
            library.looks = 0
        return {}

    def _terminate(self, asked: Asked) -> dict[str, Any]:
        cluster = self._find(asked)
        if not cluster.may_restart:
            raise self._denied("Restart", asked)
        cluster.state = "TERMINATED"
        cluster.reason = {"code": "USER_REQUEST", "type": "SUCCESS", "parameters": {}}
        return {}

    def _install(self, asked: Asked) -> dict[str, Any]:
        cluster = self._find(asked)
        if not cluster.may_manage:
            raise self._denied("Manage", asked)
        for said in required(asked, "libraries"):
            library = Library(said)
            cluster.libraries.setdefault(library.name, library)
        return {}

    def _uninstall(self, asked: Asked) -> dict[str, Any]:
        cluster = self._find(asked)
        if not cluster.may_manage:
            raise self._denied("Manage", asked)
        for said in required(asked, "libraries"):
            # Gone with the next restart.
            cluster.libraries.pop(Library(said).name, None)
        return {}

    def _library_status(self, asked: Asked) -> dict[str, Any]:
        cluster = self._find(asked)
        cluster.look_at_libraries()
        statuses = [_status(library, cluster) for library in cluster.libraries.values()]
        return {"cluster_id": asked["cluster_id"], **({"library_statuses": statuses} if statuses else {})}

    def _find(self, asked: Asked) -> Cluster:
        cluster_id = required(asked, "cluster_id")
        if cluster_id not in self.clusters:
            raise refused(400, "INVALID_PARAMETER_VALUE", f"Cluster {cluster_id} does not exist")
        return self.clusters[cluster_id]

    def _denied(self, permission: str, asked: Asked) -> Exception:
        message = f"{self._workspace.user_name} does not have {permission} permissions on {asked['cluster_id']}."
        return refused(403, "PERMISSION_DENIED", message)

    def _shown(self, cluster_id: str, cluster: Cluster) -> dict[str, Any]:
        shown: dict[str, Any] = {
            "cluster_id": cluster_id,
            "cluster_name": cluster.name,
            "state": cluster.state,
            "state_message": cluster.will_not_start if cluster.state == "TERMINATED" else "",
            "spark_version": cluster.runtime,
            "cluster_source": "UI",
            "creator_user_name": self._workspace.user_name,
        }
        return {**shown, "termination_reason": cluster.reason} if cluster.reason else shown


def _status(library: Library, cluster: Cluster) -> dict[str, Any]:
    status: dict[str, Any] = {"library": library.asked, "is_library_for_all_clusters": False}
    # On a stopped cluster a library waits for its start.
    if cluster.state not in ALIVE:
        return {**status, "status": "PENDING"}
    if library.looks < len(STEPS):
        library.looks += 1
        return {**status, "status": STEPS[library.looks - 1]}
    if library.name in cluster.broken:
        return {**status, "status": "FAILED", "messages": [cluster.broken[library.name]]}
    if library.name in cluster.skipped:
        return {**status, "status": "SKIPPED", "messages": ["Libraries are not allowed on this cluster."]}
    return {**status, "status": "INSTALLED"}
