"""Monitoring schedules by Azure Resource Manager, and the data assets that they compare."""

from __future__ import annotations

import re
from typing import Any

from .messages import Answer, Call, Problem, json_answer
from .online_operations import OnlineOperations
from .workspace import Workspace

_DATA = re.compile(r"/data/(?P<name>[^/]+)/versions/(?P<version>[^/]+)")
_SCHEDULE = re.compile(r"/schedules/(?P<name>[^/]+)")
_TYPES = ("uri_file", "uri_folder", "mltable")


class Monitors:
    """Schedules and data assets of the workspace.

    Attributes:
        data: the properties of each data asset, by name and version.
        schedules: the properties of each schedule, by name.
        failure: a message with which the next schedule ends.
    """

    def __init__(self, workspace: Workspace, operations: OnlineOperations) -> None:
        self.data: dict[tuple[str, str], dict[str, Any]] = {}
        self.schedules: dict[str, dict[str, Any]] = {}
        self.failure = ""
        self._workspace = workspace
        self._operations = operations

    def answer(self, call: Call, rest: str) -> Answer | None:
        """The answer to a call for a schedule or a data asset; None for any other."""
        if match := _DATA.fullmatch(rest):
            return self._data(call, match["name"], match["version"])
        if match := _SCHEDULE.fullmatch(rest):
            return self._schedule(call, match["name"])
        return None

    def _data(self, call: Call, name: str, version: str) -> Answer:
        if call.method == "PUT":
            properties = call.body["properties"]
            if properties.get("dataType") not in _TYPES or not properties.get("dataUri"):
                raise Problem(400, "UserError", "A data version needs dataType and dataUri.")
            if (name, version) in self.data:
                raise Problem(409, "UserError", f"A data version with name {name} and version {version} exists.")
            self.data[name, version] = properties
        elif (name, version) not in self.data:
            raise Problem(404, "UserError", f"Data version {name}:{version} (dataContainerName:version) not found.")
        path = f"{self._workspace.scope}/data/{name}/versions/{version}"
        return json_answer({"id": path, "name": version, "properties": self.data[name, version]})

    def _schedule(self, call: Call, name: str) -> Answer:
        if call.method == "GET":
            if name not in self.schedules:
                raise Problem(404, "UserError", f"Schedule {name} not found.")
            return json_answer(self._shown(name, self.schedules[name]))
        if call.method != "PUT":
            raise Problem(405, "MethodNotAllowed", f"{call.method} is not allowed at {call.path}.")
        properties = call.body["properties"]
        self._check(properties["action"]["monitorDefinition"])

        def work() -> None:
            if self.failure:
                raise Problem(400, "UserError", self.failure)

        def end(problem: Problem | None) -> None:
            if problem is None:
                self.schedules[name] = {**properties, "provisioningState": "Succeeded"}

        headers = self._operations.start(work, end)
        return json_answer(self._shown(name, {**properties, "provisioningState": "Creating"}), 201, headers)

    def _check(self, definition: dict[str, Any]) -> None:
        """As the service does: a reference and thresholds for each signal, and data that is there."""
        for name, signal in definition["signals"].items():
            if not signal.get("metricThresholds"):
                raise Problem(400, "UserError", f"Signal {name} has no metric thresholds.")
            for side in ("productionData", "referenceData"):
                uri = signal[side]["uri"]
                found = _DATA.search(uri)
                if found is None or (found["name"], found["version"]) not in self.data:
                    raise Problem(400, "UserError", f"Signal {name}: {side} {uri} was not found.")

    def _shown(self, name: str, properties: dict[str, Any]) -> dict[str, Any]:
        kind = "Microsoft.MachineLearningServices/workspaces/schedules"
        return {"id": f"{self._workspace.scope}/schedules/{name}", "name": name, "type": kind, "properties": properties}
