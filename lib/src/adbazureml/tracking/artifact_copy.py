"""Copy files from one artifact repository to another, a few at a time."""

from __future__ import annotations

import filecmp
import hashlib
import inspect
import json
import posixpath
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from adbazureml.azureml_mlflow.mlflow_errors import explain_error, is_rejection

# What one upload takes: so much disk is needed for a moment, and a service that takes folders has few requests.
_BATCH_FILES, _BATCH_BYTES = 50, 64 * 2**20
# So many files that fail mean that a side is away: each may have taken minutes of MLflow's own retries.
_FAILURES = 3


@dataclass
class Copied:
    """What a copy did.

    Attributes
    ----------
    files : int
        How many files were written.
    rejected : dict of str to str
        Files that the counterpart rejects for good, and its message.
    failures : list of str
        Other failures; the copy stops at the third.
    """

    files: int = 0
    rejected: dict[str, str] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)

    def add(self, other: Copied) -> None:
        """Count another copy in."""
        self.files += other.files
        self.rejected.update(other.rejected)
        self.failures += other.failures

    @property
    def hopeless(self) -> bool:
        """Whether a side seems to be away."""
        return len(self.failures) >= _FAILURES


class Listing:
    """A digest of the paths and sizes of files, in any order.

    Parameters
    ----------
    salt : object
        What else the digest shall stand for.
    """

    def __init__(self, salt: object) -> None:
        self._total = 0
        self._tells_sizes = True
        self.add("", str(salt), 0)

    def add(self, folder: str, path: str, size: int | None) -> None:
        """Count a file in."""
        self._tells_sizes = self._tells_sizes and size is not None and size >= 0
        text = json.dumps([folder, path, size])
        self._total += int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")

    @classmethod
    def of(cls, sources: Mapping[str, Any], salt: object) -> Listing:
        """List repositories, by the folders that their files go to."""
        listing = cls(salt)
        for folder, source in sources.items():
            for path, size in _files(source, ""):
                listing.add(folder, path, size)
        return listing

    @property
    def digest(self) -> str:
        """Sixteen hex digits; "-" where sizes are not told, so that nothing is known of what the files hold."""
        return f"{self._total & 0xFFFFFFFFFFFFFFFF:016x}" if self._tells_sizes else "-"


def repository(location: str, tracking_uri: str) -> Any:
    """MLflow's artifact repository of a run's or model's location in a tracking store."""
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository
    from mlflow.utils.uri import add_databricks_profile_info_to_artifact_uri

    uri = add_databricks_profile_info_to_artifact_uri(location, tracking_uri)
    # MLflow 3.0 goes by the tracking URI in use, and takes no other.
    takes_it = "tracking_uri" in inspect.signature(get_artifact_repository).parameters
    return get_artifact_repository(uri, **({"tracking_uri": tracking_uri} if takes_it else {}))


def copy_missing(
    source: Any,
    target: Any,
    folder: str,
    rejected: Mapping[str, str],
    listing: Listing,
    *,
    is_empty: bool,
    progress: Callable[[int], None],
) -> Copied:
    """Copy each file that the counterpart lacks or holds otherwise.

    A few files at a time go through a temporary folder, so neither memory nor disk grows with the run. One that fails
    does not stop the others.

    Parameters
    ----------
    source, target : ArtifactRepository
        Where the files are, and where they go.
    folder : str
        Where in the target.
    rejected : mapping of str to str
        Files known to be rejected, by `file_name`.
    listing : Listing
        Counts the files in.
    is_empty : bool
        Whether the target is known to hold nothing there, which saves asking.
    progress : callable
        Told how many files were just written.
    """
    transfer = _Transfer(source, target, folder, progress)
    there = set() if is_empty else {path for path, _ in _files(target, folder)}
    batch: list[tuple[str, int]] = []
    for path, size in _files(source, ""):
        if transfer.copied.hopeless:
            break
        listing.add(folder, path, size)
        wanted = posixpath.join(folder, path)
        if file_name(wanted, size) in rejected:
            continue
        if wanted in there:
            transfer.copy_if_other(path, size)
            continue
        if batch and (len(batch) == _BATCH_FILES or sum(one[1] for one in batch) + (size or 0) > _BATCH_BYTES):
            transfer.copy(batch)
            batch = []
        batch.append((path, size or 0))
    if batch:
        transfer.copy(batch)
    return transfer.copied


def file_name(path: str, size: int | None) -> str:
    """Name of a file among the rejected."""
    return f"file {path} {size or 0}"


class _Transfer:
    """Copies files from one repository to a folder of another."""

    def __init__(self, source: Any, target: Any, folder: str, progress: Callable[[int], None]) -> None:
        self._source, self._target, self._folder, self._progress = source, target, folder, progress
        self.copied = Copied()

    def copy(self, files: list[tuple[str, int]]) -> None:
        """Copy files, each a path and a size; where they cannot be written together, one by one."""
        try:
            with tempfile.TemporaryDirectory() as scratch:
                for path, _ in files:
                    _download(self._source, path, Path(scratch, path))
                if len(files) == 1:
                    path = files[0][0]
                    self._target.log_artifact(str(Path(scratch, path)), posixpath.dirname(self._wanted(path)) or None)
                else:
                    self._target.log_artifacts(scratch, self._folder or None)
            self._wrote(len(files))
        except Exception as error:
            if len(files) == 1:
                self._note_failure(*files[0], error)
                return
            for file in files:
                if not self.copied.hopeless:
                    self.copy([file])

    def copy_if_other(self, path: str, size: int | None) -> None:
        """Replace a file of the counterpart unless it is the same; both are read: a listing tells at most the size."""
        try:
            with tempfile.TemporaryDirectory() as scratch:
                ours, theirs = Path(scratch, "ours", path), Path(scratch, "theirs", path)
                _download(self._source, path, ours)
                _download(self._target, self._wanted(path), theirs)
                if filecmp.cmp(ours, theirs, shallow=False):
                    return
                self._target.log_artifact(str(ours), posixpath.dirname(self._wanted(path)) or None)
            self._wrote(1)
        except Exception as error:
            self._note_failure(path, size, error)

    def _wrote(self, files: int) -> None:
        self.copied.files += files
        self._progress(files)

    def _wanted(self, path: str) -> str:
        return posixpath.join(self._folder, path)

    def _note_failure(self, path: str, size: int | None, error: Exception) -> None:
        if is_rejection(error):
            self.copied.rejected[file_name(self._wanted(path), size)] = explain_error(error)
        else:
            self.copied.failures.append(f"file {self._wanted(path)}: {explain_error(error)}")


def _download(repository: Any, path: str, local: Path) -> None:
    local.parent.mkdir(parents=True, exist_ok=True)
    # The method that every repository must have. The public one first asks whether the file is a folder, and needs a
    # thread of its own, which Python does not start while it exits.
    repository._download_file(path, str(local))


def _files(repository: Any, folder: str) -> Iterator[tuple[str, int | None]]:
    # What MLflow's own downloads go by; a repository that can list a whole tree at once does so here.
    for entry in repository._iter_artifacts_recursive(folder or None):
        if not entry.is_dir:
            yield entry.path, entry.file_size
