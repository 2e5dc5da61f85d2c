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
}
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
TASK_VALUE = re.compile(r"\{\{tasks\.(\w+)\.values\.(\w+)\}\}")
REFERENCE = re.compile(r"\$\{([^}]*)\}")


def load():
    """Read bundle.yml with its includes, merged as the CLI does; paths become relative to the root."""
    bundle = from_root(yaml.safe_load((ROOT / "bundle.yml").read_text()), ROOT)
    jobs, volumes = {}, {}
    for pattern in bundle["include"]:
        for path in sorted(ROOT.glob(pattern)):
            included = from_root(yaml.safe_load(path.read_text()), path.parent)
            declared = included.pop("resources", {})
            for key, job in declared.get("jobs", {}).items():
                assert path.name == f"{key}.job.yml"
                jobs[key] = job
            for key, volume in declared.get("volumes", {}).items():
                assert path.name == f"{key}.volume.yml"
                volumes[key] = volume
            # A file holds one resource, or says where the resources' tasks run.
            assert (sum(len(one) for one in declared.values()) == 1) != (set(included) == {"targets"})
            bundle = merged(bundle, included)
    return bundle, jobs, volumes


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
    if isinstance(value, str) and value.startswith("../") and value.endswith(".whl"):
        return (folder / value).resolve().relative_to(ROOT.resolve()).as_posix()
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
        self.jobs = self.resolve(merged(DECLARED, self.config["resources"]["jobs"]))

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
