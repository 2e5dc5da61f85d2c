"""Endpoints in Azure Container Instances, through Microsoft's management clients."""

from adbazureml.deployment.aci.endpoints import connect

__all__ = ["connect"]
