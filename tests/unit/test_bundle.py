"""What the bundle names must exist on the other side: notebooks, parameters, task values, fields of the Jobs API."""

import ast
import copy
import fnmatch
import json
import os
import re
import subprocess
from graphlib import TopologicalSorter
from importlib import metadata
from itertools import combinations
from pathlib import Path
from typing import get_type_hints
from zoneinfo import ZoneInfo

import pytest
import yaml
from databricks.bundles.experiments import MlflowExperiment
from databricks.bundles.jobs import Job, JobPermission, JobRunAs
from databricks.bundles.schemas import Schema
from databricks.bundles.volumes import Volume
from packaging.requirements import Requirement
from tests.bundle import (
    BUNDLE,
    DECLARED,
    GIVEN,
    REFERENCE,
    RESOURCES,
    ROOT,
    USER,
    Target,
    base_parameters,
    notebook,
    notebook_tasks,
    parameters,
)

from adbazureml import settings
from adbazureml.monitoring.alarm import Alarm
from adbazureml.settings import Settings, names_in
from adbazureml.validation import Rules, read_rules

TARGETS = ["dev", "serverless", "staging", "prod"]
JOBS = ["clean_up", "deployment", "score", "train"]
# Settings of a server on a person's own machine: a job cluster, and the server on it, ends with the job.
LOCAL_ONLY = {"endpoint_port", "keep_endpoint"}
# What only a person in a notebook types, never a job: the link and a new workspace are made once.
TYPED_BY_HAND = {
    "confirm_resource_group",
    *("databricks_workspace", "set_link", "replace_link", "create_workspace", "location"),
}
# What Databricks runs the deployment job with.
OF_THE_VERSION = {"model_name", "model_version"}
# The fields of a target, and of the file, that this bundle uses;
# https://docs.databricks.com/dev-tools/bundles/reference
TARGET_FIELDS = {"mode", "default", "presets", "workspace", "run_as", "permissions", "resources", "variables"}
FILE_FIELDS = {"bundle", "include", "artifacts", "sync", "variables", "targets", "experimental"}
# What the deployment makes for people and jobs, and what must stay when it is destroyed.
MADE = [("schemas", "tables"), ("volumes", "checkpoints"), ("volumes", "tmp"), ("experiments", "runs")]
KEPT = [one for one in MADE if one != ("volumes", "tmp")]
TYPED = {"jobs": Job, "schemas": Schema, "volumes": Volume, "experiments": MlflowExperiment}
TABLES = [
    name
    for name, hint in get_type_hints(Settings, include_extras=True).items()
    if hint in (settings.TableName, settings.OptionalTableName)
]
TASK_VALUE = re.compile(r"\{\{tasks\.(\w+)\.values\.(\w+)\}\}")


@pytest.fixture(params=TARGETS)
def target(request):
    return Target(request.param)


@pytest.fixture(params=JOBS)
def job(request):
    return Target("prod").jobs[request.param]


@pytest.fixture
def train():
    return Target("prod").jobs["train"]


@pytest.fixture
def score():
    return Target("prod").jobs["score"]


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


# Their run comes last, and only tells what was done: another try adds a run, and does nothing twice.
ONLY_TELL = {"06_deploy.ipynb", "07_batch_score.ipynb"}


def works_in_a_run(task):
    """Whether each try of a task leaves another run of the work itself."""
    return bool(calls(notebook(task), "start_run")) and Path(notebook(task)).name not in ONLY_TELL


def handed_on(notebook_path):
    return {keyword.arg for call in calls(notebook_path, "hand_on") for keyword in call.keywords}


def asked_for(notebook_path):
    groups = (group.value for call in calls(notebook_path, "from_notebook") for group in call.args)
    return set(names_in(*groups))


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
        assert set(BUNDLE["bundle"]) == {"name", "engine", "databricks_cli_version"}
        # The form that the CLI takes; the first version that has all that is used here, and no other major one.
        assert BUNDLE["bundle"]["databricks_cli_version"] == ">= 1.13.0, < 2.0.0"
        for variable in BUNDLE["variables"].values():
            assert set(variable) <= {"description", "default", "type"}
        for declared in BUNDLE["targets"].values():
            assert set(declared) <= TARGET_FIELDS

    def test_every_variable_is_described_and_used(self):
        everything = json.dumps([RESOURCES, BUNDLE])
        for name, variable in BUNDLE["variables"].items():
            assert variable["description"]
            assert f"${{var.{name}}}" in everything, f"{name} is used nowhere"

    def test_only_one_bundle_file(self):
        assert [path.name for path in ROOT.glob("*.y*ml") if path.stem in ("bundle", "databricks")] == ["bundle.yml"]

    def test_wheel_is_built_where_the_tasks_look_for_it(self):
        wheel = BUNDLE["artifacts"]["wheel"]
        assert (ROOT / wheel["path"] / "pyproject.toml").is_file()
        built = (
            Path(wheel["path"]) / "dist" / f"adbazureml-{metadata.version('adbazureml')}-py3-none-any.whl"
        ).as_posix()
        for name in TARGETS:
            for resolved in Target(name).jobs.values():
                environments = {one["environment_key"]: one["spec"] for one in resolved.get("environments", [])}
                for task in notebook_tasks(resolved):
                    if name == "serverless":
                        wheels = environments[task["environment_key"]]["dependencies"][:1]
                    else:
                        wheels = [library["whl"] for library in task["libraries"] if "whl" in library]
                    # The extra is no part of the file's name.
                    assert [fnmatch.fnmatch(built, pattern.partition("[")[0]) for pattern in wheels] == [True]

    def test_each_deployment_has_a_wheel_of_its_own(self):
        assert BUNDLE["artifacts"]["wheel"]["dynamic_version"] is True

    @pytest.mark.service
    def test_only_notebooks_go_up_and_every_pattern_matches_in_a_fresh_clone(self):
        """A pattern that matches nothing fails `bundle validate --strict`; what Git ignores never goes up."""
        fresh = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
        patterns = [pattern for listed in BUNDLE["sync"].values() for pattern in listed]
        going = {
            file: [pattern for pattern in patterns if fnmatch.fnmatch(file, pattern) or file.startswith(f"{pattern}/")]
            for file in fresh
        }
        assert set().union(*going.values()) == set(patterns)
        notebooks = {notebook(task) for declared in DECLARED.values() for task in notebook_tasks(declared)}
        others = {"notebooks/challengers.ipynb", "notebooks/validation.yml"}
        assert {file for file, matched in going.items() if matched} == notebooks | others

    def test_the_rules_that_go_up_are_ones_that_their_notebook_reads(self, train):
        rules = Path(parameters(train)["validation_rules"])
        assert rules == ROOT / "notebooks" / "validation.yml"
        # As they are, and with each line that somebody may want.
        assert read_rules(rules) == {}
        whole = re.sub(r"^# (?=[a-z_ ]+:( |$))", "", rules.read_text(), flags=re.MULTILINE)
        assert set(yaml.safe_load(whole)) == set(Rules.__annotations__)


@pytest.mark.service
class TestEmptyVariables:
    """What the bundle runs before each command of the CLI."""

    @pytest.fixture
    def refused(self):
        def run(**variables):
            script = BUNDLE["experimental"]["scripts"]["preinit"]
            environment = {"PATH": os.environ["PATH"], **variables}
            done = subprocess.run(["sh", "-c", script], env=environment, capture_output=True, text=True, check=False)
            assert (done.returncode == 0) == (done.stderr == "")
            return done.stderr

        return run

    @pytest.mark.parametrize("value", ["", "$(SUBSCRIPTION_ID)"], ids=["GitHub", "Azure DevOps"])
    def test_what_nobody_set_in_ci_is_named(self, refused, value):
        told = refused(BUNDLE_VAR_subscription_id=value, BUNDLE_VAR_catalog="", BUNDLE_VAR_schema="prices")
        assert {word for word in told.split() if word.startswith("BUNDLE_VAR_")} == {
            "BUNDLE_VAR_subscription_id",
            "BUNDLE_VAR_catalog",
        }
        assert "Without a value" in told

    def test_values_and_no_secret_scope_are_fine(self, refused):
        given = {f"BUNDLE_VAR_{name}": value for name, value in GIVEN.items()}
        given |= {"BUNDLE_VAR_service_credential": "$(SERVICE_CREDENTIAL)"}
        assert refused(**given, BUNDLE_VAR_secret_scope="", BUNDLE_VAR_scoring_condition="a = 'b'") == ""
        assert refused() == ""


class TestTargets:
    def test_are_the_four(self):
        assert list(BUNDLE["targets"]) == TARGETS
        assert [name for name, declared in BUNDLE["targets"].items() if declared.get("default")] == ["dev"]

    def test_every_reference_resolves(self, target):
        resolved = json.dumps([target.resources, target.resolve(target.config), target.resolve(BUNDLE["artifacts"])])
        assert "${" not in resolved

    def test_every_variable_has_a_value(self, target):
        assert None not in target.resolve(target.variables).values()

    @pytest.mark.parametrize(
        ("name", "required"),
        [("dev", set()), ("serverless", set()), ("staging", set(GIVEN)), ("prod", set(GIVEN))],
    )
    def test_what_a_deployment_must_be_given(self, name, required):
        set_here = BUNDLE["targets"][name].get("variables", {})
        assert set(set_here) <= set(BUNDLE["variables"])
        open_ones = {key for key, variable in BUNDLE["variables"].items() if "default" not in variable}
        assert open_ones - set(set_here) == required

    @pytest.mark.parametrize("name", ["dev", "serverless"])
    def test_development_belongs_to_one_person(self, name):
        dev = Target(name)
        assert dev.config["mode"] == "development"
        assert "run_as" not in dev.config
        assert "someone" in parameters(dev.jobs["train"])["training_table"]

    def test_staging_and_prod_are_declared_alike(self):
        assert BUNDLE["targets"]["staging"] == BUNDLE["targets"]["prod"]

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
        """All four may be in one workspace, two of them of one developer."""
        seen = []
        for name in TARGETS:
            target = Target(name)
            values = {**parameters(target.jobs["train"]), **parameters(target.jobs["score"])}
            seen.append(
                {
                    **{key: job["name"] for key, job in target.jobs.items()},
                    **{
                        key: values[key]
                        for key in (*TABLES, "model_name", "endpoint_name", "experiment", "checkpoints")
                        if values[key]
                    },
                    "schema": target.resources["schemas"]["tables"]["name"],
                    "tmp": target.resources["volumes"]["tmp"]["volume_path"],
                }
            )
        for kind in seen[0]:
            assert len({values[kind] for values in seen}) == len(seen), kind
            for name, values in zip(TARGETS, seen, strict=True):
                assert name in values[kind]

    @pytest.mark.parametrize("name", ["dev", "serverless"])
    def test_two_developers_share_nothing(self, name):
        other = {"userName": "a.b@example.com", "short_name": "a_b", "domain_friendly_name": "a-b"}
        mine, theirs = (Target(name, user=user) for user in (USER, other))
        for kind in ("schemas", "experiments", "jobs"):
            names = [{one["name"] for one in target.resources[kind].values()} for target in (mine, theirs)]
            assert not names[0] & names[1]
        mine, theirs = ({**parameters(target.jobs["train"])} for target in (mine, theirs))
        for kind in ("training_table", "model_name", "experiment", "endpoint_name"):
            assert mine[kind] != theirs[kind]

    @pytest.mark.parametrize("name", ["dev", "serverless"])
    def test_a_developers_name_fits_an_endpoint(self, name, monkeypatch):
        """The short name has underscores; "domain friendly" is what the CLI calls the form for hosts."""
        user = {**USER, "short_name": "ana_maria_de_la_cruz", "domain_friendly_name": "ana-maria-de-la-cruz"}
        values = parameters(Target(name, user=user).jobs["train"])
        assert values["endpoint_name"] == f"{name}-ana-maria-de-la-cruz"
        assert Settings.checked(values).endpoint_name == values["endpoint_name"]


class TestResources:
    @pytest.mark.parametrize(("kind", "key"), MADE)
    def test_typed_classes_know_every_field(self, target, kind, key):
        resource = {name: value for name, value in target.resources[kind][key].items() if name != "volume_path"}
        assert TYPED[kind].from_dict(copy.deepcopy(resource)).as_dict() == resource

    @pytest.mark.parametrize("name", ["staging", "prod"])
    def test_what_holds_data_outlives_the_bundle(self, name):
        kept = {
            (kind, key)
            for kind, of_kind in Target(name).resources.items()
            for key, resource in of_kind.items()
            if resource.get("lifecycle") == {"prevent_destroy": True}
        }
        assert kept == set(KEPT)

    @pytest.mark.parametrize("name", ["staging", "prod"])
    def test_viewers_read_and_change_nothing(self, name):
        target = Target(name)
        [grant] = target.resources["schemas"]["tables"]["grants"]
        assert grant["principal"] == GIVEN["viewers_group"]
        assert set(grant["privileges"]) == {"USE_SCHEMA", "SELECT", "EXECUTE", "READ_VOLUME"}
        # They hold for jobs and experiment alike.
        levels = {one.get("group_name"): one["level"] for one in target.resolve(target.config["permissions"])}
        assert levels[GIVEN["viewers_group"]] == "CAN_VIEW"

    @pytest.mark.parametrize("name", ["dev", "serverless"])
    def test_a_developers_own_go_with_the_bundle(self, name):
        for of_kind in Target(name).resources.values():
            for resource in of_kind.values():
                assert not {"grants", "lifecycle"} & set(resource)

    def test_volumes_are_managed_and_in_the_schema(self, target):
        schema = target.resources["schemas"]["tables"]
        for key, volume in target.resources["volumes"].items():
            assert volume["volume_type"] == "MANAGED"
            assert volume["volume_path"] == f"/Volumes/{schema['catalog_name']}/{schema['name']}/{key}"

    def test_jobs_track_and_remember_where_the_bundle_says(self, target):
        for resolved in target.jobs.values():
            assert parameters(resolved)["experiment"] == target.resources["experiments"]["runs"]["name"]
        folder = target.resources["volumes"]["checkpoints"]["volume_path"]
        assert parameters(target.jobs["score"])["checkpoints"] == folder


class TestJobs:
    def test_are_the_four(self):
        assert set(DECLARED) == set(JOBS)

    @pytest.mark.parametrize("name", TARGETS)
    def test_typed_classes_know_every_field(self, name):
        # They leave out an empty list.
        for resolved in Target(name, failure_emails=["someone@example.com"]).jobs.values():
            assert Job.from_dict(copy.deepcopy(resolved)).as_dict() == resolved

    def test_every_notebook_is_there_and_named_after_its_task(self, job):
        for task in notebook_tasks(job):
            path = ROOT / notebook(task)
            assert path.is_file()
            # Databricks' documentation calls the task so that validates.
            name = {"evaluate": "validate"}.get(task["task_key"], task["task_key"])
            assert re.fullmatch(rf"(\d\d_)?{name}\.ipynb", path.name)

    def test_every_notebook_is_in_a_job_but_the_one_that_shows(self):
        named = {notebook(task) for declared in DECLARED.values() for task in notebook_tasks(declared)}
        assert named | {"notebooks/challengers.ipynb"} == {
            f"notebooks/{path.name}" for path in ROOT.glob("notebooks/*.ipynb")
        }

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
    def test_what_a_team_has_of_its_own_is_a_variable(self, key):
        """Tables, columns, condition and model: set once, for all jobs."""
        columns = {"label_column", "task", "target_column", "key_columns", "day_column", "scoring_condition"}
        given = parameters(DECLARED[key])
        for name in {*TABLES, *columns, "model_name"} & set(given):
            assert given[name] == f"${{var.{name}}}"
            assert "default" in BUNDLE["variables"][name]

    @pytest.mark.parametrize("key", JOBS)
    def test_every_job_can_sign_in_to_azure(self, key):
        for name in ("secret_scope", "service_credential"):
            assert parameters(DECLARED[key])[name] == f"${{var.{name}}}"
            assert BUNDLE["variables"][name]["default"] == ""

    @pytest.mark.parametrize("key", JOBS)
    def test_a_literal_default_is_that_of_the_settings(self, key):
        for name, value in parameters(DECLARED[key]).items():
            if not REFERENCE.search(value):
                assert getattr(Settings(**{name: value}), name) == Settings.model_fields[name].default

    def test_notebooks_get_all_they_ask_for(self, job):
        for task in notebook_tasks(job):
            asked = asked_for(notebook(task))
            given = {*parameters(job), *base_parameters(task), *LOCAL_ONLY, *TYPED_BY_HAND, *names_in("versions")}
            assert asked <= given, task["task_key"]

    def test_no_parameter_is_given_for_nothing(self, job):
        asked = set().union(*(asked_for(notebook(task)) for task in notebook_tasks(job)))
        assert set(parameters(job)) <= asked

    def test_each_task_works_on_the_version_that_the_one_before_made(self, job):
        given = {task["task_key"]: set(base_parameters(task)) for task in notebook_tasks(job)}
        expected = {
            "register": {"run_id", "spark_run_id"},
            "validate": {"model_version"},
            "deploy": {"model_version"},
            # Of the version that scored. Scoring itself takes the newest.
            "monitor": {"model_version"},
            # A person promotes.
            "evaluate": {"promote", "fail_if_worse"},
        }
        for key, names in given.items():
            assert names - {"deploy_target"} == expected.get(key, set()) - set(parameters(job))

    def test_no_table_or_model_is_left_to_a_default(self, job):
        hints = get_type_hints(Settings, include_extras=True)
        kinds = (settings.TableName, settings.OptionalTableName, settings.ModelName)
        names = {name for name, hint in hints.items() if hint in kinds} - {"rejected_table", "drift_table"}
        given = names & set(parameters(job))
        assert len(given) >= 2
        for name in given:
            assert len(parameters(job)[name].split(".")) == 3

    def test_jobs_agree_on_what_they_share(self, target):
        """What one job writes, the next reads and the clean-up lists."""
        for one, other in combinations((parameters(resolved) for resolved in target.jobs.values()), 2):
            shared = set(one) & set(other)
            assert {name: one[name] for name in shared} == {name: other[name] for name in shared}
            assert {"experiment", "model_name", "scoring_table"} <= shared

    def test_serverless_tasks_have_an_environment_and_no_cluster(self):
        for resolved in Target("serverless").jobs.values():
            assert "job_clusters" not in resolved
            [environment] = resolved["environments"]
            wheel, *pins = environment["spec"]["dependencies"]
            assert wheel == "lib/dist/*.whl[deploy]"
            local = (ROOT / "requirements.txt").read_text().splitlines()
            assert set(pins) <= set(local), "the pins of a local machine"
            for task in notebook_tasks(resolved):
                assert task["environment_key"] == environment["environment_key"]
                assert not {"job_cluster_key", "libraries", "existing_cluster_id", "new_cluster"} & set(task)

    def test_serverless_tries_no_task_again_by_itself_that_must_not_run_twice(self):
        once = {
            (key, task["task_key"])
            for key, resolved in Target("serverless").jobs.items()
            for task in resolved["tasks"]
            if task.get("disable_auto_optimization")
        }
        assert once == {
            ("train", "train_and_log"),
            ("train", "validate"),
            ("score", "monitor"),
            ("deployment", "evaluate"),
            ("deployment", "approval"),
            ("deployment", "deploy"),
            ("clean_up", "clean_up"),
        }
        starts_runs = {
            (key, task["task_key"])
            for key, declared in DECLARED.items()
            for task in notebook_tasks(declared)
            if works_in_a_run(task)
        }
        assert starts_runs <= once

    @pytest.mark.parametrize("name", ["dev", "staging", "prod"])
    def test_clusters_have_the_extra_where_endpoints_are_made_and_deleted(self, name):
        """A job cluster takes no wheel with an extra, so its packages are named beside the wheel."""
        extra = [Requirement(line) for line in metadata.requires("adbazureml") if line.endswith('; extra == "deploy"')]
        wanted = {one.name: one.specifier for one in extra}
        for key, resolved in Target(name).jobs.items():
            for task in notebook_tasks(resolved):
                assert all("[" not in library.get("whl", "") for library in task["libraries"])
                packages = [Requirement(one["pypi"]["package"]) for one in task["libraries"] if "pypi" in one]
                needs = task["task_key"] in ("install", "deploy", "clean_up")
                assert {one.name: one.specifier for one in packages} == (wanted if needs else {}), (key, task)

    def test_clusters_have_a_volume_for_spark_models(self, job):
        [cluster] = job["job_clusters"]
        volume = Target("prod").resources["volumes"]["tmp"]["volume_path"]
        assert cluster["new_cluster"]["spark_env_vars"] == {"MLFLOW_DFS_TMP": volume}

    def test_clusters(self, job):
        clusters = {cluster["job_cluster_key"]: cluster["new_cluster"] for cluster in job["job_clusters"]}
        assert {task["job_cluster_key"] for task in notebook_tasks(job)} == set(clusters)
        for cluster in clusters.values():
            assert "-ml-" in cluster["spark_version"]
            assert cluster["data_security_mode"] == "SINGLE_USER"
            assert cluster["kind"] == "CLASSIC_PREVIEW"
            assert cluster["is_single_node"] == (cluster.get("num_workers", 0) == 0)

    def test_nothing_runs_for_ever(self, job):
        assert 0 < max(task["timeout_seconds"] for task in job["tasks"]) <= job["timeout_seconds"]
        assert all(task["timeout_seconds"] for task in job["tasks"])

    def test_a_notebook_that_works_in_a_run_is_not_tried_again(self, job):
        for task in notebook_tasks(job):
            if works_in_a_run(task):
                assert not task.get("max_retries"), task["task_key"]

    def test_one_run_at_a_time_the_next_one_waits(self, job):
        assert job["max_concurrent_runs"] == 1
        assert job["queue"] == {"enabled": True}

    def test_bills_and_searches_find_them(self, job):
        assert job["tags"] == {"project": "adbazureml", "target": "prod"}

    def test_somebody_hears_of_a_failed_run(self):
        for resolved in Target("prod", failure_emails=["someone@example.com"]).jobs.values():
            assert resolved["email_notifications"]["on_failure"] == ["someone@example.com"]


class TestTrainAndScore:
    def test_order(self, train, score):
        before = upstream(train)
        assert before["register"] == before["catch_up"] == {"install", "link", "train_and_log"}
        assert before["validate"] == before["register"] | {"register"}
        assert before["deploy"] == before["validate"] | {"validate"}
        assert set(before) == {*before["deploy"], "deploy", "catch_up"}
        assert upstream(score) == {
            "batch_score": set(),
            "monitor": {"batch_score"},
            "drift_alarm": {"batch_score", "monitor"},
            "retrain": {"batch_score", "monitor", "drift_alarm"},
            "catch_up": set(),
        }

    def test_no_task_hides_that_another_failed(self, train, score):
        """A run fails where one of its last tasks did: one that runs whatever came before would turn it green."""
        assert all("run_if" not in task for job in (train, score) for task in job["tasks"])

    def test_values_come_from_a_task_before_that_hands_them_on(self, train, score):
        passed = set()
        for job in (train, score):
            tasks = {task["task_key"]: task for task in notebook_tasks(job)}
            before = upstream(job)
            for key, task in tasks.items():
                for name, value in base_parameters(task).items():
                    origin, handed = TASK_VALUE.fullmatch(value).groups()
                    assert origin in before[key]
                    assert handed == name
                    assert handed in handed_on(notebook(tasks[origin]))
                    assert name in Settings.model_fields
                    # A parameter of the job would win over the task's.
                    assert name not in parameters(job)
                    passed.add((key, name))
        assert passed == {
            ("register", "run_id"),
            ("register", "spark_run_id"),
            ("validate", "model_version"),
            ("deploy", "model_version"),
            ("monitor", "model_version"),
        }

    @pytest.mark.parametrize(("retrain_when", "starts"), [("never", False), ("raised", True)])
    def test_a_raised_alarm_starts_the_training_job_where_a_team_wants_it(self, retrain_when, starts):
        given = {} if retrain_when == BUNDLE["variables"]["retrain_when"]["default"] else {"retrain_when": retrain_when}
        target = Target("prod", **given)
        tasks = {task["task_key"]: task for task in target.jobs["score"]["tasks"]}
        condition = tasks["drift_alarm"]["condition_task"]
        origin, value = TASK_VALUE.fullmatch(condition["left"]).groups()
        assert value in handed_on(notebook(tasks[origin]))
        assert condition["op"] == "EQUAL_TO"
        assert (condition["right"] == Alarm(raised=True, said="").state) is starts
        assert condition["right"] != Alarm(raised=False, said="").state
        assert tasks["retrain"]["depends_on"] == [{"task_key": "drift_alarm", "outcome": "true"}]
        assert tasks["retrain"]["run_job_task"] == {"job_id": target.job_ids["train"]}

    @pytest.mark.parametrize(("key", "each"), [("train", "week"), ("score", "day")])
    def test_schedule(self, target, key, each):
        schedule = target.jobs[key]["schedule"]
        _second, _minute, _hour, day, month, weekday = schedule["quartz_cron_expression"].split()
        # Quartz wants one of day-of-month and day-of-week left open.
        assert (day, month) == (("?", "*") if each == "week" else ("*", "*"))
        assert weekday in (("MON", "TUE", "WED", "THU", "FRI", "SAT", "SUN") if each == "week" else ("?",))
        assert ZoneInfo(schedule["timezone_id"])
        # Left to the target's mode, which pauses it in development only when the job does not say.
        assert "pause_status" not in schedule

    def test_a_slow_run_is_told_before_it_is_stopped(self, train, score):
        for job in (train, score):
            [rule] = job["health"]["rules"]
            assert (rule["metric"], rule["op"]) == ("RUN_DURATION_SECONDS", "GREATER_THAN")
            assert 0 < rule["value"] < job["timeout_seconds"]
            assert "on_duration_warning_threshold_exceeded" in job["email_notifications"]


class TestDeployment:
    @pytest.fixture
    def deployment(self):
        return Target("prod").jobs["deployment"]

    def test_is_what_databricks_asks_of_a_deployment_job(self, deployment):
        """As https://learn.microsoft.com/azure/databricks/mlflow/deployment-job says it must be."""
        assert set(parameters(deployment)) >= OF_THE_VERSION
        assert parameters(deployment)["model_version"] == ""
        assert upstream(deployment) == {"evaluate": set(), "approval": {"evaluate"}, "deploy": {"evaluate", "approval"}}
        assert not {"schedule", "trigger", "triggers", "continuous"} & set(deployment)

    def test_no_task_is_tried_again(self, deployment):
        assert [task["max_retries"] for task in deployment["tasks"]] == [0, 0, 0]

    def test_only_a_person_promotes(self, deployment):
        evaluate, approval, _ = deployment["tasks"]
        assert base_parameters(evaluate) == {"promote": "false", "fail_if_worse": "true"}
        assert not set(base_parameters(evaluate)) & set(parameters(deployment)), "the job's would win"
        # By the button of the version's page, which sets the tag of the task's name.
        assert parameters(deployment)["approval_tag"] == approval["task_key"]


class TestCleanUp:
    def test_is_never_started_by_itself(self):
        clean_up = DECLARED["clean_up"]
        assert not {"schedule", "trigger", "triggers", "continuous"} & set(clean_up)
        assert [task["task_key"] for task in clean_up["tasks"]] == ["clean_up"]
        assert not clean_up["tasks"][0].get("max_retries")

    def test_only_lists_unless_asked_twice(self):
        values = parameters(DECLARED["clean_up"])
        assert (values["delete"], values["confirm"]) == ("false", "")
        for key in ("train", "score"):
            assert not {"delete", "confirm"} & set(parameters(DECLARED[key]))

    def test_no_job_can_delete_a_resource_group(self):
        for declared in DECLARED.values():
            assert not TYPED_BY_HAND & set(parameters(declared))

    def test_knows_every_table_of_the_other_jobs(self):
        hints = get_type_hints(Settings, include_extras=True)
        tables = {name for name, hint in hints.items() if hint in (settings.TableName, settings.OptionalTableName)}
        others = set(parameters(DECLARED["train"])) | set(parameters(DECLARED["score"]))
        assert tables & others <= set(parameters(DECLARED["clean_up"]))
