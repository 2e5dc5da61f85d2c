"""Write to a counterpart: in the largest batches a request takes, and around what the service rejects."""

from __future__ import annotations

import hashlib
import json
import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from adbazureml.azureml_mlflow.log_batch import RejectedError
from adbazureml.azureml_mlflow.mlflow_errors import is_conflict, is_missing, is_rejection
from adbazureml.text import redacted
from adbazureml.tracking import run_tags
from adbazureml.tracking.metric_points import Fingerprints, Tally, fingerprint, points
from adbazureml.tracking.sync_record import key_digest, key_digests, taken_tag, users_keys

if TYPE_CHECKING:
    from mlflow.entities import DatasetInput, Metric, Param, Run, RunTag

# Limits of one log-batch request (MLflow's REST API).
_ITEMS, _PARAMS, _TAGS = 1000, 100, 100
# So many points of a kind that are rejected, and none that is taken, stand for all of them: each costs requests.
_REJECTIONS = 10
# So often something is sent again that somebody else wrote at the same moment.
_CONFLICTS = 2
# Before the digests of rejected items for whose names a record has no room.
_DIGESTS = "#"


# What is known of the reason why an earlier session found something rejected.
REJECTED_BEFORE = "rejected before"


class CounterpartLostError(Exception):
    """The counterpart was deleted, or gave way to another counterpart of the same run: find or make it again."""


class CounterpartRun:
    """A run of the replica that is the counterpart of one of the primary.

    Attributes
    ----------
    run_id : str
        Its id in the replica.
    tallies : dict of str to Tally
        The points that the replica acknowledged through this object, by metric.
    rejected : dict of str to str
        What the replica rejects for good, and its message; the key also tells the value, so that another value is
        tried.
    holds_files : bool
        Whether it may hold artifacts already.
    taken : set of str or None
        Digests of the keys of the tags that it took over; None while that is not known.
    """

    def __init__(self, store: Any, run_id: str, source_run_id: str):
        self._store = store
        self.run_id = run_id
        self._source_run_id = source_run_id
        self.tallies: defaultdict[str, Tally] = defaultdict(Tally)
        self.rejected: dict[str, str] = {}
        self.holds_files = True
        self.taken: set[str] | None = None
        # Kinds that the run takes no more of, and what the service said; digests of what was rejected before.
        self._full: dict[str, str] = {}
        self._rejected_digests: set[str] = set()
        self._rejections: Counter[str] = Counter()
        self._taken_kinds: set[str] = set()

    def snapshot(self) -> Run:
        """Read the run; what earlier sessions found rejected is known from then on.

        Raises
        ------
        CounterpartLostError
            There is no such run, or it is the counterpart of another one now.
        """
        try:
            run: Run = self._store.get_run(self.run_id)
        except Exception as error:
            if is_missing(error):
                raise CounterpartLostError(f"the counterpart {self.run_id} is gone") from error
            raise
        return self.saw(run)

    def saw(self, run: Run) -> Run:
        """Take in what a read of the run shows, as `snapshot` does."""
        if (
            run.data.tags.get(run_tags.DATABRICKS_RUN_ID) != self._source_run_id
            or run_tags.DUPLICATE_OF in run.data.tags
        ):
            raise CounterpartLostError(f"run {self.run_id} is no longer the counterpart of {self._source_run_id}")
        for item in json.loads(run.data.tags.get(run_tags.REJECTED_ITEMS, "[]")):
            if item.startswith(_DIGESTS):
                self._rejected_digests |= key_digests(item.removeprefix(_DIGESTS))
            else:
                self.rejected.setdefault(item, REJECTED_BEFORE)
        self.taken = key_digests(run.data.tags.get(run_tags.TAKEN_TAGS, ""))
        return run

    def write(self, metrics: Sequence[Metric] = (), params: Sequence[Param] = (), tags: Sequence[RunTag] = ()) -> None:
        """Write points, params and tags that the run lacks, all in as few requests as possible.

        What the replica rejects is sought out, put into `rejected`, and left out; the rest is written. Tags are
        recorded as taken over in the request that brings them: one that is deleted in the primary later is so told
        from one that a person set in the replica.
        """
        metrics = [_bare(metric) for metric in metrics if not self.rejects_point(metric)]
        if said := self._full.get("param"):
            self.rejected |= {self.pair_name("param", param.key, param.value): said for param in params}
            params = ()
        taken, tags = self._with_taken(tags)
        while metrics or params or tags:
            some_params, params = params[:_PARAMS], params[_PARAMS:]
            some_tags, tags = tags[:_TAGS], tags[_TAGS:]
            room = _ITEMS - len(some_params) - len(some_tags)
            some_metrics, metrics = metrics[:room], metrics[room:]
            try:
                self._store.log_batch(self.run_id, some_metrics, list(some_params), list(some_tags))
            except RejectedError as error:
                self._note_rejected(error, some_metrics, some_params, some_tags)
            except Exception as error:
                if not is_rejection(error):
                    raise
                self._write_around(some_metrics, some_params, some_tags)
            else:
                self._acknowledged(some_metrics)
        if taken:
            self.taken = taken

    def _with_taken(self, tags: Sequence[RunTag]) -> tuple[set[str], Sequence[RunTag]]:
        """The digests of all tags that will have been taken over once these are written, and the tags with that record.

        Nothing is recorded, and the first is empty, where none of them is a user's.
        """
        taken = {key_digest(key) for key in users_keys(tag.key for tag in tags)}
        if not taken:
            return taken, tags
        if self.taken is None:
            self.snapshot()
        taken |= self.taken or set()
        return taken, tags if taken == self.taken else [taken_tag(taken), *tags]

    def missing_points(self, metrics: Iterable[Metric]) -> list[Metric]:
        """Those of the points that the run does not hold yet; reads the histories of their metrics."""
        by_key = defaultdict(list)
        for metric in metrics:
            by_key[metric.key].append(metric)
        missing = []
        for key, some in by_key.items():
            missing += Fingerprints(points(self._store, self.run_id, key)).missing(some)
        return missing

    def delete_tag(self, key: str) -> None:
        """Delete a tag, whether or not it is there."""
        try:
            self._store.delete_tag(self.run_id, key)
        except Exception as error:
            if not is_missing(error) and not is_rejection(error):
                raise

    def log_datasets(self, datasets: Sequence[DatasetInput]) -> None:
        """Log dataset inputs that the run lacks."""
        for dataset in datasets:
            self.attempt(self.dataset_name(dataset), partial(self._store.log_inputs, self.run_id, datasets=[dataset]))

    def attempt(self, item: str, send: Callable[[], object]) -> None:
        """Send something of its own; put it into `rejected` where the replica rejects it."""
        for left in range(_CONFLICTS, -1, -1):
            try:
                send()
            except Exception as error:
                if left and is_conflict(error):
                    continue
                if not is_rejection(error) and not is_missing(error):
                    raise
                self.rejected[item] = _first_line(str(error))
            return

    @property
    def is_rejecting(self) -> bool:
        """Whether the replica is known to reject anything."""
        return bool(self.rejected or self._rejected_digests)

    def rejects(self, item: str) -> bool:
        """Whether the replica is known to reject an item of that name."""
        return item in self.rejected or key_digest(item) in self._rejected_digests

    def rejects_point(self, metric: Metric) -> bool:
        """Whether the replica is known to reject a point, or all of its kind."""
        return self.is_rejecting and (self.rejects(self.point_name(metric)) or self.rejects(self.kind_name(metric)))

    def retry_rejected(self) -> None:
        """Forget what was rejected, here and in the record."""
        if self.is_rejecting:
            self.delete_tag(run_tags.REJECTED_ITEMS)
        for forgotten in (self.rejected, self._rejected_digests, self._full):
            forgotten.clear()

    def forget_taken(self, snapshot: Run) -> None:
        """Drop from `rejected` the params, tags and datasets that a snapshot of the run shows after all."""
        for dataset in snapshot.inputs.dataset_inputs if snapshot.inputs else ():
            self.rejected.pop(self.dataset_name(dataset), None)
        for kind, there in (("param", snapshot.data.params), ("tag", snapshot.data.tags)):
            for key, value in there.items():
                self.rejected.pop(self.pair_name(kind, key, value), None)

    def rejected_tag(self) -> str:
        """What the tag that keeps the rejected items shall hold: names, then digests, of some 190 items.

        Any more are tried again when the run is next compared.
        """
        # Whole kinds first: they stand for the most.
        items = sorted(self.rejected, key=lambda item: (not item.endswith("*"), item))
        if len(text := json.dumps(items)) <= run_tags.TAG_LENGTH and not self._rejected_digests:
            return text
        digests = sorted({key_digest(item) for item in items} | self._rejected_digests)
        kinds = [item for item in items if item.endswith("*")]
        while len(text := json.dumps([*kinds, _DIGESTS + "".join(digests)])) > run_tags.TAG_LENGTH:
            (digests or kinds).pop()
        return text

    @staticmethod
    def dataset_name(dataset: DatasetInput) -> str:
        """Name of a dataset input among the rejected."""
        return f"dataset {dataset.dataset.name} {dataset.dataset.digest}"

    @staticmethod
    def pair_name(kind: str, key: str, value: str) -> str:
        """Name of a param or tag with its value among the rejected."""
        return f"{kind} {key} {hashlib.sha256(value.encode()).hexdigest()[:8]}"

    @staticmethod
    def point_name(metric: Metric) -> str:
        """Name of a point among the rejected."""
        return f"metric {metric.key} {metric.step} {metric.timestamp}"

    @staticmethod
    def kind_name(metric: Metric) -> str:
        """Name, among the rejected, of all points of a metric that are finite, NaN or infinite as this one is."""
        value = "finite" if math.isfinite(metric.value) else str(metric.value)
        return f"metric {metric.key} {value} *"

    def _acknowledged(self, metrics: Iterable[Metric]) -> None:
        for metric in metrics:
            self.tallies[metric.key].add((metric,))

    def _note_rejected(
        self, error: RejectedError, metrics: Sequence[Metric], params: Sequence[Param], tags: Sequence[RunTag]
    ) -> None:
        """Take in what the store sought out itself."""
        for param in params:
            if said := error.rejected.get(("param", param.key)):
                self.rejected[self.pair_name("param", param.key, param.value)] = _first_line(said)
        for tag in tags:
            if said := error.rejected.get(("tag", tag.key)):
                self.rejected[self.pair_name("tag", tag.key, tag.value)] = _first_line(said)
        taken = []
        for metric in metrics:
            if said := error.rejected.get(("metric", metric.key)):
                self.rejected[self.kind_name(metric)] = _first_line(said)
            else:
                taken.append(metric)
        if "param" in error.full:
            self._full["param"] = _first_line(next(iter(error.rejected.values())))
        if error.has_unsought:
            self._write_around(taken, (), ())
        else:
            self._acknowledged(taken)

    def _write_around(self, metrics: Sequence[Metric], params: Sequence[Param], tags: Sequence[RunTag]) -> None:
        """Write one by one kind, then half by half, until only what is rejected is left."""
        # A repeated batch with a NaN is rejected although all of it is there: never send what is there already.
        there = self.snapshot()
        if there.info.lifecycle_stage == "deleted":
            raise CounterpartLostError(f"the counterpart {self.run_id} was deleted")
        missing = self.missing_points(metrics)
        absent = {fingerprint(metric) for metric in missing}
        self._acknowledged(metric for metric in metrics if fingerprint(metric) not in absent)
        self._halve(
            [param for param in params if there.data.params.get(param.key) != param.value],
            lambda some: self._store.log_batch(self.run_id, [], list(some), []),
            lambda param: self.pair_name("param", param.key, param.value),
        )
        self._halve(
            [tag for tag in tags if there.data.tags.get(tag.key) != tag.value],
            lambda some: self._store.log_batch(self.run_id, [], [], list(some)),
            lambda tag: self.pair_name("tag", tag.key, tag.value),
        )

        by_kind = defaultdict(list)
        for metric in missing:
            by_kind[self.kind_name(metric)].append(metric)
        for kind, some in by_kind.items():
            self._write_points_around(kind, some)

    def _write_points_around(self, kind: str, metrics: Sequence[Metric]) -> None:
        """Write points of one kind, of which some may be rejected; after ten rejections and nothing else, all are."""
        if self.rejects(kind):
            return
        try:
            self._store.log_batch(self.run_id, list(metrics), [], [])
        except Exception as error:
            if not is_rejection(error):
                raise
            if is_conflict(error) and len(missing := self.missing_points(metrics)) < len(metrics):
                # Somebody else wrote the others meanwhile.
                absent = {fingerprint(metric) for metric in missing}
                self._acknowledged(metric for metric in metrics if fingerprint(metric) not in absent)
                if missing:
                    self._write_points_around(kind, missing)
                return
            middle = len(metrics) // 2
            for half in (metrics[:middle], metrics[middle:]) if middle else ():
                self._write_points_around(kind, half)
            if not middle:
                message = _first_line(str(error))
                self.rejected[self.point_name(metrics[0])] = message
                self._rejections[kind] += 1
                if self._rejections[kind] == _REJECTIONS and kind not in self._taken_kinds:
                    self.rejected[kind] = message
        else:
            self._taken_kinds.add(kind)
            self._acknowledged(metrics)

    def _halve(self, items: Sequence[Any], send: Callable[[Sequence[Any]], None], name: Callable[[Any], str]) -> None:
        if not items:
            return
        if len(items) == 1:
            self.attempt(name(items[0]), lambda: send(items))
            return
        middle = len(items) // 2
        for half in (items[:middle], items[middle:]):
            try:
                send(half)
            except Exception as error:
                if not is_rejection(error):
                    raise
                self._halve(half, send, name)


def _first_line(said: str) -> str:
    return (redacted(said).strip().splitlines() or [""])[0][:200]


def _bare(metric: Metric) -> Metric:
    """The point without the logged model and dataset that it belongs to, which only the primary knows."""
    from mlflow.entities import Metric

    return Metric(metric.key, metric.value, metric.timestamp, metric.step)
