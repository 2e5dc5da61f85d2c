"""Tell what the secondary's errors mean: it is away and will be back, or it refuses this one thing for good."""

from __future__ import annotations

from adbazureml.text import redacted

# What a service answers when the request itself is at fault, so that repeating it is of no use.
_REFUSALS = frozenset({400, 405, 409, 411, 413, 414, 415, 422})


class MirrorLostError(Exception):
    """The mirrored run was deleted, or gave way to another mirror of the same run: find or make it again."""


def status_of(error: BaseException) -> int | None:
    """HTTP status behind an error of MLflow, requests or an Azure client; None where there is none."""
    from mlflow.exceptions import MlflowException

    if isinstance(error, MlflowException):
        return int(error.get_http_status_code())
    response = getattr(error, "response", None)
    status = getattr(error, "status_code", None) or getattr(response, "status_code", None)
    return status if isinstance(status, int) else None


def is_refusal(error: BaseException) -> bool:
    """Whether the service refuses what was sent, however often it is sent."""
    return status_of(error) in _REFUSALS


def is_missing(error: BaseException) -> bool:
    """Whether the service knows no such run, experiment or route."""
    return status_of(error) == 404


def reason(error: BaseException) -> str:
    """One line for people, at most 300 characters."""
    lines = redacted(str(error)).strip().splitlines() or [""]
    return f"{type(error).__name__}: {lines[0]}"[:300]
