"""Time limits and retries of what Azure's own clients do for us: the artifact service and blob storage."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from mlflow import environment_variables as settings

from adbazureml.azureml_mlflow.mlflow_errors import code_of, mlflow_error
from adbazureml.azureml_mlflow.retry_policy import RetryPolicy
from adbazureml.text import logger

if TYPE_CHECKING:
    from azure.core.exceptions import AzureError

_LONGEST_WAIT = 60.0


# It writes addresses in full, with their signatures.
logger("urllib3.connectionpool")


def time_limits(retry_policy: RetryPolicy | None) -> dict[str, Any]:
    """How long MLflow lets a request take, unless told otherwise; azure-core would wait five minutes."""
    if retry_policy:
        return retry_policy.azure_options()
    seconds = float(settings.MLFLOW_HTTP_REQUEST_TIMEOUT.get())
    return {"connection_timeout": seconds, "read_timeout": seconds}


def blob_options(retry_policy: RetryPolicy | None) -> dict[str, Any]:
    """Retries as MLflow makes them for its other requests; azure-storage's own first pause is 15 s."""
    from azure.storage.blob import ExponentialRetry

    limits = time_limits(retry_policy)
    pause: Any = retry_policy.pause if retry_policy else settings.MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR.get()
    return {
        "connection_timeout": limits["connection_timeout"],
        "read_timeout": limits["read_timeout"],
        "retry_policy": ExponentialRetry(
            initial_backoff=0,
            increment_base=pause,
            random_jitter_range=settings.MLFLOW_HTTP_REQUEST_BACKOFF_JITTER.get(),
            retry_total=_retries(retry_policy),
        ),
    }


def _retries(retry_policy: RetryPolicy | None) -> int:
    return retry_policy.tries - 1 if retry_policy else settings.MLFLOW_HTTP_REQUEST_MAX_RETRIES.get()


def transfer(call: Callable[[], object], path: str, retry_policy: RetryPolicy | None) -> None:
    """Run a transfer from or to blob storage; what goes wrong is told without the signed address.

    Raises
    ------
    mlflow.exceptions.MlflowException
        It failed as often as MLflow makes retries.
    """
    from azure.core.exceptions import AzureError

    for left in range(_retries(retry_policy), -1, -1):
        try:
            call()
        except AzureError as error:
            status = getattr(error, "status_code", None)
            if status == 429 and left:
                # azure-storage tries all else that passes again, but not this.
                time.sleep(retry_policy.pause if retry_policy else _asked_to_wait(error))
                continue
            said = f"blob storage answered {status}" if status else f"{type(error).__name__}, the connection broke"
            advice = "Call again to complete it."
            if status == 403:
                advice = "Its signed address is not accepted from here: does the storage account let this network in?"
            raise mlflow_error(f"Artifact {path!r} was not transferred: {said}. {advice}", code_of(status)) from None
        return


def _asked_to_wait(error: AzureError) -> float:
    response = getattr(error, "response", None)
    after = response.headers.get("Retry-After", "") if response is not None else ""
    backoff = settings.MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR.get()
    return min(float(after) if after.isdigit() else backoff, _LONGEST_WAIT)
