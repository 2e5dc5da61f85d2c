"""The deployable folder: all that a target needs to serve a model, and nothing of this package's own installation.

Layout::

    model/                          the model as MLflow wrote it (MLmodel, …)
    code/score.py                   the scoring script
    environment/requirements.txt    exact pins
    environment/conda.yaml          the same with Python, and Java for Spark ML, as a conda environment
"""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from adbazureml import serving
from adbazureml.deployment.model_environment import Requirements
from adbazureml.errors import DeploymentError

SCRIPT = "score.py"


@dataclass(frozen=True, kw_only=True)
class DeployableFolder:
    """A deployable folder on this machine.

    Start it anywhere with `pins` installed by
    ``azmlinfsrv --entry_script <code>/score.py --model_dir <path>/model --port <port>``: it answers ``GET /`` once the
    model is loaded, and ``POST /score``. The script finds the model below ``AZUREML_MODEL_DIR``, at any depth.

    Attributes
    ----------
    place : TemporaryDirectory
        Where it is, as long as somebody holds this object.
    python : str
        Version of Python, ``major.minor``.
    pins : tuple of str
        What ``environment/requirements.txt`` lists.
    """

    place: tempfile.TemporaryDirectory[str] = field(repr=False)
    python: str
    pins: tuple[str, ...]

    @property
    def path(self) -> Path:
        """The folder."""
        return Path(self.place.name)

    @property
    def model(self) -> Path:
        """Folder that holds the file MLmodel."""
        return self.path / "model"

    @property
    def code(self) -> Path:
        """Folder that holds ``score.py`` alone."""
        return self.path / "code"

    @property
    def script(self) -> str:
        """Name of the scoring script in `code`."""
        return SCRIPT

    @property
    def requirements(self) -> Path:
        """Pins, as pip takes them."""
        return self.path / "environment" / "requirements.txt"

    @property
    def conda(self) -> Path:
        """The environment, as conda takes it."""
        return self.path / "environment" / "conda.yaml"


@cache
def scoring_script() -> str:
    """Text of the scoring script."""
    return (Path(serving.__file__).parent / SCRIPT).read_text(encoding="utf-8")


def make(model_uri: str, requirements: Requirements, *, java: bool = False) -> DeployableFolder:
    """Fetch a model and put beside it what its endpoint needs.

    Parameters
    ----------
    model_uri : str
        The model.
    requirements : Requirements
        Of its environment; resolved here.
    java : bool
        Whether the environment needs Java.

    Raises
    ------
    DeploymentError
        The model can't be fetched, or its requirements do not resolve.
    """
    place = tempfile.TemporaryDirectory(prefix="adbazureml-")
    folder = DeployableFolder(place=place, python=requirements.python, pins=requirements.resolve())
    folder.code.mkdir()
    (folder.code / SCRIPT).write_text(scoring_script(), encoding="utf-8")
    folder.requirements.parent.mkdir()
    folder.requirements.write_text("\n".join(folder.pins) + "\n", encoding="utf-8")
    folder.conda.write_text(_conda(folder, java=java), encoding="utf-8")
    _fetch(model_uri, folder.model)
    return folder


def _conda(folder: DeployableFolder, *, java: bool) -> str:
    import yaml

    packages = [f"python={folder.python}", "pip", *(["openjdk=17"] if java else [])]
    environment = {
        "name": "adbazureml",
        "channels": ["conda-forge"],
        "dependencies": [*packages, {"pip": list(folder.pins)}],
    }
    return yaml.safe_dump(environment, sort_keys=False)


def _fetch(model_uri: str, to: Path) -> None:
    from mlflow.artifacts import download_artifacts

    with tempfile.TemporaryDirectory(dir=to.parent) as partial:
        try:
            fetched = Path(download_artifacts(artifact_uri=model_uri, dst_path=partial))
        except Exception as error:  # each kind of store has errors of its own
            said = (str(error).strip().partition("\n")[0] or type(error).__name__).rstrip(".")
            raise DeploymentError(f"model_uri {model_uri!r} could not be fetched: {said}.") from error
        if fetched == Path(partial):
            to.mkdir()
            for part in fetched.iterdir():
                shutil.move(part, to / part.name)
        else:
            shutil.move(fetched, to)
