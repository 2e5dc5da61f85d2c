"""Which columns can be looked at, and how: by their types, without Spark."""

import pytest

from adbazureml.errors import TableError
from adbazureml.monitoring.baseline import comparable
from adbazureml.monitoring.column_profile import CATEGORIES, is_free_text


@pytest.mark.parametrize(
    ("kinds", "content"),
    [
        (("int", "decimal(10,2)"), "number"),
        (("string", "varchar(9)"), "text"),
        (("date", "timestamp_ntz"), "date"),
        (("array<float>", "array<double>"), "array"),
        (("void", "double"), "number"),
        (("date", "void"), "date"),
        (("void", "void"), "text"),
    ],
)
def test_columns_of_one_content_are_comparable(kinds, content):
    assert comparable({"now": {"a": kinds[0]}, "then": {"a": kinds[1]}}, ["a"]) == {"a": content}


@pytest.mark.parametrize("kind", ["struct<a:int>", "array<string>", "map<string,int>", "binary", "array<array<int>>"])
def test_what_cannot_be_looked_at_is_said(kind):
    with pytest.raises(TableError, match="neither number, text, boolean, date nor array of numbers"):
        comparable({"now": {"a": kind}}, ["a"])


def test_a_number_that_became_text_is_named_with_both_types():
    with pytest.raises(TableError, match="'a' is string in now and double in then"):
        comparable({"now": {"a": "string"}, "then": {"a": "double"}}, ["a"])


@pytest.mark.parametrize(
    ("rows", "distinct", "free"),
    [(1_000_000, 1_000_000, True), (1_000, 501, True), (1_000, 500, False), (CATEGORIES, CATEGORIES, False)],
)
def test_text_that_is_hardly_ever_the_same_is_free_text(rows, distinct, free):
    assert is_free_text(rows, distinct) is free
