"""What MLflow 3 can ask for and Azure ML's MLflow 2 service does not have: each is refused in one sentence."""

from __future__ import annotations

import re

from adbazureml.azureml_mlflow.mlflow_errors import mlflow_error

# By the names of MLflow's REST messages (service.proto, model_registry.proto).
_UNSUPPORTED = (
    (re.compile(r"Trace|Assessment|Span"), "traces", "set the tracking URI to Databricks to trace"),
    (re.compile(r"Scorer"), "scorers", "register scorers in Databricks"),
    (re.compile(r"Dataset(?!s?Input)"), "evaluation datasets", "keep them in Databricks"),
    (re.compile(r"Prompt"), "prompts", "keep them in Databricks"),
    (re.compile(r"RenameRegisteredModel"), "other names for a model", "register its versions under the new name"),
    (re.compile(r"Webhook"), "webhooks", "use Azure Event Grid on the workspace"),
    (re.compile(r"Gateway|Secret|Endpoint"), "an AI gateway", "use Databricks' or an MLflow server's"),
)


def check_supported(message: str) -> None:
    """Raise for a REST message that Azure ML would answer by 404.

    Raises
    ------
    mlflow.exceptions.MlflowException
        Says what Azure ML lacks, and what to do.
    """
    for pattern, what, instead in _UNSUPPORTED:
        if pattern.search(message):
            raise mlflow_error(f"Azure ML has no {what}: {instead}.", "NOT_IMPLEMENTED")
