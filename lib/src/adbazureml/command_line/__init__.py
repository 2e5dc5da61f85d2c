"""What a person does outside notebooks: import them, link, catch up, look, clean up."""

from adbazureml.command_line.commands import main

__all__ = ["main"]
