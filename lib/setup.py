"""Puts the notebooks, which lie beside this folder, into the wheel: who has it can import them into a workspace."""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

NOTEBOOKS = Path(__file__).parent.parent / "notebooks"


class BuildWithNotebooks(build_py):
    """`build_py`, and then the notebooks."""

    def run(self) -> None:
        """Build; an editable installation finds the notebooks where they are."""
        super().run()
        if self.editable_mode:
            return
        target = Path(self.build_lib) / "adbazureml" / "notebooks"
        # What an earlier build left may be of notebooks that have another name by now.
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir(parents=True)
        for notebook in sorted(NOTEBOOKS.glob("*.ipynb")):
            shutil.copyfile(notebook, target / notebook.name)


setup(cmdclass={"build_py": BuildWithNotebooks})
