"""What the options of all targets have in common: they are frozen, and checked as they are written."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar

from adbazureml.errors import DeploymentError

if TYPE_CHECKING:
    from adbazureml.deployment.target import Kind, Target
    from adbazureml.settings import Settings
    from adbazureml.workspaces import AzureMLWorkspace


@dataclass(frozen=True, kw_only=True)
class TargetOptions(ABC):
    """What a target is told beyond the model. Each has a class of its own, with the options that it knows.

    Attributes
    ----------
    kind : {"local", "azureml", "aks", "aci", "databricks"}
        What `deploy` calls the target for short.
    set_by : mapping
        The setting of a notebook that gives an option; one that is empty leaves the option's default.
    of_deployment : tuple of str
        The options that a running deployment keeps: with others it is another deployment.
    longest_request : float
        The most that ``request_timeout`` may be.
    request_timeout : float
        Seconds in which one request must be answered.

    Raises
    ------
    DeploymentError
        A value is wrong.
    """

    kind: ClassVar[Kind]
    set_by: ClassVar[Mapping[str, str]] = {}
    of_deployment: ClassVar[tuple[str, ...]] = ("request_timeout",)
    longest_request: ClassVar[float] = math.inf

    request_timeout: float = 60

    def __post_init__(self) -> None:
        if self.request_timeout <= 0:
            raise self.wrong("request_timeout", "expected seconds, more than 0", example=60)
        if self.request_timeout > self.longest_request:
            raise self.wrong(
                "request_timeout", f"target {self.kind!r} allows up to {self.longest_request:g} s", example=60
            )

    @abstractmethod
    def connect(self, workspace: AzureMLWorkspace | None) -> Target:
        """Return the target that these options describe; nobody is asked yet.

        Raises
        ------
        DeploymentError
            The target needs an Azure ML workspace, and none is given.
        """

    def with_settings(self, settings: Settings) -> TargetOptions:
        """Return these options as a notebook's settings have them."""
        given = {option: getattr(settings, setting) for option, setting in self.set_by.items()}
        return replace(self, **{option: value for option, value in given.items() if value != ""})

    def as_deployed(self) -> list[Any]:
        """What tells two deployments of one model apart."""
        return [getattr(self, option) for option in self.of_deployment]

    def wrong(self, option: str, expected: str, *, example: object) -> DeploymentError:
        """Return the error to raise for an option's value."""
        value = getattr(self, option)
        said = "is empty" if value == "" else repr(value)
        return DeploymentError(f"{option} {said}: {expected}, such as {type(self).__name__}({option}={example!r}).")


@dataclass(frozen=True, kw_only=True)
class OptionsWithEnvironment(TargetOptions):
    """Options of a target whose model may be given environment variables: of its own it sees none of the deployer's.

    Attributes
    ----------
    environment : mapping of str to str
        Environment variables that the model gets beside those that its server needs. They are a part of the
        deployment: with others it is another one.
    """

    environment: Mapping[str, str] = field(default_factory=dict, repr=False, hash=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, value in self.environment.items():
            if not (name and isinstance(name, str) and "=" not in name and isinstance(value, str)):
                # The value may be a secret.
                raise DeploymentError(
                    f"environment, {name!r}: give names and texts, such as"
                    f" {type(self).__name__}(environment={{'NAME': 'value'}})."
                )

    def as_deployed(self) -> list[Any]:
        """See `TargetOptions.as_deployed`."""
        return [*super().as_deployed(), *([sorted(self.environment.items())] if self.environment else [])]


def azureml_workspace(workspace: AzureMLWorkspace | None, kind: Kind) -> AzureMLWorkspace:
    """Return the workspace that a target in Azure needs.

    Raises
    ------
    DeploymentError
        There is none, or it is a local backend.
    """
    if workspace is None or not workspace.arm_id:
        instead = "" if workspace is None else ", not the local backend"
        raise DeploymentError(
            f"target {kind!r} needs an Azure ML workspace{instead}: deploy(…, workspace=AzureMLWorkspace.get(…))."
        )
    return workspace
