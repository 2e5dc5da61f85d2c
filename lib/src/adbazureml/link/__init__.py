"""The link between the two workspaces that Azure's portal offers, and whether each one's tracking store answers."""

from adbazureml.link.linking import Link, link_workspaces, show_link, unlink_workspaces
from adbazureml.link.reached import Reached, Workspaces, show_workspaces

__all__ = [
    "Link",
    "Reached",
    "Workspaces",
    "link_workspaces",
    "show_link",
    "show_workspaces",
    "unlink_workspaces",
]
