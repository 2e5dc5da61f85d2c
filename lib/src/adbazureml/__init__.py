"""Machine learning in Azure Databricks and Azure Machine Learning at once.

The names below are the whole vocabulary of the notebooks. Each is loaded when first used: MLflow reads this package's
entry points in the middle of its own import, and nobody should wait for Spark to look at a run.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from adbazureml.lazy_names import lazy_names

if TYPE_CHECKING:
    from adbazureml.cleanup import clean_up, inventory
    from adbazureml.deployment import (
        ContainerInstances,
        Kubernetes,
        LiveLimits,
        Local,
        ManagedOnline,
        ModelServing,
        deploy,
        input_example,
        target_of,
    )
    from adbazureml.monitoring import monitor, profile, quality, quality_baseline
    from adbazureml.registry.promotion import promote, rollback
    from adbazureml.registry.registered_version import find_version
    from adbazureml.registry.registration import register
    from adbazureml.report import walk_report
    from adbazureml.runtime import display, hand_on, spark, use_volume_for_spark_models
    from adbazureml.scoring import input_rows, predict, score, select_rows
    from adbazureml.settings import Settings
    from adbazureml.tracking import catch_up, find_runs, track
    from adbazureml.validation import read_rules, validate
    from adbazureml.workspaces import AzureMLWorkspace, DatabricksWorkspace, create_workspace
    from adbazureml.workspaces.install import check, install_missing, model_requirements, verify
    from adbazureml.workspaces.link import link_workspaces, show_link, show_workspaces, unlink_workspaces

_ROOM_OF = {
    "AzureMLWorkspace": "workspaces",
    "ContainerInstances": "deployment",
    "DatabricksWorkspace": "workspaces",
    "Kubernetes": "deployment",
    "LiveLimits": "deployment",
    "Local": "deployment",
    "ManagedOnline": "deployment",
    "ModelServing": "deployment",
    "Settings": "runtime",
    "catch_up": "tracking",
    "check": "workspaces.install",
    "clean_up": "cleanup",
    "create_workspace": "workspaces",
    "deploy": "deployment",
    "display": "runtime",
    "find_runs": "tracking",
    "find_version": "registry",
    "hand_on": "runtime",
    "input_example": "deployment",
    "input_rows": "scoring",
    "install_missing": "workspaces.install",
    "inventory": "cleanup",
    "link_workspaces": "workspaces.link",
    "model_requirements": "workspaces.install",
    "monitor": "monitoring",
    "predict": "scoring",
    "profile": "monitoring",
    "promote": "registry",
    "quality": "monitoring",
    "quality_baseline": "monitoring",
    "read_rules": "validation",
    "register": "registry",
    "rollback": "registry",
    "score": "scoring",
    "select_rows": "scoring",
    "show_link": "workspaces.link",
    "show_workspaces": "workspaces.link",
    "spark": "runtime",
    "target_of": "deployment",
    "track": "tracking",
    "unlink_workspaces": "workspaces.link",
    "use_volume_for_spark_models": "runtime",
    "validate": "validation",
    "verify": "workspaces.install",
    "walk_report": "report",
}

__all__ = [
    "AzureMLWorkspace",
    "ContainerInstances",
    "DatabricksWorkspace",
    "Kubernetes",
    "LiveLimits",
    "Local",
    "ManagedOnline",
    "ModelServing",
    "Settings",
    "catch_up",
    "check",
    "clean_up",
    "create_workspace",
    "deploy",
    "display",
    "find_runs",
    "find_version",
    "hand_on",
    "input_example",
    "input_rows",
    "install_missing",
    "inventory",
    "link_workspaces",
    "model_requirements",
    "monitor",
    "predict",
    "profile",
    "promote",
    "quality",
    "quality_baseline",
    "read_rules",
    "register",
    "rollback",
    "score",
    "select_rows",
    "show_link",
    "show_workspaces",
    "spark",
    "target_of",
    "track",
    "unlink_workspaces",
    "use_volume_for_spark_models",
    "validate",
    "verify",
    "walk_report",
]


_load = lazy_names(__name__, _ROOM_OF)


def __getattr__(name: str) -> Any:
    if name == "display":
        from adbazureml.runtime import notebook_display

        # The one that the notebook has, or else ours.
        return notebook_display()
    return _load(name)
