"""Online endpoints of Azure ML on a Kubernetes cluster of one's own."""

from adbazureml.deployment.targets.kubernetes.options import Kubernetes

__all__ = ["Kubernetes"]
