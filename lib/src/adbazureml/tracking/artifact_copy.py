"""Copy files from one artifact repository to another, a few at a time."""

from __future__ import annotations

import filecmp
import hashlib
import inspect
import json
import posixpath
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
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

    @property
    def hopeless(self) -> bool:
        """Whether a side seems to be away."""
        return len(self.failures) >= _FAILURES


@dataclass(frozen=True, kw_only=True)
class SourceFile:
    """A file of the primary.

    Attributes
    ----------
    source : ArtifactRepository
        Where it is.
    path : str
        Its path there.
    size : int or None
        Its bytes; None where the source does not tell.
    owner : str
        Id of the logged model that it belongs to; empty for a file of the run itself.
    """

    source: Any
    path: str
    size: int | None
    owner: str = ""


def list_files(source: Any, owner: str = "") -> list[SourceFile]:
    """List all files of a repository."""
    return [SourceFile(source=source, path=path, size=size, owner=owner) for path, size in _files(source, "")]


def listing_digest(files: Iterable[SourceFile], salt: object) -> str:
    """Sixteen hex digits over the paths and sizes of files, in any order, and over what else the digest stands for."""
    texts = [json.dumps(["", str(salt), 0]), *(json.dumps([file.owner, file.path, file.size]) for file in files)]
    total = sum(int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") for text in texts)
    return f"{total & 0xFFFFFFFFFFFFFFFF:016x}"


def repository(location: str, tracking_uri: str) -> Any:
    """MLflow's artifact repository of a run's or model's location in a tracking store."""
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository
    from mlflow.utils.uri import add_databricks_profile_info_to_artifact_uri

    uri = add_databricks_profile_info_to_artifact_uri(location, tracking_uri)
    # MLflow 3.0 goes by the tracking URI in use, and takes no other.
    takes_it = "tracking_uri" in inspect.signature(get_artifact_repository).parameters
    return get_artifact_repository(uri, **({"tracking_uri": tracking_uri} if takes_it else {}))


def paths_of(target: Any) -> set[str]:
    """Paths of all files of a repository."""
    return {path for path, _ in _files(target, "")}


def copy_to(
    target: Any,
    missing: Mapping[str, SourceFile],
    doubtful: Mapping[str, SourceFile],
    *,
    progress: Callable[[int], None],
) -> Copied:
    """Copy files to their paths in another repository, a few at a time: neither memory nor disk grows with the run.

    One that fails does not stop the others.

    Parameters
    ----------
    target : ArtifactRepository
        Where they go.
    missing : mapping of str to SourceFile
        Files that the target has not, by the paths that they get there.
    doubtful : mapping of str to SourceFile
        Files whose paths the target has, perhaps with other contents: those that differ are replaced.
    progress : callable
        Told how many files were just written.
    """
    transfer = _Transfer(target, progress)
    for batch in _batches(missing):
        if not transfer.copied.hopeless:
            transfer.copy(batch)
    for path, file in doubtful.items():
        if not transfer.copied.hopeless:
            transfer.copy_if_other(path, file)
    return transfer.copied


def _batches(files: Mapping[str, SourceFile]) -> Iterator[dict[str, SourceFile]]:
    batch: dict[str, SourceFile] = {}
    size = 0
    for path, file in files.items():
        if batch and (len(batch) == _BATCH_FILES or size + (file.size or 0) > _BATCH_BYTES):
            yield batch
            batch, size = {}, 0
        batch[path] = file
        size += file.size or 0
    if batch:
        yield batch


def file_name(path: str, size: int | None) -> str:
    """Name of a file among the rejected."""
    return f"file {path} {size or 0}"


class _Transfer:
    """Copies files to a repository."""

    def __init__(self, target: Any, progress: Callable[[int], None]) -> None:
        self._target, self._progress = target, progress
        self.copied = Copied()

    def copy(self, files: Mapping[str, SourceFile]) -> None:
        """Copy files to the paths that they stand by; where they cannot be written together, one by one."""
        try:
            with tempfile.TemporaryDirectory() as scratch:
                for path, file in files.items():
                    download_file(file.source, file.path, Path(scratch, path))
                if len(files) == 1:
                    (path,) = files
                    self._target.log_artifact(str(Path(scratch, path)), posixpath.dirname(path) or None)
                else:
                    self._target.log_artifacts(scratch, None)
            self._wrote(len(files))
        except Exception as error:
            if len(files) == 1:
                self._note_failure(*next(iter(files.items())), error)
                return
            for path, file in files.items():
                if not self.copied.hopeless:
                    self.copy({path: file})

    def copy_if_other(self, path: str, file: SourceFile) -> None:
        """Replace a file of the counterpart unless it is the same; both are read: a listing tells at most the size."""
        try:
            with tempfile.TemporaryDirectory() as scratch:
                ours, theirs = Path(scratch, "ours", path), Path(scratch, "theirs", path)
                download_file(file.source, file.path, ours)
                download_file(self._target, path, theirs)
                if filecmp.cmp(ours, theirs, shallow=False):
                    return
                self._target.log_artifact(str(ours), posixpath.dirname(path) or None)
            self._wrote(1)
        except Exception as error:
            self._note_failure(path, file, error)

    def _wrote(self, files: int) -> None:
        self.copied.files += files
        self._progress(files)

    def _note_failure(self, path: str, file: SourceFile, error: Exception) -> None:
        if is_rejection(error):
            self.copied.rejected[file_name(path, file.size)] = explain_error(error)
        else:
            self.copied.failures.append(f"file {path}: {explain_error(error)}")


def download_file(repository: Any, path: str, local: Path) -> None:
    """Download one file of a repository, without a bar of progress."""
    local.parent.mkdir(parents=True, exist_ok=True)
    # The method that every repository must have. The public one first asks whether the file is a folder, and needs a
    # thread of its own, which Python does not start while it exits.
    repository._download_file(path, str(local))


def _files(repository: Any, folder: str) -> Iterator[tuple[str, int | None]]:
    # What MLflow's own downloads go by; a repository that can list a whole tree at once does so here.
    for entry in repository._iter_artifacts_recursive(folder or None):
        if not entry.is_dir:
            yield entry.path, entry.file_size
