"""Track runs in Databricks, in Azure ML, or in both, through MLflow's own API.

Each name is loaded when first used: MLflow loads this package's plug-in in the middle of its own import.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from adbazureml.tracking.catchup import CatchUp, catch_up
    from adbazureml.tracking.outbox import close, flush
    from adbazureml.tracking.sync_status import Status, status
    from adbazureml.tracking.run_search import find_runs
    from adbazureml.tracking.mode import track

_FILE_OF = {
    "CatchUp": "catchup",
    "Status": "overview",
    "catch_up": "catchup",
    "close": "outbox",
    "find_runs": "runs",
    "flush": "outbox",
    "status": "overview",
    "track": "switch",
}

__all__ = ["CatchUp", "Status", "catch_up", "close", "find_runs", "flush", "status", "track"]


def __getattr__(name: str) -> Any:
    if name not in _FILE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_FILE_OF[name]}"), name)
