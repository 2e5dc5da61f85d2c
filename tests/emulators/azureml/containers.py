"""What a deployment runs: its image is built from its environment, and the inference server started in it."""

from __future__ import annotations

import http.client
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.emulators.inference_server import InferenceServer

from adbazureml.errors import DeploymentError

from .messages import Problem

_GUIDE = "Please see troubleshooting guide, available here: https://aka.ms/oe-tsg"


@dataclass(frozen=True)
class Reply:
    """What the container answered."""

    status: int
    content: bytes
    content_type: str


class Container:
    """The inference server on loopback, in an environment that has what a conda file lists.

    Raises `Problem` when the environment cannot be installed.
    """

    def __init__(self, conda: str, script: Path, model: Path, environment: Mapping[str, str]) -> None:
        file = script.parent.parent / "conda.yaml"
        file.write_text(conda)
        # One worker, however many are asked for: each takes seconds to start.
        asked = {**environment, "WORKER_COUNT": "1"}
        try:
            self._server = InferenceServer(
                script=script, model=model, requirements=file, environment=asked, loaded=True
            )
        except DeploymentError as error:
            message = f"Image build failed: Pip subprocess error: {error}. {_GUIDE}#error-imagebuildfailure"
            raise Problem(400, "ImageBuildFailure", message) from error

    def wait(self, seconds: float) -> None:
        """Raises `Problem` unless it becomes healthy in time."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if self._server.died:
                reason = f"exit code {self._server.process.returncode}"
                break
            if self._server.is_healthy():
                return
            time.sleep(0.05)
        else:
            reason = "Liveness probe failed: HTTP probe failed with statuscode: 502"
        message = f"ResourceNotReady: User container has crashed or terminated: {reason}."
        raise Problem(400, "ResourceNotReady", f"{message} {_GUIDE}#error-resourcenotready")

    def ask(self, method: str, path: str, content: bytes, headers: Mapping[str, str], *, timeout: float) -> Reply:
        """What it answers; raises `OSError`."""
        connection = http.client.HTTPConnection("127.0.0.1", self._server.port, timeout=timeout)
        try:
            connection.request(method, path, content or None, dict(headers))
            answer = connection.getresponse()
            return Reply(answer.status, answer.read(), answer.headers.get("Content-Type", ""))
        except http.client.HTTPException as error:
            raise ConnectionError(str(error)) from error
        finally:
            connection.close()

    def log(self, lines: int) -> str:
        """The end of what it printed."""
        return "\n".join(self._server.log().splitlines()[-lines:])

    def stop(self) -> None:
        """Stop it, and the worker process that it started, whatever they are busy with."""
        if not self._server.died:
            os.killpg(self._server.process.pid, 9)
        self._server.stop()
