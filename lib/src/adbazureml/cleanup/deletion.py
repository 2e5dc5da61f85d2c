"""Delete what an inventory lists, in an order in which it can be broken off and gone on with."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

from adbazureml import runtime
from adbazureml.cleanup.items import KINDS, Inventory, Item
from adbazureml.cleanup.resource_group import delete_resource_group
from adbazureml.cleanup.tables import drop_checkpoint
from adbazureml.deployment import endpoints
from adbazureml.errors import CleanUpError
from adbazureml.workspaces.link import unlink_workspaces

if TYPE_CHECKING:
    from mlflow import MlflowClient

    from adbazureml.deployment.target import Kind

_SECONDS_A_LINE = 10.0
_FAILURES_TOLD = 5


def clean_up(
    found: Inventory,
    *,
    confirm: str | None = None,
    confirm_resource_group: str = "",
    timeout: float = 3600,
) -> Inventory:
    """Delete what an inventory lists, kind by kind: first what needs another thing, then that thing.

    Where this is killed or fails, list again and call again: it goes on with the rest. What is gone already, by
    whomever, counts as deleted.

    Parameters
    ----------
    found : Inventory
        What to delete; `Inventory.only` chooses.
    confirm : str, optional
        The experiment's name, typed once more. Left out, this is a dry run: nothing is deleted.
    confirm_resource_group : str
        The resource group's name, typed once more, where it is among the items.
    timeout : float
        Seconds in which the link has to be ended, and the resource group to be gone.

    Returns
    -------
    Inventory
        The same, as deleted; of a dry run as it was.

    Raises
    ------
    CleanUpError
        A confirmation is something else: nothing is deleted. Or some items of a kind could not be deleted: the others
        of that kind are gone, and nothing of the kinds after it was touched.
    """
    if confirm is None:
        return found
    _check(found, confirm, confirm_resource_group)
    for kind in KINDS:
        items = [item for item in found.items if item.kind == kind]
        if items:
            _delete_all(kind, items, _deleters(found, timeout)[kind])
    return replace(found, deleted=True)


def _check(found: Inventory, confirm: str, confirm_resource_group: str) -> None:
    if confirm != found.experiment:
        raise CleanUpError(f"confirm {confirm!r}: to delete, type the experiment's name: {found.experiment!r}.")
    for item in found.items:
        if item.kind == "resource group" and confirm_resource_group != item.name:
            raise CleanUpError(
                f"confirm_resource_group {confirm_resource_group!r}: to delete the resource group and all that is in "
                f"it ({item.note}), type its name: {item.name!r}. Nothing was deleted."
            )


def _deleters(found: Inventory, timeout: float) -> dict[str, Callable[[Item], None]]:
    def endpoint(item: Item) -> None:
        for one in endpoints(target=cast("Kind", item.where), workspace=found.workspace):
            if one.name == item.name:
                one.delete(confirm=item.name)

    def link(item: Item) -> None:
        unlink_workspaces(found.workspace, databricks=item.where, timeout=timeout)

    def group(_: Item) -> None:
        assert found.workspace is not None
        delete_resource_group(found.settings, found.workspace, timeout=timeout)

    return {
        "endpoint": endpoint,
        "model version": _delete_version,
        "model": _delete_model,
        "run": lambda item: _client(item).delete_run(item.name),
        "checkpoint": drop_checkpoint,
        "table": lambda item: runtime.drop_table(item.name),
        "link": link,
        "resource group": group,
    }


def _delete_all(kind: str, items: list[Item], delete: Callable[[Item], None]) -> None:
    began = told = time.monotonic()
    failed: list[tuple[Item, Exception]] = []
    for number, item in enumerate(items, start=1):
        try:
            delete(item)
        except Exception as error:
            if not _is_gone(error):
                failed.append((item, error))
        if time.monotonic() - told > _SECONDS_A_LINE:
            told = time.monotonic()
            print(f"  {kind}: {number} of {len(items)}", flush=True)
    print(
        f"  {kind}: {len(items) - len(failed)} of {len(items)} deleted ({time.monotonic() - began:.1f} s)", flush=True
    )
    if failed:
        reasons = "\n  ".join(f"{item.name}: {error}" for item, error in failed[:_FAILURES_TOLD])
        more = f"\n  and {len(failed) - _FAILURES_TOLD} more" if len(failed) > _FAILURES_TOLD else ""
        raise CleanUpError(
            f"{len(failed)} of {len(items)} could not be deleted ({kind}); what others need was not touched. List"
            f" again and run again to go on.\n  {reasons}{more}"
        ) from failed[0][1]


def _is_gone(error: Exception) -> bool:
    """Whether it was deleted meanwhile, by somebody else or by an earlier try whose answer was lost."""
    return getattr(error, "error_code", "") in ("RESOURCE_DOES_NOT_EXIST", "NOT_FOUND")


def _client(item: Item) -> MlflowClient:
    assert item.workspace is not None
    return item.workspace.client()


def _delete_version(item: Item) -> None:
    model, _, version = item.name.rpartition("/")
    _client(item).delete_model_version(model, version)


def _delete_model(item: Item) -> None:
    client = _client(item)
    # Somebody may have registered one since it was listed.
    left: Any = client.search_model_versions(f"name = '{item.name}'", max_results=1)
    if not left:
        client.delete_registered_model(item.name)
