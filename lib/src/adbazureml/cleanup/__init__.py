"""What the project made in both workspaces: list it, and delete what was chosen once its name was typed again.

It imports all rooms below. Start reading at `items`, then `discovery` and `deletion`.
"""

from adbazureml.cleanup.deletion import clean_up
from adbazureml.cleanup.discovery import inventory
from adbazureml.cleanup.items import Inventory, Item

__all__ = ["Inventory", "Item", "clean_up", "inventory"]
