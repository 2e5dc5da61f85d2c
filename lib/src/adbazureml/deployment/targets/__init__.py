"""The places where an endpoint can be, a package each: `options`, what can be chosen, and `endpoints`, how it is done.

A target keeps the contract in `deployment.target`. Its clients are imported when it is first asked for, as the wheel
does not bring all of them along. Start reading at `local`. A new one is entered in the table below.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from adbazureml.deployment.targets.container_instances import ContainerInstances
from adbazureml.deployment.targets.kubernetes import Kubernetes
from adbazureml.deployment.targets.local import Local
from adbazureml.deployment.targets.managed_online import ManagedOnline
from adbazureml.deployment.targets.model_serving import ModelServing
from adbazureml.errors import DeploymentError

if TYPE_CHECKING:
    from adbazureml.deployment.target import Kind
    from adbazureml.deployment.target_options import TargetOptions
    from adbazureml.settings import Settings

__all__ = [
    "TARGETS",
    "ContainerInstances",
    "Kubernetes",
    "Local",
    "ManagedOnline",
    "ModelServing",
    "options_of",
    "target_of",
]

# Every target by its short name, with the defaults of its options. A cluster has no default: naming none is enough to
# look for endpoints, and refused where a model is deployed.
TARGETS: dict[str, TargetOptions] = {
    options.kind: options
    for options in (Local(), ManagedOnline(), Kubernetes(compute=""), ContainerInstances(), ModelServing())
}


def options_of(target: Kind | TargetOptions) -> TargetOptions:
    """Return a target's options; of one named for short, the defaults.

    Raises
    ------
    DeploymentError
        There is no such target.
    """
    if not isinstance(target, str):
        return target
    if target not in TARGETS:
        known = ", ".join(map(repr, TARGETS))
        raise DeploymentError(
            f"target {target!r} is not known: set it to one of {known}, or to options such as Local(port=8080)."
        )
    return TARGETS[target]


def target_of(settings: Settings) -> TargetOptions:
    """Return the target that a notebook's settings name, with the options that they give."""
    return TARGETS[settings.deploy_target].with_settings(settings)
