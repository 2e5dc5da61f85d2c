"""An Azure subscription with a workspace, a container registry, and room for container groups."""

from __future__ import annotations

import re
from types import TracebackType

from ..azureml.blobs import Blobs
from ..azureml.emulator import AzureMLEmulator
from ..azureml.workspace import STORAGE_SUFFIX
from .groups import Groups
from .machines import Machines
from .network import Network
from .registry import Registry

_ACCOUNT = "registrytasks"


class ContainersEmulator(AzureMLEmulator):
    """Builds images, and runs them: an image's command becomes a process on loopback, reached by its group's name.

    >>> with ContainersEmulator() as azure:
    ...     azure.activate()
    ...     requests.post("http://<label>.westeurope.azurecontainer.test:5001/score", …)

    Attributes:
        registry, groups: the services, for what a test wants to set or see.
    """

    def __init__(self) -> None:
        super().__init__()
        storage = f"{_ACCOUNT}.blob.{STORAGE_SUFFIX}"
        self._sources = Blobs(self._folder / "sources", f"{self.url}/{storage}")
        self.registry = Registry(self.workspace, self.identity, self._folder / "images", self._sources)
        self._machines = Machines(self._folder / "machines")
        self.groups = Groups(self.workspace, self.identity, self._machines, self.registry.pull)
        self._network = Network(self.groups.resolve)
        described = self.resource_manager.resources.find(self.workspace.scope)
        described["properties"]["containerRegistry"] = self.registry.arm_id

    def __enter__(self) -> ContainersEmulator:
        super().__enter__()
        source = rf"/{_ACCOUNT}\.blob\.{re.escape(STORAGE_SUFFIX)}/"
        self._service.put_before(
            [(self.registry.pattern, self.registry), (self.groups.pattern, self.groups), (source, self._sources)]
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.groups.reset()
        self._machines.close()
        self._network.close()
        super().__exit__(kind, error, trace)

    def reset(self) -> None:
        """Delete all groups and forget all faults; images and builds stay."""
        self.clear_faults()
        self.groups.reset()
        self.registry.reset()
        self.requests.clear()
        self.asked.clear()
        self.delay = 0.0

    @property
    def cloud_environment(self) -> dict[str, str]:
        """The variables that make a process use this cloud, and reach its container groups by their names."""
        return {**super().cloud_environment, "http_proxy": self._network.url}

    @property
    def asked(self) -> list[tuple[str, str]]:
        """Method and URL of all that went to container groups."""
        return self._network.asked

    @property
    def delay(self) -> float:
        """Seconds that each answer of a container to a POST takes at least."""
        return self._network.delay

    @delay.setter
    def delay(self, seconds: float) -> None:
        self._network.delay = seconds

    @property
    def secrets(self) -> set[str]:
        return super().secrets | self._sources.signatures | set(self.registry.passwords)
