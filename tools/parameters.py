"""Write what the settings say of each parameter to where people and jobs look for it: the docs, the bundle."""

from __future__ import annotations

import re
from pathlib import Path

import yaml

from adbazureml.settings import GROUPS, Settings, names_in

ROOT = Path(__file__).parent.parent
JOBS = ("train", "score", "deployment", "clean_up")
# Of a server on a person's own machine: a job's cluster, and a server on it, ends with the job.
LOCAL_ONLY = {"endpoint_port", "keep_endpoint"}
# What only a person in a notebook types, never a job: the link and a new workspace are made once.
TYPED_BY_HAND = {"confirm_resource_group", *names_in("linking")}
# What one task hands to another: a job's parameter would win over it.
HANDED_ON = set(names_in("versions"))
# But for this job, which Databricks runs with the version that somebody made.
GIVEN_BY_DATABRICKS = {"deployment": {"model_version"}}
# What a job decides by itself, in its tasks.
DECIDED = {"deployment": {"promote", "fail_if_worse"}}
# What the deployment makes and names.
MADE = {
    "experiment": "${resources.experiments.runs.name}",
    "checkpoints": "${resources.volumes.checkpoints.volume_path}",
}


def groups_of(notebook: Path) -> tuple[str, ...]:
    """The groups of parameters that a notebook asks for."""
    asked = re.search(r"from_notebook\((.*?)\)", notebook.read_text(encoding="utf-8"))
    return tuple(re.findall(r"\w+", asked[1].replace("\\", ""))) if asked else ()


def job_parameters(job: str) -> dict[str, str]:
    """Each parameter of a job and its value: all that its notebooks ask for, and nothing else."""
    tasks = yaml.safe_load(_job_file(job).read_text(encoding="utf-8"))["resources"]["jobs"][job]["tasks"]
    asked = {
        group
        for task in tasks
        if "notebook_task" in task
        for group in groups_of(ROOT / "notebooks" / Path(_notebook(task)).name)
    }
    variables = yaml.safe_load((ROOT / "bundle.yml").read_text(encoding="utf-8"))["variables"]
    names = [name for group in GROUPS if group in asked for name in names_in(group)]
    return {
        name: MADE.get(name) or (f"${{var.{name}}}" if name in variables else _text(name))
        for name in names
        if name in GIVEN_BY_DATABRICKS.get(job, ())
        or name not in LOCAL_ONLY | TYPED_BY_HAND | HANDED_ON | DECIDED.get(job, set())
    }


def docs_table() -> str:
    """The table of all parameters in the docs."""
    rows = ["| group | parameter | default | meaning |", "|---|---|---|---|"]
    for group in GROUPS:
        for place, name in enumerate(names_in(group)):
            field = Settings.model_fields[name]
            default = f"`{field.default}`" if field.default != "" else ""
            rows.append(f"| {'' if place else group} | `{name}` | {default} | {field.description} |")
    return "\n".join(rows) + "\n"


def written() -> dict[Path, str]:
    """Each file and what it should hold."""
    page = ROOT / "docs" / "parameters.md"
    text = re.sub(
        r"\| group \| parameter (?:.*\n)(?:\|.*\n)*", lambda _: docs_table(), page.read_text(encoding="utf-8")
    )
    files = {page: text}
    for job in JOBS:
        lines = [f"        - name: {name}\n          default: {value}\n" for name, value in job_parameters(job).items()]
        files[_job_file(job)] = re.sub(
            r"(?<=      parameters:\n)(?:        .*\n)+",
            lambda _, lines=lines: "".join(lines),
            _job_file(job).read_text(encoding="utf-8"),
        )
    return files


def _job_file(job: str) -> Path:
    return ROOT / "resources" / f"{job}.job.yml"


def _notebook(task: dict[str, dict[str, str]]) -> str:
    return task["notebook_task"]["notebook_path"]


def _text(name: str) -> str:
    default = Settings.model_fields[name].default
    return f'"{str(default).lower()}"' if not isinstance(default, str) or not default else default


if __name__ == "__main__":
    for file, text in written().items():
        file.write_text(text, encoding="utf-8")
