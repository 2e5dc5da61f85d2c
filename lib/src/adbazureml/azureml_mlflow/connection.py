"""How calls reach an Azure ML workspace: its address, our credential, and what is done when an answer does not come.

Microsoft's azureml-mlflow does the talking. Three things differ here: nobody is ever prompted for a sign-in, a refused
token is renewed once, and what creates something is looked up before it is sent again.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

from adbazureml.azure.azureml_refusals import explain_status
from adbazureml.azure.clouds import Cloud, cloud_of
from adbazureml.azure.credential import Credential, credential_for
from adbazureml.azure.workspace_address import WorkspaceAddress
from adbazureml.azureml_mlflow.mlflow_errors import code_of, mlflow_error
from adbazureml.azureml_mlflow.retry_policy import RetryPolicy
from adbazureml.text import redacted

if TYPE_CHECKING:
    from azureml.mlflow._internal.utils import ServiceContext
    from requests import Response

_TRANSIENT = (408, 429, 500, 502, 503, 504)
_LONGEST_WAIT = 60.0

_contexts: dict[tuple[str, str], ServiceContext] = {}
_lock = threading.Lock()

Made = TypeVar("Made")


def connect(address: WorkspaceAddress) -> ServiceContext:
    """Return the connection to a workspace, one per process; no request is made.

    Inside an Azure ML job of the same workspace the job's own token is used, elsewhere `credential_for` the cloud.
    """
    from azureml.mlflow._internal.utils import ServiceContext

    key = address.host, address.arm_id.lower()
    with _lock:
        if key not in _contexts:
            cloud = cloud_of(address.host)
            _contexts[key] = _job_context(address) or ServiceContext(
                host_url=f"https://{address.host}",
                subscription_id=address.subscription_id,
                resource_group_name=address.resource_group,
                workspace_name=address.name,
                auth=credential_for(cloud),
                cloud=_as_azureml_mlflow_has_it(cloud),
            )
        return _contexts[key]


def _as_azureml_mlflow_has_it(cloud: Cloud) -> Any:
    """Describe a cloud for a connection: looked up by its name, it would be asked for where networks may be closed."""
    from azureml.mlflow._common._cloud import cloud as theirs

    return theirs.Cloud(
        cloud.name,
        endpoints=theirs.CloudEndpoints(
            resource_manager=cloud.resource_manager, active_directory=cloud.active_directory, portal=cloud.portal
        ),
        suffixes=theirs.CloudSuffixes(storage_endpoint=cloud.storage_suffix),
    )


def _job_context(address: WorkspaceAddress) -> ServiceContext | None:
    if "AZUREML_RUN_ID" not in os.environ or "MLFLOW_TRACKING_TOKEN" not in os.environ:
        return None
    if os.environ.get("AZUREML_ARM_WORKSPACE_NAME", "").lower() != address.name.lower():
        return None
    from azureml.mlflow._internal import utils

    uri = os.environ.get("MLFLOW_TRACKING_URI", "")
    return utils.get_service_context_from_tracking_url_mlflow_env_vars(urlsplit(uri)) if uri else None


def renew(context: ServiceContext) -> None:
    """Forget the tokens of a connection, after the service refused one."""
    if isinstance(context.auth, Credential):
        context.auth.renew()


class LostAnswerError(Exception):
    """A request failed in a way that leaves open whether the service carried it out."""

    def __init__(self, message: str, wait: float | None = None):
        super().__init__(message)
        self.wait = wait


class AzureMLRequests:
    """Sends MLflow's REST requests; the tracking store and the registry of Azure ML are both built on it."""

    service_context: ServiceContext
    get_host_creds: Callable[[], Any]
    # None: MLflow's own time limits and retries.
    retry_policy: RetryPolicy | None = None

    def send(self, endpoint: str, method: str, json_body: str | None, answer: Any, *, once: bool = False) -> Any:
        """Send a request, and again with a new token when the service answers 401.

        Parameters
        ----------
        answer : protobuf message
            Takes the answer, and is returned.
        once : bool
            Leave retries to the caller: a transient failure raises `LostAnswerError` at once. Otherwise MLflow's own
            retries apply (``MLFLOW_HTTP_REQUEST_MAX_RETRIES``).
        """
        from mlflow.utils.proto_json_utils import parse_dict
        from mlflow.utils.rest_utils import verify_rest_response

        payload = {"params" if method == "GET" else "json": json.loads(json_body) if json_body else None}
        response = self._respond(endpoint, method, payload, once=once)
        if response.status_code == 401:
            renew(self.service_context)
            response = self._respond(endpoint, method, payload, once=once)
        if response.status_code in (401, 403):
            what = f"Azure ML workspace {self.service_context.workspace_name!r}"
            raise mlflow_error(explain_status(response.status_code, what) or "", "PERMISSION_DENIED")
        if response.status_code != 200:
            _raise_as_mlflow(response, endpoint)
        parse_dict(verify_rest_response(response, endpoint).json(), answer)
        return answer

    def _respond(self, endpoint: str, method: str, payload: dict[str, Any], *, once: bool) -> Response:
        from mlflow.exceptions import MlflowException
        from mlflow.utils.rest_utils import http_request

        limits = self.retry_policy.options() if self.retry_policy else {}
        if not once:
            return http_request(self.get_host_creds(), endpoint, method, **limits, **payload)
        host = self.get_host_creds()
        limits["max_retries"] = 0
        try:
            response = http_request(host, endpoint, method, raise_on_status=False, **limits, **payload)
        except MlflowException as error:
            raise LostAnswerError(redacted(error.message)) from error
        if response.status_code in _TRANSIENT:
            after = response.headers.get("Retry-After", "")
            raise LostAnswerError(
                f"Azure ML answered {response.status_code} to {endpoint}.", float(after) if after.isdigit() else None
            )
        return response


def _raise_as_mlflow(response: Response, endpoint: str) -> None:
    """Raise what the service said, where it says it: under ``Error``, which MLflow does not read."""
    from mlflow.exceptions import ERROR_CODE_TO_HTTP_STATUS, RestException

    if response.status_code == 404 and not response.content:
        asked = endpoint.rpartition("/mlflow/")[2]
        message = f"Azure ML has no {asked!r}: its service speaks a part of MLflow 2's API."
        raise RestException({"error_code": "ENDPOINT_NOT_FOUND", "message": message})
    try:
        said = response.json()
        message = said["Error"]["Message"]
    except (ValueError, KeyError, TypeError):
        return
    code = said.get("error_code")
    # A code that MLflow has no status for would make an outage of any refusal.
    code = code if code in ERROR_CODE_TO_HTTP_STATUS else code_of(response.status_code)
    raise RestException({"error_code": code, "message": redacted(message)})


def create_once(
    create: Callable[[], Made], find: Callable[[], Made | None], retry_policy: RetryPolicy | None = None
) -> Made:
    """Create something that must not come into being twice, though answers may be lost.

    Parameters
    ----------
    create : callable
        Sends the request once; raises `LostAnswerError` when it is not known whether the service carried it out.
    find : callable
        Looks for what an earlier attempt made.
    retry_policy : RetryPolicy, optional
        How often to try; as MLflow does when left out.

    Raises
    ------
    mlflow.exceptions.MlflowException
        As many attempts failed as MLflow makes retries (``MLFLOW_HTTP_REQUEST_MAX_RETRIES``).
    """
    from mlflow.environment_variables import MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR, MLFLOW_HTTP_REQUEST_MAX_RETRIES

    retries = retry_policy.tries - 1 if retry_policy else MLFLOW_HTTP_REQUEST_MAX_RETRIES.get()
    for attempt in range(retries + 1):
        try:
            return create()
        except LostAnswerError as error:
            if attempt == retries:
                raise mlflow_error(
                    f"Azure ML did not answer after {retries + 1} attempts: {error}", "TEMPORARILY_UNAVAILABLE"
                ) from error
            if retry_policy:
                backoff = retry_policy.pause
            elif error.wait is None:
                backoff = MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR.get() * 2**attempt / 2
            else:
                backoff = error.wait
            time.sleep(min(backoff, _LONGEST_WAIT))
        if (made := find()) is not None:
            return made
    raise AssertionError("unreachable")
