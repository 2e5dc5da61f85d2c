"""What the walk needs, what this place has, and putting in what is missing.

It imports `workspaces` and what is below. Start reading at `report`, then `cluster_libraries`.
"""

from adbazureml.workspaces.install.cluster_libraries import CLUSTER_ID_CONF, install_missing, install_wheel
from adbazureml.workspaces.install.model_pins import model_requirements
from adbazureml.workspaces.install.report import InstallReport, Row, asked_deploy_target, check, requirements, verify

__all__ = [
    "CLUSTER_ID_CONF",
    "InstallReport",
    "Row",
    "asked_deploy_target",
    "check",
    "install_missing",
    "install_wheel",
    "model_requirements",
    "requirements",
    "verify",
]
