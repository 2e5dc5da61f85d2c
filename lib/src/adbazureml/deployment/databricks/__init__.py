"""Endpoints of Databricks Model Serving, through databricks-sdk."""

from adbazureml.deployment.databricks.endpoints import connect

__all__ = ["connect"]
