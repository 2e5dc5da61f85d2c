"""One line that tells how far a wait is, where somebody looks: in a notebook or a terminal."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from adbazureml.deployment.target import Progress

_WIDTH = 60


@contextmanager
def progress(what: str) -> Iterator[Progress]:
    """Yield what shows a step in one changing line, which is wiped in the end."""
    shell = sys.modules.get("IPython") and sys.modules["IPython"].get_ipython()
    watched = getattr(shell, "kernel", None) is not None or sys.stderr.isatty()
    shown = ""

    def show(step: str) -> None:
        nonlocal shown
        if watched and step != shown:
            shown = step
            print(f"\r{what}: {step:<{_WIDTH}}", end="", file=sys.stderr, flush=True)

    try:
        yield show
    finally:
        if watched:
            print("\r" + " " * (len(what) + _WIDTH + 2), end="\r", file=sys.stderr, flush=True)
