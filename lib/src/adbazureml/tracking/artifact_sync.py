"""Copy a run's artifacts and logged models to its counterpart.

Artifacts never pass through a tracking store: each side's artifact repository is asked itself. Azure ML has no logged
models, so a logged model becomes a folder of the counterpart's artifacts, where ``runs:/<run id>/<name>`` finds it as
MLflow 2 did.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from adbazureml.azureml_mlflow.mlflow_errors import is_missing
from adbazureml.tracking import run_tags
from adbazureml.tracking.artifact_copy import (
    Copied,
    SourceFile,
    copy_to,
    file_name,
    list_files,
    listing_digest,
    paths_of,
    repository,
)
from adbazureml.tracking.replica_store import REPLICA_REQUESTS
from adbazureml.tracking.sync_record import listed_before

if TYPE_CHECKING:
    from mlflow.entities import LoggedModel, Run
    from mlflow.store.tracking.abstract_store import AbstractStore

    from adbazureml.tracking.counterpart_run import CounterpartRun
    from adbazureml.tracking.store_pair import StorePair


# MLflow writes it beside a model that it loads, and so into that of a store which is a folder.
_NOTE_OF_LOADING = "registered_model_meta"


@dataclass(frozen=True, kw_only=True)
class PrimaryFiles:
    """The files of a run in the primary, and of its logged models.

    Attributes
    ----------
    files : list of SourceFile
    models : list of LoggedModel
        The finished ones, the oldest first.
    digest : str
        Over the run's end and the names and sizes of the files.
    """

    files: list[SourceFile]
    models: list[LoggedModel]
    digest: str

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to copy."""
        return not self.files and not self.models

    @classmethod
    def of(cls, pair: StorePair, run: Run, models: Iterable[LoggedModel] | None = None) -> PrimaryFiles:
        """List the files of a run: once, and nothing is read.

        Parameters
        ----------
        models : iterable of LoggedModel, optional
            The run's logged models, where the caller has them.
        """
        found = logged_models(pair.primary, run.info.experiment_id, run.info.run_id) if models is None else models
        ready = [model for model in found if str(model.status) == "READY"]
        files = list_files(repository(run.info.artifact_uri, pair.primary_uri))
        for model in ready:
            of_model = list_files(repository(model.artifact_location, pair.primary_uri), model.model_id)
            files += [file for file in of_model if file.path != _NOTE_OF_LOADING]
        return cls(files=files, models=ready, digest=listing_digest(files, run.info.end_time))


def copy_files(
    pair: StorePair,
    primary: PrimaryFiles,
    run: Run,
    snapshot: Run,
    counterpart: CounterpartRun,
    *,
    verify: bool,
    progress: Callable[[int], None],
) -> Copied:
    """Copy the artifacts and models that the counterpart lacks or holds otherwise.

    Nothing is read where the run's end and the names and sizes of its files are those of the record. Where files were
    only added since, those alone are copied.

    Parameters
    ----------
    primary : PrimaryFiles
        What the run has.
    run, snapshot : Run
        The run, and its counterpart.
    verify : bool
        Whether to compare the contents of all files all the same.
    progress : callable
        Told how many files were just written.
    """
    from mlflow.entities import RunTag

    recorded = "" if verify else listed_before(snapshot.data.tags.get(run_tags.IN_SYNC, ""))
    if primary.is_empty or primary.digest == recorded:
        return Copied()
    target = repository(snapshot.info.artifact_uri, pair.replica_uri)
    if hasattr(target, "retry_policy"):
        target.retry_policy = REPLICA_REQUESTS
    prefix = run_tags.COPIED_MODEL
    before = {key.removeprefix(prefix): folder for key, folder in snapshot.data.tags.items() if key.startswith(prefix)}
    of_run = {file.path for file in primary.files if not file.owner}
    folders = model_folders(primary.models, before, of_run)
    counterpart.write(tags=[RunTag(prefix + key, folder) for key, folder in folders.items() if key not in before])
    there = paths_of(target) if counterpart.holds_files else set()
    counterpart.holds_files = True
    missing: dict[str, SourceFile] = {}
    known: dict[str, SourceFile] = {}
    for file in primary.files:
        path = f"{folders[file.owner]}/{file.path}" if file.owner else _place(file.path, before.values())
        is_new = path not in there and not counterpart.rejects(file_name(path, file.size))
        (missing if is_new else known)[path] = file
    only_added = listing_digest(known.values(), run.info.end_time) == recorded
    doubtful = {} if only_added else {path: file for path, file in known.items() if path in there}
    return copy_to(target, missing, doubtful, progress=progress)


def logged_models(store: AbstractStore, experiment_id: str, run_id: str | None = None) -> list[LoggedModel]:
    """The logged models of a run or an experiment, the oldest first; none where the store knows no logged models."""
    found: list[LoggedModel] = []
    wanted = f"source_run_id = '{run_id}'" if run_id else None
    token = None
    while True:
        try:
            page = store.search_logged_models([experiment_id], wanted, page_token=token)
        except Exception as error:
            if is_missing(error) or isinstance(error, NotImplementedError):
                return []
            raise
        found += page
        token = page.token
        if not token:
            return sorted(found, key=lambda model: (model.creation_timestamp, model.model_id))


def model_folders(models: list[LoggedModel], taken: Mapping[str, str], files: Collection[str]) -> dict[str, str]:
    """Folder of each model, by model id: the name, or the name and id where another model or file has the name.

    Parameters
    ----------
    models : list of LoggedModel
        The oldest first.
    taken : mapping of str to str
        Folders given before; a model keeps its folder.
    files : collection of str
        Paths of the run's own files, among which MLflow 2 and `mlflow.spark` log their models.
    """
    folders = dict(taken)
    used = set(folders.values())
    for model in models:
        if model.model_id not in folders:
            free = model.name not in used and not any(f"{path}/".startswith(f"{model.name}/") for path in files)
            folders[model.model_id] = model.name if free else f"{model.name}-{model.model_id}"
            used.add(folders[model.model_id])
    return folders


def _place(path: str, folders: Iterable[str]) -> str:
    """Where a file of the run goes: beside the folder that it would lie in, where a model was given that before."""
    for folder in folders:
        if f"{path}/".startswith(f"{folder}/"):
            return f"{folder}-run{path.removeprefix(folder)}"
    return path
