"""Read a resource from Azure Resource Manager: bounded waits, retries, and errors that name what is wrong."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from itertools import count
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import requests

from adbazureml.azure.outages import outage
from adbazureml.azure.refusals import RefusedError
from adbazureml.errors import WorkspaceError
from adbazureml.text import is_page, redacted

if TYPE_CHECKING:
    from adbazureml.azure.clouds import Cloud
    from adbazureml.azure.credential import Credential

# Twice a host that is silent, and there is still time to say so within half a minute, signing in included.
CONNECT_SECONDS, READ_SECONDS, ALL_SECONDS = 5.0, 8.0, 15.0
ATTEMPTS = 5
_TRANSIENT = {408, 429, 500, 502, 503, 504}
_FIRST_PAUSE = 0.5


def read_resource(
    resource_id: str, *, api_version: str, credential: Credential, query: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """Return a resource as Azure Resource Manager describes it; or what is asked of it by a query.

    Too many requests, server errors and lost connections are tried again, after the pause that the service asks for;
    a token that it does not accept is renewed once.

    Raises
    ------
    CredentialError
        There is no identity to sign in with.
    RefusedError
        It answered with an error.
    WorkspaceError
        It did not answer in five attempts or 15 seconds.
    """
    cloud = credential.cloud
    end = time.monotonic() + ALL_SECONDS
    pause = _FIRST_PAUSE
    renewed = False
    for attempt in count(1):
        try:
            answer = requests.get(
                f"{cloud.resource_manager}{quote(resource_id)}",
                params={"api-version": api_version, **(query or {})},
                auth=_bearer(credential.get_token(cloud.scope).token),
                timeout=(CONNECT_SECONDS, READ_SECONDS),
            )
        except requests.RequestException as error:
            reason = _explain_no_answer(error)
            # A certificate is not trusted the next time either.
            wait = None if isinstance(error, requests.exceptions.SSLError) else pause
        else:
            if answer.ok:
                return _object(answer)
            if answer.status_code == 401 and not renewed:
                renewed = True
                credential.renew()
                continue
            reason = f"it answered {answer.status_code}: {_code_and_message(answer)[1]}"
            if answer.status_code not in _TRANSIENT:
                if is_page(answer.text):
                    raise WorkspaceError(_not_served(cloud, reason))
                raise _refused(answer)
            wait = _retry_after(answer) or pause
        if wait is None or attempt >= ATTEMPTS or time.monotonic() + wait > end:
            raise WorkspaceError(_not_served(cloud, reason)) from None
        time.sleep(wait)
        pause *= 2
    raise AssertionError("unreachable")


def _not_served(cloud: Cloud, reason: str) -> str:
    return (
        f"Azure Resource Manager of {cloud.name} at {cloud.resource_manager} did not serve: {reason}. Try again later,"
        " or check the network from here, the proxy, and the parameter cloud."
    )


def _bearer(token: str) -> Callable[[requests.PreparedRequest], requests.PreparedRequest]:
    # As an auth function, not as a header: requests would replace a header by what ~/.netrc says of the host.
    def sign(request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Authorization"] = f"Bearer {token}"
        return request

    return sign


def _object(answer: requests.Response) -> dict[str, Any]:
    try:
        found = answer.json()
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise WorkspaceError(f"{answer.url} did not answer as Azure Resource Manager does: check the parameter cloud.")
    return found


def _refused(answer: requests.Response) -> RefusedError:
    code, message = _code_and_message(answer)
    return RefusedError(message, status=answer.status_code, code=code)


def _code_and_message(answer: requests.Response) -> tuple[str, str]:
    try:
        error = answer.json()["error"]
        return str(error["code"]), redacted(str(error["message"]))
    except (ValueError, KeyError, TypeError):
        return "", redacted(answer.text).strip() if is_page(answer.text) else answer.reason or "no reason given"


def _retry_after(answer: requests.Response) -> float | None:
    """Seconds to wait, which the header gives as a number or as a date."""
    said = answer.headers.get("Retry-After", "")
    try:
        return float(said)
    except ValueError:
        pass
    try:
        return max((parsedate_to_datetime(said) - datetime.now(timezone.utc)).total_seconds(), 0.0)
    except (TypeError, ValueError):
        return None


def _explain_no_answer(error: requests.RequestException) -> str:
    if isinstance(error, requests.exceptions.ConnectTimeout):
        return f"no connection within {CONNECT_SECONDS:.0f} s"
    if isinstance(error, requests.exceptions.Timeout):
        return f"no answer within {READ_SECONDS:.0f} s"
    return outage(error) or redacted(f"{type(error).__name__}: {error}")
