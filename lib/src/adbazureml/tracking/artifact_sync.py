"""Copy a run's artifacts and logged models to its counterpart.

Artifacts never pass through a tracking store: each side's artifact repository is asked itself. Azure ML has no logged
models, so a logged model becomes a folder of the counterpart's artifacts, where ``runs:/<run id>/<name>`` finds it as
MLflow 2 did.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from adbazureml.azureml_mlflow.mlflow_errors import is_missing
from adbazureml.tracking import run_tags
from adbazureml.tracking.artifact_copy import Copied, Listing, copy_missing, repository
from adbazureml.tracking.replica_store import REPLICA_REQUESTS
from adbazureml.tracking.sync_record import listed_before

if TYPE_CHECKING:
    from mlflow.entities import LoggedModel, Run
    from mlflow.store.tracking.abstract_store import AbstractStore

    from adbazureml.tracking.counterpart_run import CounterpartRun
    from adbazureml.tracking.store_pair import StorePair


def copy_files(
    pair: StorePair,
    run: Run,
    snapshot: Run,
    counterpart: CounterpartRun,
    *,
    quick: bool,
    progress: Callable[[int], None],
) -> tuple[Copied, str]:
    """Copy the artifacts and models that the counterpart lacks or holds otherwise.

    Parameters
    ----------
    run, snapshot : Run
        The run, and its counterpart.
    quick : bool
        Whether nothing is to be read where the run's end and the names and sizes of its files are those of the record.
    progress : callable
        Told how many files were just written.

    Returns
    -------
    Copied
    str
        Digest of the end, names and sizes, for the record.
    """
    from mlflow.entities import RunTag

    target = repository(snapshot.info.artifact_uri, pair.replica_uri)
    if hasattr(target, "retry_policy"):
        target.retry_policy = REPLICA_REQUESTS
    models = logged_models(pair.primary, run)
    prefix = run_tags.COPIED_MODEL
    before = {key.removeprefix(prefix): folder for key, folder in snapshot.data.tags.items() if key.startswith(prefix)}
    folders = model_folders(models, before)
    sources = {"": repository(run.info.artifact_uri, pair.primary_uri)}
    for model in models:
        if model.model_id in folders:
            sources[folders[model.model_id]] = repository(model.artifact_location, pair.primary_uri)
    if quick and (recorded := listed_before(snapshot.data.tags.get(run_tags.IN_SYNC, ""))):
        listed = Listing.of(sources, run.info.end_time).digest
        if listed == recorded:
            return Copied(), listed
    counterpart.write(tags=[RunTag(prefix + key, folder) for key, folder in folders.items() if key not in before])
    empty = set(folders.values()) - set(before.values()) | (set() if counterpart.holds_files else {""})
    counterpart.holds_files = True
    copied, listing = Copied(), Listing(run.info.end_time)
    for folder, source in sources.items():
        if not copied.hopeless:
            is_empty = folder in empty
            copied.add(
                copy_missing(
                    source, target, folder, counterpart.rejected, listing, is_empty=is_empty, progress=progress
                )
            )
    return copied, listing.digest


def logged_models(store: AbstractStore, run: Run) -> list[LoggedModel]:
    """The run's logged models, the oldest first; none where the store knows no logged models."""
    found: list[LoggedModel] = []
    token = None
    while True:
        try:
            page = store.search_logged_models(
                [run.info.experiment_id], f"source_run_id = '{run.info.run_id}'", page_token=token
            )
        except Exception as error:
            if is_missing(error) or isinstance(error, NotImplementedError):
                return []
            raise
        found += page
        token = page.token
        if not token:
            return sorted(found, key=lambda model: (model.creation_timestamp, model.model_id))


def model_folders(models: list[LoggedModel], taken: Mapping[str, str]) -> dict[str, str]:
    """Folder of each finished model, by model id: the name, or the name and id where another model has the name.

    Parameters
    ----------
    models : list of LoggedModel
        The oldest first.
    taken : mapping of str to str
        Folders given before; a model keeps its folder.
    """
    folders = dict(taken)
    used = set(folders.values())
    for model in models:
        if str(model.status) == "READY" and model.model_id not in folders:
            free = model.name not in used
            folders[model.model_id] = model.name if free else f"{model.name}-{model.model_id}"
            used.add(folders[model.model_id])
    return folders
