"""How the columns of a table of predictions follow those of the rows that are scored: new ones, and wider types.

What Delta widens in place: https://docs.delta.io/latest/delta-type-widening.html
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from adbazureml.text import identifier

if TYPE_CHECKING:
    from pyspark.sql.types import DataType, StructType

_WIDER = {
    "tinyint": {"smallint", "int", "bigint", "double"},
    "smallint": {"int", "bigint", "double"},
    "int": {"bigint", "double"},
    "float": {"double"},
    "date": {"timestamp_ntz"},
}
# Digits before the point that Delta asks of a decimal which is to hold all of a type.
_DIGITS = {"tinyint": 10, "smallint": 10, "int": 10, "bigint": 20}


@dataclass(frozen=True)
class Evolution:
    """What a table lacks to take rows.

    Attributes
    ----------
    added, widened : tuple of (str, str)
        Quoted path of a column or field, and its type in SQL.
    refused : tuple of str
        Why it can't take them, as phrases; empty where it can.
    """

    added: tuple[tuple[str, str], ...] = ()
    widened: tuple[tuple[str, str], ...] = ()
    refused: tuple[str, ...] = ()

    def __add__(self, other: Evolution) -> Evolution:
        return Evolution(self.added + other.added, self.widened + other.widened, self.refused + other.refused)


def evolution(held: StructType, wanted: StructType) -> Evolution:
    """What a table of these columns lacks to take rows of those; names match whatever their case."""
    return _of_fields(held, wanted, within=())


def _of_fields(held: StructType, wanted: StructType, *, within: tuple[str, ...]) -> Evolution:
    there = {field.name.lower(): field for field in held.fields}
    asked = {field.name.lower() for field in wanted.fields}
    found = Evolution()
    for field in wanted.fields:
        path = (*within, field.name)
        if (one := there.get(field.name.lower())) is None:
            found += Evolution(added=((_quoted(path), _in_sql(field.dataType)),))
        else:
            found += _of_types(one.dataType, field.dataType, path)
    extra = [field.name for field in held.fields if field.name.lower() not in asked]
    return found + Evolution(
        refused=tuple(f"{'.'.join((*within, name))} is not among the columns to write" for name in extra)
    )


def _of_types(held: DataType, wanted: DataType, path: tuple[str, ...]) -> Evolution:
    from pyspark.sql.types import ArrayType, MapType, StructType

    if held.simpleString() == wanted.simpleString():
        return Evolution()
    if isinstance(held, StructType) and isinstance(wanted, StructType):
        return _of_fields(held, wanted, within=path)
    if isinstance(held, ArrayType) and isinstance(wanted, ArrayType):
        return _of_types(held.elementType, wanted.elementType, (*path, "element"))
    if isinstance(held, MapType) and isinstance(wanted, MapType):
        return _of_types(held.keyType, wanted.keyType, (*path, "key")) + _of_types(
            held.valueType, wanted.valueType, (*path, "value")
        )
    if _is_wider(held, wanted):
        return Evolution(widened=((_quoted(path), wanted.simpleString()),))
    return Evolution(refused=(f"{'.'.join(path)} is {held.simpleString()}, not {wanted.simpleString()}",))


def _is_wider(held: DataType, wanted: DataType) -> bool:
    from pyspark.sql.types import DecimalType

    name = held.simpleString()
    if not isinstance(wanted, DecimalType):
        return wanted.simpleString() in _WIDER.get(name, ())
    digits = wanted.precision - wanted.scale
    if isinstance(held, DecimalType):
        return wanted.scale >= held.scale and digits >= held.precision - held.scale
    return name in _DIGITS and digits >= _DIGITS[name]


def _in_sql(kind: DataType) -> str:
    """A type as SQL reads it: `simpleString` leaves the names of fields as they are."""
    from pyspark.sql.types import ArrayType, MapType, StructType

    if isinstance(kind, StructType):
        fields = (f"{identifier(field.name)}: {_in_sql(field.dataType)}" for field in kind.fields)
        return f"STRUCT<{', '.join(fields)}>"
    if isinstance(kind, ArrayType):
        return f"ARRAY<{_in_sql(kind.elementType)}>"
    if isinstance(kind, MapType):
        return f"MAP<{_in_sql(kind.keyType)}, {_in_sql(kind.valueType)}>"
    return kind.simpleString()


def _quoted(path: tuple[str, ...]) -> str:
    return ".".join(map(identifier, path))
