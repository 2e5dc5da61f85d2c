"""What one snapshot of a run shows: its name, status, params, tags and last metrics; and the record that it is in sync.

A snapshot does not show histories, artifacts and models. So a run is known to be in sync when the record on both sides
is the same, its digest is that of the run as it looks now, and no process has tagged the run as out of sync.
"""

from __future__ import annotations

import base64
import hashlib
import json
import time
from collections.abc import Iterable
from datetime import datetime
from typing import TYPE_CHECKING

from adbazureml.tracking import run_tags
from adbazureml.tracking.run_description import NOTE, without_link

if TYPE_CHECKING:
    from mlflow.entities import Run, RunTag

PARENT = "mlflow.parentRunId"
# Azure ML sets these itself.
_OWN_KEYS = (run_tags.PREFIX, "azureml.", "mlflow.")
_KEY_DIGEST = 5


def counterpart_tags(run: Run) -> dict[str, str]:
    """Tags that the counterpart of a run shall have: not the ways from one side to the other, not the parent's id.

    Of keys that become one in Azure ML, the one that stays as it is has it, or else the first by the alphabet.
    """
    tags = {
        azureml_key: run.data.tags[key]
        for azureml_key, (key, *_) in _keys_by_azureml_key(run).items()
        if not key.startswith(run_tags.PREFIX) and key != PARENT
    }
    if description := without_link(tags.pop(NOTE, "")):
        tags[NOTE] = description
    return tags


def ousted_tags(run: Run) -> dict[str, str]:
    """The tags of a run whose keys become those of other tags in Azure ML: key, and the key that it becomes."""
    return {key: azureml_key for azureml_key, (_, *ousted) in _keys_by_azureml_key(run).items() for key in ousted}


def _keys_by_azureml_key(run: Run) -> dict[str, list[str]]:
    keys: dict[str, list[str]] = {}
    for key in sorted(run.data.tags, key=lambda key: (run_tags.azureml_tag_key(key) != key, key)):
        keys.setdefault(run_tags.azureml_tag_key(key), []).append(key)
    return keys


def users_keys(keys: Iterable[str]) -> list[str]:
    """Keys that only people set, so that one which is gone from the primary was deleted there."""
    return [key for key in keys if not key.startswith(_OWN_KEYS)]


def taken_tag(digests: Iterable[str]) -> RunTag:
    """The tag of a counterpart that records the keys of the tags it took over, each as `key_digest` has it.

    Some 200 find room, four times as many as Azure ML takes.
    """
    from mlflow.entities import RunTag

    return RunTag(run_tags.TAKEN_TAGS, "".join(sorted(digests)[: run_tags.TAG_LENGTH // _KEY_DIGEST]))


def key_digests(record: str) -> set[str]:
    """The keys in the value of a `taken_tag`, each as `key_digest` has it."""
    return {record[start : start + _KEY_DIGEST] for start in range(0, len(record), _KEY_DIGEST)}


def key_digest(key: str) -> str:
    """Five characters that stand for the key of a tag."""
    return base64.b64encode(hashlib.sha256(key.encode()).digest())[:_KEY_DIGEST].decode()


def has_ended(run: Run) -> bool:
    """Whether the run's status is final."""
    from mlflow.entities import RunStatus

    return bool(RunStatus.is_terminated(RunStatus.from_string(run.info.status)))


def out_of_sync_tags(run: Run) -> dict[str, str]:
    """The tags on a primary run that something is out of sync: key, and since when and why."""
    return {key: value for key, value in run.data.tags.items() if key.startswith(run_tags.OUT_OF_SYNC)}


def sync_record(run: Run, *, listed: str) -> str:
    """The record that a run as it is now is in sync: the time, a digest of its files' listing, one of its snapshot."""
    return f"{now()} {listed} {snapshot_digest(run)}"


def listed_before(record: str) -> str:
    """The digest of the files' listing in a `sync_record`; empty where it tells nothing."""
    found = record.split(" ")[1:-1]
    return found[0] if found and found[0] != "-" else ""


def is_in_sync(run: Run, record: str) -> bool:
    """Whether a primary run is in sync, given the record on its counterpart; costs no request."""
    return (
        bool(record)
        and run.data.tags.get(run_tags.IN_SYNC) == record
        and record.endswith(f" {snapshot_digest(run)}")
        and not out_of_sync_tags(run)
    )


def snapshot_digest(run: Run) -> str:
    """Sixteen hex digits over all that a snapshot of a primary run shows, but whether it is deleted."""
    snapshot = [
        run.info.status,
        run.info.end_time,
        run.info.run_name,
        sorted(run.data.params.items()),
        sorted(counterpart_tags(run).items()),
        sorted((key, repr(float(value))) for key, value in run.data.metrics.items()),
    ]
    return hashlib.sha256(json.dumps(snapshot).encode()).hexdigest()[:16]


def now() -> str:
    """The time, UTC, to the millisecond."""
    return time_text(int(time.time() * 1000))


def time_text(milliseconds: int) -> str:
    """A time since 1970, UTC, to the millisecond."""
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(milliseconds // 1000))}.{milliseconds % 1000:03d}Z"


def seconds_since(moment: str) -> float:
    """How long ago a time of `time_text` was; at least a millisecond."""
    then = datetime.fromisoformat(moment.replace("Z", "+00:00"))
    return max(time.time() - then.timestamp(), 0.001)
