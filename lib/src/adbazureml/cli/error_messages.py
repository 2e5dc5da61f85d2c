"""What a command says when it fails: one sentence, and no secret."""

from __future__ import annotations

from adbazureml.azure.outages import outage
from adbazureml.text import first_line


def explain_error(error: Exception) -> str:
    """Say what an error of a service's client means; empty for any other, whose traceback somebody has to read."""
    from azure.core.exceptions import AzureError
    from databricks.sdk.errors import DatabricksError
    from mlflow.exceptions import MlflowException

    if why := outage(error):
        return (
            f"A workspace can't be reached: {why} ({first_line(error)}). Check its address, the network and the proxy."
        )
    if isinstance(error, MlflowException):
        return f"A tracking server or registry refused: {first_line(error)}."
    if isinstance(error, DatabricksError):
        return f"Databricks refused: {first_line(error)}."
    if isinstance(error, AzureError):
        return f"Azure refused: {first_line(error)}."
    return ""
