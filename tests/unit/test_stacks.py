"""The table of stacks, and what follows from it: lock files, the wheel's bounds, the docs, a cluster's row."""

import re
from datetime import date
from importlib.metadata import requires

import pytest
from packaging.requirements import Requirement
from packaging.version import Version
from tests.bundle import ROOT
from tools import stacks

from adbazureml import check
from adbazureml.runtime.stacks import STACKS, unsupported_runtime
from adbazureml.workspaces.install.report import RUNTIME

PACKAGES = {
    "mlflow": "mlflow",
    "pyspark": "spark",
    "delta-spark": "delta",
    "scikit-learn": "scikit_learn",
    "azureml-mlflow": "azureml_mlflow",
    "databricks-sdk": "databricks_sdk",
}


@pytest.mark.parametrize("stack", STACKS, ids=lambda stack: stack.name)
def test_a_row_is_what_its_lock_file_pins(stack):
    pins = {}
    for line in (ROOT / stacks.lock_file(stack)).read_text().splitlines():
        if "==" in line and not line.startswith("#"):
            pin = Requirement(line)
            if pin.marker is None or pin.marker.evaluate({"python_full_version": f"{stack.python}.0"}):
                pins[pin.name] = str(pin.specifier).removeprefix("==")
    assert {name: pins[name] for name in PACKAGES} == {name: getattr(stack, of) for name, of in PACKAGES.items()}


@pytest.mark.parametrize("package", ["mlflow", "pyspark", "delta-spark"])
def test_the_wheel_declares_no_version_beyond_those_that_were_run(package):
    (declared,) = (one for one in map(Requirement, requires("adbazureml")) if one.name == package)
    ran = sorted(Version(getattr(stack, PACKAGES[package])) for stack in STACKS)
    assert all(version in declared.specifier for version in ran)
    newest = ran[-1]
    assert f"{newest.major}.{newest.minor + 1}.0" not in declared.specifier
    assert f"{ran[0].major - 1}.99" not in declared.specifier


def test_each_other_stack_has_its_make_target():
    listed = re.search(r"^OTHER_STACKS := (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert listed[1].split() == [stack.name for stack in STACKS[1:]]


def test_the_tables_in_readme_and_docs_are_the_table():
    for file, text in stacks.written().items():
        assert STACKS[-1].runtime in text
        assert file.read_text(encoding="utf-8") == text, "run make stacks"


@pytest.mark.parametrize(
    ("version", "today", "said"),
    [
        ("18.0", date(2026, 12, 1), ""),
        ("18.2", date(2026, 12, 1), ""),
        ("17.3", date(2026, 12, 1), ""),
        ("17.2", date(2026, 12, 1), "not tried; the nearest that was is 17.3 LTS ML"),
        ("16.4", date(2026, 12, 1), "not tried; the nearest that was is 17.3 LTS ML"),
        ("20.1", date(2026, 12, 1), "not tried; the nearest that was is 19 ML"),
        ("17.3", date(2029, 1, 1), "supported by Databricks until 2028-10-22; take 18 LTS ML"),
    ],
)
def test_a_runtime_that_was_not_tried_is_told_with_the_nearest(version, today, said):
    assert unsupported_runtime(version, today) == said


def test_installing_on_a_cluster_names_its_runtime(monkeypatch):
    monkeypatch.setenv("DATABRICKS_RUNTIME_VERSION", "15.4")
    (row,) = (row for row in check().rows if row.package == RUNTIME)
    assert (row.found, row.note) == ("15.4", "not tried; the nearest that was is 17.3 LTS ML")
    monkeypatch.setenv("DATABRICKS_RUNTIME_VERSION", "client.4.9")
    assert not [row for row in check().rows if row.package == RUNTIME]
