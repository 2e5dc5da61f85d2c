"""Endpoints of Databricks Model Serving, through databricks-sdk."""

from adbazureml.deployment.targets.model_serving.endpoints import connect

__all__ = ["connect"]
