"""Track runs in Databricks, in Azure ML, or in both, through MLflow's own API.

In both, the primary is written first, and the replica follows behind the writer's back. It imports `azureml_mlflow`,
`workspaces` and what is below. Start reading at `dual_store`, then `outbox` and `reconciler`. Names are loaded when
first used: MLflow loads this room's plug-in in the middle of its own import.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from adbazureml.tracking.catchup import CatchUp, catch_up
    from adbazureml.tracking.mode import track
    from adbazureml.tracking.outbox import close, flush
    from adbazureml.tracking.run_search import find_runs
    from adbazureml.tracking.sync_status import Status, status

_FILE_OF = {
    "CatchUp": "catchup",
    "Status": "sync_status",
    "catch_up": "catchup",
    "close": "outbox",
    "find_runs": "run_search",
    "flush": "outbox",
    "status": "sync_status",
    "track": "mode",
}

__all__ = ["CatchUp", "Status", "catch_up", "close", "find_runs", "flush", "status", "track"]


def __getattr__(name: str) -> Any:
    if name not in _FILE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_FILE_OF[name]}"), name)
