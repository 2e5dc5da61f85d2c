"""How long a request to a workspace may take, and how often it is sent again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class RetryPolicy:
    """Time limits and retries of one request; MLflow's own settings hold where they are shorter.

    Attributes
    ----------
    connect, read : float
        Seconds to wait for a connection, and for each part of an answer.
    retries : int
        How often a request is sent again that found no connection, no answer, or one that will pass.
    backoff : float
        Seconds before it is.
    """

    connect: float
    read: float
    retries: int
    backoff: float

    @property
    def total(self) -> float:
        """The most seconds that a request without an answer takes."""
        return (self.connect + self.read + self.backoff) * (self.retries + 1)

    @property
    def tries(self) -> int:
        """How often a request is sent at most."""
        from mlflow.environment_variables import MLFLOW_HTTP_REQUEST_MAX_RETRIES

        return min(self.retries, int(MLFLOW_HTTP_REQUEST_MAX_RETRIES.get())) + 1

    @property
    def pause(self) -> float:
        """Seconds before a request is sent again."""
        from mlflow.environment_variables import MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR

        return min(self.backoff, float(MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR.get()))

    @property
    def timeouts(self) -> tuple[float, float]:
        """Seconds to wait for a connection, and for each part of an answer."""
        from mlflow.environment_variables import MLFLOW_HTTP_REQUEST_TIMEOUT

        longest = float(MLFLOW_HTTP_REQUEST_TIMEOUT.get())
        return min(self.connect, longest), min(self.read, longest)

    def options(self) -> dict[str, Any]:
        """Options of MLflow's ``http_request``."""
        return {
            "max_retries": self.tries - 1,
            "backoff_factor": self.pause,
            "backoff_jitter": 0.0,
            "timeout": self.timeouts,
            # It may ask for a minute: the replica's own pauses are as long, and hold up no request.
            "respect_retry_after_header": False,
        }

    def azure_options(self) -> dict[str, Any]:
        """Options of a call of Azure's clients."""
        connect, read = self.timeouts
        retries = self.tries - 1
        return {
            "connection_timeout": connect,
            "read_timeout": read,
            **{f"retry_{kind}": retries for kind in ("total", "connect", "read", "status")},
        }
