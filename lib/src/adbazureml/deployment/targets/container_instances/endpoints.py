"""Endpoints as container groups of Azure Container Instances, each with an image of its own.

Azure Container Instances has no sign-in, no split of traffic and no certificate. So the container itself asks for a key
(`key_guard`); a new version comes up in a group of its own beside the endpoint's, and when its answers are right the
endpoint's group is given its image in place: the name stays, and while its container restarts, about a minute, nobody
answers.
Requests and keys travel over plain HTTP: put a gateway with a certificate before it where that is not good enough.

The key is made of the registry's admin password and the endpoint's resource id, so that whoever may read that password
in Azure can call the endpoint, from any machine, and nobody has to keep the key.

All that is known of a roll-out stands in Azure, so that whoever deploys again goes on with one that was killed. As long
as a deployment's own group is there, its way into the endpoint's group is not over: until then the endpoint counts as
serving what ran there before.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

from adbazureml.azure.credential import credential_for
from adbazureml.azure.refusals import RefusedError
from adbazureml.azure.resource_manager import read_resource
from adbazureml.deployment.load_test import Caller
from adbazureml.deployment.signed_requests import bearer, post, signed_session
from adbazureml.deployment.target import Deadline, DeploymentState, EndpointState, Target
from adbazureml.deployment.targets.container_instances.clients import AzureRefusedError
from adbazureml.deployment.targets.container_instances.group_plan import Plan, Served
from adbazureml.deployment.targets.container_instances.groups import ContainerGroups, Group
from adbazureml.deployment.targets.container_instances.image import ImageRegistry
from adbazureml.errors import DeploymentError
from adbazureml.workspaces.azureml import API_VERSION

if TYPE_CHECKING:
    from adbazureml.deployment.deployable import Deployable
    from adbazureml.deployment.target import Progress
    from adbazureml.deployment.targets.container_instances.options import ContainerInstances
    from adbazureml.workspaces import AzureMLWorkspace

_REGISTRIES = "/providers/Microsoft.ContainerRegistry/registries"
_CHARACTERS_OF_A_HASH = 8


class ContainerEndpoints(Target):
    """Azure Container Instances, in the resource group of an Azure ML workspace; see `Target`."""

    kind: Literal["aci"] = "aci"
    # The image has the model in it.
    registry: Literal["azureml", "databricks"] | None = None
    splits_traffic = False
    timeout = 3600.0

    def __init__(self, workspace: AzureMLWorkspace, options: ContainerInstances) -> None:
        self._workspace = workspace
        self._options = options

    def check(self, name: str, model: Deployable) -> None:
        """Raise for what Azure will refuse; nothing is created."""
        if "--" in name:
            raise DeploymentError(f"name {name!r}: container groups have no '--' in their names.")
        _ = self._images.access
        old = self._groups.get(name)
        if old and not (old.endpoint == name and old.served):
            raise DeploymentError(
                f"name {name!r}: resource group {self._groups.resource_group!r} has a container group of that"
                " name that was not made by adbazureml: choose another name."
            )
        free = self._groups.free_cores()
        # The new version's group, and at first the endpoint's own too.
        needed = self._options.size.cores * (1 if old else 2)
        if free is not None and free < needed and self._candidate(name, model) is None:
            raise DeploymentError(
                f"instance_type {self._options.instance_type!r}: region {self._groups.location} has"
                f" {free:g} cores left in the quota, and {needed:g} are needed while the version comes up. Set a"
                " smaller instance_type, or have the quota raised (Azure portal: Subscriptions, Usage + quotas)."
            )

    def find(self, name: str) -> EndpointState | None:
        """Return what the endpoint is now; None when there is none."""
        groups = [group for group in self._groups.of_package() if group.endpoint == name]
        return self._state(name, [found for group in groups if (found := self._groups.get(group.name))])

    def create(self, name: str, deployment: str, model: Deployable, *, progress: Progress, deadline: Deadline) -> None:
        """Bring a deployment up in a group of its own, beside the endpoint's."""
        main = self._groups.get(name)
        if main and main.runs(deployment) and main.state == "healthy" and self._knows_key(main):
            return
        candidate = _candidate_name(name, deployment)
        old = self._groups.get(candidate)
        if old and (old.state in ("failed", "stopped") or not self._knows_key(old)):
            self._groups.delete(candidate, deadline=deadline)
            old = None
        if old is None:
            image = self._images.build(model, progress=progress, deadline=deadline)
            served = Served(deployment=deployment, model=model.uri, fingerprint=model.fingerprint, image=image)
            try:
                self._put(candidate, name, served, None, progress=progress, deadline=deadline)
            except AzureRefusedError as error:
                if error.code != "InaccessibleImage":
                    raise
                # Built before, and deleted from the registry since.
                self._images.build(model, progress=progress, deadline=deadline, again=True)
                self._put(candidate, name, served, None, progress=progress, deadline=deadline)
        self._groups.wait_until_healthy(candidate, deployment, progress=progress, deadline=deadline)

    def score(self, name: str, payload: Mapping[str, Any], *, deployment: str | None = None) -> Any:
        """Post a request of the scoring protocol and return the predictions."""
        url = self._url(name, deployment)
        return post(url, payload, authorize=bearer(self.key(name)), timeout=self._options.request_timeout)

    def caller(self, name: str) -> Caller:
        """Return a connection as callers have it; see `Target.caller`."""
        return signed_session(bearer(self.key(name))), self._url(name, None)

    def shift(self, name: str, traffic: Mapping[str, int], *, progress: Progress, deadline: Deadline) -> None:
        """Let the endpoint's group run the image of the deployment that takes all the traffic."""
        [deployment] = [one for one, percent in traffic.items() if percent]
        main, own = self._groups.get(name), self._groups.get(_candidate_name(name, deployment))
        running, earlier = (main.served, main.previous) if main else (None, None)
        # By a run that was killed, or long over.
        begun = main is not None and main.runs(deployment)
        if not (main and begun and main.state in ("healthy", "creating") and self._knows_key(main)):
            known = (own.served if own else None, running, earlier)
            served = next((one for one in known if one and one.deployment == deployment), None)
            if served is None:
                raise DeploymentError(
                    f"deployment {deployment!r} of endpoint {name!r} does not exist: deploy it first."
                )
            self._put(name, name, served, earlier if begun else running, progress=progress, deadline=deadline)
        try:
            self._groups.wait_until_healthy(name, deployment, progress=progress, deadline=deadline)
        except DeploymentError as error:
            # What served before this call was this deployment, or what the caller was told by `find`.
            if begun:
                raise
            again = Deadline.after(deadline.seconds)
            raise self._put_back(main, deployment, error, progress=progress, deadline=again) from error
        self._groups.delete(_candidate_name(name, deployment), deadline=deadline)
        if running and not begun:
            # Its own way here may have been cut short.
            self._groups.delete(_candidate_name(name, running.deployment), deadline=deadline)

    def logs(self, name: str, deployment: str, lines: int) -> str:
        """Return the last lines of a deployment's log; empty where there is none."""
        group = self._group_of(name, deployment)
        return self._groups.log(group.name, lines) if group else ""

    def remove(self, name: str, deployment: str) -> None:
        """Delete a deployment's own group, and forget it where it is the one to go back to.

        Where the endpoint's group was to run it and nothing ran there before, that goes too.
        """
        deadline = Deadline.after(self.timeout)
        self._groups.delete(_candidate_name(name, deployment), deadline=deadline)
        main = self._groups.get(name)
        if main and main.runs(deployment):
            self._groups.delete(name, deadline=deadline)
        elif main and main.previous and main.previous.deployment == deployment:
            self._groups.forget_previous(name)

    def delete(self, name: str) -> None:
        """Delete the endpoint's groups; its images stay in the registry."""
        deadline = Deadline.after(self.timeout)
        for group in self._groups.of_package():
            if group.endpoint == name:
                self._groups.delete(group.name, deadline=deadline)

    def list(self) -> list[EndpointState]:
        """Return the endpoints that this package made in the resource group, by name."""
        names = sorted({group.endpoint for group in self._groups.of_package()})
        return [state for name in names if (state := self.find(name))]

    def key(self, name: str) -> str:
        """Return the key that callers of an endpoint send as ``Authorization: Bearer <key>``; it is a secret."""
        secret = self._images.access.password.encode()
        made = hmac.new(secret, f"adbazureml endpoint key {self._id(name)}".encode(), hashlib.sha256).digest()
        return base64.urlsafe_b64encode(made).rstrip(b"=").decode()

    def _url(self, name: str, deployment: str | None) -> str:
        group = self._group_of(name, deployment) if deployment else self._groups.get(name)
        if group is None or not group.url:
            what = f"deployment {deployment!r} of endpoint {name!r}" if deployment else f"endpoint {name!r}"
            raise DeploymentError(f"{what} does not exist: deploy it first.")
        return f"{group.url}/score"

    def _put(
        self,
        group: str,
        name: str,
        served: Served,
        previous: Served | None,
        *,
        progress: Progress,
        deadline: Deadline,
    ) -> None:
        key = self.key(name)
        plan = Plan(
            endpoint=name,
            # In DNS the region's groups of everybody share one space of names.
            label=f"{group}-{_hash(self._id(group))}",
            served=served,
            previous=previous,
            key=key,
            key_mark=_hash(key),
            access=self._images.access,
            size=self._options.size,
            request_timeout=self._options.request_timeout,
        )
        self._groups.put(group, plan, progress=progress, deadline=deadline)

    def _put_back(
        self,
        before: Group | None,
        deployment: str,
        error: DeploymentError,
        *,
        progress: Progress,
        deadline: Deadline,
    ) -> DeploymentError:
        """Let the endpoint run again what it ran before a deployment that failed; the error to raise."""
        if before is None or before.served is None:
            return error
        name, old = before.name, before.served
        now = self._groups.get(name)
        if now is None or not now.runs(deployment):
            # Somebody else has changed it since.
            return error
        said, _, log = str(error).partition("\n")
        try:
            self._put(name, name, old, before.previous, progress=progress, deadline=deadline)
            self._groups.wait_until_healthy(name, old.deployment, progress=progress, deadline=deadline)
            outcome = f"Deployment {old.deployment!r} was put back."
        except DeploymentError as second:
            outcome = f"Deployment {old.deployment!r} could not be put back: {second}"
        return DeploymentError(f"{said} {outcome}" + (f"\n{log}" if log else ""))

    def _state(self, name: str, groups: Sequence[Group]) -> EndpointState | None:
        main = next((group for group in groups if group.name == name), None)
        if not groups:
            return None
        deployments: dict[str, DeploymentState] = {}
        own = [group for group in groups if group is not main]
        unfinished = bool(main and any(group.served and main.runs(group.served.deployment) for group in own))
        if main and main.previous:
            previous = main.previous
            deployments[previous.deployment] = DeploymentState(
                name=previous.deployment,
                model=previous.model,
                fingerprint=previous.fingerprint,
                state="creating" if unfinished else "stopped",
                traffic=100 if unfinished else 0,
                note="another deployment is taking its place" if unfinished else "its image is kept to go back to",
            )
        for group in own if unfinished or main is None else (*own, main):
            if group.served:
                deployments.pop(group.served.deployment, None)
                deployments[group.served.deployment] = self._deployment(group, traffic=100 if group is main else 0)
        return EndpointState(
            name=name,
            kind=self.kind,
            url=f"{main.url}/score" if main and main.url else "",
            auth="key",
            deployments=tuple(deployments.values()),
            page=f"{self._workspace.cloud.portal}/#@/resource{self._id(name)}" if main else "",
        )

    def _deployment(self, group: Group, *, traffic: int) -> DeploymentState:
        served = group.served
        assert served
        state, note = group.state, group.note
        if not self._knows_key(group):
            state, note = "failed", "the registry's password was renewed, and with it the endpoint's key: deploy again"
        return DeploymentState(
            name=served.deployment,
            model=served.model,
            fingerprint=served.fingerprint,
            state=state,
            traffic=traffic,
            made=group.made,
            note="" if state == "healthy" else note,
        )

    def _knows_key(self, group: Group) -> bool:
        """Whether a group asks for the key that callers are given now."""
        return group.key_mark == _hash(self.key(group.endpoint))

    def _group_of(self, name: str, deployment: str) -> Group | None:
        """A deployment's own group, or the endpoint's where that runs it."""
        for group in (_candidate_name(name, deployment), name):
            found = self._groups.get(group)
            if found and found.runs(deployment):
                return found
        return None

    def _candidate(self, name: str, model: Deployable) -> Group | None:
        """A group of this very model that is there already."""
        for group in self._groups.of_package():
            if group.endpoint == name and group.served and group.served.fingerprint == model.fingerprint:
                return group
        return None

    @cached_property
    def _groups(self) -> ContainerGroups:
        parts = self._workspace.arm_id.strip("/").split("/")
        return ContainerGroups(
            parts[1], parts[3], self._resource["location"], self._credential, poll=self._options.poll
        )

    @cached_property
    def _images(self) -> ImageRegistry:
        named = self._options.registry
        if named and not named.startswith("/"):
            named = f"{self._workspace.arm_id.partition('/providers/')[0]}{_REGISTRIES}/{named}"
        found = named or self._resource.get("properties", {}).get("containerRegistry")
        if not found:
            raise DeploymentError(
                "registry is empty, and the Azure ML workspace has no container registry yet: name one of its resource"
                " group, or give its whole resource id, such as ContainerInstances(registry='images')."
            )
        return ImageRegistry(found, self._credential, poll=self._options.poll)

    @cached_property
    def _resource(self) -> dict[str, Any]:
        workspace = self._workspace
        try:
            return read_resource(workspace.arm_id, api_version=API_VERSION, credential=self._credential)
        except RefusedError as error:
            raise DeploymentError(f"workspace {workspace.name!r} can't be read: {error}") from error

    @cached_property
    def _credential(self) -> Any:
        return credential_for(self._workspace.cloud)

    def _id(self, group: str) -> str:
        """Resource id of a container group."""
        scope = self._workspace.arm_id.partition("/providers/")[0]
        return f"{scope}/providers/Microsoft.ContainerInstance/containerGroups/{group}"


def _candidate_name(name: str, deployment: str) -> str:
    """Name of the group that a deployment comes up in; names of groups are short, so the deployment is hashed."""
    return f"{name}-{_hash(deployment)}"


def _hash(text: str) -> str:
    return hashlib.sha256(text.lower().encode()).hexdigest()[:_CHARACTERS_OF_A_HASH]
