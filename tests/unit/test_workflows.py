"""The workflows of GitHub Actions and Azure DevOps, against their services' schemas, and against what they call."""

import json
import re
import subprocess
from importlib.util import find_spec
from pathlib import Path

import pytest
import yaml
from jsonschema.validators import validator_for
from packaging.specifiers import SpecifierSet
from tests.bundle import ROOT

GITHUB = [".github/workflows/bundle.yml", ".github/workflows/deploy.yml", ".github/workflows/full.yml"]
AZURE = ["azure-pipelines.yml", ".azure-pipelines/deploy.yml", ".azure-pipelines/full.yml"]
# The services' own schemas, which this package carries; its program wants a newer click than the runtime ships.
VENDORED = Path(find_spec("check_jsonschema").origin).parent / "builtin_schemas" / "vendor"
SCHEMAS = {"github": "github-workflows.json", "azure": "azure-pipelines.json"}
BUNDLE = yaml.safe_load((ROOT / "bundle.yml").read_text())
JOBS = {path.name.partition(".")[0] for path in (ROOT / "resources").glob("*.job.yml")}


def is_valid(kind, text):
    schema = json.loads((VENDORED / SCHEMAS[kind]).read_text())
    # YAML 1.1 reads GitHub's key "on" as a yes.
    loaded = {"on" if key is True else key: value for key, value in yaml.safe_load(text).items()}
    return validator_for(schema)(schema).is_valid(loaded)


def strings(value):
    """Every text in a file, keys aside."""
    if isinstance(value, dict):
        return [text for item in value.values() for text in strings(item)]
    if isinstance(value, list):
        return [text for item in value for text in strings(item)]
    return [value] if isinstance(value, str) else []


@pytest.mark.parametrize(
    ("kind", "path"), [*(("github", path) for path in GITHUB), *(("azure", path) for path in AZURE)]
)
def test_schema(kind, path):
    text = (ROOT / path).read_text()
    assert is_valid(kind, text)
    assert not is_valid(kind, text.replace("steps:", "stepps:").replace("uses: ./", "use: ./"))


def test_what_takes_long_runs_each_night_and_not_on_every_change():
    for path, on_change in ((GITHUB[2], GITHUB[0]), (AZURE[2], AZURE[0])):
        nightly, change = (ROOT / path).read_text(), (ROOT / on_change).read_text()
        assert re.search(r'cron: "0 2 \* \* \*"', nightly)
        assert "make test-full" in nightly
        assert "make test\n" in change
        assert "test-full" not in change


@pytest.mark.parametrize("path", [*GITHUB, *AZURE])
def test_calls_only_what_is_there(path):
    text = (ROOT / path).read_text()
    targets = (ROOT / "Makefile").read_text()
    for target in re.findall(r"\bmake ([\w.-]+)", text):
        assert re.search(rf"^{re.escape(target)}:", targets, flags=re.M), target
    for variable in re.findall(r"BUNDLE_VAR_(\w+)", text):
        assert variable in BUNDLE["variables"]
    for called in re.findall(r"(?:uses: \./|template: )(\S+)", text):
        assert (ROOT / called).is_file()
    for script in strings(yaml.safe_load(text)):
        if "databricks bundle" in script:
            subprocess.run(["bash", "-n", "-c", script], check=True)


@pytest.mark.parametrize("path", ["bundle.yml", "azure-pipelines.yml"])
def test_staging_is_deployed_and_run_before_prod(path):
    loaded = yaml.safe_load((ROOT / {"bundle.yml": GITHUB[0]}.get(path, path)).read_text())
    if path == "bundle.yml":
        stages = loaded["jobs"]
        given = {name: stage["with"] for name, stage in stages.items() if "with" in stage}
        before = {name: stage.get("needs") for name, stage in stages.items()}
    else:
        stages = {stage["stage"]: stage for stage in loaded["stages"]}
        hooks = {name: stage["jobs"][0].get("strategy", {}).get("runOnce") for name, stage in stages.items()}
        given = {name: hook["deploy"]["steps"][0]["parameters"] for name, hook in hooks.items() if hook}
        before = {name: stage.get("dependsOn") for name, stage in stages.items()}
    assert before == {"check": None, "staging": "check", "prod": "staging"}
    assert {name: values["target"] for name, values in given.items()} == {"staging": "staging", "prod": "prod"}
    assert set(given) <= set(BUNDLE["targets"])
    # Databricks runs the deployment job, for a version that somebody made.
    assert set(given["staging"]["run"].split()) == JOBS - {"clean_up", "deployment"}
    # It lists, and deletes nothing unless it is given parameters.
    assert given["prod"]["run"] == "clean_up"


@pytest.mark.parametrize("path", [GITHUB[1], AZURE[1]])
def test_a_deployment_is_given_what_staging_and_prod_must_be_given(path):
    loaded = (ROOT / path).read_text()
    required = {name for name, variable in BUNDLE["variables"].items() if "default" not in variable}
    # Jobs may sign in to Azure by either.
    assert set(re.findall(r"BUNDLE_VAR_(\w+)", loaded)) == required | {"secret_scope", "service_credential"}
    commands = re.findall(r"databricks bundle (\w+) (?:--strict )?-t \"\$TARGET\"", loaded)
    assert commands == ["validate", "deploy", "run"]


@pytest.mark.parametrize("path", [*GITHUB, *AZURE])
def test_no_secret_is_kept(path):
    text = (ROOT / path).read_text()
    assert "secrets." not in text
    assert not re.search(r"TOKEN|PASSWORD|CLIENT_SECRET", text)


@pytest.mark.parametrize("path", [*GITHUB, *AZURE])
def test_what_comes_from_elsewhere_is_pinned_by_commit(path):
    """A tag or a branch can be moved; the comment says which version the commit is."""
    text = (ROOT / path).read_text()
    called = re.findall(r"^ *(?:- )?uses: (?!\./)(.*)$", text, flags=re.M)
    for action in called:
        assert re.fullmatch(r"[\w.-]+/[\w.-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", action), action
    fetched = re.findall(r"raw\.githubusercontent\.com/(.*)$", text, flags=re.M)
    for script in fetched:
        assert re.fullmatch(r"[\w.-]+/[\w.-]+/[0-9a-f]{40}/\S+ \| sh # v\d+\.\d+\.\d+", script), script
    assert called or fetched or path == ".azure-pipelines/full.yml"


def test_the_cli_is_one_version_that_the_bundle_takes():
    texts = [(ROOT / path).read_text() for path in (*GITHUB, *AZURE)]
    versions = {
        found for text in texts for found in re.findall(r"databricks/setup-cli[@/]([0-9a-f]{40}).*# v(\S+)", text)
    }
    [(_, version)] = versions
    specifier = BUNDLE["bundle"]["databricks_cli_version"].replace(" ", "")
    assert SpecifierSet(specifier).contains(version)


@pytest.mark.parametrize("path", [GITHUB[0], AZURE[0]])
def test_a_pull_request_validates_the_bundle_without_a_secret(path):
    loaded = yaml.safe_load((ROOT / path).read_text())
    if path == GITHUB[0]:
        # YAML 1.1 reads GitHub's key "on" as a yes.
        assert "pull_request" in loaded[True]
        check = loaded["jobs"]["check"]
        assert "if" not in check
        assert "permissions" not in check
    else:
        assert loaded["pr"]
        [check] = loaded["stages"][0]["jobs"]
    commands = [step.get("run", step.get("script", "")) for step in check["steps"]]
    [step] = [step for step in check["steps"] if "tests/service/test_databricks_cli.py" in strings(step)[0]]
    assert step["env"] == {"DATABRICKS_CLI_REQUIRED": "1"}
    assert commands.index(strings(step)[0]) < commands.index("make test")
