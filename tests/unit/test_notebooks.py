"""What every notebook keeps to, read from its file; that they run is shown by nbval and by test_walk.py."""

import re

import nbformat
import pytest
from tests.bundle import ROOT

from adbazureml import Settings

FOLDER = ROOT / "notebooks"
PATHS = sorted(FOLDER.glob("*.ipynb"))


@pytest.fixture(params=PATHS, ids=lambda path: path.stem)
def notebook(request):
    return nbformat.read(request.param, as_version=4)


def code_cells(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def test_the_walk_is_in_order():
    stages = ["install", "link", "train_and_log", "register", "deploy", "batch_score", "monitor", "clean_up"]
    walk = [f"{number:02}_{stage}" for number, stage in enumerate(stages, start=1)]
    assert [path.stem for path in PATHS] == [*walk, "catch_up"]


def test_format_without_outputs_and_with_stable_ids(notebook):
    nbformat.validate(notebook)
    assert all(not cell.outputs and cell.execution_count is None for cell in code_cells(notebook))
    ids = [cell.id for cell in notebook.cells]
    assert len(set(ids)) == len(ids)
    assert all(re.fullmatch(r"[a-z-]+", cell_id) for cell_id in ids)


def test_metadata_for_jupyter_and_databricks(notebook, request):
    databricks = notebook.metadata["application/vnd.databricks.v1+notebook"]
    assert databricks["language"] == notebook.metadata.kernelspec.language == "python"
    assert databricks["notebookName"] == request.node.callspec.id


def test_the_same_skeleton(notebook, request):
    title, set_up = notebook.cells[0], notebook.cells[1]
    stem = request.node.callspec.id
    number = int(stem[:2]) if stem[0].isdigit() else None
    assert title.source.startswith("# Catch up\n" if number is None else f"# {number}. ")
    assert (set_up.cell_type, set_up.id) == ("code", "set-up")
    what = title.source.split("\n\n")[1]
    assert len(re.findall(r"[.](?:\s|$)", what)) == 3, "what it does, in three sentences"
    assert notebook.cells[-1].cell_type == "markdown"
    following = "README" if number in (None, 8) else f"{number + 1:02}_"
    assert following in notebook.cells[-1].source


def test_the_table_of_parameters_is_what_the_notebook_reads(notebook):
    documented = dict(re.findall(r"^\| `(\w+)` \| (.*?) \|", notebook.cells[0].source, flags=re.M))
    code = "\n".join(cell.source for cell in code_cells(notebook))
    asked = re.search(r"Settings\.from_notebook\((.*?)\)", code, flags=re.S)
    names = re.findall(r'"(\w+)"', asked.group(1)) if asked else re.findall(r"asked_(\w+)\(\)", code)
    assert list(documented) == names
    for name, shown in documented.items():
        default = Settings.model_fields[name].default
        assert shown == (f"`{default}`" if default != "" else "")
    used = set(re.findall(r"settings\.(\w+)", code)) - {
        "experiment_name",
        "spark_model_name",
        "keys",
        "kinds_to_delete",
    }
    assert used <= set(names), "a parameter that the notebook uses is not in its table"


def test_cells_stay_small(notebook):
    assert max(len(cell.source.splitlines()) for cell in code_cells(notebook)) <= 26
