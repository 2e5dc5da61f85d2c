"""Import the packages that are named as arguments, and print as JSON why any of them does not.

>>> python -m adbazureml.workspaces.install.import_check mlflow azure-identity
"""

from __future__ import annotations

import contextlib
import io
import json
import sys
import warnings
from collections.abc import Iterable
from importlib import import_module, metadata

from adbazureml.text import redacted


def modules(package: str) -> list[str]:
    """The modules that a package is imported by; of a namespace like ``azure`` the part that is the package's own."""
    try:
        files = [file.parts for file in metadata.distribution(package).files or ()]
    except metadata.PackageNotFoundError:
        files = []
    named = tuple(package.lower().split("-"))
    folders = {parts[:-1] for parts in files if parts[-1] == "__init__.py" and "site-packages" not in parts}
    if named in folders:
        return [".".join(named)]
    roots = {one for one in folders if not any(one[:depth] in folders for depth in range(1, len(one)))}
    # Private and test packages are nobody's to import; of several the shortest is the one that people know.
    public = sorted((".".join(one) for one in roots if not one[0].startswith(("_", "test"))), key=len)
    return public[:1] or [package.replace("-", "_")]


def errors(packages: Iterable[str]) -> dict[str, str]:
    """Why each package that does not import doesn't."""
    found = {}
    for package in packages:
        for module in modules(package):
            try:
                with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
                    warnings.simplefilter("ignore")
                    import_module(module)
            except BaseException as error:
                found[package] = redacted(f"{type(error).__name__}: {error}").splitlines()[0]
    return found


if __name__ == "__main__":
    print(json.dumps(errors(sys.argv[1:])))
