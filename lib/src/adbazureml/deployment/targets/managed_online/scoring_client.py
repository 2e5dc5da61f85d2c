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
from adbazureml.errors import DeploymentError

if TYPE_CHECKING:
    from azure.ai.ml import MLClient

CONNECT_SECONDS, ATTEMPTS, FIRST_PAUSE = 10.0, 5, 0.5
# Azure answers late itself when the model does.
_GRACE_SECONDS = 10
_LONGEST_REASON = 400
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
                raise DeploymentError(self._too_slow(name)) from None
            except requests.RequestException as error:
                reason = f"{type(error).__name__} at {address.url}"
            else:
                if answer.ok:
                    content = answer.json()
                    return content["predictions"] if isinstance(content, dict) and "predictions" in content else content
                if answer.status_code == 401 and not renewed:
                    renewed = True
                    self._known.pop(name)
                    continue
                if answer.status_code not in _PASSING:
                    raise DeploymentError(self._refusal(name, deployment, answer))
                reason = f"it answered {answer.status_code}: {_said(answer)}"
                pause = _retry_after(answer) or pause
            if attempt < ATTEMPTS:
                time.sleep(min(pause, self.timeout))
                pause *= 2
        raise DeploymentError(
            f"Endpoint {name!r} does not serve ({reason}): ask again later, or raise instance_count if it is busy."
        )

    def _post(self, address: _Address, body: str, deployment: str | None) -> requests.Response:
        headers = {"Content-Type": "application/json"}
        if deployment:
            headers["azureml-model-deployment"] = deployment
        timeout = (CONNECT_SECONDS, self.timeout + _GRACE_SECONDS)

        def sign(request: requests.PreparedRequest) -> requests.PreparedRequest:
            # Not as a header of the call: requests would replace it by what ~/.netrc says of the host.
            request.headers["Authorization"] = f"Bearer {address.secret}"
            return request

        return self._session.post(address.url, data=body, headers=headers, auth=sign, timeout=timeout)

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

    def _refusal(self, name: str, deployment: str | None, answer: requests.Response) -> str:
        status = answer.status_code
        where = f"endpoint {name!r}" + (f", deployment {deployment!r}" if deployment else "")
        if status == 424:
            # Whatever a model answers but 200 comes so; its own status stands beside.
            own = answer.headers.get("ms-azureml-model-error-statuscode", "")
            if own.startswith("4"):
                return f"The model refused the rows: {_said(answer)}"
            return f"The model behind {where} failed ({own or status}): {_said(answer)}; logs() tells more."
        if status == 408:
            return self._too_slow(name)
        if status == 404:
            return f"No deployment of {where} takes requests: deploy a model there, or give one traffic."
        if status in (401, 403):
            return f"{where[:1].upper()}{where[1:]} does not accept this identity's key or token ({status})."
        return f"{where[:1].upper()}{where[1:]} answered {status}: {_said(answer)}"

    def _too_slow(self, name: str) -> str:
        return (
            f"Endpoint {name!r} did not answer within request_timeout {self.timeout:g} s: send fewer rows at once, or"
            " raise request_timeout and deploy again."
        )


def _said(answer: requests.Response) -> str:
    try:
        content = answer.json()
        error = content.get("error", content)
        said = str(error["message"] if isinstance(error, dict) else error)
    except (ValueError, KeyError, AttributeError):
        said = answer.text or answer.reason
    said = " ".join(said.split())
    return said if len(said) <= _LONGEST_REASON else f"{said[:_LONGEST_REASON]}…"


def _retry_after(answer: requests.Response) -> float:
    try:
        return max(0.0, float(answer.headers.get("Retry-After", "")))
    except ValueError:
        return 0.0
