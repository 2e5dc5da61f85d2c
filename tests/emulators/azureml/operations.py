"""Long-running operations of Azure Resource Manager: each look at one takes it a step on."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from .messages import Answer, Problem, json_answer


@dataclass
class Operation:
    """Work that goes on after its request was answered.

    ``end`` is done when it succeeds; ``problem`` is how it fails instead.
    """

    end: Callable[[], Any]
    looks_left: float
    resource_id: str = ""
    problem: Problem | None = None
    operation_id: str = field(default_factory=lambda: str(uuid.uuid4()))
    status: str = "InProgress"

    def look(self) -> None:
        if self.status != "InProgress":
            return
        self.looks_left -= 1
        if self.looks_left > 0:
            return
        if self.problem is None:
            self.end()
        self.status = "Failed" if self.problem else "Succeeded"


class Operations:
    """The operations under way, and how the next ones end.

    Attributes:
        looks: how often one is looked at until it has ended.
        retry_after: seconds that callers are told to wait between looks; None: they decide.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self.looks = 2
        self.retry_after: int | None = None
        self._running: dict[str, Operation] = {}
        self._told: list[tuple[str, Problem | None]] = []

    def fail_next(self, resource_type: str, code: str, message: str) -> None:
        """The next operation on a resource of this type is accepted, and fails later."""
        self._told.append((resource_type.lower(), Problem(409, code, message)))

    def never_end_next(self, resource_type: str) -> None:
        """The next operation on a resource of this type goes on for ever."""
        self._told.append((resource_type.lower(), None))

    def start(self, resource_type: str, resource_id: str, end: Callable[[], Any]) -> Operation:
        operation = Operation(end, self.looks, resource_id.lower())
        for told in self._told:
            if told[0] == resource_type.lower():
                self._told.remove(told)
                operation.problem = told[1]
                operation.looks_left = self.looks if told[1] else float("inf")
                break
        self._running[operation.operation_id] = operation
        return operation

    def headers(self, operation: Operation, subscription_id: str, provider: str, kind: str) -> dict[str, str]:
        """Where its end is told: ``Azure-AsyncOperation``, an address of its status, or ``Location``, of its result."""
        path = f"/subscriptions/{subscription_id}/providers/{provider}/locations/westeurope"
        place = "operationStatuses" if kind == "Azure-AsyncOperation" else "operationResults"
        wait = {} if self.retry_after is None else {"Retry-After": str(self.retry_after)}
        return {kind: f"{self.url}{path}/{place}/{operation.operation_id}?api-version=2026-01-01", **wait}

    def status(self, operation_id: str) -> Answer:
        """What an ``Azure-AsyncOperation`` address answers."""
        operation = self._find(operation_id)
        operation.look()
        told: dict[str, Any] = {"id": operation_id, "name": operation_id, "status": operation.status}
        if operation.problem and operation.status == "Failed":
            told["error"] = {"code": operation.problem.code, "message": operation.problem.message}
        return json_answer(told)

    def result(self, operation_id: str) -> Answer:
        """What a ``Location`` address answers: 202 until the end."""
        operation = self._find(operation_id)
        operation.look()
        if operation.problem and operation.status == "Failed":
            raise operation.problem
        if operation.status != "Succeeded":
            return Answer(202, headers={} if self.retry_after is None else {"Retry-After": str(self.retry_after)})
        return Answer(200)

    def look_at(self, resource_id: str) -> None:
        """A look at the resource itself, whose state tells how far its operation is."""
        for operation in self._running.values():
            if operation.resource_id == resource_id.lower():
                operation.look()

    def _find(self, operation_id: str) -> Operation:
        if operation_id not in self._running:
            raise Problem(404, "OperationNotFound", f"The operation '{operation_id}' could not be found.")
        return self._running[operation_id]
