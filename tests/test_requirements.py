"""The pins of a local machine and the wheel's own demands, held against what each supported runtime ships."""

from importlib.metadata import requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parents[1]


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
