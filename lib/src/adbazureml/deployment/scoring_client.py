"""Ask a scoring server for predictions, and turn its refusals into one sentence."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

import requests

from adbazureml.errors import DeploymentError

if TYPE_CHECKING:
    import pandas as pd

_LONGEST_REASON = 400
_NOT_ACCEPTED = "{where} does not accept the key or token ({status}): deploy with the auth that callers use."
_MEANINGS = {401: _NOT_ACCEPTED, 403: _NOT_ACCEPTED}


def session() -> requests.Session:
    """A connection that is kept open, past any proxy of the environment: for servers on this machine."""
    opened = requests.Session()
    opened.trust_env = False
    return opened


def is_healthy(address: str, *, timeout: float) -> bool:
    """Whether a ``GET`` is answered with success within so many seconds, by a server on this machine."""
    with session() as connection:
        try:
            return bool(connection.get(address, timeout=timeout).ok)
        except requests.RequestException:
            return False


def request_of(frame: pd.DataFrame | Mapping[str, Any]) -> dict[str, Any]:
    """Put rows into a request of MLflow's scoring protocol, of values that JSON takes; a dict is taken to be one.

    Raises
    ------
    DeploymentError
        It is neither, or a value is nothing that JSON takes.
    """
    import pandas as pd
    from mlflow.utils.proto_json_utils import NumpyEncoder

    if isinstance(frame, pd.DataFrame):
        # JSON has no word for a number that is none.
        nullable: Any = frame.astype(object).where(frame.notna(), cast("Any", None))
        # `DataFrame.to_json` would round floats to 15 digits.
        frame = {"dataframe_split": nullable.to_dict(orient="split", index=False)}
    if not isinstance(frame, Mapping):
        raise DeploymentError(f"frame: a {type(frame).__name__} can't be scored; give a pandas DataFrame.")
    try:
        return dict(json.loads(json.dumps(dict(frame), cls=NumpyEncoder)))
    except TypeError as error:
        raise DeploymentError(
            f"frame: a value can't be sent as JSON ({error}); give numbers, texts or times."
        ) from error


def ask(
    connection: requests.Session,
    url: str,
    payload: Mapping[str, Any],
    *,
    timeout: float,
    headers: Mapping[str, str] | None = None,
) -> Any:
    """Post a request to a scoring address and return its predictions.

    Parameters
    ----------
    connection : requests.Session
        Kept open by whoever asks often.
    url : str
        The whole address.
    payload : mapping
        A request of the scoring protocol.
    timeout : float
        Seconds to wait for the answer.
    headers : mapping, optional
        Such as the authorization; they are in no error.

    Raises
    ------
    DeploymentError
        The server refused the rows, with its reason in one sentence, or does not answer.
    """
    body = json.dumps(payload)
    sent = {"Content-Type": "application/json", **(headers or {})}
    try:
        answer = connection.post(url, data=body, headers=sent, timeout=timeout)
    except requests.Timeout as error:
        raise DeploymentError(
            f"{url} did not answer within {timeout:g} s: send fewer rows at once, or raise request_timeout."
        ) from error
    except requests.ConnectionError as error:
        raise DeploymentError(f"Nothing answers at {url}: the endpoint was stopped; deploy it again.") from error
    if not answer.ok:
        raise DeploymentError(explain_answer(answer, url))
    return predictions_in(answer)


def predictions_in(answer: requests.Response) -> Any:
    """The predictions of an answer, whichever server gave it."""
    # MLflow's own server writes NaN and Infinity, which are no JSON; ours writes null.
    content = answer.json(parse_constant=lambda _: None)
    return content["predictions"] if isinstance(content, dict) and "predictions" in content else content


def explain_answer(
    answer: requests.Response, where: str, *, status: int | None = None, meanings: Mapping[int, str] | None = None
) -> str:
    """Say what an answer means that is no success, by a table, or else by what the server says.

    Parameters
    ----------
    answer : requests.Response
        The answer.
    where : str
        Who was asked: an address, or an endpoint.
    status : int, optional
        The model's own status, where the answer's is another.
    meanings : mapping of int to str
        Sentences of this service for a status; ``{where}``, ``{status}`` and ``{said}`` are filled in.
    """
    code = status or answer.status_code
    if text := {**_MEANINGS, **(meanings or {})}.get(code):
        return text.format(where=where, status=code, said=reason_of(answer))
    whose = "The model refused the rows" if code < 500 else f"The endpoint failed ({code})"
    return f"{whose}: {reason_of(answer)}"


def reason_of(answer: requests.Response) -> str:
    """The server's message without the rows it repeats, the advice on MLflow 1, and the stack trace."""
    try:
        content = answer.json()
        error = content.get("error", content)
        message = str(error["message"] if isinstance(error, dict) else error)
        trace = str(content.get("stack_trace") or "")
    except (ValueError, KeyError, TypeError, AttributeError):
        message, trace = answer.text or answer.reason or f"status {answer.status_code}", ""
    message = message.rpartition("\nError: ")[2].partition(" IMPORTANT: ")[0]
    message = re.sub(r"Failed to enforce schema of data .* with schema '.*?\]'\. Error: ", "", message, flags=re.DOTALL)
    if last_line := trace.strip().rpartition("\n")[2]:
        message = f"{message} {last_line}"
    said = re.sub(r"\s+", " ", message).strip()
    return said if len(said) <= _LONGEST_REASON else f"{said[:_LONGEST_REASON]}…"
