"""Online endpoints of Azure Machine Learning, through Microsoft's azure-ai-ml."""

from adbazureml.deployment.targets.managed_online.endpoints import connect

__all__ = ["connect"]
