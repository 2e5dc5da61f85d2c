"""The link between the two workspaces that Azure's portal offers, and whether each one's tracking store answers.

It imports `workspaces` and what is below. Start reading at `linking`.
"""

from adbazureml.workspaces.link.linking import Link, link_workspaces, show_link, unlink_workspaces
from adbazureml.workspaces.link.overview import ShownWorkspace, Workspaces, show_workspaces

__all__ = [
    "Link",
    "ShownWorkspace",
    "Workspaces",
    "link_workspaces",
    "show_link",
    "show_workspaces",
    "unlink_workspaces",
]
