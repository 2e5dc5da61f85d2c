"""Endpoints in Azure Container Instances, through Microsoft's management clients."""

from adbazureml.deployment.targets.container_instances.endpoints import connect

__all__ = ["connect"]
