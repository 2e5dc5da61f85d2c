"""The tags that link a run and its counterpart, and those that keep how far the two are in sync."""

from __future__ import annotations

import hashlib
import os
import socket
import time
from functools import lru_cache

# Azure ML rejects ':' in tag keys (mlflow issue 8008); dots are fine in both.
PREFIX = "adbazureml."

# Azure ML takes no longer value of a tag.
TAG_LENGTH = 1000

# On the run in Databricks: where its counterpart is; and, while the counterpart lacks something, a tag for each process
# that wrote to the run since it was in sync: since when, and why.
AZUREML_RUN_ID = "adbazureml.azureml.run_id"
AZUREML_TRACKING_URI = "adbazureml.azureml.tracking_uri"
AZUREML_RUN_URL = "adbazureml.azureml.run_url"
OUT_OF_SYNC = "adbazureml.out_of_sync."
# On the run in Databricks, for people: what Azure ML rejects of it for good, and why.
REJECTED = "adbazureml.rejected"
# On the run in Databricks: the host and the id of the process that tracked it in both workspaces.
TRACKED = "adbazureml.tracked"
# On a run in either: which step of the walk it is.
STAGE = "adbazureml.stage"
# On the counterpart in Azure ML: where it comes from, whether another one took its place, what it took over, and what
# Azure ML would not take.
DATABRICKS_RUN_ID = "adbazureml.databricks.run_id"
DATABRICKS_RUN_URL = "adbazureml.databricks.run_url"
DUPLICATE_OF = "adbazureml.duplicate_of"
TAKEN_TAGS = "adbazureml.taken_tags"
REJECTED_ITEMS = "adbazureml.rejected_items"
COPIED_MODEL = "adbazureml.copied_model."
# On both, the same value once they are equal: since when, and a digest of what was equal.
IN_SYNC = "adbazureml.in_sync"


def azureml_tag_key(key: str) -> str:
    """Give the key under which Azure ML takes a tag.

    >>> azureml_tag_key("team:prices")
    'team.prices'
    """
    return key.replace(":", ".")


def this_host() -> str:
    """Name of this machine."""
    return socket.gethostname()


def tracked_by() -> str:
    """Give the value of the tag that tells which process tracks a run."""
    return f"{this_host()} {os.getpid()}"


def own_out_of_sync_tag() -> str:
    """Give the tag by which this process tags a run as out of sync."""
    return _own_mark(os.getpid())


@lru_cache(maxsize=1)
def _own_mark(process_id: int) -> str:
    who = f"{socket.gethostname()} {process_id} {time.time_ns()}"
    return OUT_OF_SYNC + hashlib.sha256(who.encode()).hexdigest()[:8]
