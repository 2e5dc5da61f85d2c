"""Find the counterpart of a run, or make it, once.

A counterpart carries the id of its run as a tag, so that anybody finds it; the run carries the counterpart's id, which
saves the search. A create whose answer was lost, or two processes that make the same counterpart at once, leave two:
every process then keeps the one with the smallest id, and tags the other as its duplicate and deletes it.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING

from adbazureml.azureml_mlflow import experiment_names
from adbazureml.azureml_mlflow.mlflow_errors import explain_error, is_missing, is_rejection
from adbazureml.text import logger
from adbazureml.tracking import run_tags
from adbazureml.tracking.sync_record import PARENT, counterpart_tags

if TYPE_CHECKING:
    from mlflow.entities import Experiment, Run

    from adbazureml.tracking.store_pair import StorePair

_logger = logger(__name__)


class CounterpartLookup:
    """Which run of the replica is the counterpart of which of the primary."""

    def __init__(self, pair: StorePair) -> None:
        self._pair = pair
        self._experiments: dict[str, str] = {}
        # Runs that this process tried to make a counterpart of, and so may have one although they are new.
        self._tried: set[str] = set()
        # One at a time: two children may need the counterpart of one parent at once.
        self._lock = threading.RLock()

    def find(self, run: Run) -> str | None:
        """Id of the run's counterpart; None when there is none."""
        if linked := self._linked(run):
            return linked
        found = self.search(run)
        return found.info.run_id if found is not None else None

    def _linked(self, run: Run) -> str | None:
        """Id of the counterpart that the run leads to; None where it leads to none in this replica."""
        is_here = run.data.tags.get(run_tags.AZUREML_TRACKING_URI) == self._pair.replica_uri
        return run.data.tags.get(run_tags.AZUREML_RUN_ID) if is_here else None

    def search(self, run: Run) -> Run | None:
        """The run's counterpart by the tag that it carries; several become one."""
        with self._lock:
            found = sorted(self._candidates(run), key=lambda candidate: candidate.info.run_id)
            kept = next((one for one in found if run_tags.DUPLICATE_OF not in one.data.tags), None)
            for other in found:
                if other is not kept:
                    self._retire(other, kept=kept, of=run)
        return kept

    def find_or_make(self, run: Run, *, is_new: bool = False, link: bool = True) -> tuple[str, Run | None]:
        """Id of the run's counterpart, and the counterpart itself where it was made just now with all of MLflow's tags.

        Parameters
        ----------
        run : Run
            A run of the primary.
        is_new : bool
            Whether it was made by this process, so that it has no counterpart but one that it leads to, unless one was
            tried before.
        link : bool
            Whether to tag the run with the way to a counterpart that was made; otherwise the caller does.
        """
        with self._lock:
            run_id = run.info.run_id
            found = self._linked(run) if is_new and run_id not in self._tried else self.find(run)
            if found:
                return found, None
            self._tried.add(run_id)
            made, is_whole = self._make(run)
        if link:
            self.link(run, made)
        return made.info.run_id, made if is_whole else None

    def counterpart_parent(self, run: Run) -> str | None:
        """Id of the counterpart of the run's parent, made where there is none; None for a run that has no parent."""
        parent_id = run.data.tags.get(PARENT)
        if not parent_id:
            return None
        try:
            parent = self._pair.primary.get_run(parent_id)
        except Exception as error:
            if is_missing(error):
                return None
            raise
        return self.find_or_make(parent)[0]

    def link(self, run: Run, counterpart: Run) -> None:
        """Tag the primary run with the way to its counterpart."""
        from mlflow.entities import RunTag

        missing = {key: value for key, value in self.links(counterpart).items() if run.data.tags.get(key) != value}
        if missing and run.info.lifecycle_stage == "active":
            self._pair.primary.log_batch(run.info.run_id, [], [], [RunTag(*item) for item in missing.items()])

    def replace(self, run: Run, lost: str, counterpart: Run) -> None:
        """Give the place of a lost counterpart to another: in the link, and above those of the run's children."""
        from mlflow.entities import RunTag, ViewType

        self.link(run, counterpart)
        store = self._pair.replica
        children = f"tags.`{PARENT}` = '{lost}'"
        for child in store.search_runs(
            [counterpart.info.experiment_id], children, ViewType.ACTIVE_ONLY, max_results=1000
        ):
            store.set_tag(child.info.run_id, RunTag(PARENT, counterpart.info.run_id))

    def links(self, counterpart: Run) -> Mapping[str, str]:
        """Tags that lead to a counterpart."""
        return {
            run_tags.AZUREML_RUN_ID: counterpart.info.run_id,
            run_tags.AZUREML_TRACKING_URI: self._pair.replica_uri,
            run_tags.AZUREML_RUN_URL: self._pair.replica_url(counterpart),
        }

    def counterpart_experiment(self, experiment_id: str, *, make: bool) -> str | None:
        """Id of the counterpart of an experiment of the primary; None when there is none and none is to be made."""
        with self._lock:
            if experiment_id not in self._experiments:
                found = self._experiment(self._pair.primary.get_experiment(experiment_id), make=make)
                if found is None:
                    return None
                self._experiments[experiment_id] = found
            return self._experiments[experiment_id]

    def experiment_changed(self, experiment_id: str) -> None:
        """Compare the tags of an experiment when it is next needed."""
        self._experiments.pop(experiment_id, None)

    def _experiment(self, experiment: Experiment, *, make: bool) -> str | None:
        from mlflow.entities import ExperimentTag

        name = experiment_names.azureml_experiment_name(experiment.name)
        store = self._pair.replica
        found = store.get_experiment_by_name(name)
        if found is None and not make:
            return None
        there: Mapping[str, str] = {experiment_names.DATABRICKS_EXPERIMENT: experiment.name}
        if found is None:
            try:
                found_id = str(store.create_experiment(name, None, [ExperimentTag(*tag) for tag in there.items()]))
            except Exception:
                # Made by somebody else meanwhile, or by a request whose answer was lost.
                found = store.get_experiment_by_name(name)
                if found is None:
                    raise
        if found is not None:
            found_id, there = str(found.experiment_id), found.tags
            if found.lifecycle_stage == "deleted":
                store.restore_experiment(found_id)
        for key, value in experiment.tags.items():
            if there.get(run_tags.azureml_tag_key(key)) != value:
                self._tag_experiment(found_id, run_tags.azureml_tag_key(key), value)
        return found_id

    def _tag_experiment(self, experiment_id: str, key: str, value: str) -> None:
        from mlflow.entities import ExperimentTag

        try:
            self._pair.replica.set_experiment_tag(experiment_id, ExperimentTag(key, value))
        except Exception as error:
            # The tags of an experiment, as a long description, never keep its runs out of sync.
            if not is_rejection(error) and not is_missing(error):
                raise
            _logger.warning("Tag %s of the experiment is rejected in Azure ML: %s.", key, explain_error(error))

    def _candidates(self, run: Run) -> list[Run]:
        from mlflow.entities import ViewType

        experiment_id = self.counterpart_experiment(run.info.experiment_id, make=False)
        if experiment_id is None:
            return []
        wanted = f"tags.`{run_tags.DATABRICKS_RUN_ID}` = '{run.info.run_id}'"
        return list(self._pair.replica.search_runs([experiment_id], wanted, ViewType.ALL, max_results=100))

    def _make(self, run: Run) -> tuple[Run, bool]:
        from mlflow.entities import RunTag

        tags = {
            run_tags.DATABRICKS_RUN_ID: run.info.run_id,
            run_tags.DATABRICKS_RUN_URL: self._pair.primary_url(run),
            **{key: value for key, value in counterpart_tags(run).items() if key.startswith("mlflow.")},
        }
        if parent := self.counterpart_parent(run):
            tags[PARENT] = parent
        experiment_id = self.counterpart_experiment(run.info.experiment_id, make=True)

        def create(tags: Mapping[str, str], run_name: str | None) -> Run:
            created: Run = self._pair.replica.create_run(
                experiment_id=experiment_id,
                user_id=run.info.user_id or run.data.tags.get("mlflow.user", ""),
                start_time=run.info.start_time,
                tags=[RunTag(*item) for item in tags.items()],
                run_name=run_name,
            )
            return created

        try:
            return create(tags, run.info.run_name), True
        except Exception as error:
            if not is_rejection(error):
                raise
        # A tag that is rejected shall not keep the whole run away: what else there is, the comparison brings.
        kept = {key: value for key, value in tags.items() if key == PARENT or key.startswith(run_tags.PREFIX)}
        return create(kept, None), False

    def _retire(self, duplicate: Run, *, kept: Run | None, of: Run) -> None:
        from mlflow.entities import RunTag

        store = self._pair.replica
        is_active = duplicate.info.lifecycle_stage == "active"
        if run_tags.DUPLICATE_OF not in duplicate.data.tags:
            if not is_active:
                store.restore_run(duplicate.info.run_id)
            # The first without the tag is kept, and this is not the first.
            assert kept is not None
            store.set_tag(duplicate.info.run_id, RunTag(run_tags.DUPLICATE_OF, kept.info.run_id))
        elif not is_active:
            return
        if kept is not None:
            # Whoever made it may be done with it, and with children below it, and never look again.
            self.replace(self._pair.primary.get_run(of.info.run_id), duplicate.info.run_id, kept)
        store.delete_run(duplicate.info.run_id)
