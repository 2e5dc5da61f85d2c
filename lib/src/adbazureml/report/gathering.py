"""Read from the tracking store and the registries what a report tells."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from functools import partial
from heapq import nlargest
from pathlib import Path
from typing import TYPE_CHECKING

from mlflow.exceptions import MlflowException

from adbazureml.azureml_mlflow.mlflow_errors import is_missing
from adbazureml.errors import RegistryError
from adbazureml.registry import CHAMPION, alias_holders, azureml_model_name, version_tags
from adbazureml.registry.existing_version import finished_versions
from adbazureml.registry.promotion import alias_holder, refusals_told
from adbazureml.report.page import Link, Picture, Report, ReportedModel, ReportedRun, ReportedVersion
from adbazureml.tracking import run_tags
from adbazureml.tracking.artifact_copy import download_file, repository
from adbazureml.tracking.run_description import NOTE, Stage, without_link
from adbazureml.tracking.sync_record import is_in_sync, now
from adbazureml.validation.version_words import STATE

if TYPE_CHECKING:
    from mlflow.entities import Run
    from mlflow.entities.model_registry import ModelVersion

    from adbazureml.settings import Settings
    from adbazureml.workspaces import AzureMLWorkspace, Workspace

# So many of a model, beside the champion.
_VERSIONS = 3
# Figures that tell of a run as a whole.
_METRICS = (
    *("valid_", "challenger_", "champion_"),
    *("compared_rows", "largest_difference", "p50_ms", "p99_ms"),
    *("scored_rows", "rejected_rows", "drift_rows", "drift_columns"),
)
_PICTURES = {
    "validation.png": "The new version against the champion: the difference of their losses, and their errors",
    "predictions.png": "How the predictions are spread",
    "drift.png": "Each column's new rows beside those of the baseline",
    "drift_by_day.png": "Drift of each column on each day",
}


def walk_report(settings: Settings, *, workspace: AzureMLWorkspace | None) -> Report:
    """Report what the walk came to, as the two workspaces hold it now.

    Parameters
    ----------
    settings : Settings
        The experiment, the model's name, and where runs and models go.
    workspace : AzureMLWorkspace or None
        As `AzureMLWorkspace.of` finds it.

    Raises
    ------
    mlflow.exceptions.MlflowException
        A tracking store can't be read. What a registry refuses is told on the page.
    """
    from adbazureml.workspaces import DatabricksWorkspace

    databricks = DatabricksWorkspace.current()
    tracks = workspace if workspace is not None and settings.tracking == "azureml" else databricks
    holds = workspace if workspace is not None and settings.registry == "azureml" else databricks
    both = workspace if settings.registry == "both" else None
    models, trained = [], []
    for name in settings.model_names:
        try:
            found, champion = _newest(holds, name)
            # The runs of the challengers only show what becomes of their versions.
            if found and name != settings.challengers_model_name:
                trained.append(found[0].tags.get(version_tags.RUN_ID, ""))
            if found:
                models.append(_model(holds, name, found, champion, both))
        except RegistryError as error:
            models.append(ReportedModel(name=name, champion=str(error), agrees=False))
    runs = _Runs(tracks, both=settings.tracking == "both")
    experiment = runs.client.get_experiment_by_name(settings.experiment_name)
    newest = partial(runs.newest, experiment.experiment_id) if experiment else lambda _: None
    return Report(
        title=settings.model_name,
        experiment=settings.experiment_name,
        made_at=f"{now()[:16].replace('T', ' ')} UTC",
        models=tuple(models),
        trained=tuple(run for run_id in trained if run_id and (run := runs.by_id(run_id))),
        validated=newest("validate"),
        deployed=newest("deploy"),
        scored=newest("score"),
        monitored=newest("monitor"),
    )


class _Runs:
    """Runs as the report shows them."""

    def __init__(self, place: Workspace, *, both: bool) -> None:
        self.client = place.client()
        self._place, self._both = place, both

    def by_id(self, run_id: str) -> ReportedRun | None:
        """A run; None where it was deleted."""
        try:
            return self._reported(self.client.get_run(run_id))
        except MlflowException as error:
            if is_missing(error):
                return None
            raise

    def newest(self, experiment_id: str, stage: Stage) -> ReportedRun | None:
        """The newest run of a step; None where there is none."""
        found = self.client.search_runs(
            [experiment_id],
            filter_string=f"tags.`{run_tags.STAGE}` = '{stage}'",
            order_by=["attributes.start_time DESC"],
            max_results=1,
        )
        return self._reported(found[0], pictures=True) if found else None

    def _reported(self, run: Run, *, pictures: bool = False) -> ReportedRun:
        tags = run.data.tags
        links: list[Link] = [(_title(self._place), self._place.run_url(run.info.experiment_id, run.info.run_id))]
        if counterpart := tags.get(run_tags.AZUREML_RUN_URL):
            links.append(("Azure ML", counterpart))
        return ReportedRun(
            name=run.info.run_name or run.info.run_id,
            status=run.info.status,
            said=without_link(tags.get(NOTE, "")),
            metrics={name: value for name, value in run.data.metrics.items() if name.startswith(_METRICS)},
            links=tuple(links),
            in_sync=is_in_sync(run, tags.get(run_tags.IN_SYNC, "")) if self._both else None,
            pictures=tuple(self._pictures(run)) if pictures else (),
        )

    def _pictures(self, run: Run) -> Iterator[Picture]:
        there = {entry.path for entry in self.client.list_artifacts(run.info.run_id)}
        files = repository(run.info.artifact_uri, self._place.tracking_uri)
        with tempfile.TemporaryDirectory() as folder:
            for path, said in _PICTURES.items():
                if path in there:
                    local = Path(folder, path)
                    download_file(files, path, local)
                    yield Picture(png=local.read_bytes(), said=said)


def _newest(place: Workspace, name: str) -> tuple[list[ModelVersion], str | None]:
    """The newest versions of a model and the champion, with their tags; and the champion's number.

    Raises
    ------
    RegistryError
        The registry refused.
    """
    client, own = place.client(), _own_name(place, name)
    with refusals_told(place, f"to show the versions of {own!r}"):
        numbers = set(nlargest(_VERSIONS, (int(version.version) for version in finished_versions(client, own))))
        if champion := alias_holder(client, own, CHAMPION):
            numbers.add(int(champion))
        # Unity Catalog's search shows no tags.
        return [client.get_model_version(own, str(number)) for number in sorted(numbers, reverse=True)], champion


def _model(
    place: Workspace,
    name: str,
    versions: Sequence[ModelVersion],
    champion: str | None,
    workspace: AzureMLWorkspace | None,
) -> ReportedModel:
    """A model with these versions; `workspace` is the other registry that has it, or None.

    Raises
    ------
    RegistryError
        A registry refused.
    """
    said, agrees = f"Version {champion} is the champion." if champion else "No version is the champion.", True
    if workspace is not None:
        holders = alias_holders(name, workspace=workspace)
        said, agrees = str(holders), holders.agree
    return ReportedModel(
        name=name,
        champion=f"{said[0].upper()}{said[1:]}",
        agrees=agrees,
        versions=tuple(
            ReportedVersion(
                number=str(version.version),
                is_champion=str(version.version) == champion,
                state=version.tags.get(STATE, ""),
                said=version.description or "",
                links=_pages(place, version),
            )
            for version in versions
        ),
    )


def _pages(place: Workspace, version: ModelVersion) -> tuple[Link, ...]:
    here: Link = (_title(place), place.model_url(version.name, str(version.version)))
    there = version.tags.get(version_tags.COUNTERPART_URL)
    return (here, ("Azure ML", there)) if there and here[0] == "Databricks" else (here,)


def _own_name(place: Workspace, name: str) -> str:
    return azureml_model_name(name) if _title(place) == "Azure ML" else name


def _title(place: Workspace) -> str:
    from adbazureml.workspaces import AzureMLWorkspace

    return "Azure ML" if isinstance(place, AzureMLWorkspace) else "Databricks"
