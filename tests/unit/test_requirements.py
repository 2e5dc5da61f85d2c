"""The pins of a local machine and the wheel's own demands, held against what each supported runtime ships."""

import ast
import shutil
import subprocess
import sys
from importlib.metadata import packages_distributions, requires

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version
from tests.bundle import ROOT


def requirements_in(path):
    lines = (line.strip() for line in (ROOT / path).read_text().splitlines())
    return [Requirement(line) for line in lines if line and not line.startswith("#")]


def shipped(runtime):
    return {canonicalize_name(one.name): one.specifier for one in requirements_in(f"runtimes/dbr-{runtime}-lts-ml.txt")}


def test_every_pin_is_exact_and_is_what_databricks_runtime_18_ships():
    there = shipped("18")
    pins = requirements_in("requirements.txt")
    assert len(pins) > 100
    for pin in pins:
        (specifier,) = pin.specifier
        assert specifier.operator == "=="
        name = canonicalize_name(pin.name)
        assert name not in there or Version(specifier.version) in there[name], f"{pin} against {there[name]}"


def test_what_is_asked_for_is_pinned():
    pinned = {canonicalize_name(pin.name) for pin in requirements_in("requirements.txt")}
    wheel = [Requirement(text) for text in requires("adbazureml")]
    for wanted in [*requirements_in("requirements.in"), *wheel]:
        assert canonicalize_name(wanted.name) in pinned, wanted


@pytest.mark.parametrize("runtime", ["18", "17.3"])
def test_the_wheel_replaces_nothing_that_a_runtime_ships(runtime):
    there = shipped(runtime)
    for text in requires("adbazureml"):
        wanted = Requirement(text)
        specifier = there.get(canonicalize_name(wanted.name))
        if specifier is not None:
            (ships,) = specifier
            assert Version(ships.version) in wanted.specifier, f"{wanted}, and the runtime ships {specifier}"


def imported(tree):
    """Top-level names of the packages that a module imports, but for what it does without."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, (ast.Try, ast.With)) and "ImportError" in ast.unparse(node):
            continue
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield str(node.module).partition(".")[0]
        else:
            yield from imported(node)


def test_the_wheel_imports_only_what_it_declares():
    declared = {canonicalize_name(Requirement(text).name) for text in requires("adbazureml")}
    distributions = packages_distributions()
    undeclared = {}
    for path in (ROOT / "lib" / "src").rglob("*.py"):
        # What is in `serving` runs where the server that brings its packages runs.
        if path.parent.name == "serving":
            continue
        for name in set(imported(ast.parse(path.read_text()))) - set(sys.stdlib_module_names) - {"adbazureml"}:
            owners = {canonicalize_name(owner) for owner in distributions.get(name, ())}
            if not owners & declared:
                undeclared.setdefault(name, []).append(path.name)
    # azure-ai-ml brings these; its own modules are asked for them.
    assert set(undeclared) <= {"marshmallow", "tqdm"}, undeclared


@pytest.mark.full
@pytest.mark.parametrize("runtime", ["18", "17.3"])
def test_a_resolver_finds_a_set_that_leaves_the_runtime_as_it_is(runtime, tmp_path):
    """The whole closure, by uv, as `%pip install` of the wheel would resolve it on a cluster."""
    uv = shutil.which("uv")
    if uv is None:
        pytest.skip("uv is not here")
    wanted = [text for text in requires("adbazureml") if 'extra == "local"' not in text.replace("'", '"')]
    (tmp_path / "wheel.in").write_text("\n".join(text.split(";")[0] for text in wanted))
    constraints = ROOT / "runtimes" / f"dbr-{runtime}-lts-ml.txt"
    command = [uv, "pip", "compile", "--quiet", "--no-annotate", "--no-header", "--python-version", "3.12"]
    command += ["--constraints", str(constraints), str(tmp_path / "wheel.in"), "-o", str(tmp_path / "resolved.txt")]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    except subprocess.TimeoutExpired:
        pytest.skip("the package index does not answer")
    if done.returncode and any(sign in done.stderr for sign in ("Failed to fetch", "client error", "dns error")):
        pytest.skip("the package index is out of reach")
    assert done.returncode == 0, done.stderr
    there = shipped(runtime)
    resolved = requirements_in(tmp_path / "resolved.txt")
    assert len(resolved) > 50
    for pin in resolved:
        (specifier,) = pin.specifier
        ships = there.get(canonicalize_name(pin.name))
        assert ships is None or Version(specifier.version) in ships, f"{pin} against {ships}"
