import os
import stat
import subprocess
import sys
import tempfile

import pytest

from adbazureml import runtime
from adbazureml.errors import EnvironmentNotReadyError
from adbazureml.runtime.java import find_java_home


def test_without_a_variable_the_folder_lies_beside_the_bundle(tmp_path, monkeypatch):
    (tmp_path / "bundle.yml").touch()
    (tmp_path / "notebooks").mkdir()
    monkeypatch.delenv("ADBAZUREML_HOME")
    monkeypatch.chdir(tmp_path / "notebooks")
    assert runtime.home() == tmp_path / ".local"


def test_on_databricks_the_folder_is_on_the_driver_s_disk(tmp_path, monkeypatch):
    monkeypatch.delenv("ADBAZUREML_HOME")
    monkeypatch.setenv("DATABRICKS_RUNTIME_VERSION", "18.0")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    assert runtime.home() == tmp_path / "adbazureml"


@pytest.mark.parametrize("folder", ["/proc/adbazureml", "{file}/below"])
def test_a_folder_that_cannot_be_written_is_named(folder, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("ADBAZUREML_HOME", folder.format(file=tmp_path / "file"))
    with pytest.raises(EnvironmentNotReadyError, match=r"can't be written .*: set ADBAZUREML_HOME"):
        runtime.home()


def test_a_damaged_handover_file_is_told(tmp_path, monkeypatch):
    monkeypatch.setenv("ADBAZUREML_HOME", str(tmp_path))
    (tmp_path / "task_values.json").write_text('{"run_id": ')
    with pytest.raises(EnvironmentNotReadyError, match=r"task_values\.json is damaged"):
        runtime.handed_on()


def test_values_handed_on_add_up(tmp_path, monkeypatch):
    monkeypatch.setenv("ADBAZUREML_HOME", str(tmp_path))
    runtime.hand_on(run_id="1", other="x")
    runtime.hand_on(run_id="2")
    assert runtime.handed_on() == {"run_id": "2", "other": "x"}


def _java(folder, version):
    """A program that says it is that Java."""
    binary = folder / "bin" / "java"
    binary.parent.mkdir(parents=True)
    binary.write_text(f"#!/bin/sh\necho 'openjdk version \"{version}\"' >&2\n")
    binary.chmod(binary.stat().st_mode | stat.S_IEXEC)
    return folder


def test_java_home_with_a_supported_version_is_taken(tmp_path, monkeypatch):
    monkeypatch.setenv("JAVA_HOME", str(_java(tmp_path / "jdk", "21.0.4")))
    assert find_java_home()[0] == tmp_path / "jdk"


def test_a_machine_without_a_fitting_java_is_told_what_to_install(tmp_path):
    """Only an old Java on the PATH, and none in the usual folders: Spark's start ends with one clear message."""
    code = "from adbazureml.runtime import java, spark\njava._WHERE_JAVA_LIVES = ()\nspark()\n"
    environment = {
        "PATH": str(_java(tmp_path / "old", "11.0.2") / "bin"),
        "ADBAZUREML_HOME": str(tmp_path / "home"),
        "HOME": os.environ["HOME"],
    }
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    last = done.stderr.split("EnvironmentNotReadyError: ")[-1]
    assert last.startswith("Spark needs Java 17 or 21, and this machine has")
    assert "(version 11)" in last
    for hint in ("apt-get install openjdk-17-jre-headless", "brew install openjdk@17", "WSL", "JAVA_HOME"):
        assert hint in last
