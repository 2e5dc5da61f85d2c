"""A store for the replica alone: MLflow's own, with time limits and retries that are known in seconds."""

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

# Of the replica's own requests: nobody waits for them, and what fails is tried again later. 31 s at most.
REPLICA_REQUESTS = RetryPolicy(connect=5.0, read=10.0, retries=1, backoff=0.5)
_ROUTES = extract_api_info_for_service(MlflowService, "/api/2.0")


def replica_store(store: Any) -> Any:
    """Return a copy of a store that gives up after `REPLICA_REQUESTS`; one without requests is returned itself."""
    if not isinstance(store, RestStore):
        return store
    replica = copy.copy(store)
    if hasattr(replica, "retry_policy"):
        replica.retry_policy = REPLICA_REQUESTS
    else:
        store_class: Any = type(store)
        replica.__class__ = _replica_class(store_class)
    return replica


@cache
def _replica_class(store_class: Any) -> Any:
    class ReplicaStore(store_class):
        """The store of a MLflow server, for the replica."""

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
            response = http_request(self.get_host_creds(), path, method, **REPLICA_REQUESTS.options(), **payload)
            answer = response_proto or api.Response()
            parse_dict(verify_rest_response(response, path).json(), answer)
            return answer

    return ReplicaStore
