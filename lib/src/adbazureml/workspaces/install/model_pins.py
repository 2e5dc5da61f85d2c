"""Requirements of a model: the packages it needs, at the versions that are here."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec

from packaging.version import Version

from adbazureml.errors import EnvironmentNotReadyError
from adbazureml.workspaces.install.report import version_of


def model_requirements(*packages: str) -> list[str]:
    """Pin MLflow and the named packages as they are here, for ``log_model(pip_requirements=…)``.

    Given its requirements, MLflow need not infer them, which takes seconds for every model.

    Parameters
    ----------
    *packages : str
        Names as pip knows them, like ``scikit-learn``.

    Raises
    ------
    EnvironmentNotReadyError
        A package is not installed.

    Examples
    --------
    >>> model_requirements("scikit-learn")  # doctest: +SKIP
    ['mlflow==3.8.1', 'scikit-learn==1.6.1']
    """
    return [f"{package}=={_installable(package)}" for package in ("mlflow", *packages)]


def _installable(package: str) -> str:
    found = version_of(package)
    if found is None and find_spec(package) is not None:
        # Databricks Runtime has its own pyspark, which no package metadata names.
        found = getattr(import_module(package), "__version__", None)
    if found is None:
        raise EnvironmentNotReadyError(
            f"{package} is not installed, so a model can't require it: run `pip install {package}`, or name another."
        )
    version = Version(found)
    # PyPI has neither builds like 2.9.0+cpu nor the vendor's development versions.
    return version.base_version if version.is_devrelease else version.public
