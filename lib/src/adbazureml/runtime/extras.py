"""The wheel's extras: packages that only some of its users need.

No package index has the wheel, so that what installs an extra names its packages.
"""

from __future__ import annotations

from importlib import metadata

from packaging.requirements import Requirement


def missing_of(extra: str) -> tuple[str, ...]:
    """Names of an extra's packages that are not installed."""
    return tuple(each.name for each in _requirements(extra) if not _is_installed(each.name))


def pip_install(extra: str) -> str:
    """Return the command that installs an extra's packages."""
    packages = (f"'{each.name}{each.specifier}'" for each in _requirements(extra))
    return f"pip install {' '.join(packages)}"


def _requirements(extra: str) -> list[Requirement]:
    declared = [Requirement(line) for line in metadata.requires("adbazureml") or []]
    only_so = [each for each in declared if each.marker and not each.marker.evaluate({"extra": ""})]
    return [each for each in only_so if each.marker and each.marker.evaluate({"extra": extra})]


def _is_installed(package: str) -> bool:
    try:
        return bool(metadata.version(package))
    except metadata.PackageNotFoundError:
        return False
