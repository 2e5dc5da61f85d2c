"""What every notebook keeps to, read from its file; that they run is shown by nbval and by test_walk.py."""

import re

import nbformat
import pytest
from tests.bundle import ROOT

from adbazureml.settings import names_in

FOLDER = ROOT / "notebooks"
PATHS = sorted(FOLDER.glob("*.ipynb"))


@pytest.fixture(params=PATHS, ids=lambda path: path.stem)
def notebook(request):
    return nbformat.read(request.param, as_version=4)


def code_cells(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def test_the_walk_is_in_order():
    stages = [
        "install",
        "link",
        "train_and_log",
        "register",
        "validate",
        "deploy",
        "batch_score",
        "monitor",
        "clean_up",
    ]
    walk = [f"{number:02}_{stage}" for number, stage in enumerate(stages, start=1)]
    assert [path.stem for path in PATHS] == [*walk, "approval", "catch_up", "challengers"]


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
    begins = f"# {stem.capitalize().replace('_', ' ')}\n" if number is None else f"# {number}. "
    assert title.source.startswith(begins)
    assert (set_up.cell_type, set_up.id) == ("code", "set-up")
    what = title.source.split("\n\n")[1]
    assert len(re.findall(r"[.](?:\s|$)", what)) == 3, "what it does, in three sentences"
    assert notebook.cells[-1].cell_type == "markdown"
    following = "README" if number in (None, 9) else f"{number + 1:02}_"
    assert following in notebook.cells[-1].source


def test_asks_for_the_groups_that_it_uses_and_no_others(notebook):
    code = "\n".join(cell.source for cell in code_cells(notebook))
    asked = re.search(r"Settings\.from_notebook\((.*?)\)", code)
    groups = re.findall(r'"(\w+)"', asked.group(1)) if asked else []
    properties = {
        "experiment_name": "experiment",
        "spark_model_name": "model_name",
        "challengers_model_name": "model_name",
    }
    properties |= {"keys": "key_columns", "kinds_to_delete": "delete_kinds"}
    used = {properties.get(name, name) for name in re.findall(r"settings\.(\w+)", code)}
    assert used <= set(names_in(*groups)), "a parameter that the notebook uses has no widget"
    # These go on as a whole.
    whole = {"workspaces", "data", *(["deployment"] if "target_of(settings)" in code else [])}
    assert {group for group in groups if not used & set(names_in(group))} <= whole


def test_cells_stay_small(notebook):
    assert max(len(cell.source.splitlines()) for cell in code_cells(notebook)) <= 25
