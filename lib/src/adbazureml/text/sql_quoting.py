"""The one place where names and values become SQL text.

Spark's rules: https://spark.apache.org/docs/latest/sql-ref-identifier.html and sql-ref-literals.html there. What a name
may hold in Unity Catalog: https://learn.microsoft.com/azure/databricks/sql/language-manual/sql-ref-names
"""

from __future__ import annotations

import re

_PART = re.compile(r"`(?:[^`]|``)+`|[^`.]+")
# Unity Catalog takes none of these in the names of catalogs, schemas and tables: control characters, space and slash.
_NOT_IN_A_NAME = re.compile(r"[\x00-\x20/\x7f]")
_LONGEST_NAME = 255
_MOST_PARTS = 3


def identifier(name: str) -> str:
    """Quote one name, of a column say, whatever characters it holds.

    >>> identifier("sepal length (cm)")
    '`sepal length (cm)`'
    >>> identifier("a`b")
    '`a``b`'
    """
    return "`" + name.replace("`", "``") + "`"


def name_parts(name: str) -> tuple[str, ...]:
    """Take a table's name apart: catalog, schema and table, or the last one or two of them.

    A part may stand in backticks, as in SQL; it must where it holds a dot or a backtick, which is doubled then.

    >>> name_parts("sales-eu.2026.`orders.raw`")
    ('sales-eu', '2026', 'orders.raw')

    Raises
    ------
    ValueError
        It is no such name; the message is for the user and goes on after the name.
    """
    parts, at = [], 0
    while match := _PART.match(name, at):
        part = match.group()
        parts.append(part[1:-1].replace("``", "`") if part.startswith("`") else part)
        at = match.end()
        if at == len(name) or name[at] != ".":
            break
        at += 1
    whole = bool(parts) and at == len(name) and not name.endswith(".")
    if not whole or len(parts) > _MOST_PARTS:
        raise ValueError("is not the name of a table: write table, schema.table or catalog.schema.table")
    if wrong := next((part for part in parts if _NOT_IN_A_NAME.search(part) or len(part) > _LONGEST_NAME), None):
        raise ValueError(f"is not the name of a table: {wrong!r} is too long, or holds a space or a slash")
    return tuple(parts)


def table_name(name: str) -> str:
    """Quote a table's name, part by part.

    >>> table_name("sales-eu.2026.orders")
    '`sales-eu`.`2026`.`orders`'

    Raises
    ------
    ValueError
        See `name_parts`.
    """
    return ".".join(map(identifier, name_parts(name)))


def literal(value: str) -> str:
    r"""Write text as an SQL string.

    Backslashes, since Spark reads a doubled quote as one only from version 4 on. The dollar sign is escaped because
    Spark puts the values of its own settings in the place of ``${name}`` before it parses.

    >>> literal("it's")
    "'it\\'s'"
    """
    escaped = value.replace("\\", r"\\").replace("'", r"\'").replace("$", r"\u0024")
    return f"'{escaped}'"
