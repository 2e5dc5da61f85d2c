"""Online endpoints of Azure Machine Learning, through Microsoft's azure-ai-ml."""

from adbazureml.deployment.azureml.endpoints import connect

__all__ = ["connect"]
