"""Text that is safe to hand on: others' errors without their secrets, names and values quoted for SQL, tables in HTML.

It imports nothing of the wheel, so that every room may use it. Start reading at `redaction`, then `sql_quoting`.
"""

from adbazureml.text.html import TEXT_TABLE, html_page, html_table, is_address, link
from adbazureml.text.redaction import first_line, is_page, keep_secret, logger, redact, redacted
from adbazureml.text.sql_quoting import identifier, literal, name_parts, table_name

__all__ = [
    "TEXT_TABLE",
    "first_line",
    "html_page",
    "html_table",
    "identifier",
    "is_address",
    "is_page",
    "keep_secret",
    "link",
    "literal",
    "logger",
    "name_parts",
    "redact",
    "redacted",
    "table_name",
]
