"""What turns text into text that is safe to hand on: others' errors without their secrets, names and values into SQL.

It imports nothing of the package, so that every room may use it. Start reading at `redacted` and at `sql`.
"""

from adbazureml.text.redaction import first_line, is_page, keep_secret, logger, redact, redacted
from adbazureml.text.sql_quoting import identifier, literal, name_parts, table_name

__all__ = [
    "first_line",
    "identifier",
    "is_page",
    "keep_secret",
    "literal",
    "logger",
    "name_parts",
    "redact",
    "redacted",
    "table_name",
]
