"""Let only those in who know the key: Microsoft's inference server for Azure ML, with a door in front of it.

This file goes into an image as it is, where `adbazureml` is not installed. Azure Container Instances has no sign-in of
its own, so the container asks for the key, which it finds in ``ADBAZUREML_KEY``. Whoever asks for the health at ``/``
needs none. Each answer names the deployment that gave it, in the header that Azure ML's own endpoints use.
"""

from __future__ import annotations

import hmac
import json
import os
from collections.abc import Iterable
from typing import Any

KEY = "ADBAZUREML_KEY"
DEPLOYMENT = "ADBAZUREML_DEPLOYMENT"
ANSWERED_BY = "azureml-model-deployment"


class Guard:
    """A WSGI application that passes on to another one what comes with the key."""

    def __init__(self, application: Any, key: str, deployment: str) -> None:
        if not key:
            raise ValueError(f"{KEY} is empty: without a key the endpoint would be open to everybody.")
        self.application = application
        self.expected = f"Bearer {key}".encode()
        self.deployment = deployment

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        """Answer a request, with 401 where it has no key or another one."""

        def start(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
            return start_response(status, [*headers, (ANSWERED_BY, self.deployment)], exc_info)

        said = environ.get("HTTP_AUTHORIZATION", "").encode("utf-8", "surrogateescape")
        health = environ.get("PATH_INFO") in ("", "/") and environ.get("REQUEST_METHOD") in ("GET", "HEAD")
        if health or hmac.compare_digest(said, self.expected):
            passed: Iterable[bytes] = self.application(environ, start)
            return passed
        body = json.dumps({"message": "Send the endpoint's key in the header 'Authorization: Bearer <key>'."}).encode()
        headers = [
            ("Content-Type", "application/json"),
            ("Content-Length", str(len(body))),
            ("WWW-Authenticate", "Bearer"),
        ]
        start("401 Unauthorized", headers)
        return [body]


def application() -> Any:
    """Make what gunicorn serves."""
    from azureml_inference_server_http.server.entry import app
    from bounded_queue import bounded

    return Guard(bounded(app), os.environ.pop(KEY, ""), os.environ.get(DEPLOYMENT, ""))
