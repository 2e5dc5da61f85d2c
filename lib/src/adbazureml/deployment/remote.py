"""Post requests of the scoring protocol to an endpoint somewhere else, and turn its refusals into one sentence."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import requests
from requests.adapters import HTTPAdapter
from urllib3.util import Retry

from adbazureml.errors import DeploymentError

Authorize: TypeAlias = Callable[[requests.PreparedRequest], requests.PreparedRequest]

_BUSY = (429, 503)
_RETRIES = 3
_LONGEST_REASON = 400


def bearer(key: str) -> Authorize:
    """Sign requests by a key or a token."""

    # As an auth function, not as a header: requests would replace a header by what ~/.netrc says of the host.
    def sign(request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Authorization"] = f"Bearer {key}"
        return request

    return sign


def post(url: str, payload: Mapping[str, Any], *, authorize: Authorize, timeout: float) -> Any:
    """Post a request and return the predictions; an endpoint that is busy is asked again, as it says.

    Parameters
    ----------
    url : str
        Where to post.
    payload : mapping
        What to post, as JSON.
    authorize : callable
        Signs the request.
    timeout : float
        Seconds in which the answer must come.

    Raises
    ------
    DeploymentError
        The endpoint refused, with its reason in one sentence, or does not answer.
    """
    from mlflow.utils.proto_json_utils import NumpyEncoder

    retry = Retry(total=_RETRIES, read=0, status_forcelist=_BUSY, allowed_methods=None, raise_on_status=False)
    with requests.Session() as session:
        for scheme in ("http://", "https://"):
            session.mount(scheme, HTTPAdapter(max_retries=retry))
        try:
            answer = session.post(
                url,
                data=json.dumps(payload, cls=NumpyEncoder).encode(),
                headers={"Content-Type": "application/json"},
                auth=authorize,
                timeout=timeout,
            )
        except requests.Timeout as error:
            raise DeploymentError(
                f"{url} did not answer within {timeout:g} s: send fewer rows at once, or raise request_timeout."
            ) from error
        except requests.RequestException as error:
            raise DeploymentError(f"Nothing answers at {url}: see the endpoint's status and logs.") from error
    if not answer.ok:
        raise DeploymentError(_refusal(url, answer))
    try:
        content = answer.json()
    except ValueError as error:
        raise DeploymentError(f"{url} did not answer with JSON: see the endpoint's logs.") from error
    return content["predictions"] if isinstance(content, dict) and "predictions" in content else content


def _refusal(url: str, answer: requests.Response) -> str:
    reason = _reason(answer)
    if answer.status_code in (401, 403):
        return f"{url} does not let this caller in ({reason})."
    if answer.status_code < 500 and answer.status_code not in (404, 429):
        return f"The model refused the rows: {reason}"
    return f"{url} answered {answer.status_code}: {reason}"


def _reason(answer: requests.Response) -> str:
    """The server's message without the rows it repeats and its advice on MLflow 1."""
    try:
        message = str(answer.json()["message"])
    except (ValueError, KeyError, TypeError):
        message = answer.text or str(answer.reason)
    message = message.rpartition("\nError: ")[2].partition(" IMPORTANT: ")[0]
    message = re.sub(r"Failed to enforce schema of data .* with schema '.*?\]'\. Error: ", "", message, flags=re.DOTALL)
    said = re.sub(r"\s+", " ", message).strip()
    return said if len(said) <= _LONGEST_REASON else f"{said[:_LONGEST_REASON]}…"
