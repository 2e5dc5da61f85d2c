"""Ask a scoring server for predictions, and turn its refusals into one sentence."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import requests

from adbazureml.errors import DeploymentError

if TYPE_CHECKING:
    import pandas as pd

# MLflow's scoring server gives up on a request after 60 s by default; what it says then shall arrive.
ANSWER_TIMEOUT_S = 90
_LONGEST_REASON = 400


def session() -> requests.Session:
    """A connection that is kept open, past any proxy of the environment: the server is on this machine."""
    opened = requests.Session()
    opened.trust_env = False
    return opened


def is_healthy(url: str, *, timeout: float) -> bool:
    """Whether the server answers ``GET /ping`` within so many seconds."""
    with session() as connection:
        try:
            return connection.get(f"{url}/ping", timeout=timeout).ok
        except requests.RequestException:
            return False


def payload(frame: pd.DataFrame | dict[str, Any]) -> str:
    """Write rows as the JSON that MLflow's scoring protocol takes; a dict is taken to be that already."""
    import pandas as pd
    from mlflow.utils.proto_json_utils import NumpyEncoder

    if isinstance(frame, pd.DataFrame):
        # `DataFrame.to_json` would round floats to 15 digits.
        frame = {"dataframe_split": frame.to_dict(orient="split", index=False)}
    if not isinstance(frame, dict):
        raise DeploymentError(f"frame: a {type(frame).__name__} can't be scored; give a pandas DataFrame.")
    try:
        return json.dumps(frame, cls=NumpyEncoder)
    except TypeError as error:
        raise DeploymentError(
            f"frame: a value can't be sent as JSON ({error}); give numbers, texts or times."
        ) from error


def ask(connection: requests.Session, url: str, body: str) -> Any:
    """Post rows to a server and return its predictions.

    Raises
    ------
    DeploymentError
        The server refused the rows, with its reason in one sentence, or does not answer.
    """
    try:
        answer = connection.post(
            f"{url}/invocations", data=body, headers={"Content-Type": "application/json"}, timeout=ANSWER_TIMEOUT_S
        )
    except requests.ConnectionError as error:
        raise DeploymentError(f"Nothing answers at {url}: the endpoint was stopped; deploy it again.") from error
    except requests.Timeout as error:
        raise DeploymentError(f"{url} did not answer within {ANSWER_TIMEOUT_S} s: send fewer rows at once.") from error
    if not answer.ok:
        raise DeploymentError(f"The model refused the rows: {_reason(answer)}")
    content = answer.json()
    return content["predictions"] if isinstance(content, dict) and "predictions" in content else content


def _reason(answer: requests.Response) -> str:
    """The server's message without the rows it repeats, the advice on MLflow 1, and the stack trace."""
    try:
        content = answer.json()
        message, trace = str(content["message"]), str(content.get("stack_trace") or "")
    except (ValueError, KeyError, TypeError):
        message, trace = answer.text, ""
    message = message.rpartition("\nError: ")[2].partition(" IMPORTANT: ")[0]
    message = re.sub(r"Failed to enforce schema of data .* with schema '.*?\]'\. Error: ", "", message, flags=re.DOTALL)
    if last_line := trace.strip().rpartition("\n")[2]:
        message = f"{message} {last_line}"
    said = re.sub(r"\s+", " ", message).strip()
    return said if len(said) <= _LONGEST_REASON else f"{said[:_LONGEST_REASON]}…"
