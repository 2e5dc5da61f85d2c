"""What a service's errors mean in MLflow's codes: it will be back, or it rejects this one thing for good."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal

from adbazureml.text import redacted

if TYPE_CHECKING:
    from mlflow.exceptions import MlflowException

# What a service answers when the request itself is at fault, so that repeating it is of no use.
_REFUSALS = frozenset({400, 405, 409, 411, 413, 414, 415, 422, 501})

# What SQLite, PostgreSQL, MySQL and SQL Server say of a unique key, through SQLAlchemy.
_TAKEN_KEY = re.compile(r"IntegrityError|UNIQUE constraint|duplicate key|Duplicate entry", re.IGNORECASE)

# Those of MLflow's codes that it has an HTTP status for, by which a refusal is told from an outage.
Code = Literal[
    "BAD_REQUEST",
    "ENDPOINT_NOT_FOUND",
    "INTERNAL_ERROR",
    "INVALID_PARAMETER_VALUE",
    "NOT_IMPLEMENTED",
    "PERMISSION_DENIED",
    "REQUEST_LIMIT_EXCEEDED",
    "RESOURCE_CONFLICT",
    "RESOURCE_DOES_NOT_EXIST",
    "TEMPORARILY_UNAVAILABLE",
    "UNAUTHENTICATED",
]
_CODE_OF: Mapping[int, Code] = {
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    408: "TEMPORARILY_UNAVAILABLE",
    404: "RESOURCE_DOES_NOT_EXIST",
    409: "RESOURCE_CONFLICT",
    429: "REQUEST_LIMIT_EXCEEDED",
    501: "NOT_IMPLEMENTED",
    503: "TEMPORARILY_UNAVAILABLE",
}


def mlflow_error(message: str, code: Code) -> MlflowException:
    """MLflow's exception with one of its codes by name.

    Its own constructor takes the code's number, and makes an internal error, which stands for an outage, of a name.
    """
    from mlflow.exceptions import MlflowException
    from mlflow.protos.databricks_pb2 import ErrorCode

    return MlflowException(message, error_code=ErrorCode.Value(code))


def code_of(status: int | None) -> Code:
    """MLflow's code for an HTTP status; None stands for no answer at all."""
    if status is None:
        return "TEMPORARILY_UNAVAILABLE"
    return _CODE_OF.get(status, "BAD_REQUEST" if 400 <= status < 500 else "INTERNAL_ERROR")


def status_of(error: BaseException) -> int | None:
    """HTTP status behind an error of MLflow, requests or an Azure client; None where there is none."""
    from mlflow.exceptions import MlflowException

    if isinstance(error, MlflowException):
        return int(error.get_http_status_code())
    response = getattr(error, "response", None)
    status = getattr(error, "status_code", None) or getattr(response, "status_code", None)
    return status if isinstance(status, int) else None


def is_rejection(error: BaseException) -> bool:
    """Whether the service refuses what was sent, however often it is sent."""
    return status_of(error) in _REFUSALS


def is_conflict(error: BaseException) -> bool:
    """Whether a database refused a row that somebody else wrote a moment before: written again, it is an update."""
    return is_rejection(error) and bool(_TAKEN_KEY.search(str(error)))


def is_outage(error: BaseException) -> bool:
    """Whether the service, or the way to it, is at fault, so that other requests would fail as well."""
    status = status_of(error)
    if status is None:
        return isinstance(error, OSError) or type(error).__module__.startswith("azure.")
    return status in (401, 403, 408, 429) or (status >= 500 and status not in _REFUSALS)


def is_missing(error: BaseException) -> bool:
    """Whether the service knows no such run, experiment or route."""
    return status_of(error) == 404


def explain_error(error: BaseException) -> str:
    """One line for people, at most 300 characters."""
    lines = redacted(str(error)).strip().splitlines() or [""]
    return f"{type(error).__name__}: {lines[0]}"[:300]
