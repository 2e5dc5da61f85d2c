"""What a snapshot of a run shows and one at its counterpart does not."""

from __future__ import annotations

from typing import TYPE_CHECKING

from adbazureml.tracking.run_description import NOTE, without_link
from adbazureml.tracking.sync_record import counterpart_tags

if TYPE_CHECKING:
    from mlflow.entities import DatasetInput, Param, Run, RunTag

    from adbazureml.tracking.counterpart_run import CounterpartRun


def shown_info(run: Run) -> tuple[str, int | None, str]:
    """Status, end (milliseconds since 1970) and name of a run."""
    return run.info.status, run.info.end_time, run.info.run_name or ""


def name_item(run: Run) -> str:
    """Name of a run's name among what is rejected."""
    from adbazureml.tracking.counterpart_run import CounterpartRun

    return CounterpartRun.pair_name("run", "name", run.info.run_name or "")


def info_differs(run: Run, snapshot: Run, counterpart: CounterpartRun) -> bool:
    """Whether the counterpart has another status, end or name, but for a name that its store rejects."""
    ours, theirs = shown_info(run), shown_info(snapshot)
    return ours[:2] != theirs[:2] or (ours[2] != theirs[2] and not counterpart.rejects(name_item(run)))


def missing_params(run: Run, snapshot: Run, counterpart: CounterpartRun) -> list[Param]:
    """Params that the counterpart has not, or otherwise, but those that its store rejects."""
    from mlflow.entities import Param

    return [
        Param(key, value)
        for key, value in run.data.params.items()
        if snapshot.data.params.get(key) != value
        and not counterpart.rejects(counterpart.pair_name("param", key, value))
    ]


def missing_tags(run: Run, snapshot: Run, counterpart: CounterpartRun) -> list[RunTag]:
    """Tags that the counterpart has not, or otherwise, but those that its store rejects."""
    from mlflow.entities import RunTag

    there = {**snapshot.data.tags, NOTE: without_link(snapshot.data.tags.get(NOTE, ""))}
    return [
        RunTag(key, value)
        for key, value in counterpart_tags(run).items()
        if there.get(key) != value and not counterpart.rejects(counterpart.pair_name("tag", key, value))
    ]


def missing_datasets(run: Run, snapshot: Run, counterpart: CounterpartRun) -> list[DatasetInput]:
    """Dataset inputs that the counterpart has not, but those that its store rejects."""
    there = {dataset_key(dataset) for dataset in snapshot.inputs.dataset_inputs} if snapshot.inputs else set()
    wanted = run.inputs.dataset_inputs if run.inputs else []
    return [
        dataset
        for dataset in wanted
        if dataset_key(dataset) not in there and not counterpart.rejects(counterpart.dataset_name(dataset))
    ]


def dataset_key(dataset: DatasetInput) -> tuple[str, str]:
    """Name and digest, by which a run has a dataset once."""
    return dataset.dataset.name, dataset.dataset.digest


def first_difference(run: Run, snapshot: Run, counterpart: CounterpartRun) -> str:
    """Name something that a snapshot of the run shows and one of its counterpart does not; empty for nothing."""
    if params := missing_params(run, snapshot, counterpart):
        return f"param {params[0].key}"
    if tags := missing_tags(run, snapshot, counterpart):
        return f"tag {tags[0].key}"
    if datasets := missing_datasets(run, snapshot, counterpart):
        return f"dataset {datasets[0].dataset.name}"
    if info_differs(run, snapshot, counterpart):
        return "the status"
    rejected = {item.rsplit(" ", 2)[0] for item in counterpart.rejected}
    return next(
        (
            f"metric {key}"
            for key in run.data.metrics
            if key not in snapshot.data.metrics and f"metric {key}" not in rejected
        ),
        "",
    )
