"""One container group of Azure Container Instances: what runs in it, how it is, and how it is changed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any

import requests

from adbazureml.azure.credential import Credential
from adbazureml.deployment.target import with_log
from adbazureml.deployment.targets.container_instances.clients import (
    AzureRefusedError,
    client_address,
    explaining_errors,
)
from adbazureml.deployment.targets.container_instances.group_plan import Plan, Served
from adbazureml.deployment.targets.container_instances.image import PORT
from adbazureml.errors import DeploymentError
from adbazureml.serving.key_guard import ANSWERED_BY, DEPLOYMENT, KEY

if TYPE_CHECKING:
    from azure.mgmt.containerinstance import ContainerInstanceManagementClient
    from azure.mgmt.containerinstance import models as azure

    from adbazureml.deployment.target import Deadline, Progress, State

_CONTAINER = "model"
_TAG, _PREVIOUS_TAG = "adbazureml-", "adbazureml-previous-"
_ENDPOINT_TAG, _KEY_TAG = f"{_TAG}endpoint", f"{_TAG}key"
_PING_TIMEOUT_S = 5
_LOG_LINES_READ = 200
_LISTING = "Model Directory Contents:"
# A container that ended so often does not come up any more; the service would go on trying for ever.
_RESTARTS = 2
_TRANSITIONING, _NEEDS_DELETE = "ContainerGroupTransitioning", "InvalidContainerGroupUpdate"
# What still answers then is what ran before.
_CHANGING = ("Accepted", "Pending", "Creating", "Updating")
_STOPPED = ("Stopped", "Succeeded", "Terminated")


@dataclass(frozen=True, kw_only=True)
class Group:
    """A group as it is now.

    Attributes
    ----------
    name, endpoint, key_mark : str
        Its name, and what its tags say; empty where they do not.
    served, previous : Served or None
        Likewise.
    url : str
        Where it answers, without a path; empty until it has a name in DNS.
    provisioning, running : str
        States of the group and of what runs in it, as the service says.
    restarts : int
        How often the container ended by itself.
    exit_code : int or None
        How it ended last.
    made : datetime or None
        When its container was started.
    """

    name: str
    endpoint: str
    key_mark: str
    served: Served | None
    previous: Served | None
    url: str
    provisioning: str
    running: str
    restarts: int
    exit_code: int | None
    made: datetime | None

    def runs(self, deployment: str) -> bool:
        """Whether its tags name this deployment: it runs it, or is to."""
        return self.served is not None and self.served.deployment == deployment

    @property
    def is_healthy(self) -> bool:
        """Whether it answers now, as the deployment that its tags name."""
        if not (self.url and self.served) or self.provisioning in _CHANGING:
            return False
        try:
            answer = requests.get(f"{self.url}/", timeout=_PING_TIMEOUT_S)
        except requests.RequestException:
            return False
        return bool(answer.ok and answer.headers.get(ANSWERED_BY) == self.served.deployment)

    @property
    def state(self) -> State:
        """How it is; it is asked for that."""
        if self.running in _STOPPED:
            return "stopped"
        if self.is_healthy:
            return "healthy"
        failed = self.provisioning == "Failed" or self.running == "Failed" or self.restarts >= _RESTARTS
        return "failed" if failed else "creating"

    @property
    def note(self) -> str:
        """What the service says about its state."""
        if self.restarts:
            return f"its container ended {self.restarts} times, last with exit code {self.exit_code}"
        return f"{self.provisioning}, {self.running}" if self.running else self.provisioning


class ContainerGroups:
    """The container groups of a resource group.

    Parameters
    ----------
    subscription_id, resource_group, location : str
        Where they are.
    credential : Credential
        Who asks.
    poll : float
        Seconds between two looks at a group.
    """

    def __init__(
        self, subscription_id: str, resource_group: str, location: str, credential: Credential, *, poll: float
    ) -> None:
        self.subscription_id = subscription_id
        self.resource_group = resource_group
        self.location = location
        self._credential = credential
        self._poll = poll

    def get(self, name: str) -> Group | None:
        """Return a group; None when there is none."""
        try:
            with self._asking(name):
                return _group(self._client.container_groups.get(self.resource_group, name))
        except AzureRefusedError as error:
            if error.code == "ResourceNotFound":
                return None
            raise

    def of_package(self) -> list[Group]:
        """Groups that this package made, without how they are."""
        with self._asking("*"):
            found = self._client.container_groups.list_by_resource_group(self.resource_group)
            return [group for group in map(_group, found) if group.endpoint and group.served]

    def free_cores(self) -> float | None:
        """Cores that the region's quota leaves; None where this identity may not see that."""
        try:
            with self._asking("*"):
                usages = list(self._client.location.list_usage(self.location))
        except AzureRefusedError:
            return None
        for usage in usages:
            if usage.name and usage.name.value == "StandardCores":
                return float((usage.limit or 0) - (usage.current_value or 0))
        return None

    def put(self, name: str, plan: Plan, *, progress: Progress, deadline: Deadline) -> None:
        """Make a group, or change it in place; it is not waited for.

        One that is being changed is waited for. One that can't be changed (it has ended, or its size differs) is
        deleted first.
        """
        old = self.get(name)
        if old and (old.running in _STOPPED or "Failed" in (old.provisioning, old.running)):
            self.delete(name, deadline=deadline)
        for _ in deadline.polls(self._poll):
            try:
                with self._asking(name):
                    self._client.container_groups.begin_create_or_update(
                        self.resource_group, name, self._resource(plan), polling=False
                    )
            except AzureRefusedError as error:
                if error.code == _NEEDS_DELETE:
                    self.delete(name, deadline=deadline)
                elif error.code != _TRANSITIONING:
                    raise
                progress(f"waiting for an earlier change of container group {name!r}")
            else:
                return
        raise deadline.missed(f"container group {name!r} is still being changed by somebody else")

    def wait_until_healthy(self, name: str, deployment: str, *, progress: Progress, deadline: Deadline) -> None:
        """Wait until a group answers as this deployment.

        Raises
        ------
        DeploymentError
            Its container ends again and again, it is not healthy in time, or somebody changed or deleted it meanwhile;
            with the end of its log.
        """
        before: int | None = None
        for waited in deadline.polls(self._poll):
            group = self.get(name)
            if group is None or not group.runs(deployment):
                raise DeploymentError(
                    f"container group {name!r} was changed or deleted by somebody else while deployment {deployment!r}"
                    " came up: deploy again."
                )
            if group.is_healthy:
                return
            before = group.restarts if before is None else before
            failed = "Failed" in (group.provisioning, group.running)
            if failed or group.restarts - before >= _RESTARTS:
                raise self._with_log(f"deployment {deployment!r} does not come up: {group.note}.", name)
            progress(f"starting container group {name!r}, {waited:.0f} s")
        raise self._with_log(str(deadline.missed(f"deployment {deployment!r} is not healthy")), name)

    def log(self, name: str, lines: int) -> str:
        """Return the last lines that a group's container printed; empty where there are none yet."""
        try:
            with self._asking(name):
                logs = self._client.containers.list_logs(self.resource_group, name, _CONTAINER, tail=lines)
        except AzureRefusedError:
            return ""
        return logs.content or ""

    def forget_previous(self, name: str) -> None:
        """Take off a group's tags what ran in it before."""
        from azure.mgmt.containerinstance.models import Resource

        with self._asking(name):
            tags = self._client.container_groups.get(self.resource_group, name).tags or {}
            kept = {tag: value for tag, value in tags.items() if not tag.startswith(_PREVIOUS_TAG)}
            self._client.container_groups.update(self.resource_group, name, Resource(location=self.location, tags=kept))

    def delete(self, name: str, *, deadline: Deadline) -> None:
        """Delete a group, and wait until it is gone; one that is gone is no error."""
        for _ in deadline.polls(self._poll):
            if self.get(name) is None:
                return
            try:
                with self._asking(name):
                    self._client.container_groups.begin_delete(self.resource_group, name, polling=False)
            except AzureRefusedError as error:
                if error.code != _TRANSITIONING:
                    raise
        raise deadline.missed(f"container group {name!r} is still there")

    def _with_log(self, sentence: str, name: str) -> DeploymentError:
        log = self.log(name, _LOG_LINES_READ)
        # Where the model can't be loaded, the server lists the model's folder after the reason.
        reason, listed, _ = log.rpartition(_LISTING)
        return with_log(sentence, reason if listed else log, source=f"the log of container group {name!r}")

    def _asking(self, name: str) -> Any:
        return explaining_errors(
            f"container group {name!r}" if name != "*" else f"resource_group {self.resource_group!r}"
        )

    @cached_property
    def _client(self) -> ContainerInstanceManagementClient:
        from azure.mgmt.containerinstance import ContainerInstanceManagementClient

        return ContainerInstanceManagementClient(
            self._credential, self.subscription_id, **client_address(self._credential)
        )

    def _resource(self, plan: Plan) -> azure.ContainerGroup:
        from azure.mgmt.containerinstance import models as azure

        container = azure.Container(
            name=_CONTAINER,
            image=plan.served.image,
            ports=[azure.ContainerPort(port=PORT)],
            resources=azure.ResourceRequirements(
                requests=azure.ResourceRequests(cpu=plan.size.cores, memory_in_gb=plan.size.memory)
            ),
            environment_variables=[
                azure.EnvironmentVariable(name=KEY, secure_value=plan.key),
                azure.EnvironmentVariable(name=DEPLOYMENT, value=plan.served.deployment),
                azure.EnvironmentVariable(name="SCORING_TIMEOUT_MS", value=f"{plan.request_timeout * 1000:.0f}"),
            ],
            # The server listens once the model is loaded, which may take minutes.
            readiness_probe=azure.ContainerProbe(http_get=_ping(), period_seconds=5, timeout_seconds=_PING_TIMEOUT_S),
            liveness_probe=azure.ContainerProbe(
                http_get=_ping(),
                initial_delay_seconds=600,
                period_seconds=30,
                failure_threshold=3,
                timeout_seconds=_PING_TIMEOUT_S,
            ),
        )
        tags = {_ENDPOINT_TAG: plan.endpoint, _KEY_TAG: plan.key_mark, **plan.served.tags(_TAG)}
        if plan.previous:
            tags |= plan.previous.tags(_PREVIOUS_TAG)
        return azure.ContainerGroup(
            location=self.location,
            tags=tags,
            os_type="Linux",
            restart_policy="Always",
            containers=[container],
            image_registry_credentials=[
                azure.ImageRegistryCredential(
                    server=plan.access.server, username=plan.access.username, password=plan.access.password
                )
            ],
            ip_address=azure.IpAddress(
                type="Public", dns_name_label=plan.label, ports=[azure.Port(port=PORT, protocol="TCP")]
            ),
        )


def _ping() -> azure.ContainerHttpGet:
    from azure.mgmt.containerinstance.models import ContainerHttpGet

    return ContainerHttpGet(path="/", port=PORT, scheme="http")


def _group(found: azure.ContainerGroup) -> Group:
    tags = found.tags or {}
    view = next((one.instance_view for one in _containers(found) if one.instance_view), None)
    current = view.current_state if view else None
    previous = view.previous_state if view else None
    host = found.ip_address.fqdn if found.ip_address else None
    return Group(
        name=found.name or "",
        endpoint=tags.get(_ENDPOINT_TAG, ""),
        key_mark=tags.get(_KEY_TAG, ""),
        served=Served.of(tags, _TAG),
        previous=Served.of(tags, _PREVIOUS_TAG),
        url=f"http://{host}:{PORT}" if host else "",
        provisioning=found.provisioning_state or "",
        running=(found.instance_view.state if found.instance_view else "") or "",
        restarts=(view.restart_count if view else 0) or 0,
        exit_code=previous.exit_code if previous else None,
        made=current.start_time if current else None,
    )


def _containers(found: azure.ContainerGroup) -> Iterable[azure.Container]:
    return found.containers or ()
