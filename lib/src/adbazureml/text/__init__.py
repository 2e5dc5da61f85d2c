"""What turns text into text that is safe to hand on: names and values into SQL."""

from adbazureml.text.sql import identifier, literal, name_parts, table_name

__all__ = ["identifier", "literal", "name_parts", "table_name"]
