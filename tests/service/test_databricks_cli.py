"""The official Databricks CLI reads the bundle as it is in a fresh clone and in a used tree.

The CLI is on no package registry, so these are skipped where it is not installed; CI installs it, and says that it must
be there.
"""

import json
import os
import re
import shutil
import subprocess
from itertools import takewhile

import pytest
from tests.bundle import BUNDLE, GIVEN, ROOT
from tests.docs import shell
from tests.emulators.databricks import TOKEN, DatabricksEmulator

from adbazureml import Settings

CLI = shutil.which("databricks")
pytestmark = pytest.mark.skipif(
    CLI is None and not os.environ.get("DATABRICKS_CLI_REQUIRED"), reason="the Databricks CLI is not installed"
)
# To all that the template asks.
ANSWERS = {
    "catalog": "main-eu",
    "schema": "sales",
    "subscription_id": GIVEN["subscription_id"],
    "resource_group": GIVEN["resource_group"],
    "workspace_name": GIVEN["workspace_name"],
    "training_table": "raw.db-1.Houses",
    "label_column": 'the "price"',
    "task": "regression",
}


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
        shutil.copyfile(ROOT / name, target, follow_symlinks=False)
    return tmp_path / "clone"


@pytest.fixture
def bundle(workspace, tmp_path):
    """Run a command of the CLI on a bundle in a folder."""

    def run(folder, *command, **variables):
        environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path)}
        environment |= {"DATABRICKS_HOST": workspace.host, "DATABRICKS_TOKEN": TOKEN}
        environment |= {f"BUNDLE_VAR_{name}": value for name, value in variables.items()}
        command = [CLI, "bundle", *command]
        return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)

    return run


@pytest.fixture
def validate(bundle, clone):
    return lambda target, **variables: bundle(clone, "validate", "--strict", "--target", target, **variables)


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


def test_the_docs_name_only_commands_and_options_that_it_has():
    """What their JSON says is in test_set_up.py."""
    for words in shell():
        if words[0] == "databricks":
            done = subprocess.run([CLI, *words[1:], "--help"], capture_output=True, text=True, check=False)
            usage = re.search(r"^Usage:\n +(.*)$", done.stdout, flags=re.M)[1].split()
            command = [word for word in usage if re.fullmatch("[a-z-]+", word)]
            given = list(takewhile(lambda word: not word.startswith("-"), words))
            assert given[: len(command)] == command
            if "--json" not in words:
                assert len(given) - len(command) >= len([word for word in usage if re.fullmatch("[A-Z_]+", word)]), (
                    words
                )
            for option in (word for word in words if word.startswith("-")):
                assert re.search(rf"^ .*{option}\b", done.stdout, flags=re.M), (words, option)


@pytest.mark.skipif(not (ROOT / "databricks_template_schema.json").exists(), reason="was written by the template")
class TestTemplate:
    """`databricks bundle init` of the project, and what it writes."""

    @pytest.fixture
    def write(self, bundle, clone, tmp_path):
        def run(**answers):
            (tmp_path / "answers.json").write_text(json.dumps(answers))
            written = tmp_path / "written"
            options = ("--output-dir", str(written), "--config-file", str(tmp_path / "answers.json"))
            return written, bundle(tmp_path, "init", str(clone), *options)

        return run

    @pytest.mark.parametrize("answers", [{}, ANSWERS], ids=["nothing answered", "everything answered"])
    def test_every_target_of_what_it_writes_is_valid(self, write, bundle, answers):
        written, done = write(**answers)
        assert done.returncode == 0, done.stdout + done.stderr
        for target in BUNDLE["targets"]:
            # These two it does not ask for: with nothing answered, no Azure ML workspace is one.
            people = {name: GIVEN[name] for name in ("service_principal_name", "viewers_group")}
            done = bundle(written, "validate", "--strict", "--target", target, **people)
            assert done.returncode == 0, done.stdout + done.stderr

    def test_it_writes_the_project_and_one_file_more(self, write, clone):
        (clone / ".venv" / "bin").mkdir(parents=True)
        (clone / ".venv" / "bin" / "python").touch()
        written, _ = write()
        files = {path.relative_to(written).as_posix(): path for path in written.rglob("*") if path.is_file()}
        others = {path.relative_to(clone).as_posix(): path for path in clone.rglob("*") if path.is_file()}
        assert set(files) - set(others) == {"resources/team.yml"}
        assert set(others) - set(files) == {
            ".venv/bin/python",
            "__preamble.tmpl",
            "databricks_template_schema.json",
            "resources/team.yml.tmpl",
            "tests/unit/test_template.py",
        }
        assert [
            name for name in set(files) & set(others) if files[name].read_bytes() != others[name].read_bytes()
        ] == []

    def test_what_is_answered_reaches_the_jobs(self, write, bundle):
        written, _ = write(**ANSWERS)
        people = {name: GIVEN[name] for name in ("service_principal_name", "viewers_group")}
        loaded = json.loads(bundle(written, "validate", "-t", "prod", "-o", "json", **people).stdout)
        job = {one["name"]: one["default"] for one in loaded["resources"]["jobs"]["score"]["parameters"]}
        assert {name: job[name] for name in set(ANSWERS) & set(job)} == {
            name: value for name, value in ANSWERS.items() if name in job
        }
        settings = Settings.checked({name: value for name, value in job.items() if "${" not in value})
        assert settings.scoring_table == settings.training_table == "raw.`db-1`.Houses"
        assert settings.predictions_table == "`main-eu`.sales_prod.Houses_predictions"
        assert settings.model_name == "main-eu.sales_prod.Houses"
        assert settings.endpoint_name == "model-houses-prod"
        assert loaded["resources"]["schemas"]["tables"]["name"] == "sales_prod"
        assert loaded["resources"]["experiments"]["runs"]["name"].endswith("sales")

    def test_half_an_azure_ml_workspace_is_refused(self, write):
        _, done = write(subscription_id=GIVEN["subscription_id"])
        assert done.returncode != 0
        assert "resource_group or workspace_name: empty" in done.stderr
