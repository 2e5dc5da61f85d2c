"""What a table of predictions lacks to take rows that got columns or wider types."""

import pytest
from pyspark.sql.types import (
    ArrayType,
    ByteType,
    DateType,
    DecimalType,
    DoubleType,
    FloatType,
    IntegerType,
    LongType,
    MapType,
    StringType,
    StructField,
    StructType,
    TimestampNTZType,
    TimestampType,
)

from adbazureml.scoring.schema_evolution import Evolution, evolution


def columns(**kinds):
    return StructType([StructField(name, kind) for name, kind in kinds.items()])


def test_the_same_columns_in_another_order_and_case_lack_nothing():
    assert evolution(columns(a=LongType(), b=StringType()), columns(B=StringType(), a=LongType())) == Evolution()


def test_new_columns_and_fields_are_added_with_their_names_quoted():
    inner = StructType([StructField("a`b", LongType())])
    wanted = StructType([StructField("s", columns(x=LongType(), y=ArrayType(inner))), StructField("c (cm)", inner)])
    assert evolution(columns(s=columns(x=LongType())), wanted).added == (
        ("`s`.`y`", "ARRAY<STRUCT<`a``b`: bigint>>"),
        ("`c (cm)`", "STRUCT<`a``b`: bigint>"),
    )
    assert evolution(columns(), columns(m=MapType(StringType(), LongType()))).added == (("`m`", "MAP<string, bigint>"),)


@pytest.mark.parametrize(
    ("held", "wanted"),
    [
        (ByteType(), IntegerType()),
        (IntegerType(), LongType()),
        (IntegerType(), DoubleType()),
        (FloatType(), DoubleType()),
        (DateType(), TimestampNTZType()),
        (DecimalType(10, 2), DecimalType(12, 3)),
        (IntegerType(), DecimalType(12, 2)),
        (LongType(), DecimalType(22, 2)),
    ],
)
def test_wider_types_are_taken_over_wherever_they_are(held, wanted):
    kind = wanted.simpleString()
    assert evolution(columns(a=held), columns(a=wanted)) == Evolution(widened=(("`a`", kind),))
    nested = evolution(columns(a=ArrayType(columns(b=held))), columns(a=ArrayType(columns(b=wanted))))
    assert nested == Evolution(widened=(("`a`.`element`.`b`", kind),))
    in_a_map = evolution(columns(a=MapType(StringType(), held)), columns(a=MapType(StringType(), wanted)))
    assert in_a_map == Evolution(widened=(("`a`.`value`", kind),))


@pytest.mark.parametrize(
    ("held", "wanted"),
    [
        (LongType(), IntegerType()),
        (LongType(), DoubleType()),
        (DoubleType(), StringType()),
        (DateType(), TimestampType()),
        (DecimalType(10, 2), DecimalType(12, 5)),
        (IntegerType(), DecimalType(10, 2)),
        (ArrayType(DoubleType()), MapType(StringType(), DoubleType())),
    ],
)
def test_other_types_are_refused(held, wanted):
    expected = f"a is {held.simpleString()}, not {wanted.simpleString()}"
    assert evolution(columns(a=held), columns(a=wanted)).refused == (expected,)


def test_columns_that_are_gone_are_refused():
    assert evolution(columns(a=LongType(), b=LongType()), columns(a=LongType())).refused == (
        "b is not among the columns to write",
    )
