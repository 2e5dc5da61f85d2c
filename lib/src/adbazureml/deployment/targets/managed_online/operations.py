"""Operations of Azure ML that take minutes: begun, waited for, and looked at again where Azure stops answering."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from adbazureml.azure.refusals import is_conflict, is_transient

if TYPE_CHECKING:
    from azure.core.polling import LROPoller

    from adbazureml.deployment.target import Deadline, Progress


def carry_out(
    begin: Callable[[], LROPoller[Any]], what: str, *, progress: Progress, deadline: Deadline, poll: float
) -> bool:
    """Begin an operation and wait for its end; False when another one is in progress, so that it was refused.

    Where Azure stops answering on the way, the operation goes on there: True is returned, and the caller looks again.

    Raises
    ------
    HttpResponseError
        It was refused, or it failed.
    DeploymentError
        The deadline has passed.
    """
    from azure.core.exceptions import AzureError

    try:
        poller = begin()
    except AzureError as error:
        if is_conflict(error):
            return False
        raise
    for waited in deadline.polls(poll):
        if poller.done():
            break
        progress(f"{what}, {waited:.0f} s")
    else:
        raise deadline.missed(f"{what}: not finished")
    try:
        poller.result()
    except AzureError as error:
        if not is_transient(error):
            raise
        progress(f"{what}: Azure does not answer, looking again")
    return True
