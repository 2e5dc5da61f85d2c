"""The bundle as the Databricks CLI reads it: includes merged, targets laid over, references resolved."""

import json
import re
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[1]
# What somebody gives with --var or BUNDLE_VAR_….
GIVEN = {
    "subscription_id": "00000000-0000-0000-0000-000000000001",
    "resource_group": "rg-ml",
    "workspace_name": "aml",
    "service_principal_name": "00000000-0000-0000-0000-000000000002",
    "viewers_group": "readers",
}
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
TASK_VALUE = re.compile(r"\{\{tasks\.(\w+)\.values\.(\w+)\}\}")
USER = {"userName": "someone@example.com", "short_name": "someone", "domain_friendly_name": "someone"}
# The kinds of resources, and how their files are called: <key>.<kind>.yml.
KINDS = {"jobs": "job", "schemas": "schema", "volumes": "volume", "experiments": "experiment"}
REFERENCE = re.compile(r"\$\{([^}]*)\}")


def load():
    """Read bundle.yml with its includes, merged as the CLI does; paths become relative to the root."""
    bundle = from_root(yaml.safe_load((ROOT / "bundle.yml").read_text()), ROOT)
    resources = {kind: {} for kind in KINDS}
    for pattern in bundle["include"]:
        # What a team answered the template is its own, and not what is tested here.
        for path in sorted(set(ROOT.glob(pattern)) - {ROOT / "resources" / "team.yml"}):
            included = from_root(yaml.safe_load(path.read_text()), path.parent)
            declared = included.pop("resources", {})
            for kind, of_kind in declared.items():
                for key, resource in of_kind.items():
                    assert path.name == f"{key}.{KINDS[kind]}.yml"
                    resources[kind][key] = resource
            # A file holds one resource, or says what the targets add to the resources.
            assert (sum(len(one) for one in declared.values()) == 1) != (set(included) == {"targets"})
            bundle = merged(bundle, included)
    return bundle, resources


def merged(base, override):
    """Put one mapping over another, as the CLI does: lists grow, tasks and clusters are matched by their keys."""
    if isinstance(base, dict) and isinstance(override, dict):
        return {
            key: merged(base[key], override[key])
            if key in base and key in override
            else base.get(key, override.get(key))
            for key in {**base, **override}
        }
    if isinstance(base, list) and isinstance(override, list):
        names = [
            name
            for name in ("task_key", "job_cluster_key", "environment_key")
            if all(name in one for one in [*base, *override])
        ]
        if not names:
            return base + override
        by_key = {one[names[0]]: one for one in base}
        for one in override:
            by_key[one[names[0]]] = merged(by_key.get(one[names[0]], {}), one)
        return list(by_key.values())
    return override


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
    if isinstance(value, str) and re.match(r"\.\./.*\.whl(\[\w+\])?$", value):
        return (folder / value).resolve().relative_to(ROOT.resolve()).as_posix()
    return value


BUNDLE, RESOURCES = load()
DECLARED = RESOURCES["jobs"]


class Target:
    """The bundle as one target sees it, every reference resolved, and names prefixed as the CLI does."""

    def __init__(self, name, *, user=USER, **given):
        self.config = BUNDLE["targets"][name]
        given = {**self.config.get("variables", {}), **given}
        self.variables = {
            key: given.get(key, variable.get("default", GIVEN.get(key)))
            for key, variable in BUNDLE["variables"].items()
        }
        self.known = {
            "bundle": {"name": BUNDLE["bundle"]["name"], "target": name},
            "workspace": {
                "current_user": user,
                "host": "https://adb-1.2.azuredatabricks.net",
                # Where the jobs of a test find what the deployment puts beside the notebooks.
                "file_path": str(ROOT),
            },
            "var": self.variables,
        }
        declared = merged(RESOURCES, self.config["resources"])
        prefix = self.resolve(self.config["presets"]["name_prefix"])
        for experiment in self._own(declared, "experiments"):
            folder, _, last = self.resolve(experiment["name"]).rpartition("/")
            experiment["name"] = f"{folder}/{prefix}{last}"
        for volume in self._own(declared, "volumes"):
            volume["volume_path"] = "/Volumes/" + "/".join(
                volume[part] for part in ("catalog_name", "schema_name", "name")
            )
        for job in self._own(declared, "jobs"):
            job["name"] = prefix + job["name"]
        # The workspace gives them.
        for number, job in enumerate(declared["jobs"].values(), start=1):
            job["id"] = number
        self.known["resources"] = declared
        self.resources = self.resolve(declared)
        self.jobs = self.resources["jobs"]
        self.job_ids = {key: job.pop("id") for key, job in self.jobs.items()}

    @staticmethod
    def _own(declared, kind):
        """Copy the resources of a kind, so that a change to them is of this target alone; return them."""
        declared[kind] = {key: dict(resource) for key, resource in declared[kind].items()}
        return declared[kind].values()

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


def notebook_tasks(job):
    """The tasks that run a notebook; others decide, or start another job."""
    return [task for task in job["tasks"] if "notebook_task" in task]


def notebook(task):
    return task["notebook_task"]["notebook_path"]


def base_parameters(task):
    return task["notebook_task"].get("base_parameters", {})


def parameters(job):
    return {parameter["name"]: parameter["default"] for parameter in job["parameters"]}


def cells(path):
    """The code cells of a notebook."""
    return ["".join(cell["source"]) for cell in json.loads(path.read_text())["cells"] if cell["cell_type"] == "code"]


def passed(job, task, handed):
    """What reaches a task's notebook: the task's own parameters, and over them those of the job."""
    own = {
        name: TASK_VALUE.sub(lambda found: handed[found[1]][found[2]], value)
        for name, value in base_parameters(task).items()
    }
    return {**own, **parameters(job)}
