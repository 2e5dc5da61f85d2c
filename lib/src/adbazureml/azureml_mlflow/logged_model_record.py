"""Logged models of MLflow 3 in a service that has none: each is a folder of its run's artifacts and a tag of its run.

The tag ``adbazureml.model.<key>`` holds the model's record as JSON; params and tags that the run has as well are left
out of it and read from the run. A model's id is ``m-<key>-<run id>``, so that whoever has the id finds the run without
a search.
"""

from __future__ import annotations

import json
import re
import secrets
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mlflow.entities import LoggedModel, Run

# Marks a run that has logged models, for the service to search by.
HAS_MODELS = "adbazureml.logged_models"
_TAG = "adbazureml.model."
_ID = re.compile(r"m-(?P<key>[0-9a-f]{8})-(?P<run_id>.+)")
# Azure ML's limit for a tag's value; a longer record goes on in further tags.
_TAG_LENGTH = 1000


@dataclass(frozen=True, kw_only=True)
class Record:
    """What is kept of a logged model.

    Attributes
    ----------
    key : str
        Eight hex digits; with the run's id they make the model's id.
    run_id : str
        The run that holds it.
    name, folder : str
        Name it was logged under, and its folder among the run's artifacts: the name, unless another model of the run
        has that.
    status : str
        PENDING, READY or FAILED, as MLflow has them.
    created, updated : int
        Milliseconds since the epoch.
    step : int
        Training step that it was logged at.
    params, tags : mapping
        Those that the run does not have with the same value.
    """

    key: str
    run_id: str
    name: str
    folder: str
    status: str = "PENDING"
    created: int
    updated: int
    step: int = 0
    model_type: str | None = None
    params: Mapping[str, str] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    deleted: bool = False
    own_run: bool = False

    @property
    def model_id(self) -> str:
        """MLflow's id of the model."""
        return f"m-{self.key}-{self.run_id}"

    @classmethod
    def new(
        cls,
        run: Run,
        *,
        name: str,
        model_type: str | None,
        params: Mapping[str, str],
        tags: Mapping[str, str],
        own_run: bool = False,
    ) -> Record:
        """Start the record of a model that a run is about to log; its folder is the name as yet."""
        now = int(time.time() * 1000)
        return cls(
            key=secrets.token_hex(4),
            run_id=run.info.run_id,
            name=name,
            folder=name,
            created=now,
            updated=now,
            model_type=model_type,
            params=_own(params, run.data.params),
            tags=_own(tags, run.data.tags),
            own_run=own_run,
        )

    def beside(self) -> Record:
        """The record with a folder that no other model has."""
        return replace(self, folder=f"{self.name}-{self.key}")

    def changed(self, **values: Any) -> Record:
        """The record with other values, as of now."""
        return replace(self, **values, updated=int(time.time() * 1000))

    def to_tags(self) -> dict[str, str]:
        """The tags of the run that hold this record."""
        kept = {name: value for name, value in vars(self).items() if value and name not in ("key", "run_id")}
        text = json.dumps(kept, separators=(",", ":"), default=dict)
        parts = [text[start : start + _TAG_LENGTH] for start in range(0, len(text), _TAG_LENGTH)]
        names = [f"{_TAG}{self.key}" + (f".{number}" if number else "") for number in range(len(parts))]
        return {HAS_MODELS: "true", **dict(zip(names, parts, strict=True))}

    def to_logged_model(self, run: Run) -> LoggedModel:
        """The model as MLflow's entity.

        Its metrics are those of its run, as long as the run has no other model: the service keeps no metrics by model.
        """
        from mlflow.entities import LoggedModel, LoggedModelStatus, Metric

        alone = len(list(records(run))) == 1
        metrics = run.data._metric_objs if alone else []
        own = {tag: value for tag, value in run.data.tags.items() if not tag.startswith("adbazureml.")}
        return LoggedModel(
            experiment_id=run.info.experiment_id,
            model_id=self.model_id,
            name=self.name,
            artifact_location=f"{run.info.artifact_uri}/{self.folder}",
            creation_timestamp=self.created,
            last_updated_timestamp=self.updated,
            model_type=self.model_type,
            source_run_id=None if self.own_run else self.run_id,
            status=LoggedModelStatus(self.status),
            tags={**own, **self.tags},
            params={**run.data.params, **self.params},
            metrics=[
                Metric(
                    metric.key, metric.value, metric.timestamp, metric.step, model_id=self.model_id, run_id=self.run_id
                )
                for metric in metrics
            ],
        )


def split_id(model_id: str) -> tuple[str, str] | None:
    """Key and run id of a model's id; None for an id of another store."""
    found = _ID.fullmatch(model_id)
    return (found["key"], found["run_id"]) if found else None


def records(run: Run) -> Iterator[Record]:
    """The logged models of a run, deleted ones left out, oldest first."""
    found = []
    for tag in run.data.tags:
        key = tag.removeprefix(_TAG)
        if tag != key and "." not in key:
            record = find(run, key)
            if record is not None and not record.deleted:
                found.append(record)
    yield from sorted(found, key=lambda record: record.created)


def find(run: Run, key: str) -> Record | None:
    """One logged model of a run by its key, deleted or not."""
    text, number = run.data.tags.get(f"{_TAG}{key}"), 1
    if text is None:
        return None
    # A shorter record may leave the further tags of a longer one behind: JSON says where it ends.
    while (part := run.data.tags.get(f"{_TAG}{key}.{number}")) is not None:
        text, number = text + part, number + 1
    values, _ = json.JSONDecoder().raw_decode(text)
    return Record(key=key, run_id=run.info.run_id, **values)


def _own(values: Mapping[str, str], of_run: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in values.items() if of_run.get(name) != value}
