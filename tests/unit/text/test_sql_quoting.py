"""Names and values in SQL: quoted in one place, and Spark reads them as they were meant."""

import ast
from pathlib import Path

import pytest

from adbazureml import text
from adbazureml.errors import TableError
from adbazureml.runtime import quoted_table

LIB = Path(text.__file__).parents[1]
AWKWARD = [
    "plain",
    "it's",
    'say "yes"',
    "a\\b",
    "`",
    "a' OR model_uri LIKE '%",
    "${spark.master}",
    "ein Tag\n",
    "ü",
    "--",
]
QUOTING = {"identifier", "literal", "table_name", "quoted_table", "int"}


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("orders", ("orders",)),
        ("main.sales.orders", ("main", "sales", "orders")),
        ("sales-eu.2026.1st-orders", ("sales-eu", "2026", "1st-orders")),
        ("`sales-eu`.2026.`a.b`", ("sales-eu", "2026", "a.b")),
        ("`a``b`", ("a`b",)),
    ],
)
def test_a_tables_name_is_taken_apart_and_quoted(name, parts):
    assert text.name_parts(name) == parts
    assert text.name_parts(text.table_name(name)) == parts


@pytest.mark.parametrize(
    "name", ["", ".", "a.", ".a", "a..b", "a.b.c.d", "a b", "a/b", "a`b", "`a", "a\n", "x; DROP", "a" * 256]
)
def test_what_is_no_tables_name_is_refused(name):
    with pytest.raises(TableError, match="is not the name of a table"):
        quoted_table(name)


@pytest.mark.spark
def test_spark_reads_values_and_names_as_they_were_meant(spark):
    for value in AWKWARD:
        # In a name Spark puts in its own settings, whatever one does.
        name = value.replace("${", "{")
        row = spark.sql(f"SELECT {text.literal(value)} AS {text.identifier(name)}").first()
        assert row.asDict() == {name: value}


def test_no_sql_is_put_together_outside_the_quoting_functions():
    """What an f-string puts into SQL has passed one of them, or is a number."""
    found = [
        f"{path.relative_to(LIB)}:{call.lineno}: {ast.unparse(value)}"
        for path in LIB.rglob("*.py")
        for call in ast.walk(ast.parse(path.read_text()))
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute)
        if call.func.attr in {"sql", "expr", "selectExpr"}
        for argument in call.args
        for part in ast.walk(argument)
        if isinstance(part, ast.FormattedValue)
        for value in [part.value]
        if not (isinstance(value, ast.Call) and ast.unparse(value.func).rpartition(".")[2] in QUOTING)
    ]
    assert found == []
