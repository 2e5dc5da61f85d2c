"""What was written to one run and is not in the replica yet."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mlflow.entities import DatasetInput, Metric, Param, RunInfo, RunTag


@dataclass
class PendingChanges:
    """Changes to a run, merged: of what is written twice, only the last stays.

    Attributes
    ----------
    metrics, unsure : list of Metric
        Points; of the unsure ones it is not known whether the replica has them.
    params : dict of str to str
    tags : dict of str to (str or None)
        None stands for a deleted tag.
    datasets : list of DatasetInput
    info : RunInfo or None
        The run's status, end and name.
    lifecycle : str
        "deleted" or "active" where the run was deleted or restored.
    is_all : bool
        Whether the process created the run, and all that it wrote to it and that did not go out is among these.
    """

    metrics: list[Metric] = field(default_factory=list)
    unsure: list[Metric] = field(default_factory=list)
    params: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str | None] = field(default_factory=dict)
    datasets: list[DatasetInput] = field(default_factory=list)
    info: RunInfo | None = None
    lifecycle: str = ""
    is_all: bool = False

    def __bool__(self) -> bool:
        return bool(self.size or self.info or self.lifecycle)

    @property
    def size(self) -> int:
        """How many things wait."""
        return len(self.metrics) + len(self.unsure) + len(self.params) + len(self.tags) + len(self.datasets)

    def add_params(self, params: Iterable[Param]) -> None:
        """Add params."""
        self.params.update((param.key, param.value) for param in params)

    def add_tags(self, tags: Iterable[RunTag]) -> None:
        """Add tags."""
        self.tags.update((tag.key, tag.value) for tag in tags)
