"""Long-running operations of Azure ML itself: work begins at once, and is asked for until it ends."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable
from typing import Any

from .messages import Answer, Call, Problem, json_answer
from .workspace import PROVIDER, Workspace

# How Azure ML names them in its addresses.
_STATUS, _RESULT = "mfeOperationsStatus", "mfeOperationResults"


class OnlineOperations:
    """What goes on behind the answers.

    Attributes:
        seconds: what an operation takes at least.
        hanging: operations wait for this to be set before they end.
        retry_after: seconds between two questions, as the answers ask for; Azure sends whole seconds, or nothing.
        crashes: exceptions that are the emulator's own fault; each ended an operation.
    """

    def __init__(self, workspace: Workspace) -> None:
        self.crashes: list[BaseException] = []
        self.seconds = 0.1
        self.retry_after = 0.05
        self.hanging = threading.Event()
        self.hanging.set()
        self._workspace = workspace
        self._known: dict[str, dict[str, Any]] = {}

    def start(self, work: Callable[[], None], end: Callable[[Problem | None], None]) -> dict[str, str]:
        """Do the work in a thread; ``end`` is told how it ended. The headers lead to the operation."""
        key = str(uuid.uuid4())
        told: dict[str, Any] = {"id": self._path(_STATUS, key), "name": key, "status": "InProgress"}
        self._known[key] = told

        def run() -> None:
            started = time.monotonic()
            problem = None
            try:
                work()
            except Problem as failure:
                problem = failure
            except Exception as error:
                self.crashes.append(error)
                problem = Problem(500, "InternalServerError", f"The emulator failed: {error!r}")
            time.sleep(max(0.0, started + self.seconds - time.monotonic()))
            self.hanging.wait()
            end(problem)
            if problem:
                told["error"] = {"code": problem.code, "message": problem.message, "details": []}
            told["status"] = "Failed" if problem else "Succeeded"

        threading.Thread(target=run, name="azureml-operation", daemon=True).start()
        address = f"https://{self._workspace.address}"
        query = "api-version=2022-02-01-preview"
        return {
            "Azure-AsyncOperation": f"{address}{self._path(_STATUS, key)}?{query}",
            "Location": f"{address}{self._path(_RESULT, key)}?{query}",
            "Retry-After": str(self.retry_after),
        }

    def answer(self, call: Call) -> Answer | None:
        """How far an operation is; None for a path of something else."""
        kind, _, key = call.path.removeprefix(self._folder).partition("/")
        if kind not in (_STATUS, _RESULT) or call.method != "GET":
            return None
        told = self._known.get(key)
        if told is None:
            raise Problem(404, "NotFound", f"Operation {key} was not found.")
        headers = {"Retry-After": str(self.retry_after)} if told["status"] == "InProgress" else {}
        if kind == _RESULT:
            return Answer(202 if headers else 204, headers=headers)
        return json_answer(told, headers=headers)

    def _path(self, kind: str, key: str) -> str:
        return f"{self._folder}{kind}/{key}"

    @property
    def _folder(self) -> str:
        ours = self._workspace
        return f"/subscriptions/{ours.subscription_id}/providers/{PROVIDER}/locations/{ours.location}/"
