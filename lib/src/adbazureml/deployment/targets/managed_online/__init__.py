"""Managed online endpoints of Azure Machine Learning, through Microsoft's azure-ai-ml."""

from adbazureml.deployment.targets.managed_online.options import ManagedOnline

__all__ = ["ManagedOnline"]
