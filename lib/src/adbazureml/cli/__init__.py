"""What a person does outside notebooks: import them, link, catch up, look, clean up."""

from adbazureml.cli.commands import main

__all__ = ["main"]
