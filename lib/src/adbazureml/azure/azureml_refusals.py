"""What a refusal of Azure ML means, whichever of its services says it: tracking, artifacts, endpoints, monitors."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeAlias

from adbazureml.azure.clouds import current_cloud
from adbazureml.azure.credential import credential_for
from adbazureml.azure.refusals import is_transient, message_of, status_of
from adbazureml.errors import AdbAzureMLError

if TYPE_CHECKING:
    from azure.core.exceptions import AzureError

# A pattern of what Azure ML says, and the sentence that it stands for. The first that is found counts.
Meaning: TypeAlias = tuple[str, Callable[[re.Match[str]], str]]

NEEDED_ROLE = (
    "the role 'AzureML Data Scientist' on the workspace, or have it given; it takes minutes until a new role counts"
)
# By HTTP status. `{what}` may be an endpoint, a monitor, a workspace; `{said}` is in brackets, or empty.
_BY_STATUS = {
    401: (
        "Azure ML does not accept the token of this identity{identity} for {what}{said} (401), nor a new one: check"
        " that it belongs to the workspace's tenant (AZURE_TENANT_ID)."
    ),
    403: "This identity{identity} may not change or read {what}{said} (403): give it {role}.",
}
_AGAIN = "Try again, or check the network from here."
_LONGEST_REASON = 600


def explain_status(status: int, what: str, said: str = "", *, identity: str = "") -> str | None:
    """Say what a status means that Azure ML gives for an identity; None for other statuses."""
    text = _BY_STATUS.get(status)
    return text and text.format(
        what=what,
        said=f" ({short(said)})" if said else "",
        identity=f" ({identity})" if identity else "",
        role=NEEDED_ROLE,
    )


def explain_error(error: AzureError, what: str, *, meanings: Sequence[Meaning] = (), again: str = _AGAIN) -> str:
    """Say what an error of one of Azure's clients means, asked for something of Azure ML.

    Parameters
    ----------
    error : AzureError
        What the client raised.
    what : str
        What was asked for, such as "endpoint 'diabetes'".
    meanings : sequence of (str, callable)
        What the service says of this thing alone, and its meaning.
    again : str
        A sentence for when no answer came: how to go on.
    """
    said = message_of(error)
    for pattern, meaning in meanings:
        if found := re.search(pattern, said):
            return meaning(found)
    identity = credential_for(current_cloud()).identity
    if refused := explain_status(status_of(error), what, said, identity=identity):
        return refused
    if is_transient(error):
        return f"Azure did not answer for {what}: {short(said)}. {again}"
    return f"Azure ML refused {what}: {short(said)}."


@contextmanager
def explaining_errors(
    what: str,
    *,
    raised: type[AdbAzureMLError],
    meanings: Sequence[Meaning] = (),
    again: str = _AGAIN,
    advice: str = "",
) -> Iterator[None]:
    """Turn whatever Azure or its client raises into an error of ours; our own errors pass.

    Parameters
    ----------
    what, meanings, again
        As `explain_error` takes them.
    raised : type
        The error to raise.
    advice : str
        A sentence to add.
    """
    from azure.core.exceptions import AzureError

    try:
        yield
    except AzureError as error:
        said = explain_error(error, what, meanings=meanings, again=again)
        # Without its cause, which holds the request, and that its token.
        raise raised(f"{said} {advice}".rstrip()) from None


def short(text: str) -> str:
    """The first lines of a message, without the pointer to Microsoft's guide."""
    text = re.sub(r"Please see troubleshooting guide, available here: \S+", "", text)
    text = re.sub(r"\s+", " ", text).strip()
    return (text if len(text) <= _LONGEST_REASON else f"{text[:_LONGEST_REASON]}…").rstrip(". ")
