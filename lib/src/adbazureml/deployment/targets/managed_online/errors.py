"""What Azure ML's refusals mean, in words that name the parameter and what to do."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from adbazureml.azure.clouds import current_cloud
from adbazureml.azure.credential import credential_for
from adbazureml.azure.refusals import is_transient, message_of, status_of
from adbazureml.errors import DeploymentError

if TYPE_CHECKING:
    from azure.core.exceptions import AzureError

_LONGEST_REASON = 600


@contextmanager
def explaining_errors(what: str, *, instances: str = "") -> Iterator[None]:
    """Turn whatever Azure or its client raises into a `DeploymentError`; our own errors pass.

    Parameters
    ----------
    what : str
        What is being done, such as "endpoint 'diabetes'".
    instances : str
        The machines that were asked for, where quota may lack.
    """
    from azure.core.exceptions import AzureError

    try:
        yield
    except AzureError as error:
        # Without its cause, which holds the request, and that its token.
        raise DeploymentError(_explain_error(error, what, instances)) from None


# What Azure ML says, and what it means. The first that is found counts.
_Meaning = tuple[str, Callable[[re.Match[str], str, str], str]]
_MEANINGS: tuple[_Meaning, ...] = (
    (
        r"Not enough quota available for (\S+) .*?usage/limit: (\d+)/(\d+)\. Additional needed: (\d+)",
        lambda found, what, instances: (
            f"instance_type and instance_count ({instances}): {what} needs {found[4]} more cores of {found[1]}, and"
            f" {found[2]} of the quota of {found[3]} are taken. Choose a smaller instance_type, delete endpoints that"
            " are not needed, or ask for more quota (Azure Machine Learning studio, Quota)."
        ),
    ),
    (
        r"already exists in region (\S+?)[.\s]*$",
        lambda found, what, _: (
            f"name: {what} can't be made, as another workspace of region {found[1]} has an endpoint of that"
            " name: choose another."
        ),
    ),
    (
        r"(?s)Image build failed[: ]*(.*)",
        lambda found, what, _: (
            f"The image of {what} could not be built: {_short(found[1])}. Log the model with other pip_requirements."
        ),
    ),
    (
        r"(?s)ResourceNotReady: (.*)",
        lambda found, what, _: f"{what[:1].upper()}{what[1:]} did not get healthy: {_short(found[1])}.",
    ),
)


def _explain_error(error: AzureError, what: str, instances: str) -> str:
    status, said = status_of(error), message_of(error)
    for pattern, meaning in _MEANINGS:
        if found := re.search(pattern, said):
            return meaning(found, what, instances)
    if status in (401, 403):
        identity = credential_for(current_cloud()).identity or "not signed in"
        return (
            f"This identity ({identity}) may not change or read {what}"
            f" ({_short(said)}). Give it the role 'AzureML Data Scientist' on the workspace, or have it given; it takes"
            " minutes until a new role counts."
        )
    if is_transient(error):
        return (
            f"Azure did not answer for {what}: {_short(said)}. Deploy again, which goes on where this ended; or check"
            " the network from here."
        )
    return f"Azure ML refused {what}: {_short(said)}."


def _short(text: str) -> str:
    """The first lines of a message, without the pointer to Microsoft's guide."""
    text = re.sub(r"Please see troubleshooting guide, available here: \S+", "", text)
    text = re.sub(r"\s+", " ", text).strip()
    return (text if len(text) <= _LONGEST_REASON else f"{text[:_LONGEST_REASON]}…").rstrip(". ")
