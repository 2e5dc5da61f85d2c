"""Data quality monitoring: profiling monitors of Unity Catalog tables, set up over time."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

from .routes import Asked, Routes, refused, required

if TYPE_CHECKING:
    from .catalog import UnityCatalog

_MONITORS = "/api/data-quality/v1/monitors"
_ONE = rf"{_MONITORS}/table/(?P<object_id>[^/]+)"


class DataQuality:
    """Monitors by the id of their table, and the schemas that they write to.

    Attributes:
        monitors: what was made, as the service shows it.
        looks: how often a new monitor is PENDING when it is looked at.
        failure: a message with which setting up ends in ERROR.
        forbidden: whether the user lacks MANAGE on the table.
    """

    def __init__(self, catalog: UnityCatalog) -> None:
        self._catalog = catalog
        self.monitors: dict[str, dict[str, Any]] = {}
        self.looks = 1
        self.failure = ""
        self.forbidden = False
        self._looked: dict[str, int] = {}

    def routes(self) -> Routes:
        return {
            ("GET", r"/api/2.1/unity-catalog/schemas/(?P<full_name>[^/]+)"): self._schema,
            ("POST", _MONITORS): self._create,
            ("GET", _ONE): self._get,
            ("DELETE", _ONE): self._delete,
        }

    def _schema(self, asked: Asked) -> dict[str, Any]:
        name = asked["full_name"]
        return {"full_name": name, "schema_id": str(uuid.uuid5(uuid.NAMESPACE_DNS, name))}

    def _create(self, asked: Asked) -> dict[str, Any]:
        table_id, config = required(asked, "object_id"), required(asked, "data_profiling_config")
        if self.forbidden:
            raise refused(403, "PERMISSION_DENIED", "User does not have MANAGE on Table.")
        table = next((one for one in self._catalog.tables.values() if one.get("table_id") == table_id), None)
        if asked.get("object_type") != "table" or table is None:
            raise refused(404, "TABLE_DOES_NOT_EXIST", f"Table '{table_id}' does not exist.")
        if table_id in self.monitors:
            raise refused(409, "RESOURCE_ALREADY_EXISTS", f"A monitor of '{table['full_name']}' already exists.")
        required(config, "output_schema_id")
        kinds = [kind for kind in ("inference_log", "snapshot", "time_series") if kind in config]
        if len(kinds) != 1:
            raise refused(400, "INVALID_PARAMETER_VALUE", "Exactly one analysis configuration must be present.")
        if kinds == ["inference_log"]:
            log = config["inference_log"]
            for name in ("problem_type", "timestamp_column", "granularities", "prediction_column", "model_id_column"):
                required(log, name)
        self.monitors[table_id] = {
            "object_type": "table",
            "object_id": table_id,
            "data_profiling_config": {
                **config,
                "monitored_table_name": table["full_name"],
                "profile_metrics_table_name": f"{table['full_name']}_profile_metrics",
                "drift_metrics_table_name": f"{table['full_name']}_drift_metrics",
                "status": "DATA_PROFILING_STATUS_PENDING",
            },
        }
        return self.monitors[table_id]

    def _get(self, asked: Asked) -> dict[str, Any]:
        monitor = self._find(asked)
        config = monitor["data_profiling_config"]
        looked = self._looked[asked["object_id"]] = self._looked.get(asked["object_id"], 0) + 1
        if looked > self.looks:
            config["status"] = f"DATA_PROFILING_STATUS_{'ERROR' if self.failure else 'ACTIVE'}"
            if self.failure:
                config["latest_monitor_failure_message"] = self.failure
        return monitor

    def _delete(self, asked: Asked) -> dict[str, Any]:
        self._find(asked)
        del self.monitors[asked["object_id"]]
        return {}

    def _find(self, asked: Asked) -> dict[str, Any]:
        if asked["object_id"] not in self.monitors:
            raise refused(404, "RESOURCE_DOES_NOT_EXIST", f"No monitor exists for table '{asked['object_id']}'.")
        return self.monitors[asked["object_id"]]
