"""Copy a run's artifacts and logged models to its mirror, file by file.

Artifacts never pass through a tracking store: each side's artifact repository is asked itself. Azure ML has no logged
models, so a logged model becomes a folder of the mirrored run's artifacts under the model's name, where
``runs:/<run id>/<name>`` finds it as MLflow 2 did.
"""

from __future__ import annotations

import filecmp
import posixpath
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import LoggedModel, Run


def copy_missing_artifacts(primary: MlflowClient, run: Run, mirrored: Run) -> int:
    """Copy each file that the mirror lacks or holds otherwise; return how many.

    One file at a time goes through a temporary folder, so neither memory nor disk grows with the run.
    """
    target = _repository(mirrored.info.artifact_uri)
    copied = _copy_tree(_repository(run.info.artifact_uri, primary.tracking_uri), target, "")
    for folder, model in _model_folders(primary, run):
        copied += _copy_tree(_repository(model.artifact_location, primary.tracking_uri), target, folder)
    return copied


def _repository(uri: str, tracking_uri: str | None = None) -> Any:
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    return get_artifact_repository(uri, tracking_uri=tracking_uri)


def _model_folders(primary: MlflowClient, run: Run) -> Iterator[tuple[str, LoggedModel]]:
    """Finished models of the run with the folder each takes: the newest of a name has the name itself."""
    models = primary.search_logged_models(
        [run.info.experiment_id], filter_string=f"source_run_id = '{run.info.run_id}'"
    )
    taken = set()
    for model in sorted(models, key=lambda model: model.creation_timestamp, reverse=True):
        if str(model.status) == "READY":
            yield (f"{model.name}-{model.model_id}" if model.name in taken else model.name), model
            taken.add(model.name)


def _copy_tree(source: Any, target: Any, folder: str) -> int:
    there = dict(_files(target, folder))
    copied = 0
    for path, size in _files(source, ""):
        wanted = posixpath.join(folder, path)
        with tempfile.TemporaryDirectory() as scratch:
            if wanted in there and size == there[wanted] and _same(source, path, target, wanted, Path(scratch)):
                continue
            local = source.download_artifacts(path, _made(Path(scratch) / "copy"))
            target.log_artifact(local, posixpath.dirname(wanted) or None)
            copied += 1
    return copied


def _files(repository: Any, folder: str) -> Iterator[tuple[str, int | None]]:
    for entry in repository.list_artifacts(folder or None):
        if entry.is_dir:
            yield from _files(repository, entry.path)
        else:
            yield entry.path, entry.file_size


def _same(source: Any, path: str, target: Any, wanted: str, scratch: Path) -> bool:
    ours = source.download_artifacts(path, _made(scratch / "source"))
    theirs = target.download_artifacts(wanted, _made(scratch / "target"))
    return filecmp.cmp(ours, theirs, shallow=False)


def _made(folder: Path) -> str:
    folder.mkdir()
    return str(folder)
