"""Which columns of a table the walk's models learn from, and what they learn to predict: rules that read no table."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from adbazureml.errors import TableError

Task = Literal["regression", "classification"]
Kind = Literal["number", "boolean", "text"]

# More distinct labels than this are not looked at, and not taken for classes.
MOST_CLASSES = 100
# Class codes as people write them: 0, 1, 2, ... without a gap.
_MOST_CODES = 10
_WHOLE = frozenset({"tinyint", "smallint", "int", "bigint"})
_NUMBERS = _WHOLE | {"float", "double", "decimal"}
_TEXTS = frozenset({"string", "char", "varchar"})
_DATES = frozenset({"date", "timestamp", "timestamp_ntz"})
_NAMED_ID = re.compile(r"(?:^|.*_)id|.*[a-z]Id", flags=re.DOTALL)
_FEW = 10


@dataclass(frozen=True)
class ColumnFacts:
    """What is known of a column.

    Attributes
    ----------
    name, type : str
        Its name and Spark type.
    values : int
        Rows in which it has a value.
    distinct : int
        Its distinct values, nearly.
    constant : bool
        Whether all its values are the same.
    """

    name: str
    type: str
    values: int
    distinct: int
    constant: bool


def kind_of(type_name: str) -> Kind | None:
    """What a Spark type is to the models; None for one that they do not take."""
    plain = type_name.partition("(")[0]
    if plain in _NUMBERS:
        return "number"
    if plain == "boolean":
        return "boolean"
    return "text" if plain in _TEXTS else None


def left_out(columns: Sequence[ColumnFacts]) -> Mapping[str, str]:
    """The columns that the models do not learn from, with the reason; all others they take."""
    reasons = {column.name: _reason(column) for column in columns}
    return {name: reason for name, reason in reasons.items() if reason}


def decide_task(
    asked: Literal["auto", "regression", "classification"], *, label: str, type_name: str, values: Sequence[Any]
) -> tuple[Task, str]:
    """Tell what the label asks for.

    Text and booleans are classes. Numbers are a quantity, unless they are class codes: exactly two whole numbers, such
    as 0 and 1, or up to ten that count up from 0 without a gap. That is a guess: a quantity which happens to take just
    such values (the number of children, say) is taken for classes, and codes such as 10, 20 and 30 are taken for a
    quantity; the setting `task` then says what they are.

    Parameters
    ----------
    asked : "auto", "regression" or "classification"
        The setting `task`.
    label, type_name : str
        The column's name and Spark type.
    values : sequence
        Its distinct values, at most 101 of them.

    Returns
    -------
    task : "regression" or "classification"
    reason : str
        Why, as words that go on after "because".

    Raises
    ------
    TableError
        The label is neither number, text nor boolean, has fewer than two values, or does not fit the task.
    """
    kind = kind_of(type_name)
    if kind is None:
        raise TableError(f"label {label!r}: it is {type_name}, expected numbers, text or booleans.")
    if len(values) < 2:
        said = f"only the value {values[0]!r}" if values else "no value"
        raise TableError(f"label {label!r}: it has {said}, so there is nothing to learn; name another column.")
    whole = kind == "number" and all(value == value // 1 for value in values)
    if asked == "auto":
        task, reason = _guess(kind, whole, values)
    else:
        task, reason = asked, "task says so"
    if task == "regression" and kind == "text":
        raise TableError(f"task 'regression': label {label!r} is text; cast it to a number, or leave task at auto.")
    if task == "classification":
        if kind == "number" and not whole:
            raise TableError(
                f"task 'classification': label {label!r} holds fractions; classes are text, booleans or whole "
                "numbers. Leave task at auto to predict a quantity."
            )
        if len(values) > MOST_CLASSES:
            raise TableError(
                f"label {label!r}: it has more than {MOST_CLASSES} classes, too many for the sample models; "
                "name another column, or train a model of your own."
            )
    return task, reason


def _guess(kind: Kind, whole: bool, values: Sequence[Any]) -> tuple[Task, str]:
    if kind != "number":
        return "classification", "it holds text" if kind == "text" else "it holds booleans"
    found = sorted(values) if whole and len(values) <= _MOST_CODES else []
    if len(found) == 2 or (found and found == list(range(len(found)))):
        return "classification", f"it holds only {', '.join(f'{value:.0f}' for value in found)}"
    return "regression", "it holds numbers"


def _reason(column: ColumnFacts) -> str:
    plain = column.type.partition("(")[0]
    kind = kind_of(column.type)
    reasons = {
        f"a {plain}, which the sample models do not take: add what it says as a number, such as days since then": (
            plain in _DATES
        ),
        f"{column.type.partition('<')[0]}, which the sample models do not take": kind is None,
        "no row has a value": column.values == 0,
        "the same value in all rows": column.constant,
        f"text with about {min(column.distinct, column.values):,} values in {column.values:,} rows, as an id has": (
            kind == "text" and column.distinct > max(_FEW, column.values / 2)
        ),
        "an id, by its name and a value per row": (
            plain in _WHOLE and bool(_NAMED_ID.fullmatch(column.name)) and column.distinct > 0.9 * column.values
        ),
    }
    return next((reason for reason, holds in reasons.items() if holds), "")
