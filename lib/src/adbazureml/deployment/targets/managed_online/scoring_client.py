"""Ask an online endpoint for predictions: who may ask, what is tried again, and what its refusals mean."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import requests

from adbazureml.azure.clouds import current_cloud
from adbazureml.azure.credential import credential_for
from adbazureml.deployment.load_test import Caller
from adbazureml.deployment.scoring_client import explain_answer, predictions_in, reason_of
from adbazureml.deployment.signed_requests import bearer, signed_session
from adbazureml.errors import DeploymentError

if TYPE_CHECKING:
    from azure.ai.ml import MLClient

CONNECT_SECONDS, ATTEMPTS, FIRST_PAUSE = 10.0, 5, 0.5
# Azure answers late itself when the model does.
_GRACE_SECONDS = 10
_MEANINGS = {
    404: "No deployment of {where} takes requests: deploy a model there, or give one traffic.",
    424: "The model behind {where} failed: {said}; logs() tells more.",
}
_PASSING = {429, 502, 503, 504}
# The resource that tokens of Microsoft Entra for endpoints are of, where it is not the public cloud's.
_AUDIENCES = {"AzureUSGovernment": "https://ml.azure.us", "AzureChinaCloud": "https://ml.azure.cn"}
_PUBLIC_AUDIENCE = "https://ml.azure.com"


@dataclass
class _Address:
    """Where an endpoint is asked; how, is only known here."""

    url: str
    auth_mode: str
    secret: str = field(repr=False)


@dataclass(eq=False)
class Scorer:
    """Asks endpoints, and remembers their addresses and keys.

    Attributes
    ----------
    timeout : float
        Seconds in which a request must be answered.
    """

    client: MLClient = field(repr=False)
    timeout: float
    _session: requests.Session = field(default_factory=requests.Session, repr=False)
    _known: dict[str, _Address] = field(default_factory=dict, repr=False)

    def score(self, name: str, payload: Mapping[str, Any], *, deployment: str | None) -> Any:
        """Post rows and return the predictions; see `Target.score`.

        Too many requests, and services that are away for a moment, are tried again; a key that was renewed is asked
        for once more.

        Raises
        ------
        DeploymentError
            The model refused the rows or failed, or nothing answers in time.
        """
        body = json.dumps(payload)
        pause, renewed = FIRST_PAUSE, False
        for attempt in range(1, ATTEMPTS + 1):
            address = self._known.get(name) or self._find(name)
            try:
                answer = self._post(address, body, deployment)
            except requests.Timeout:
                raise self._too_slow(name)  # noqa: B904 (it has its cause)
            except requests.RequestException as error:
                reason = f"{type(error).__name__} at {address.url}"
            else:
                if answer.ok:
                    return predictions_in(answer)
                if answer.status_code == 401 and not renewed:
                    renewed = True
                    self._known.pop(name)
                    continue
                if answer.status_code not in _PASSING:
                    raise self._refusal(name, deployment, answer)
                reason = f"it answered {answer.status_code}: {reason_of(answer)}"
                pause = _retry_after(answer) or pause
            if attempt < ATTEMPTS:
                time.sleep(min(pause, self.timeout))
                pause *= 2
        away = DeploymentError(
            f"Endpoint {name!r} does not serve ({reason}): ask again later, or raise instance_count if it is busy."
        )
        raise _caused_by(503, away)

    def caller(self, name: str) -> Caller:
        """Return a connection as callers have it; see `Target.caller`."""
        address = self._known.get(name) or self._find(name)
        return signed_session(bearer(address.secret)), address.url

    def _post(self, address: _Address, body: str, deployment: str | None) -> requests.Response:
        headers = {"Content-Type": "application/json"}
        if deployment:
            headers["azureml-model-deployment"] = deployment
        timeout = (CONNECT_SECONDS, self.timeout + _GRACE_SECONDS)
        return self._session.post(address.url, data=body, headers=headers, auth=bearer(address.secret), timeout=timeout)

    def _find(self, name: str) -> _Address:
        endpoint = self.client.online_endpoints.get(name)
        mode = str(endpoint.auth_mode).lower()
        if mode == "aad_token":
            # By ourselves: azure-ai-ml asks for the public cloud's in all clouds.
            cloud = current_cloud()
            audience = _AUDIENCES.get(cloud.name, _PUBLIC_AUDIENCE)
            secret = credential_for(cloud).get_token(f"{audience}/.default").token
        else:
            keys = self.client.online_endpoints.get_keys(name)
            secret = str(getattr(keys, "primary_key", None) or getattr(keys, "access_token", ""))
        address = _Address(str(endpoint.scoring_uri), mode, secret)
        self._known[name] = address
        return address

    def _refusal(self, name: str, deployment: str | None, answer: requests.Response) -> DeploymentError:
        if answer.status_code == 408:
            return self._too_slow(name)
        where = f"endpoint {name!r}" + (f", deployment {deployment!r}" if deployment else "")
        # Whatever a model answers but 200 comes so; its own status stands beside.
        own = answer.headers.get("ms-azureml-model-error-statuscode", "") if answer.status_code == 424 else ""
        status = int(own) if own.isdigit() else answer.status_code
        said = explain_answer(answer, where, status=status, meanings=_MEANINGS)
        return _caused_by(500 if status == 424 else status, DeploymentError(said[:1].upper() + said[1:]))

    def _too_slow(self, name: str) -> DeploymentError:
        error = DeploymentError(
            f"Endpoint {name!r} did not answer within request_timeout {self.timeout:g} s: send fewer rows at once, or"
            " raise request_timeout and deploy again."
        )
        return _caused_by(408, error)


class _AnswerError(Exception):
    """An answer that is no success, with the status that the model gave where that of Azure is another."""

    def __init__(self, status_code: int) -> None:
        super().__init__(f"status {status_code}")
        self.status_code = status_code


def _caused_by(status: int, error: DeploymentError) -> DeploymentError:
    """Give an error the cause in which MLflow's client, which has codes for it, finds the status."""
    error.__cause__ = _AnswerError(status)
    return error


def _retry_after(answer: requests.Response) -> float:
    try:
        return max(0.0, float(answer.headers.get("Retry-After", "")))
    except ValueError:
        return 0.0
