"""How a service of the workspace is plugged in: routes, pages, refusals."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tests.emulators.azureml.messages import Answer, Problem

# What a call asks: its path's named groups, its query and its body in one.
Asked = dict[str, Any]
# By method and path, a regular expression that matches the whole of it.
Routes = Mapping[tuple[str, str], Callable[[Asked], "dict[str, Any] | Answer"]]


def refused(status: int, error_code: str, message: str) -> Problem:
    """What the service answers instead of a result; to be raised."""
    return Problem(status, error_code, message)


def required(asked: Asked, name: str) -> Any:
    if asked.get(name) in (None, ""):
        raise refused(400, "INVALID_PARAMETER_VALUE", f"Missing required field: {name}")
    return asked[name]


def page(found: Sequence[Any], name: str, asked: Asked, size: int, *, asked_size: str = "page_size") -> dict[str, Any]:
    """One page of a list, which the service leaves out when it is empty, and the token of the next one."""
    start = int(asked.get("page_token") or 0)
    size = min(int(asked.get(asked_size) or size), size)
    told: dict[str, Any] = {}
    if chosen := list(found[start : start + size]):
        told[name] = chosen
    if start + size < len(found):
        told["next_page_token"] = str(start + size)
    return told
