"""The data plane of online endpoints: who may ask, which deployment answers, and how its refusals come back."""

from __future__ import annotations

import random
import re
import time
import uuid

from .identity import ENDPOINTS, Identity
from .live_metrics import LiveMetrics
from .messages import Answer, Call, Problem, Service, json_answer
from .online import Deployment, Endpoint, OnlineEndpoints

ROUTES = (
    r"/(?:api/v1/endpoint/(?P<kubernetes>[^/]+)|(?P<managed>[^/.]+)\.[^/]+\.inference)/(?P<verb>score|swagger\.json)"
)
_ROUTE = re.compile(ROUTES)


class Inference(Service):
    """Takes requests to score, and lets the containers answer them."""

    name = "inference"

    def __init__(self, identity: Identity, online: OnlineEndpoints, metrics: LiveMetrics) -> None:
        self._identity = identity
        self._online = online
        self._metrics = metrics

    def answer(self, call: Call) -> Answer:
        match = _ROUTE.fullmatch(call.path)
        endpoint = self._online.endpoints.get((match["kubernetes"] or match["managed"]) if match else "")
        if match is None or endpoint is None:
            raise Problem(404, "NotFound", "There is no such endpoint.")
        self._check(endpoint, call)
        deployment = self._choose(endpoint, call.headers.get("azureml-model-deployment"))
        began, status = time.monotonic(), 500
        try:
            answer = self._pass_on(deployment, match["verb"], call)
            status = answer.status
        except Problem as problem:
            status = problem.status
            raise
        finally:
            self._metrics.count(endpoint.name, deployment.name, status, time.monotonic() - began)
        return answer

    def refusal(self, problem: Problem) -> Answer:
        return json_answer(
            {"error": {"code": problem.code, "message": problem.message}}, problem.status, problem.headers
        )

    def _check(self, endpoint: Endpoint, call: Call) -> None:
        mode = endpoint.properties["authMode"]
        if mode == "AADToken":
            self._identity.check(call.headers, ENDPOINTS)
            return
        shown = call.headers.get("Authorization", "").removeprefix("Bearer ")
        if shown not in ((endpoint.token,) if mode == "AMLToken" else endpoint.keys):
            raise Problem(401, "Unauthorized", "The key or token is wrong.", {"WWW-Authenticate": "Bearer"})

    def _choose(self, endpoint: Endpoint, asked: str | None) -> Deployment:
        ready = {name: one for name, one in endpoint.deployments.items() if one.container}
        if asked:
            if asked not in ready:
                raise Problem(404, "NotFound", f"There is no deployment {asked}.")
            return ready[asked]
        traffic = {name: share for name, share in endpoint.traffic.items() if share and name in ready}
        if not traffic:
            raise Problem(404, "NotFound", "The endpoint has no valid deployment with positive weight.")
        return ready[random.choices(list(traffic), list(traffic.values()))[0]]

    def _pass_on(self, deployment: Deployment, verb: str, call: Call) -> Answer:
        assert deployment.container is not None
        passed = ("Content-Type", "Accept", "x-ms-client-request-id")
        headers = {name: call.headers[name] for name in passed if name in call.headers}
        told = {"azureml-model-deployment": deployment.name, "x-ms-request-id": str(uuid.uuid4())}
        try:
            reply = deployment.container.ask(call.method, f"/{verb}", call.content, headers, timeout=deployment.timeout)
        except TimeoutError:
            raise Problem(408, "RequestTimeout", "The model took longer than request_timeout_ms.", told) from None
        except OSError as error:
            raise Problem(502, "BadGateway", f"The model does not answer: {error}", told) from error
        told["Content-Type"] = reply.content_type
        if reply.status == 200:
            return Answer(200, reply.content, told)
        # Whatever a container refuses, Azure answers by this status, and says the container's own beside it.
        told["ms-azureml-model-error-statuscode"] = str(reply.status)
        told["ms-azureml-model-error-reason"] = "model_error"
        return Answer(424, reply.content, told, "Failed Dependency")
