"""A store for the mirror alone: MLflow's own, with time limits and retries that are known in seconds."""

from __future__ import annotations

import copy
import json
from functools import cache
from typing import Any

from mlflow.protos.service_pb2 import MlflowService
from mlflow.store.tracking.rest_store import RestStore
from mlflow.utils.proto_json_utils import parse_dict
from mlflow.utils.rest_utils import extract_api_info_for_service, http_request, verify_rest_response

from adbazureml.azureml_mlflow.retry_policy import RetryPolicy

# Of the mirror's own requests: nobody waits for them, and what fails is tried again later. 31 s at most.
MIRROR = RetryPolicy(connect=5.0, read=10.0, retries=1, backoff=0.5)
_ROUTES = extract_api_info_for_service(MlflowService, "/api/2.0")


def following_store(store: Any) -> Any:
    """Return a copy of a store that gives up after `MIRROR`; one that makes no requests is returned itself."""
    if not isinstance(store, RestStore):
        return store
    following = copy.copy(store)
    if hasattr(following, "patience"):
        following.patience = MIRROR
    else:
        store_class: Any = type(store)
        following.__class__ = _following_class(store_class)
    return following


@cache
def _following_class(store_class: Any) -> Any:
    class FollowingStore(store_class):
        """The store of a MLflow server, for the mirror."""

        def _call_endpoint(
            self,
            api: Any,
            json_body: str | None = None,
            endpoint: str | None = None,
            retry_timeout_seconds: int | None = None,  # noqa: ARG002 (for Databricks' SDK only)
            response_proto: Any = None,
        ) -> Any:
            path, method = _ROUTES[api]
            path = endpoint or path
            payload = {"params" if method == "GET" else "json": json.loads(json_body) if json_body else None}
            response = http_request(self.get_host_creds(), path, method, **MIRROR.options(), **payload)
            answer = response_proto or api.Response()
            parse_dict(verify_rest_response(response, path).json(), answer)
            return answer

    return FollowingStore
