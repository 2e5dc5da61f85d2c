"""Endpoints in Azure Container Instances, through Microsoft's management clients."""

from adbazureml.deployment.targets.container_instances.options import ContainerInstances

__all__ = ["ContainerInstances"]
