"""What a look at a run shows and one at its mirror does not."""

from __future__ import annotations

from typing import TYPE_CHECKING

from adbazureml.tracking.sync_record import mirrored_tags

if TYPE_CHECKING:
    from mlflow.entities import DatasetInput, Param, Run, RunTag

    from adbazureml.tracking.counterpart_run import MirroredRun


def shown_info(run: Run) -> tuple[str, int | None, str]:
    """Status, end (milliseconds since 1970) and name of a run."""
    return run.info.status, run.info.end_time, run.info.run_name or ""


def name_item(run: Run) -> str:
    """Name of a run's name among what is refused."""
    from adbazureml.tracking.counterpart_run import MirroredRun

    return MirroredRun.pair_name("run", "name", run.info.run_name or "")


def info_differs(run: Run, look: Run, mirrored: MirroredRun) -> bool:
    """Whether the mirror has another status, end or name, but for a name that its store refuses."""
    ours, theirs = shown_info(run), shown_info(look)
    return ours[:2] != theirs[:2] or (ours[2] != theirs[2] and not mirrored.refuses(name_item(run)))


def missing_params(run: Run, look: Run, mirrored: MirroredRun) -> list[Param]:
    """Params that the mirror has not, or otherwise, but those that its store refuses."""
    from mlflow.entities import Param

    return [
        Param(key, value)
        for key, value in run.data.params.items()
        if look.data.params.get(key) != value and not mirrored.refuses(mirrored.pair_name("param", key, value))
    ]


def missing_tags(run: Run, look: Run, mirrored: MirroredRun) -> list[RunTag]:
    """Tags that the mirror has not, or otherwise, but those that its store refuses."""
    from mlflow.entities import RunTag

    return [
        RunTag(key, value)
        for key, value in mirrored_tags(run).items()
        if look.data.tags.get(key) != value and not mirrored.refuses(mirrored.pair_name("tag", key, value))
    ]


def missing_datasets(run: Run, look: Run, mirrored: MirroredRun) -> list[DatasetInput]:
    """Dataset inputs that the mirror has not, but those that its store refuses."""
    there = {_dataset_key(dataset) for dataset in look.inputs.dataset_inputs} if look.inputs else set()
    wanted = run.inputs.dataset_inputs if run.inputs else []
    return [
        dataset
        for dataset in wanted
        if _dataset_key(dataset) not in there and not mirrored.refuses(mirrored.dataset_name(dataset))
    ]


def _dataset_key(dataset: DatasetInput) -> tuple[str, str]:
    return dataset.dataset.name, dataset.dataset.digest


def first_difference(run: Run, look: Run, mirrored: MirroredRun) -> str:
    """Name something that a look at the run shows and one at its mirror does not; empty when there is nothing."""
    if params := missing_params(run, look, mirrored):
        return f"param {params[0].key}"
    if tags := missing_tags(run, look, mirrored):
        return f"tag {tags[0].key}"
    if datasets := missing_datasets(run, look, mirrored):
        return f"dataset {datasets[0].dataset.name}"
    if info_differs(run, look, mirrored):
        return "the status"
    refused = {item.rsplit(" ", 2)[0] for item in mirrored.refused}
    return next(
        (
            f"metric {key}"
            for key in run.data.metrics
            if key not in look.data.metrics and f"metric {key}" not in refused
        ),
        "",
    )
