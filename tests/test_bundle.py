"""The bundle as the Databricks CLI would read it: what it names must exist on the other side."""

import ast
import copy
import fnmatch
import json
import re
from graphlib import TopologicalSorter
from importlib import metadata
from pathlib import Path
from typing import get_type_hints
from zoneinfo import ZoneInfo

import pytest
import yaml
from databricks.bundles.jobs import Job, JobPermission, JobRunAs
from databricks.bundles.volumes import Volume, VolumeType

from adbazureml import settings
from adbazureml.settings import Settings

ROOT = Path(__file__).parents[1]
TARGETS = ["dev", "staging", "prod"]
JOBS = ["walk", "clean_up"]
WALK = ["install", "link", "train_and_log", "register", "deploy", "batch_score", "monitor"]
# What somebody gives with --var or BUNDLE_VAR_….
GIVEN = {
    "subscription_id": "00000000-0000-0000-0000-000000000001",
    "resource_group": "rg-ml",
    "workspace_name": "aml",
    "service_principal_name": "00000000-0000-0000-0000-000000000002",
}
# Settings of a server on a person's own machine: a job cluster, and the server on it, ends with the job.
# The link and a new workspace are made once, by a person who may.
LOCAL_ONLY = {
    *("endpoint_port", "keep_endpoint"),
    *("databricks_workspace", "set_link", "replace_link", "create_workspace", "location"),
}
# The fields of a target, and of the file, that this bundle uses; https://docs.databricks.com/dev-tools/bundles/reference
TARGET_FIELDS = {"mode", "default", "workspace", "run_as", "permissions", "variables"}
FILE_FIELDS = {"bundle", "include", "artifacts", "sync", "variables", "targets"}
REFERENCE = re.compile(r"\$\{([^}]*)\}")
TASK_VALUE = re.compile(r"\{\{tasks\.(\w+)\.values\.(\w+)\}\}")


def load():
    """Read bundle.yml with its includes; paths become relative to the root."""
    bundle = yaml.safe_load((ROOT / "bundle.yml").read_text())
    jobs, volumes = {}, {}
    for pattern in bundle["include"]:
        for path in sorted(ROOT.glob(pattern)):
            declared = yaml.safe_load(path.read_text())
            assert set(declared) == {"resources"}
            assert len(declared["resources"]) == 1
            for key, job in declared["resources"].get("jobs", {}).items():
                assert path.name == f"{key}.job.yml"
                jobs[key] = from_root(job, path.parent)
            for key, volume in declared["resources"].get("volumes", {}).items():
                assert path.name == f"{key}.volume.yml"
                volumes[key] = volume
    return bundle, jobs, volumes


def from_root(value, folder):
    if isinstance(value, list):
        return [from_root(item, folder) for item in value]
    if isinstance(value, dict):
        return {
            key: (folder / item).resolve().relative_to(ROOT.resolve()).as_posix()
            if key in ("notebook_path", "whl")
            else from_root(item, folder)
            for key, item in value.items()
        }
    return value


BUNDLE, DECLARED, VOLUMES = load()


class Target:
    """The bundle as one target sees it, every reference resolved."""

    def __init__(self, name, **given):
        self.config = BUNDLE["targets"][name]
        given = {**self.config.get("variables", {}), **given}
        self.variables = {
            key: given.get(key, variable.get("default", GIVEN.get(key)))
            for key, variable in BUNDLE["variables"].items()
        }
        user = {"userName": "someone@example.com", "short_name": "someone"}
        self.known = {
            "bundle": {"name": BUNDLE["bundle"]["name"], "target": name},
            "workspace": {"current_user": user, "host": "https://adb-1.2.azuredatabricks.net"},
            "resources": {
                "jobs": {key: {"id": "1", "name": job["name"]} for key, job in DECLARED.items()},
                "volumes": VOLUMES,
            },
            "var": self.variables,
        }
        self.jobs = self.resolve(DECLARED)

    def resolve(self, value):
        if isinstance(value, list):
            return [self.resolve(item) for item in value]
        if isinstance(value, dict):
            return {key: self.resolve(item) for key, item in value.items()}
        if not isinstance(value, str):
            return value
        if whole := REFERENCE.fullmatch(value):
            return self.resolve(self.value_of(whole[1]))
        return REFERENCE.sub(lambda found: str(self.resolve(self.value_of(found[1]))), value)

    def value_of(self, reference):
        found = self.known
        for part in reference.split("."):
            assert isinstance(found, dict), f"${{{reference}}} does not resolve"
            assert part in found, f"${{{reference}}} does not resolve"
            found = found[part]
        assert found is not None, f"${{{reference}}} has no value"
        return found


@pytest.fixture(params=TARGETS)
def target(request):
    return Target(request.param)


@pytest.fixture(params=JOBS)
def job(request):
    return Target("prod").jobs[request.param]


@pytest.fixture
def walk():
    return Target("prod").jobs["walk"]


def calls(notebook_path, name):
    """Return the calls of a function or method in a notebook's code."""
    cells = json.loads((ROOT / notebook_path).read_text())["cells"]
    lines = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code").splitlines()
    tree = ast.parse("\n".join(line for line in lines if not line.startswith(("%", "!"))))
    return [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and (getattr(node.func, "id", None) or getattr(node.func, "attr", None)) == name
    ]


def handed_on(notebook_path):
    return {keyword.arg for call in calls(notebook_path, "hand_on") for keyword in call.keywords}


def asked_for(notebook_path):
    return {name.value for call in calls(notebook_path, "from_notebook") for name in call.args}


def notebook(task):
    return task["notebook_task"]["notebook_path"]


def base_parameters(task):
    return task["notebook_task"].get("base_parameters", {})


def parameters(job):
    return {parameter["name"]: parameter["default"] for parameter in job["parameters"]}


def upstream(job):
    """Return, for each task, every task that ends before it starts; in an order in which they can run."""
    direct = {task["task_key"]: {up["task_key"] for up in task.get("depends_on", [])} for task in job["tasks"]}
    before = {}
    for key in TopologicalSorter(direct).static_order():
        before[key] = direct[key].union(*(before[up] for up in direct[key]))
    return before


class TestFile:
    def test_says_only_what_the_cli_knows(self):
        assert set(BUNDLE) == FILE_FIELDS
        assert BUNDLE["bundle"] == {"name": "adbazureml", "engine": "direct"}
        for variable in BUNDLE["variables"].values():
            assert set(variable) <= {"description", "default", "type"}
        for declared in BUNDLE["targets"].values():
            assert set(declared) <= TARGET_FIELDS

    def test_every_variable_is_described_and_used(self):
        everything = json.dumps([DECLARED, VOLUMES, BUNDLE])
        for name, variable in BUNDLE["variables"].items():
            assert variable["description"]
            assert f"${{var.{name}}}" in everything, f"{name} is used nowhere"

    def test_only_one_bundle_file(self):
        assert [path.name for path in ROOT.glob("*.y*ml") if path.stem in ("bundle", "databricks")] == ["bundle.yml"]

    def test_wheel_is_built_where_the_tasks_look_for_it(self):
        wheel = BUNDLE["artifacts"]["wheel"]
        assert (ROOT / wheel["path"] / "pyproject.toml").is_file()
        built = Path(wheel["path"]) / "dist" / f"adbazureml-{metadata.version('adbazureml')}-py3-none-any.whl"
        for declared in DECLARED.values():
            for task in declared["tasks"]:
                [library] = task["libraries"]
                assert fnmatch.fnmatch(built.as_posix(), library["whl"])

    def test_what_stays_on_the_machine_and_what_goes_up(self):
        excluded = BUNDLE["sync"]["exclude"]
        for private in (".venv/bin/python", ".local/task_values.json", "tests/conftest.py", "tools/walk.py"):
            assert any(fnmatch.fnmatch(private, pattern) for pattern in excluded), private
        for declared in DECLARED.values():
            for task in declared["tasks"]:
                assert not any(fnmatch.fnmatch(notebook(task), pattern) for pattern in excluded)


class TestTargets:
    def test_are_the_three(self):
        assert list(BUNDLE["targets"]) == TARGETS
        assert [name for name, declared in BUNDLE["targets"].items() if declared.get("default")] == ["dev"]

    def test_every_reference_resolves(self, target):
        resolved = json.dumps([target.jobs, target.resolve(target.config), target.resolve(BUNDLE["artifacts"])])
        assert "${" not in resolved

    def test_every_variable_has_a_value(self, target):
        assert None not in target.resolve(target.variables).values()

    @pytest.mark.parametrize(
        ("name", "required"),
        [("dev", set()), ("staging", {"service_principal_name"}), ("prod", {"service_principal_name"})],
    )
    def test_what_a_deployment_must_be_given(self, name, required):
        set_here = BUNDLE["targets"][name].get("variables", {})
        assert set(set_here) <= set(BUNDLE["variables"])
        open_ones = {key for key, variable in BUNDLE["variables"].items() if "default" not in variable}
        assert open_ones - set(set_here) == required

    def test_development_belongs_to_one_person(self):
        dev = Target("dev")
        assert dev.config["mode"] == "development"
        assert "run_as" not in dev.config
        assert "someone" in parameters(dev.jobs["walk"])["training_table"]

    @pytest.mark.parametrize("name", ["staging", "prod"])
    def test_production_has_one_copy_of_a_service_principal(self, name):
        config = Target(name).resolve(BUNDLE["targets"][name])
        principal = GIVEN["service_principal_name"]
        assert config["mode"] == "production"
        assert principal in config["workspace"]["root_path"]
        assert JobRunAs.from_dict(config["run_as"]).service_principal_name == principal
        permissions = [JobPermission.from_dict(permission) for permission in config["permissions"]]
        managers = [permission for permission in permissions if permission.level.value == "CAN_MANAGE"]
        assert [manager.service_principal_name for manager in managers] == [principal]

    def test_share_nothing(self):
        seen = [parameters(Target(name).jobs["walk"]) for name in TARGETS]
        for name in ("training_table", "predictions_table", "model_name", "endpoint_name", "experiment"):
            assert len({values[name] for values in seen}) == len(TARGETS), name


class TestJobs:
    def test_are_the_two(self):
        assert set(DECLARED) == set(JOBS)

    @pytest.mark.parametrize("name", TARGETS)
    def test_typed_classes_know_every_field(self, name):
        # They leave out an empty list.
        for resolved in Target(name, failure_emails=["someone@example.com"]).jobs.values():
            assert Job.from_dict(copy.deepcopy(resolved)).as_dict() == resolved

    def test_every_notebook_is_there_and_named_after_its_task(self, job):
        for task in job["tasks"]:
            path = ROOT / notebook(task)
            assert path.is_file()
            assert re.fullmatch(rf"\d\d_{task['task_key']}\.ipynb", path.name)

    def test_every_notebook_is_in_a_job(self):
        named = {notebook(task) for declared in DECLARED.values() for task in declared["tasks"]}
        assert named == {f"notebooks/{path.name}" for path in ROOT.glob("notebooks/*.ipynb")}

    def test_every_parameter_is_one_of_the_settings_and_passes(self, target, monkeypatch):
        monkeypatch.setenv("DATABRICKS_RUNTIME_VERSION", "18.0")
        for resolved in target.jobs.values():
            values = parameters(resolved)
            assert all(isinstance(value, str) for value in values.values())
            read = Settings.checked(values)
            assert {name: str(getattr(read, name)).lower() for name in values} == {
                name: value.lower() for name, value in values.items()
            }

    @pytest.mark.parametrize("key", JOBS)
    def test_a_literal_default_is_that_of_the_settings(self, key):
        for name, value in parameters(DECLARED[key]).items():
            if not REFERENCE.search(value):
                assert getattr(Settings(**{name: value}), name) == Settings.model_fields[name].default

    def test_notebooks_get_all_they_ask_for(self, job):
        for task in job["tasks"]:
            asked = asked_for(notebook(task))
            assert asked - set(parameters(job)) - set(base_parameters(task)) <= LOCAL_ONLY, task["task_key"]

    def test_no_table_or_model_is_left_to_a_default(self, walk):
        hints = get_type_hints(Settings, include_extras=True)
        names = {name for name, hint in hints.items() if hint in (settings.TableName, settings.ModelName)}
        assert len(names) >= 4
        for name in names:
            assert len(parameters(walk)[name].split(".")) == 3

    def test_clusters(self, job):
        clusters = {cluster["job_cluster_key"]: cluster["new_cluster"] for cluster in job["job_clusters"]}
        assert {task["job_cluster_key"] for task in job["tasks"]} == set(clusters)
        for cluster in clusters.values():
            assert "-ml-" in cluster["spark_version"]
            assert cluster["data_security_mode"] == "SINGLE_USER"
            assert cluster["kind"] == "CLASSIC_PREVIEW"
            assert cluster["is_single_node"] == (cluster.get("num_workers", 0) == 0)

    def test_nothing_runs_for_ever(self, job):
        assert 0 < max(task["timeout_seconds"] for task in job["tasks"]) <= job["timeout_seconds"]
        assert all(task["timeout_seconds"] for task in job["tasks"])

    def test_a_notebook_that_starts_a_run_is_not_tried_again(self, job):
        for task in job["tasks"]:
            if calls(notebook(task), "start_run"):
                assert not task.get("max_retries"), task["task_key"]


class TestWalk:
    def test_order(self, walk):
        assert [task["task_key"] for task in walk["tasks"]] == WALK
        before = upstream(walk)
        assert before["register"] == {"install", "link", "train_and_log"}
        assert before["deploy"] == before["batch_score"] == before["register"] | {"register"}
        assert before["monitor"] == before["batch_score"] | {"batch_score"}

    def test_values_come_from_a_task_before_that_hands_them_on(self, walk):
        tasks = {task["task_key"]: task for task in walk["tasks"]}
        before = upstream(walk)
        passed = set()
        for key, task in tasks.items():
            for name, value in base_parameters(task).items():
                origin, handed = TASK_VALUE.fullmatch(value).groups()
                assert origin in before[key]
                assert handed == name
                assert handed in handed_on(notebook(tasks[origin]))
                assert name in Settings.model_fields
                # A parameter of the job would win over the task's.
                assert name not in parameters(walk)
                passed.add(name)
        assert passed == {"run_id", "spark_run_id", "model_version"}

    def test_schedule(self, walk, target):
        schedule = target.jobs["walk"]["schedule"]
        fields = schedule["quartz_cron_expression"].split()
        assert len(fields) in (6, 7)
        # Quartz wants one of day-of-month and day-of-week left open.
        assert "?" in (fields[3], fields[5])
        assert ZoneInfo(schedule["timezone_id"])
        # Left to the target's mode, which pauses it in development only when the job does not say.
        assert "pause_status" not in schedule

    def test_one_run_at_a_time(self, walk):
        assert walk["max_concurrent_runs"] == 1
        assert walk["queue"] == {"enabled": True}


class TestCleanUp:
    def test_is_never_started_by_itself(self):
        clean_up = DECLARED["clean_up"]
        assert not {"schedule", "trigger", "triggers", "continuous"} & set(clean_up)
        assert [task["task_key"] for task in clean_up["tasks"]] == ["clean_up"]
        assert not clean_up["tasks"][0].get("max_retries")

    def test_is_a_dry_run_unless_asked(self):
        values = parameters(DECLARED["clean_up"])
        assert (values["delete"], values["confirm"]) == ("false", "")
        assert not {"delete", "confirm"} & set(parameters(DECLARED["walk"]))

    def test_cleans_up_what_the_walk_made(self, target):
        walk, clean_up = (parameters(target.jobs[key]) for key in JOBS)
        shared = set(walk) & set(clean_up)
        assert {name: clean_up[name] for name in shared} == {name: walk[name] for name in shared}


def test_checkpoints_are_kept_in_a_volume_of_the_bundle():
    for name in TARGETS:
        target = Target(name)
        volume = Volume.from_dict(target.resolve(VOLUMES["checkpoints"]))
        folder = f"/Volumes/{volume.catalog_name}/{volume.schema_name}/{volume.name}"
        assert parameters(target.jobs["walk"])["checkpoints"] == folder
        assert volume.volume_type == VolumeType.MANAGED
