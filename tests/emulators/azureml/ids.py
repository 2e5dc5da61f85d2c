"""Azure ML's ids of experiments and runs, and those of the MLflow server behind it.

Clients see dashed GUIDs. The server counts its experiments and gives runs 32 hexadecimal digits.
"""

from __future__ import annotations

import re
import secrets
import uuid

from .messages import Problem

_HEX = re.compile(r"\b[0-9a-f]{32}\b")
_GUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
_DEFAULT_EXPERIMENT = "0"


def run_guid(server_id: str) -> str:
    return str(uuid.UUID(server_id)) if _HEX.fullmatch(server_id) else server_id


def server_run_id(run_id: str) -> str:
    """Raises `Problem` 404 for an id of another form."""
    if run_id and not _GUID.fullmatch(run_id):
        raise Problem(404, "RESOURCE_DOES_NOT_EXIST", f"Run with id={run_id} not found")
    return run_id.replace("-", "").lower()


def run_guids_in(text: str) -> str:
    """The text, a message of the server, with the ids that clients know."""
    return _HEX.sub(lambda found: run_guid(found[0]), text)


def server_run_ids_in(text: str) -> str:
    """The text, part of a filter, with the ids that the server knows."""
    return _GUID.sub(lambda found: server_run_id(found[0]), text)


class ExperimentIds:
    """GUIDs that share 24 digits; the last eight are the server's number."""

    def __init__(self) -> None:
        self._prefix = f"{uuid.uuid4()}"[:24] + secrets.token_hex(2)

    def guid(self, server_id: str) -> str:
        return f"{self._prefix}{int(server_id):08x}"

    def server_id(self, experiment_id: str) -> str:
        """Raises `Problem` 404 for an id that this workspace never gave out."""
        # Clients that have no experiment ask for MLflow's default one.
        if experiment_id == _DEFAULT_EXPERIMENT:
            return _DEFAULT_EXPERIMENT
        if re.fullmatch(re.escape(self._prefix) + "[0-9a-f]{8}", experiment_id):
            return str(int(experiment_id[-8:], 16))
        raise Problem(404, "RESOURCE_DOES_NOT_EXIST", f"No Experiment with id={experiment_id} exists")
