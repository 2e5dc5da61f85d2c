"""What a container group is to be, and what its tags keep of it."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from adbazureml.deployment.targets.container_instances.image import RegistryAccess

_LONGEST_TAG = 256


@dataclass(frozen=True, kw_only=True)
class Served:
    """What a group runs, as its tags keep it.

    Attributes
    ----------
    deployment, model, fingerprint : str
        As `DeploymentState` has them.
    image : str
        Full name of the image.
    """

    deployment: str
    model: str
    fingerprint: str
    image: str

    def tags(self, prefix: str) -> dict[str, str]:
        """These, as tags."""
        return {f"{prefix}{each.name}": getattr(self, each.name)[:_LONGEST_TAG] for each in fields(self)}

    @classmethod
    def of(cls, tags: dict[str, str], prefix: str) -> Served | None:
        """What tags say; None where they do not."""
        values = {each.name: tags.get(f"{prefix}{each.name}", "") for each in fields(cls)}
        return cls(**values) if values["deployment"] else None


@dataclass(frozen=True, kw_only=True)
class Size:
    """Room for a container.

    Attributes
    ----------
    cores, memory : float
        CPU cores; memory in GB.
    """

    cores: float
    memory: float


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a group is to be.

    Attributes
    ----------
    endpoint, label : str
        The endpoint that it belongs to, and its name in the region's DNS.
    served : Served
        What runs in it.
    previous : Served or None
        What ran before, to go back to.
    key, key_mark : str
        What callers show, and a mark by which a reader sees whether a key is this one.
    access : RegistryAccess
        How the image is pulled.
    size : Size
        Its room.
    request_timeout : float
        Seconds in which one request must be answered.
    """

    endpoint: str
    label: str
    served: Served
    previous: Served | None
    key: str
    key_mark: str
    access: RegistryAccess
    size: Size
    request_timeout: float

    def __repr__(self) -> str:
        return f"Plan({self.endpoint}, {self.served})"
