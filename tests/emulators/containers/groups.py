"""Azure Container Instances: container groups as Azure Resource Manager shows them, and what runs in them."""

from __future__ import annotations

import datetime
import hashlib
import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from ..azureml.identity import Identity
from ..azureml.messages import Answer, Call, Problem, json_answer
from ..azureml.workspace import Workspace
from .images import Image
from .machines import Machines, Process
from .provider import Provider, Resource

# An update can't change these.
_FIXED = ("osType", "restartPolicy")
_NAME = re.compile(r"(?!.*--)[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_LABEL = re.compile(r"[a-z](?:[a-z0-9-]{3,61})[a-z0-9]")


@dataclass
class Group:
    """A container group.

    Attributes:
        asked: its resource as it was sent.
        state: provisioning state.
        process: what runs; None while it is being started, or once it has stopped.
    """

    name: str
    asked: Resource
    image: Image
    state: str = "Pending"
    process: Process | None = None
    restarts: int = 0
    exit_code: int | None = None
    stopped: bool = False
    events: list[dict[str, Any]] = field(default_factory=list)
    started: str = ""

    @property
    def container(self) -> dict[str, Any]:
        return self.asked["properties"]["containers"][0]

    @property
    def label(self) -> str:
        return self.asked["properties"].get("ipAddress", {}).get("dnsNameLabel", "")

    @property
    def spoken_of(self) -> set[str]:
        """What a test calls it: by what is deployed in it, with and without the group's name."""
        deployed = (self.asked.get("tags") or {}).get("adbazureml-deployment", "")
        return {deployed, f"{self.name}/{deployed}"}

    @property
    def cores(self) -> float:
        return float(self.container["properties"]["resources"]["requests"]["cpu"])

    def note(self, name: str, message: str, kind: str = "Normal") -> None:
        now = _now()
        self.events.append(
            {"name": name, "message": message, "type": kind, "count": 1, "firstTimestamp": now, "lastTimestamp": now}
        )


class Groups(Provider):
    """All container groups of one region.

    Attributes:
        quota: cores that may be used at once.
        labels_taken: DNS labels that somebody else has.
        seconds: how long a group takes to be made, changed or deleted.
        hanging: what is made waits for this to be set.
        unavailable: whether the region has no room.
        silent: ``group/deployment``, or a deployment, whose containers answer nothing, although they run.
    """

    name = "groups"
    namespace = "Microsoft.ContainerInstance"

    def __init__(
        self,
        workspace: Workspace,
        identity: Identity,
        machines: Machines,
        pull: Callable[[str, str | None, str | None, str | None], Image | None],
    ) -> None:
        super().__init__(workspace, identity)
        self.groups: dict[str, Group] = {}
        self.hanging = threading.Event()
        self._machines = machines
        self._pull = pull
        self._lock = threading.Lock()
        self._set_up()

    def _set_up(self) -> None:
        self.quota = 10.0
        self.labels_taken: set[str] = set()
        self.seconds = 0.02
        self.unavailable = False
        self.forbidden = False
        self.silent: set[str] = set()
        self.hanging.set()

    def resolve(self, host: str, port: int) -> int | None:
        """The port on this machine behind a name and port of the region; None where nothing answers."""
        label, _, domain = host.partition(".")
        if domain != self._domain:
            return None
        for group in list(self.groups.values()):
            if group.label == label and group.process and not self.silent & group.spoken_of:
                ports = group.asked["properties"]["ipAddress"]["ports"]
                return group.process.port if port in [one["port"] for one in ports] else None
        return None

    def act(self, call: Call, path: str) -> Answer:  # noqa: PLR0911 - a line a route
        match call.method, path.split("/"):
            case "GET", ["locations", _, "usages"]:
                return json_answer({"value": self._usages()})
            case "GET", ["containerGroups"]:
                return json_answer({"value": [self._described(group) for group in self.groups.values()]})
            case "GET", ["containerGroups", name]:
                return json_answer(self._described(self._find(name)))
            case "PUT", ["containerGroups", name]:
                return self._put(name, call.body)
            case "PATCH", ["containerGroups", name]:
                group = self._find(name)
                group.asked["tags"] = call.body.get("tags") or {}
                return json_answer(self._described(group))
            case "DELETE", ["containerGroups", name]:
                return self._delete(name)
            case "GET", ["containerGroups", name, "containers", _, "logs"]:
                return json_answer({"content": self._logs(self._find(name), call.query.get("tail"))})
        raise Problem(404, "NotFound", f"No resource is known at {call.path}.")

    def reset(self) -> None:
        """Delete all groups, and refuse nothing any more."""
        for group in self.groups.values():
            group.stopped = True
        self.groups.clear()
        self._set_up()

    def stop(self, name: str) -> None:
        """Stop a group, as somebody may in the portal; it is there still, and runs no container."""
        group = self.groups[name]
        group.stopped, group.process = True, None

    @property
    def _domain(self) -> str:
        return f"{self.workspace.location}.azurecontainer.test"

    def _usages(self) -> list[Resource]:
        amounts = {"ContainerGroups": (len(self.groups), 100), "StandardCores": (self._cores_used(), self.quota)}
        return [
            {
                "unit": "Count",
                "currentValue": int(used),
                "limit": int(limit),
                "name": {"value": name, "localizedValue": name},
            }
            for name, (used, limit) in amounts.items()
        ]

    def _cores_used(self, besides: str = "") -> float:
        return sum(group.cores for group in self.groups.values() if group.name != besides)

    def _put(self, name: str, asked: Resource) -> Answer:
        with self._lock:
            old = self.groups.get(name)
            image = self._check(name, asked, old)
            group = Group(name, asked, image, events=list(old.events) if old else [])
            if old:
                old.stopped = True
                group.process = old.process
                group.note("Killing", "Killing container with id of the earlier revision.")
            self.groups[name] = group
        threading.Thread(target=self._work, args=(group,), daemon=True).start()
        return json_answer(self._described(group), 200 if old else 201)

    def _check(self, name: str, asked: Resource, old: Group | None) -> Image:
        """Refuse what the service refuses; the image to run."""
        group = f"container group '{name}'"
        if not _NAME.fullmatch(name):
            raise Problem(400, "InvalidContainerGroupName", f"The name of {group} is invalid.")
        if old and old.state in ("Pending", "Creating", "Updating"):
            message = f"The {group} is still transitioning, please retry later."
            raise Problem(409, "ContainerGroupTransitioning", message)
        properties = asked["properties"]
        container = properties["containers"][0]["properties"]
        ports, exposed = ([one["port"] for one in part["ports"]] for part in (container, properties["ipAddress"]))
        if not set(exposed) <= set(ports):
            raise Problem(
                400, "InvalidIPAddressPorts", f"The ports of the IP address in {group} are not of a container."
            )
        label = properties["ipAddress"].get("dnsNameLabel", "")
        if label and not _LABEL.fullmatch(label):
            message = (
                f"The DNS name label '{label}' in {group} is invalid. It can contain only lowercase letters, numbers "
                "and hyphens. The first character must be a letter. The last character must be a letter or number. The "
                "value must be between 5 and 63 characters long."
            )
            raise Problem(400, "InvalidDnsNameLabel", message)
        if label in self.labels_taken | {one.label for one in self.groups.values() if one.name != name}:
            message = f"The DNS name label '{label}' in {group} not available. Try using a different label."
            raise Problem(400, "DnsNameLabelNotAvailable", message)
        if old and self._fixed(old.asked) != self._fixed(asked):
            message = (
                f"The updates on {group} are invalid. If you are going to update the os type, restart policy, network "
                "profile, CPU, memory or GPU resources for a container group, you must delete it first and then create "
                "a new one."
            )
            raise Problem(400, "InvalidContainerGroupUpdate", message)
        self._check_room(name, float(container["resources"]["requests"]["cpu"]))
        credential = (properties.get("imageRegistryCredentials") or [{}])[0]
        image = self._pull(
            container["image"], credential.get("username"), credential.get("password"), credential.get("identity")
        )
        if image is None:
            message = (
                f"The image '{container['image']}' in {group} is not accessible. Please check the image and registry "
                "credential."
            )
            raise Problem(400, "InaccessibleImage", message)
        return image

    def _check_room(self, name: str, cores: float) -> None:
        used, location = self._cores_used(besides=name), self.workspace.location
        if used + cores > self.quota:
            message = (
                "Resource type 'Microsoft.ContainerInstance/containerGroups' container group quota 'StandardCores' "
                f"exceeded in region '{location}'. Limit: '{self.quota:g}', Usage: '{used:g}' Requested: '{cores:g}'."
            )
            raise Problem(400, "ContainerGroupQuotaReached", message)
        if self.unavailable:
            message = (
                f"The requested resource is not available in the location '{location}' at this moment. Please retry "
                "with a different resource request or in another location."
            )
            raise Problem(409, "ServiceUnavailable", message)

    @staticmethod
    def _fixed(asked: Resource) -> tuple[Any, ...]:
        properties = asked["properties"]
        return (
            *(properties.get(name) for name in _FIXED),
            *(one["properties"]["resources"] for one in properties["containers"]),
        )

    def _work(self, group: Group) -> None:
        """Start what the group asks for, and start it again when it ends."""
        self.hanging.wait()
        group.process = None
        time.sleep(self.seconds)
        properties = group.container["properties"]
        environment = {
            one["name"]: one.get("secureValue") or one.get("value") or ""
            for one in properties.get("environmentVariables") or ()
        }
        group.note("Pulled", f'Successfully pulled image "{properties["image"]}"')
        pause = 0.05
        while not group.stopped:
            process = self._machines.run(group.image, environment, properties["ports"][0]["port"])
            if process is None:
                return
            group.process, group.started = process, _now()
            group.note("Started", "Started container")
            group.state = "Succeeded"
            while process.exit_code is None and not group.stopped:
                time.sleep(0.02)
            if not group.stopped:
                group.exit_code, group.restarts = process.exit_code, group.restarts + 1
                group.note("Killing", f"Container exited with code {process.exit_code}.", "Warning")
                time.sleep(pause)
                pause = min(2 * pause, 5)

    def _delete(self, name: str) -> Answer:
        group = self.groups.get(name)
        if group is None:
            return Answer(204)
        described = self._described(group)
        threading.Timer(self.seconds, self._forget, (group,)).start()
        return json_answer(described)

    def _forget(self, group: Group) -> None:
        with self._lock:
            group.stopped = True
            if self.groups.get(group.name) is group:
                del self.groups[group.name]

    def _logs(self, group: Group, tail: str | None) -> str:
        if group.process is None:
            message = f"The logs of container '{group.container['name']}' are not available."
            raise Problem(400, "ContainerLogNotAvailable", message)
        lines = group.process.printed().splitlines(keepends=True)
        return "".join(lines[-int(tail) :] if tail else lines)

    def _find(self, name: str) -> Group:
        group = self.groups.get(name)
        if group is None:
            raise self.not_found("containerGroups", name)
        return group

    def _described(self, group: Group) -> Resource:
        """The resource as a reader sees it: without what was sent as a secret."""
        asked = group.asked["properties"]
        container = dict(group.container["properties"])
        container["environmentVariables"] = [
            {name: value for name, value in one.items() if name != "secureValue"}
            for one in container.get("environmentVariables") or ()
        ]
        running = group.process is not None and group.process.exit_code is None
        waiting = "Terminated" if group.stopped else "Waiting"
        current: dict[str, Any] = {"state": "Running" if running else waiting, "startTime": group.started or None}
        if not running and group.exit_code is not None:
            current |= {"detailStatus": "CrashLoopBackOff: Back-off restarting failed"}
        container["instanceView"] = {
            "restartCount": group.restarts,
            "currentState": current,
            "events": group.events,
            **({"previousState": {"state": "Terminated", "exitCode": group.exit_code}} if group.restarts else {}),
        }
        address = dict(asked["ipAddress"])
        # An address of the block that is reserved for documentation: only the name leads to the group.
        address["ip"] = f"203.0.113.{int(hashlib.sha256(group.name.encode()).hexdigest()[:2], 16) % 254 + 1}"
        if group.label:
            address["fqdn"] = f"{group.label}.{self._domain}"
        return {
            "id": f"{self.prefix}/containerGroups/{group.name}",
            "name": group.name,
            "type": f"{self.namespace}/containerGroups",
            "location": group.asked.get("location"),
            "tags": group.asked.get("tags") or {},
            "identity": group.asked.get("identity"),
            "properties": {
                **asked,
                "provisioningState": group.state,
                "containers": [{"name": group.container["name"], "properties": container}],
                "imageRegistryCredentials": [
                    {name: value for name, value in one.items() if name != "password"}
                    for one in asked.get("imageRegistryCredentials") or ()
                ],
                "ipAddress": address,
                "instanceView": {
                    "events": [],
                    "state": "Running" if running else "Stopped" if group.stopped else "Pending",
                },
            },
        }


def _now() -> str:
    return datetime.datetime.now(datetime.timezone.utc).isoformat()
