"""When drift raises an alarm: with a memory of the reports before, so that one odd day does not wake anybody."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from adbazureml.errors import DriftError, SettingsError

# Reports that are looked through for those that brought new rows.
_MOST_RUNS = 200


@dataclass(frozen=True)
class PastReport:
    """What is remembered of a report.

    Attributes
    ----------
    rows : int
        New rows that it looked at.
    drifted : bool
        Whether a column drifted.
    psi : mapping of str to float
        The index of each column, by the name of its metric.
    """

    rows: int
    drifted: bool
    psi: Mapping[str, float] = field(default_factory=dict)

    def brings_news(self, before: PastReport | None) -> bool:
        """Whether it looked at other rows than the one before: as many of them would not give the very same figures."""
        if before is None:
            return self.rows > 0
        shared = self.psi.keys() & before.psi.keys()
        return self.rows != before.rows or any(self.psi[name] != before.psi[name] for name in shared)


@dataclass(frozen=True)
class Alarm:
    """Whether drift is to wake somebody.

    Attributes
    ----------
    raised : bool
    said : str
        Why, or why not, in a sentence.
    """

    raised: bool
    said: str

    @property
    def state(self) -> str:
        """As a task value: ``"raised"`` or ``"silent"``."""
        return "raised" if self.raised else "silent"

    def __str__(self) -> str:
        return self.said

    def check(self) -> None:
        """Fail where it is raised, as a job's task should that guards a model.

        Raises
        ------
        DriftError
            Says why.
        """
        if self.raised:
            raise DriftError(
                f"{self.said} Look at the figures, then train anew, or raise threshold if this is no concern."
            )


def alarm_of(reports: Sequence[PastReport], *, needed: int, of: int, found: str) -> Alarm:
    """Raise the alarm where enough of the last reports found drift, the newest among them.

    Parameters
    ----------
    reports : sequence of PastReport
        The newest first. One that looked at the same rows as the one before it brought nothing new: it does not count,
        and as the newest it is silent.
    needed, of : int
        So many of so many last reports.
    found : str
        What the newest one says.

    Raises
    ------
    SettingsError
        `needed` is below 1, or above `of`.
    """
    if not 1 <= needed <= of:
        raise SettingsError(f"alarm_reports: {needed} of the last {of}; expected 1 or more, and no more than alarm_of.")
    newest = reports[0]
    if not newest.brings_news(reports[1] if len(reports) > 1 else None):
        return Alarm(raised=False, said="No alarm: no new row since the last report.")
    counted = [one for one, before in pairwise([*reports, None]) if one and one.brings_news(before)]
    drifted = sum(one.drifted for one in counted[:of])
    if of == 1:
        seen = "this report found drift" if newest.drifted else "this report found no drift"
    else:
        seen = f"{drifted} of the last {min(of, len(counted))} reports found drift, {needed} of {of} raise the alarm"
        seen += "" if newest.drifted else ", the newest among them"
    raised = newest.drifted and drifted >= needed
    return Alarm(raised, f"Alarm: {seen}. {found}" if raised else f"No alarm: {seen}.")


def remembered(model_uri: str) -> list[PastReport]:
    """The reports on a model that earlier runs of the active experiment logged, the newest first."""
    import mlflow

    runs: Any = mlflow.search_runs(
        filter_string="metrics.drift_rows >= 0",
        order_by=["attributes.start_time DESC"],
        max_results=_MOST_RUNS,
        output_format="list",
    )
    return [past_report(run.data.metrics) for run in runs if run.data.params.get("model_uri") == model_uri]


def past_report(metrics: Mapping[str, float]) -> PastReport:
    """What is remembered of a report, from the metrics that it logs."""
    psi = {name: value for name, value in metrics.items() if name.startswith("drift_psi/")}
    return PastReport(rows=int(metrics["drift_rows"]), drifted=metrics["drift_columns"] > 0, psi=psi)
