"""Tell the runs that a process left behind, before their counterparts were whole, from those that it is still at."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from adbazureml.tracking import run_tags
from adbazureml.tracking.sync_record import has_ended, out_of_sync_tags, snapshot_digest

if TYPE_CHECKING:
    from mlflow.entities import Run

    from adbazureml.tracking.store_pair import StorePair

_DAYS = 7
_EXPERIMENTS, _RUNS = 100, 200
# Whether a process of another machine is still at its run, nobody can tell: so long it may take.
_SECONDS_ELSEWHERE = 600.0
# A run may begin, by its clock, this long before the process that made it.
_SECONDS_OF_CLOCKS = 2.0


def find_abandoned_runs(pair: StorePair, experiment_ids: Sequence[str] | None) -> list[str]:
    """Ids of the runs of the last days, tracked in both workspaces, that ended and are neither in sync nor under way.

    Parameters
    ----------
    pair : StorePair
    experiment_ids : sequence of str or None
        Where to look; None: the experiments that were changed last.
    """
    from mlflow.entities import ViewType

    primary = pair.primary
    if experiment_ids is None:
        order = ["last_update_time DESC"]
        found = primary.search_experiments(ViewType.ACTIVE_ONLY, max_results=_EXPERIMENTS, order_by=order)
        experiment_ids = [experiment.experiment_id for experiment in found]
    since = int((time.time() - _DAYS * 86_400) * 1000)
    wanted = f"tags.`{run_tags.TRACKED}` LIKE '%' AND attributes.start_time > {since}"
    order = ["attributes.start_time DESC"]
    runs = primary.search_runs(list(experiment_ids), wanted, ViewType.ACTIVE_ONLY, _RUNS, order)
    return [run.info.run_id for run in runs if has_ended(run) and not _is_recorded(run) and _is_left(run)]


def _is_recorded(run: Run) -> bool:
    return run.data.tags.get(run_tags.IN_SYNC, "").endswith(f" {snapshot_digest(run)}") and not out_of_sync_tags(run)


def _is_left(run: Run) -> bool:
    """Whether the process that tracked the run is gone."""
    process_id = _process_here(run)
    if process_id is None:
        return time.time() - (run.info.end_time or 0) / 1000 > _SECONDS_ELSEWHERE
    return not _lives(process_id, run)


def is_under_way(run: Run) -> bool:
    """Whether a process of this machine is at the run and brings it over by itself."""
    process_id = _process_here(run)
    return not has_ended(run) and process_id is not None and _lives(process_id, run)


def _process_here(run: Run) -> int | None:
    """Id of the process of this machine that tracks the run; None for one of another machine, or none at all."""
    host, _, process_id = run.data.tags.get(run_tags.TRACKED, "").rpartition(" ")
    return int(process_id) if host == run_tags.this_host() and process_id.isdigit() else None


def _lives(process_id: int, run: Run) -> bool:
    """Whether a process is alive, and none that got the id of one that tracked the run."""
    try:
        os.kill(process_id, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return bool(_start_of(process_id) <= run.info.start_time / 1000 + _SECONDS_OF_CLOCKS)


def _start_of(process_id: int) -> float:
    """When a process started, in seconds since 1970; 0 where that is not told, infinity where it has ended."""
    try:
        # Its name, in brackets, may hold anything.
        fields = (
            Path(f"/proc/{process_id}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        )
    except OSError:
        return 0.0
    if fields[0] == "Z":
        return float("inf")
    since_boot = int(fields[19]) / os.sysconf("SC_CLK_TCK")
    return time.time() - time.clock_gettime(time.CLOCK_BOOTTIME) + since_boot
