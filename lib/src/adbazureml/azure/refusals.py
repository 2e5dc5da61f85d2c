"""What Azure's refusals mean: whether to try again, and one sentence for each code or status, by table."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from json import JSONDecodeError
from typing import TYPE_CHECKING

from adbazureml.azure.outages import outage
from adbazureml.errors import AdbAzureMLError, WorkspaceError
from adbazureml.text import first_line, is_page, redacted

if TYPE_CHECKING:
    from azure.core.exceptions import AzureError, HttpResponseError

    from adbazureml.azure.credential import Credential


class RefusedError(Exception):
    """Azure Resource Manager refused; who asked says what that means.

    Attributes
    ----------
    status : int
        HTTP status.
    code : str
        Its own code, such as ``ResourceGroupNotFound``; empty when the answer has none.
    """

    def __init__(self, message: str, *, status: int, code: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code


def status_of(error: AzureError) -> int:
    """HTTP status of an answer; 0 where none came."""
    return int(getattr(error, "status_code", None) or 0)


def code_of(error: AzureError) -> str:
    """The service's own code, such as ``ResourceGroupNotFound``; empty where it gives none."""
    return str(getattr(getattr(error, "error", None), "code", None) or getattr(error, "error_code", None) or "")


def message_of(error: AzureError) -> str:
    """What the service says, without secrets."""
    return redacted(str(getattr(getattr(error, "error", None), "message", None) or error.message or error))


def is_missing(error: AzureError) -> bool:
    """Whether an error says that a resource is not there."""
    return status_of(error) == 404


def is_conflict(error: AzureError) -> bool:
    """Whether an error says that something else is under way."""
    return status_of(error) == 409


def is_transient(error: AzureError) -> bool:
    """Whether an error says nothing of the request: too many of them, a service or a network that is down."""
    from azure.core.exceptions import ServiceRequestError, ServiceResponseError

    status = status_of(error)
    return isinstance(error, (ServiceRequestError, ServiceResponseError)) or status in (408, 429) or status >= 500


@contextmanager
def explaining_errors(meanings: Mapping[str, str], credential: Credential, **values: str) -> Iterator[None]:
    """Turn what Azure refuses into one sentence, by its code, or else its status.

    Parameters
    ----------
    meanings : mapping of str to str
        A sentence for each code (``ResourceGroupNotFound``) or status (``404``); ``{answer}``, ``{cloud}``,
        ``{identity}`` and the names in ``values`` are filled in.

    Raises
    ------
    WorkspaceError
        Azure refused, was busy for too long, or does not answer.
    """
    from azure.core.exceptions import AzureError, HttpResponseError

    try:
        yield
    except AdbAzureMLError:
        raise
    except HttpResponseError as error:
        text = _NOT_SERVED if is_page(str(error)) else _meaning(error, meanings)
        identity = f"signed in by the {credential.identity}"
        raise WorkspaceError(
            text.format(**values, cloud=credential.cloud.name, identity=identity, answer=_answer(error).rstrip("."))
        ) from error
    except (AzureError, JSONDecodeError) as error:
        answer = outage(error) or first_line(error)
        raise WorkspaceError(_NOT_SERVED.format(cloud=credential.cloud.name, answer=answer)) from error


def _meaning(error: HttpResponseError, meanings: Mapping[str, str]) -> str:
    found = (
        meanings.get(code_of(error)) or meanings.get(str(error.status_code)) or _MEANINGS.get(str(error.status_code))
    )
    return found or "Azure Resource Manager refused: {answer}."


def _answer(error: HttpResponseError) -> str:
    if error.error and error.error.code:
        return redacted(f"{error.error.code}: {error.error.message}")
    if is_page(str(error)):
        return f"it answered {error.status_code} with an HTML page, not JSON"
    return redacted(error.reason or str(error.message).splitlines()[0])


_NOT_SERVED = (
    "Azure Resource Manager of {cloud} did not serve: {answer}. Try again later, or check the network from here, the"
    " proxy, and the parameter cloud."
)
_BUSY = "Azure Resource Manager is busy ({answer}). Nothing more was done: try again in a few minutes."
_MEANINGS = {
    "401": "{cloud} does not accept this identity ({identity}; {answer}). Check AZURE_TENANT_ID and cloud.",
    "429": _BUSY,
    "500": _BUSY,
    "503": _BUSY,
}
