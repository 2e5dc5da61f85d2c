"""What can be chosen of an endpoint on this machine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from adbazureml.deployment.target import Kind
from adbazureml.deployment.target_options import OptionsWithEnvironment

if TYPE_CHECKING:
    from adbazureml.deployment.target import Target
    from adbazureml.workspaces import AzureMLWorkspace

_HIGHEST_PORT = 65535


@dataclass(frozen=True, kw_only=True)
class Local(OptionsWithEnvironment):
    """A server on this machine, reachable from it only.

    Attributes
    ----------
    port : int
        Its port; 0 takes a free one.
    keep : bool
        Leave it running when the last process that asked for it ends.
    collect : str
        A folder in which each row of a request is kept with its prediction, as a line of JSON, such as for `monitor`;
        empty: none is kept. Nothing is ever removed there.
    environment : mapping of str to str
        Environment variables that the model gets beside those that every program needs.
    request_timeout : float
        Seconds in which one request must be answered.
    """

    kind: ClassVar[Kind] = "local"
    set_by: ClassVar[Mapping[str, str]] = {"port": "endpoint_port", "keep": "keep_endpoint"}
    of_deployment: ClassVar[tuple[str, ...]] = ("collect", "request_timeout")

    port: int = 0
    keep: bool = False
    collect: str = ""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.port, int) or not 0 <= self.port <= _HIGHEST_PORT:
            expected = f"out of range: set it to 1024 to {_HIGHEST_PORT}, or 0 for a free port"
            raise self.wrong("port", expected, example=8080)

    def connect(self, workspace: AzureMLWorkspace | None) -> Target:  # noqa: ARG002
        """Return the target; see `TargetOptions.connect`."""
        from adbazureml.deployment.targets.local.endpoints import LocalTarget

        return LocalTarget(self)
