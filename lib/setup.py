"""Puts the notebooks, which lie beside this folder, into the wheel: who has it can import them into a workspace."""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py
from setuptools.command.sdist import sdist

# Some versions of setuptools name this file without its folder.
HERE = Path(__file__).resolve().parent
# A source distribution holds this folder alone, so it carries them within.
NOTEBOOKS = next((folder for folder in (HERE / "notebooks", HERE.parent / "notebooks") if folder.is_dir()), None)


def copy_notebooks(target: Path) -> None:
    """Copy the notebooks into a folder; without them there is nothing worth building."""
    if NOTEBOOKS is None:
        raise SystemExit(f"The notebooks are missing: they lie beside {HERE.name}/ in the project. Build from there.")
    target.mkdir(parents=True)
    for notebook in sorted(NOTEBOOKS.glob("*.ipynb")):
        shutil.copyfile(notebook, target / notebook.name)


class BuildWithNotebooks(build_py):
    """`build_py`, and then the notebooks."""

    def run(self) -> None:
        """Build; an editable installation finds the notebooks where they are."""
        if self.editable_mode:
            super().run()
            return
        # An earlier build may have left what is no longer in the source, and all of the folder goes into the wheel.
        shutil.rmtree(self.build_lib, ignore_errors=True)
        super().run()
        copy_notebooks(Path(self.build_lib) / "adbazureml" / "notebooks")


class SdistWithNotebooks(sdist):
    """`sdist`, and the notebooks: `uv build` and `python -m build` make the wheel from it."""

    def make_release_tree(self, base_dir: str, files: list[str]) -> None:
        """Fill the folder that is packed."""
        super().make_release_tree(base_dir, files)
        copy_notebooks(Path(base_dir) / "notebooks")


setup(cmdclass={"build_py": BuildWithNotebooks, "sdist": SdistWithNotebooks})
