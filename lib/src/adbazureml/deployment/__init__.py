"""Deploy a model behind a URL: tried before it gets traffic, replaced only by one that answers as its model does.

It imports `registry`, `serving`, `workspaces` and what is below. Start reading at `api`, then `rollout` and `target`,
the contract of the places in `targets`.
"""

from adbazureml.deployment.answer_comparison import Comparison
from adbazureml.deployment.api import deploy, endpoints, find_endpoint, input_example
from adbazureml.deployment.endpoint import Endpoint, Endpoints
from adbazureml.deployment.live_comparison import LiveComparison, LiveLimits
from adbazureml.deployment.load_test import LoadTest
from adbazureml.deployment.target import DeploymentState, EndpointState
from adbazureml.deployment.targets import (
    ContainerInstances,
    Kubernetes,
    Local,
    ManagedOnline,
    ModelServing,
    target_of,
)

__all__ = [
    "Comparison",
    "ContainerInstances",
    "DeploymentState",
    "Endpoint",
    "EndpointState",
    "Endpoints",
    "Kubernetes",
    "LiveComparison",
    "LiveLimits",
    "LoadTest",
    "Local",
    "ManagedOnline",
    "ModelServing",
    "deploy",
    "endpoints",
    "find_endpoint",
    "input_example",
    "target_of",
]
