"""The official Databricks CLI reads the bundle as it is in a fresh clone and in a used tree.

The CLI is on no package registry, so these are skipped where it is not installed; CI installs it, and says that it must
be there.
"""

import os
import shutil
import subprocess

import pytest
from tests.bundle import BUNDLE, GIVEN, ROOT
from tests.emulators.databricks import TOKEN, DatabricksEmulator

CLI = shutil.which("databricks")
pytestmark = pytest.mark.skipif(
    CLI is None and not os.environ.get("DATABRICKS_CLI_REQUIRED"), reason="the Databricks CLI is not installed"
)


@pytest.fixture(scope="module")
def workspace():
    with DatabricksEmulator() as databricks:
        # It looks whether the folder it deploys to is somebody else's.
        databricks.add({("GET", "/api/2.0/permissions/directories/(?P<id>[^/]+)"): lambda _: {}})
        yield databricks


@pytest.fixture
def clone(tmp_path):
    """What Git tracks, and nothing else."""
    files = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in filter(None, files.split("\0")):
        target = tmp_path / "clone" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, target)
    return tmp_path / "clone"


@pytest.fixture
def validate(workspace, clone, tmp_path):
    def run(target, **variables):
        environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path)}
        environment |= {"DATABRICKS_HOST": workspace.host, "DATABRICKS_TOKEN": TOKEN}
        environment |= {f"BUNDLE_VAR_{name}": value for name, value in variables.items()}
        command = [CLI, "bundle", "validate", "--strict", "--target", target]
        return subprocess.run(command, cwd=clone, env=environment, capture_output=True, text=True, check=False)

    return run


@pytest.mark.parametrize("target", list(BUNDLE["targets"]))
def test_every_target_is_valid_in_a_fresh_clone(validate, target):
    done = validate(target, **(GIVEN if target in ("staging", "prod") else {}))
    assert done.returncode == 0, done.stdout + done.stderr


def test_and_after_a_walk_and_a_build(validate, clone):
    for left in (
        ".venv/bin/python",
        ".local/mlflow.db",
        "lib/build/lib/x.py",
        "lib/dist/x.whl",
        "tests/__pycache__/x.pyc",
    ):
        (clone / left).parent.mkdir(parents=True, exist_ok=True)
        (clone / left).touch()
    done = validate("dev")
    assert done.returncode == 0, done.stdout + done.stderr


def test_what_must_be_given_is_named(validate):
    done = validate("prod", **{name: value for name, value in GIVEN.items() if name != "viewers_group"})
    assert done.returncode != 0
    assert "no value assigned to required variable viewers_group" in done.stderr


def test_what_is_given_empty_is_named(validate):
    done = validate("prod", **{**GIVEN, "subscription_id": ""})
    assert done.returncode != 0
    assert "Without a value: BUNDLE_VAR_subscription_id" in done.stderr
