"""What the label asks for and which columns are features: rules that need no table, nor Spark."""

import pytest

from adbazureml.errors import TableError
from adbazureml.samples.column_types import MOST_CLASSES, ColumnFacts, decide_task, kind_of, left_out


def decide(type_name, values, asked="auto"):
    return decide_task(asked, label="y", type_name=type_name, values=values)


@pytest.mark.parametrize(
    ("type_name", "values", "task"),
    [
        ("string", ["no", "yes"], "classification"),
        ("varchar(9)", ["a", "b", "c"], "classification"),
        ("boolean", [True, False], "classification"),
        ("int", [0, 1], "classification"),
        ("int", [1, 2], "classification"),
        ("bigint", [2, 0, 1], "classification"),
        # What a file with missing labels makes of 0 and 1.
        ("double", [0.0, 1.0], "classification"),
        ("decimal(3,0)", [1, 0], "classification"),
        ("int", [1, 2, 3, 4, 5], "regression"),
        ("int", [0, 1, 3], "regression"),
        ("int", list(range(11)), "regression"),
        ("double", [0.5, 1.0], "regression"),
        ("double", [-1.5, 20.0, 301.0], "regression"),
    ],
)
def test_the_label_tells_what_is_to_be_learned(type_name, values, task):
    found, reason = decide(type_name, values)
    assert (found, bool(reason)) == (task, True)


def test_the_setting_overrides_the_guess():
    assert decide("int", [0, 1], asked="regression")[0] == "regression"
    assert decide("int", [10, 20, 30], asked="classification")[0] == "classification"
    assert decide("boolean", [True, False], asked="regression")[0] == "regression"


@pytest.mark.parametrize(
    ("type_name", "values", "asked", "said"),
    [
        ("date", [], "auto", "it is date, expected numbers, text or booleans"),
        ("struct<a:int>", [], "auto", "expected numbers, text or booleans"),
        ("string", [], "auto", "it has no value"),
        ("int", [7], "auto", "it has only the value 7"),
        ("string", ["a", "b"], "regression", "is text"),
        ("double", [0.5, 1.5], "classification", "holds fractions"),
        ("string", [str(i) for i in range(MOST_CLASSES + 1)], "auto", "more than 100 classes"),
    ],
)
def test_a_label_that_can_not_be_learned_is_refused_in_one_sentence(type_name, values, asked, said):
    with pytest.raises(TableError, match=f"label 'y'.*{said}"):
        decide(type_name, values, asked)


def facts(name="x", type_name="double", values=100, distinct=60, constant=False):
    return ColumnFacts(name, type_name, values, distinct, constant)


@pytest.mark.parametrize(
    ("column", "reason"),
    [
        (facts(values=0, distinct=0), "no row has a value"),
        (facts(distinct=1, constant=True), "the same value in all rows"),
        (facts(type_name="string", distinct=103), "text with about 100 values in 100 rows, as an id has"),
        (facts("patient_id", "bigint", distinct=100), "an id, by its name and a value per row"),
        (facts("customerId", "int", distinct=99), "an id, by its name and a value per row"),
        (facts(type_name="date"), "a date, which the sample models do not take"),
        (facts(type_name="timestamp_ntz"), "a timestamp_ntz, which"),
        (facts(type_name="binary"), "binary, which the sample models do not take"),
        (facts(type_name="struct<a:int>"), "struct, which"),
        (facts(type_name="map<string,int>"), "map, which"),
        (facts(type_name="array<double>"), "array, which"),
    ],
)
def test_what_is_left_out_is_said_with_the_reason(column, reason):
    assert left_out([column])[column.name].startswith(reason)


@pytest.mark.parametrize(
    "column",
    [
        facts(),
        facts(type_name="decimal(12,2)"),
        facts(type_name="boolean", distinct=2),
        facts(type_name="string", distinct=40),
        facts(type_name="string", values=12, distinct=10),
        # A number per row is what most numbers have; an id that repeats says which customer.
        facts("price", "int", distinct=100),
        facts("shop_id", "int", distinct=12),
        facts("paid", "int", distinct=100),
    ],
)
def test_what_says_something_is_a_feature(column):
    assert not left_out([column])


def test_kinds():
    assert [kind_of(name) for name in ("tinyint", "decimal(3,1)", "char(2)", "boolean", "timestamp", "void")] == [
        "number",
        "number",
        "text",
        "boolean",
        None,
        None,
    ]
