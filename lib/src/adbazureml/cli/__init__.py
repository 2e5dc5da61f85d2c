"""The commands of ``python -m adbazureml``: import the notebooks, check, link, catch up, clean up.

Each is a few lines around one call of a room below, all of which it may import. Start reading at `commands`.
"""

from adbazureml.cli.commands import main

__all__ = ["main"]
