"""The data of the walk: scikit-learn's diabetes study as two Delta tables."""

from __future__ import annotations

from typing import TYPE_CHECKING

from adbazureml import runtime
from adbazureml.errors import TableError
from adbazureml.settings import SAMPLE_PROPERTY, SAMPLE_SCORING, SAMPLE_TRAINING
from adbazureml.text import name_parts

if TYPE_CHECKING:
    import pandas as pd

_SHARE_TO_TRAIN = 0.8
_ARRIVALS = 89
_HEAVIER = 3.0


def is_sample(table: str) -> bool:
    """Whether a table is there and was written by `diabetes_tables`; a name alone does not tell."""
    return SAMPLE_PROPERTY in runtime.table_properties(table)


def diabetes_tables(*, training_table: str, scoring_table: str) -> None:
    """Write the sample tables that are missing; tables that exist are left as they are.

    442 patients with ten measurements in their own units and the progression of the disease a year later (Efron,
    Hastie, Johnstone, Tibshirani: Least Angle Regression, 2004), as `sklearn.datasets.load_diabetes` ships them. Four
    fifths go to the training table; the others, without the label, are the rows to score.

    Raises
    ------
    TableError
        A table is missing and is not one of the two samples.
    """
    missing = [table for table in (training_table, scoring_table) if not runtime.table_exists(table)]
    for table in missing:
        setting = "training_table" if table == training_table else "scoring_table"
        if _short(table) not in (SAMPLE_TRAINING, SAMPLE_SCORING):
            raise TableError(
                f"{setting} {table!r}: there is no such table. Only the sample tables {SAMPLE_TRAINING} and"
                f" {SAMPLE_SCORING} are made when missing."
            )
        _write_sample(table)


def new_patients(table: str) -> int:
    """Let the sample scoring table grow, as a table in use does, by patients like those of the study.

    Parameters
    ----------
    table : str
        The table to score; one of the user's own is left as it is.

    Returns
    -------
    int
        Rows added: as many as the sample began with, none in a job, whose tables are in use. Each has the measurements
        of a patient drawn from the whole study, with replacement, and an id of its own: rows drawn from the table again
        would double what is special about these few, which is a drift in truth.
    """
    if runtime.in_job() or not is_sample(table):
        return 0
    there = runtime.table(table)
    rows = there.count()
    drawn = _patients()[there.columns].sample(_ARRIVALS, replace=True, random_state=rows)
    drawn["patient_id"] = [f"N{number:04d}" for number in range(rows, rows + _ARRIVALS)]
    arrived = runtime.spark().createDataFrame(drawn, there.schema)
    arrived.coalesce(1).writeTo(runtime.quoted_table(table)).append()
    return _ARRIVALS


def heavier_patients(table: str) -> pd.DataFrame | None:
    """Measurements of the study's patients with a body mass index 3 kg/m² (0.7 standard deviations) above their own.

    Parameters
    ----------
    table : str
        The table to score; of one of the user's own, and in a job, there are none.
    """
    if runtime.in_job() or not is_sample(table):
        return None
    patients = _patients().drop(columns=["patient_id", "progression"])
    return patients.assign(bmi=patients["bmi"] + _HEAVIER)


def _patients() -> pd.DataFrame:
    """The study: ids, measurements and label."""
    from sklearn.datasets import load_diabetes

    data = load_diabetes(as_frame=True, scaled=False)
    patients: pd.DataFrame = data.data.rename(columns=str.lower).assign(progression=data.target)
    patients.insert(0, "patient_id", [f"P{number:04d}" for number in range(len(patients))])
    return patients


def _write_sample(table: str) -> None:
    shuffled = _patients().sample(frac=1, random_state=2004)
    cut = int(len(shuffled) * _SHARE_TO_TRAIN)
    training = _short(table) == SAMPLE_TRAINING
    rows = shuffled[:cut] if training else shuffled[cut:].drop(columns="progression")
    # One commit: a reader sees the whole table or none.
    frame = runtime.spark().createDataFrame(rows).coalesce(1)
    frame.writeTo(runtime.quoted_table(table)).using("delta").tableProperty(
        SAMPLE_PROPERTY, _short(table)
    ).createOrReplace()


def _short(table: str) -> str:
    return name_parts(table)[-1]
