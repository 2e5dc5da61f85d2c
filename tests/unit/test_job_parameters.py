"""Each notebook's set-up cell: what the bundle's jobs, a person's widgets and a local environment hand it."""

import re

import pytest
from tests.bundle import NOTEBOOKS, ROOT, Target, cells, notebook, notebook_tasks, parameters, passed
from tests.emulators.dbutils import Dbutils

from adbazureml import Settings, runtime
from adbazureml.errors import SettingsError
from adbazureml.settings import names_in

HANDED = {
    "train_and_log": {"run_id": "a" * 32, "spark_run_id": "b" * 32},
    "register": {"model_version": "7"},
    "validate": {"model_version": "7"},
    "batch_score": {"model_version": "7"},
}
TASKS = [(key, task) for key, job in Target("dev").jobs.items() for task in notebook_tasks(job)]


@pytest.mark.parametrize(("key", "task"), TASKS, ids=[f"{key}-{task['task_key']}" for key, task in TASKS])
def test_in_a_job_each_notebook_reads_what_the_bundle_passes(run_cells, on_cluster, key, task):
    given = passed(Target("dev").jobs[key], task, HANDED)
    dbutils = Dbutils({**given, "job_id": "1", "bundle_target": "dev"})
    set_up = cells(ROOT / notebook(task))[0]
    if "from_notebook" not in set_up:
        assert task["task_key"] == "install"
        assert run_cells([set_up], dbutils=dbutils)["deploy_target"] == given["deploy_target"]
        return
    settings = run_cells([set_up], dbutils=dbutils)["settings"]
    for name, text in given.items():
        value = getattr(settings, name)
        assert type(value) is type(Settings.model_fields[name].default), name
        assert str(value).lower() == text.lower()


@pytest.mark.parametrize("path", NOTEBOOKS[1:], ids=lambda path: path.stem)
def test_by_hand_each_parameter_has_a_widget_and_a_changed_one_is_read(run_cells, on_cluster, path):
    dbutils = Dbutils(in_job=False)
    groups = re.findall(r'"(\w+)"', re.search(r"from_notebook\((.*?)\)", cells(path)[0])[1])
    with pytest.raises(SettingsError, match="subscription_id and resource_group and workspace_name: empty"):
        run_cells(cells(path)[:1], dbutils=dbutils)
    assert tuple(dbutils.widgets.values) == names_in(*groups)
    changed = {"subscription_id": "0" * 8 + "-0000-0000-0000-" + "0" * 12, "resource_group": "rg"}
    changed["workspace_name"] = "aml"
    dbutils.widgets.values |= changed
    settings = run_cells(cells(path)[:1], dbutils=dbutils)["settings"]
    assert settings.workspace_name == "aml"
    assert settings.model_dump() == Settings(**changed).model_dump()


@pytest.mark.parametrize("path", NOTEBOOKS[1:], ids=lambda path: path.stem)
def test_by_hand_without_azure_ml_what_the_page_says_is_enough(run_cells, on_cluster, path):
    """The steps that docs/workspace.md numbers: two widgets, and what 03 to 09, 07 and 09 ask beside them."""
    steps = (ROOT / "docs" / "workspace.md").read_text(encoding="utf-8")
    dbutils = Dbutils(in_job=False)
    with pytest.raises(SettingsError, match="set tracking and registry to 'databricks'"):
        run_cells(cells(path)[:1], dbutils=dbutils)
    assert "set `tracking` and `registry` to `databricks`" in steps
    dbutils.widgets.values |= {"tracking": "databricks", "registry": "databricks"}
    assert "In notebooks 03 to 09, name `training_table` with catalog and schema" in steps
    assert ("training_table" in dbutils.widgets.values) == (path.stem != "02_link")
    if path.stem != "02_link":
        dbutils.widgets.values["training_table"] = "main.sales.houses"
    settings = run_cells(cells(path)[:1], dbutils=dbutils)["settings"]
    if path.stem != "02_link":
        assert settings.predictions_table == "main.sales.houses_predictions"
    assert "In 07 and 09, set `checkpoints`" in steps
    asks = any("settings.checkpoints" in cell or "inventory(settings" in cell for cell in cells(path))
    assert asks == (path.stem[:2] in ("07", "09"))


def test_packages_are_checked_before_any_workspace_is_named(run_cells, on_cluster):
    dbutils = Dbutils(in_job=False)
    assert run_cells(cells(NOTEBOOKS[0])[:1], dbutils=dbutils)["deploy_target"] == "local"
    assert list(dbutils.widgets.values) == ["deploy_target"]
    dbutils.widgets.values["deploy_target"] = "aci"
    report = run_cells(cells(NOTEBOOKS[0])[:1], dbutils=dbutils)["report"]
    assert "azure-ai-ml" in {row.package for row in report.rows}


@pytest.mark.parametrize("path", NOTEBOOKS[1:], ids=lambda path: path.stem)
def test_on_a_local_machine_the_environment_and_what_was_handed_on(run_cells, tmp_path, monkeypatch, path):
    monkeypatch.setenv("ADBAZUREML_HOME", str(tmp_path))
    monkeypatch.setenv("ADBAZUREML_EPOCHS", "12")
    monkeypatch.setenv("ADBAZUREML_DELETE", "false")
    runtime.hand_on(run_id="c" * 32, registered="nothing that is a parameter")
    settings = run_cells(cells(path)[:1])["settings"]
    assert (settings.epochs, settings.delete, settings.run_id) == (12, False, "c" * 32)


@pytest.mark.parametrize("text", ["True", "true", "1", "yes"])
def test_a_switch_arrives_as_text(run_cells, on_cluster, text):
    given = parameters(Target("dev").jobs["clean_up"])
    dbutils = Dbutils({**given, "delete": text})
    assert run_cells(cells(NOTEBOOKS[8])[:1], dbutils=dbutils)["settings"].delete is True
