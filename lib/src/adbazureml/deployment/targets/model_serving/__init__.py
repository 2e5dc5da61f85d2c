"""Endpoints of Databricks Model Serving, through databricks-sdk."""

from adbazureml.deployment.targets.model_serving.options import ModelServing

__all__ = ["ModelServing"]
