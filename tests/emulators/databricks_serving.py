"""Databricks Model Serving: endpoints, what they serve, their traffic; each version runs in MLflow's own server."""

from __future__ import annotations

import copy
import http.client
import itertools
import json
import math
import random
import re
import socket
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from mlflow.pyfunc.scoring_server import get_cmd
from tests.emulators import loaded_processes
from tests.emulators.azureml.messages import Answer
from tests.emulators.databricks import Routes, refused

_ENDPOINTS = "/api/2.0/serving-endpoints"
_ONE = rf"{_ENDPOINTS}/(?P<name>[^/]+)"
_ENTITY = r"/served-models/(?P<entity>[^/]+)"
_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9])?")
_MOST_ENTITIES = 10
_START_S = 300
_MINUTE_MS = 60_000
# Upper bounds of the exported histogram, in milliseconds.
_BOUNDS = (5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10000, 60000, 600000, math.inf)

Config = dict[str, Any]


@dataclass(frozen=True)
class Version:
    """A registered model version that can be served.

    Attributes:
        folder: the model's files; None for a version that is registered and can't be read.
        signature: whether it has one.
        ready: whether it is registered to its end.
    """

    folder: Path | None
    signature: bool = True
    ready: bool = True


@dataclass
class ServingEndpoint:
    """An endpoint: the configuration in force, and the one that is on its way."""

    name: str
    tags: dict[str, str]
    config: Config = field(default_factory=dict)
    pending: Config | None = None
    update: str = "IN_PROGRESS"
    versions: int = 0
    states: dict[str, tuple[str, str]] = field(default_factory=dict)
    log: list[str] = field(default_factory=list)
    started: set[str] = field(default_factory=set)


class Serving:
    """The service, to be plugged in to a workspace.

    >>> databricks.add(serving.routes())

    Attributes:
        versions: what is registered, by name and version.
        forbidden: endpoint names that the caller has no CAN_MANAGE on; "*" for permission to create.
        build_failures: what the image builds of these model names and versions end with.
        most_entities: how many may be served at once in the whole workspace.
        hanging: updates wait for this to be set.
        seconds: how long an update takes at least.
        delay: how long a query takes at least, in seconds.
        queries: endpoint, entity of every query that was answered.
        answered: minute, entity, status and milliseconds of each query to an endpoint, as the export counts them.
    """

    def __init__(self, folder: Path) -> None:
        self.versions: dict[tuple[str, str], Version] = {}
        self.hanging = threading.Event()
        self.endpoints: dict[str, ServingEndpoint] = {}
        self._servers = _Servers(folder)
        self._lock = threading.RLock()
        self.reset()

    def close(self) -> None:
        self.endpoints.clear()
        self._servers.close()

    def routes(self) -> Routes:
        """What the service answers, to be plugged in to a workspace."""
        query = r"/serving-endpoints/(?P<name>[^/]+)"
        return {
            ("GET", _ENDPOINTS): lambda _: self._list(),
            ("POST", _ENDPOINTS): self._create,
            ("GET", _ONE): lambda asked: self._described(self._find(asked["name"])),
            ("DELETE", _ONE): lambda asked: self._delete(self._managed(asked["name"])),
            ("PUT", rf"{_ONE}/config"): lambda asked: self._update(self._managed(asked["name"]), asked),
            ("PATCH", rf"{_ONE}/tags"): lambda asked: self._tag(self._managed(asked["name"]), asked),
            ("GET", rf"{_ONE}/metrics"): lambda asked: self._metrics(self._find(asked["name"])),
            ("GET", rf"{_ONE}{_ENTITY}/logs"): lambda asked: self._logs(self._find(asked["name"]), asked["entity"]),
            ("GET", rf"{_ONE}{_ENTITY}/build-logs"): lambda asked: self._build_logs(
                self._find(asked["name"]), asked["entity"]
            ),
            ("POST", rf"{query}/invocations"): lambda asked: self._query(asked.pop("name"), None, asked),
            ("POST", rf"{query}{_ENTITY}/invocations"): lambda asked: self._query(
                asked.pop("name"), asked.pop("entity"), asked
            ),
        }

    def reset(self) -> None:
        """Delete all endpoints and refuse nothing any more; versions and their servers stay."""
        self.endpoints.clear()
        self.forbidden: set[str] = set()
        self.build_failures: dict[tuple[str, str], str] = {}
        self.most_entities = 20
        self.seconds = 0.05
        self.delay = 0.0
        self.queries: list[tuple[str, str]] = []
        self.answered: dict[str, list[tuple[int, str, int, float]]] = {}
        self.hanging.set()

    def _list(self) -> dict[str, Any]:
        return {"endpoints": [self._described(endpoint) for endpoint in self.endpoints.values()]}

    def _create(self, asked: dict[str, Any]) -> dict[str, Any]:
        name = asked.get("name") or ""
        if not _NAME.fullmatch(name):
            raise refused(400, "INVALID_PARAMETER_VALUE", f"Endpoint name '{name}' is not valid.")
        self._check_permission("*")
        with self._lock:
            if name in self.endpoints:
                raise refused(409, "RESOURCE_ALREADY_EXISTS", f"Endpoint with name '{name}' already exists.")
            tags = {tag["key"]: tag.get("value", "") for tag in asked.get("tags") or ()}
            endpoint = ServingEndpoint(name, tags)
            self._accept(endpoint, asked["config"])
            self.endpoints[name] = endpoint
            return self._described(endpoint)

    def _update(self, endpoint: ServingEndpoint, asked: Config) -> dict[str, Any]:
        if endpoint.update == "IN_PROGRESS":
            message = f"Endpoint '{endpoint.name}' is currently being updated. Wait until the update has finished."
            raise refused(409, "RESOURCE_CONFLICT", message)
        self._accept(endpoint, asked)
        return self._described(endpoint)

    def _accept(self, endpoint: ServingEndpoint, asked: Config) -> None:
        config = copy.deepcopy(asked)
        entities = config.get("served_entities") or []
        for entity in entities:
            self._check_entity(entity)
        names = [entity["name"] for entity in entities]
        if not entities or len(names) != len(set(names)):
            raise refused(400, "INVALID_PARAMETER_VALUE", "Served entity names must be unique, and at least one.")
        if len(entities) > _MOST_ENTITIES:
            message = f"A serving endpoint can have at most {_MOST_ENTITIES} served entities."
            raise refused(400, "INVALID_PARAMETER_VALUE", message)
        served = sum(
            len(one.config.get("served_entities", ())) for one in self.endpoints.values() if one is not endpoint
        )
        if served + len(entities) > self.most_entities:
            message = f"The workspace has reached its quota of {self.most_entities} served entities."
            raise refused(400, "QUOTA_EXCEEDED", message)
        routes = (config.get("traffic_config") or {}).get("routes")
        if routes is None:
            share = 100 // len(names)
            routes = [{"served_model_name": name, "traffic_percentage": share} for name in names]
            routes[0]["traffic_percentage"] += 100 - share * len(names)
        total = sum(route["traffic_percentage"] for route in routes)
        if {_entity_of(route) for route in routes} != set(names) or total != 100:
            message = f"The traffic of all served entities must sum up to 100, and is {total}."
            raise refused(400, "INVALID_PARAMETER_VALUE", message)
        config["traffic_config"] = {
            "routes": [
                {**route, "served_model_name": _entity_of(route), "served_entity_name": _entity_of(route)}
                for route in routes
            ]
        }
        endpoint.versions += 1
        config["config_version"] = endpoint.versions
        endpoint.pending, endpoint.update = config, "IN_PROGRESS"
        threading.Thread(target=self._work, args=(endpoint, config), daemon=True).start()

    def _check_entity(self, entity: dict[str, Any]) -> None:
        name, version = entity.get("entity_name") or "", entity.get("entity_version") or ""
        entity.setdefault("name", f"{name.rpartition('.')[2]}-{version}")
        known = self.versions.get((name, version))
        if known is None:
            message = f"RegisteredModelVersion '{name}' version {version} does not exist or is not accessible."
            raise refused(404, "RESOURCE_DOES_NOT_EXIST", message)
        if not _NAME.fullmatch(entity["name"]):
            raise refused(400, "INVALID_PARAMETER_VALUE", f"Served entity name '{entity['name']}' is not valid.")
        if not entity.get("workload_size"):
            raise refused(400, "INVALID_PARAMETER_VALUE", "Either workload_size or concurrency must be given.")

    def _work(self, endpoint: ServingEndpoint, config: Config) -> None:
        """Bring a configuration up; the earlier one serves until all of the new one is ready, and if it fails."""
        failed = False
        for entity in config["served_entities"]:
            if endpoint.states.get(entity["name"], ("",))[0] != "DEPLOYMENT_READY":
                endpoint.states[entity["name"]] = ("DEPLOYMENT_CREATING", "Creating resources for served entity.")
        self.hanging.wait()
        time.sleep(self.seconds)
        for entity in config["served_entities"]:
            if endpoint.states[entity["name"]][0] == "DEPLOYMENT_READY":
                continue
            problem = self._start(endpoint, entity)
            failed = failed or bool(problem)
            state = "DEPLOYMENT_FAILED" if problem else "DEPLOYMENT_READY"
            endpoint.states[entity["name"]] = (state, problem)
        with self._lock:
            if failed:
                endpoint.update = "UPDATE_FAILED"
            else:
                endpoint.config, endpoint.pending, endpoint.update = config, None, "NOT_UPDATING"

    def _start(self, endpoint: ServingEndpoint, entity: dict[str, Any]) -> str:
        """Start the server of a version; what went wrong, or nothing."""
        key = (entity["entity_name"], entity["entity_version"])
        endpoint.log.append(f"Building container image for {key[0]} version {key[1]}")
        if key in self.build_failures:
            endpoint.log.append(self.build_failures[key])
            return "Container image creation failed. Please see build logs for more information."
        folder = self.versions[key].folder
        if folder is None:
            return "Failed to download model artifacts. Please check that the model's creator can read them."
        server = self._servers.start(folder)
        endpoint.started.add(entity["name"])
        if server.wait_until_healthy(_START_S):
            return ""
        return "The container exited unexpectedly. Please see service logs for more information."

    def _query(self, name: str, entity: str | None, asked: dict[str, Any]) -> dict[str, Any]:
        endpoint = self._find(name)
        if not endpoint.config:
            raise refused(400, "BAD_REQUEST", f"Endpoint '{name}' is not ready to receive traffic.")
        routes = {
            _entity_of(route): route["traffic_percentage"] for route in endpoint.config["traffic_config"]["routes"]
        }
        if entity is None:
            [entity] = random.choices(list(routes), weights=list(routes.values()))
        if entity not in routes:
            raise refused(404, "RESOURCE_DOES_NOT_EXIST", f"Served model '{entity}' does not exist.")
        [served] = [one for one in endpoint.config["served_entities"] if one["name"] == entity]
        folder = self.versions[served["entity_name"], served["entity_version"]].folder
        assert folder
        began = time.time()
        time.sleep(self.delay)
        status, said = self._servers.start(folder).ask(asked)
        self.queries.append((name, entity))
        took = (time.time() - began) * 1000
        minute = int(began * 1000) // _MINUTE_MS * _MINUTE_MS
        self.answered.setdefault(name, []).append((minute, entity, status, took))
        if status != 200:
            message = said.get("message") or str(said)
            raise refused(400, "BAD_REQUEST", message)
        return said

    def _metrics(self, endpoint: ServingEndpoint) -> Answer:
        """What Prometheus is told of each minute, as no test waits for its end; Databricks tells of the last one."""
        answered = self.answered.get(endpoint.name, [])
        minutes = {one[0] for one in answered} or {int(time.time() * 1000) // _MINUTE_MS * _MINUTE_MS}
        lines = ["# TYPE request_count_total gauge"]
        for minute, entity in itertools.product(sorted(minutes), endpoint.config.get("served_entities", ())):
            mine = [one[2:] for one in answered if one[:2] == (minute, entity["name"])]
            labels = f'endpoint_name="{endpoint.name}",served_entity_name="{entity["name"]}"'
            counts = {
                "request_count_total": len(mine),
                "request_4xx_count_total": sum(400 <= status < 500 for status, _ in mine),
                "request_5xx_count_total": sum(status >= 500 for status, _ in mine),
            }
            lines += [f"{name}{{{labels}}} {float(count)} {minute}" for name, count in counts.items()]
            for bound in _BOUNDS:
                le = "+Inf" if bound == math.inf else f"{bound:g}"
                count = sum(took <= bound for _, took in mine)
                lines.append(f'request_latency_ms_bucket{{{labels},le="{le}"}} {float(count)} {minute}')
        return Answer(content="\n".join([*lines, "# EOF", ""]).encode(), headers={"Content-Type": "text/plain"})

    def _delete(self, endpoint: ServingEndpoint) -> dict[str, Any]:
        del self.endpoints[endpoint.name]
        return {}

    def _tag(self, endpoint: ServingEndpoint, asked: dict[str, Any]) -> dict[str, Any]:
        for key in asked.get("delete_tags") or ():
            endpoint.tags.pop(key, None)
        endpoint.tags.update({tag["key"]: tag.get("value", "") for tag in asked.get("add_tags") or ()})
        return {"tags": _tags(endpoint)}

    def _logs(self, endpoint: ServingEndpoint, entity: str) -> dict[str, Any]:
        served = self._entity(endpoint, entity)
        folder = self.versions[served["entity_name"], served["entity_version"]].folder
        return {"logs": self._servers.printed(folder) if entity in endpoint.started else ""}

    def _build_logs(self, endpoint: ServingEndpoint, entity: str) -> dict[str, Any]:
        self._entity(endpoint, entity)
        return {"logs": "\n".join(endpoint.log)}

    def _entity(self, endpoint: ServingEndpoint, name: str) -> dict[str, Any]:
        for config in filter(None, (endpoint.pending, endpoint.config)):
            for entity in config.get("served_entities", ()):
                if entity["name"] == name:
                    return entity
        raise refused(404, "RESOURCE_DOES_NOT_EXIST", f"Served model '{name}' does not exist.")

    def _managed(self, name: str) -> ServingEndpoint:
        endpoint = self._find(name)
        self._check_permission(name)
        return endpoint

    def _find(self, name: str) -> ServingEndpoint:
        endpoint = self.endpoints.get(name)
        if endpoint is None:
            raise refused(404, "RESOURCE_DOES_NOT_EXIST", f"Endpoint with name '{name}' does not exist.")
        return endpoint

    def _check_permission(self, name: str) -> None:
        if name in self.forbidden:
            what = "create serving endpoints" if name == "*" else f"manage serving endpoint '{name}'"
            raise refused(403, "PERMISSION_DENIED", f"User does not have permission to {what}.")

    def _described(self, endpoint: ServingEndpoint) -> dict[str, Any]:
        ready = bool(endpoint.config)
        described = {
            "name": endpoint.name,
            "id": f"{abs(hash(endpoint.name)):032x}",
            "creator": "someone@example.com",
            "creation_timestamp": 1700000000000,
            "last_updated_timestamp": 1700000000000,
            "state": {"ready": "READY" if ready else "NOT_READY", "config_update": endpoint.update},
            "tags": _tags(endpoint),
            "permission_level": "CAN_VIEW" if endpoint.name in self.forbidden else "CAN_MANAGE",
        }
        for key, config in (("config", endpoint.config), ("pending_config", endpoint.pending)):
            if config:
                described[key] = self._with_states(endpoint, config)
        return described

    @staticmethod
    def _with_states(endpoint: ServingEndpoint, config: Config) -> Config:
        shown = copy.deepcopy(config)
        for entity in shown["served_entities"]:
            state, message = endpoint.states.get(entity["name"], ("DEPLOYMENT_CREATING", ""))
            entity["state"] = {"deployment": state, "deployment_state_message": message}
            entity["creator"] = "someone@example.com"
        return shown


@dataclass
class _Server:
    """MLflow's scoring server of one model."""

    process: BaseProcess
    port: int
    log: Path

    def wait_until_healthy(self, seconds: float) -> bool:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and self.process.is_alive():
            try:
                status, _ = self._ask("GET", "/ping", None)
            except OSError:
                time.sleep(0.1)
                continue
            return status == 200
        return False

    def ask(self, asked: Mapping[str, Any]) -> tuple[int, dict[str, Any]]:
        return self._ask("POST", "/invocations", asked)

    def _ask(self, method: str, path: str, asked: Mapping[str, Any] | None) -> tuple[int, dict[str, Any]]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            body = None if asked is None else json.dumps(asked)
            connection.request(method, path, body, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            content = answer.read()
        finally:
            connection.close()
        return answer.status, json.loads(content) if method == "POST" else {}


class _Servers:
    """One server a model: starting one takes seconds, and the same model answers the same everywhere."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._servers: dict[Path, _Server] = {}
        self._lock = threading.Lock()

    def start(self, model: Path) -> _Server:
        with self._lock:
            server = self._servers.get(model)
            if server is None or not server.process.is_alive():
                server = self._servers[model] = self._new(model)
            return server

    def printed(self, model: Path | None) -> str:
        server = self._servers.get(model) if model else None
        return server.log.read_text(errors="replace") if server else ""

    def close(self) -> None:
        for server in self._servers.values():
            server.process.kill()
            server.process.join()

    def _new(self, model: Path) -> _Server:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        # What ``mlflow models serve`` runs, and with which variables.
        command, environment = get_cmd(str(model), port=port, host="127.0.0.1")
        cleared = {name: value for name, value in environment.items() if not name.startswith(("DATABRICKS_", "AZURE"))}
        cleared |= {"MLFLOW_TRACKING_URI": str(self._folder / "mlruns")}
        log = self._folder / f"{port}.log"
        process = loaded_processes.serve(
            command.split()[-1], port=port, folder=self._folder, log=log, environment=cleared
        )
        return _Server(process, port, log)


def _entity_of(route: Mapping[str, Any]) -> str:
    return str(route.get("served_entity_name") or route.get("served_model_name"))


def _tags(endpoint: ServingEndpoint) -> list[dict[str, str]]:
    return [{"key": key, "value": value} for key, value in endpoint.tags.items()]
