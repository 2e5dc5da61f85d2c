"""Find the runs that a process left behind when it ended before their counterparts were whole."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
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
    host, _, process_id = run.data.tags[run_tags.TRACKED].rpartition(" ")
    if host != run_tags.this_host() or not process_id.isdigit():
        return time.time() - (run.info.end_time or 0) / 1000 > _SECONDS_ELSEWHERE
    try:
        os.kill(int(process_id), 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False
