"""Ctrl-C in the middle of a walk: it ends at once, says so in one line, and leaves no process; and what it shows."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import psutil
import pytest

ROOT = Path(__file__).parents[2]
# The walk as `make run` starts it, on notebooks of the test's own.
CODE = "import sys, pathlib, walk; walk.FOLDER = pathlib.Path(sys.argv[1]); sys.exit(walk.main())"
# A tool that started a server, which left a process in a session of its own and ended.
LEFT = """
import subprocess, sys
import processes

processes.mark()
start = "import subprocess, sys; subprocess.Popen(sys.argv[1:], start_new_session=True)"
deaf = "trap '' TERM; echo ready; while :; do sleep 0.05; done"
command = [sys.executable, "-c", start, "sh", "-c", deaf, sys.argv[1]]
with subprocess.Popen(command, stdout=subprocess.PIPE) as server:
    server.wait()
    server.stdout.readline()
    processes.end_started(grace=0.2)
"""


@pytest.fixture
def walk(tmp_path):
    """Start a walk through one notebook with these cells; process and folder."""
    started = []

    def start(*cells):
        notebook = nbformat.v4.new_notebook()
        notebook.cells = [nbformat.v4.new_markdown_cell("text"), *map(nbformat.v4.new_code_cell, cells)]
        (tmp_path / "notebooks").mkdir()
        nbformat.write(notebook, tmp_path / "notebooks" / "01_try.ipynb")
        process = subprocess.Popen(
            [sys.executable, "-c", CODE, str(tmp_path / "notebooks")],
            env={**os.environ, "PYTHONPATH": str(ROOT / "tools"), "ADBAZUREML_HOME": str(tmp_path / "home")},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def test_ctrl_c_leaves_nothing(walk, tmp_path):
    there = tmp_path / "there"
    # A server with a session of its own, as for an endpoint.
    serve = f"subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)', {str(tmp_path)!r}]"
    process = walk(
        "import pathlib, subprocess, sys, time",
        f"{serve}, start_new_session=True); pathlib.Path({str(there)!r}).touch(); time.sleep(600)",
    )
    deadline = time.monotonic() + 240
    while not there.exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT)
    said, _ = process.communicate(timeout=30)
    assert process.returncode == 130
    assert said.endswith("\nStopped by you; run it again to go on.\n")
    assert "Traceback" not in said
    commands = [" ".join(one.info["cmdline"] or []) for one in psutil.process_iter(["cmdline"])]
    assert not [command for command in commands if str(tmp_path) in command]


def test_what_lost_its_parent_and_hears_no_request_to_end_is_ended(tmp_path):
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "tools")}
    subprocess.run([sys.executable, "-c", LEFT, str(tmp_path)], env=environment, timeout=120, check=True)
    commands = [" ".join(one.info["cmdline"] or []) for one in psutil.process_iter(["cmdline"])]
    assert not [command for command in commands if str(tmp_path) in command]


def test_a_kernel_that_dies_as_it_starts_is_seen_at_once(walk, tmp_path, monkeypatch):
    startup = tmp_path / "profile_default" / "startup"
    startup.mkdir(parents=True)
    (startup / "dies.py").write_text("import os; os._exit(3)")
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path))
    process = walk("1")
    said, _ = process.communicate(timeout=240)
    assert process.returncode == 1
    assert "Stopped: Python's kernel does not start (Kernel died before replying to kernel_info)." in said
    assert "Traceback" not in said


def test_a_pipe_gets_a_line_a_notebook_and_the_cell_that_stopped(walk):
    said, _ = walk("1", "from adbazureml.errors import TableError", "raise TableError('no table')").communicate(
        timeout=240
    )
    assert "  01_try" in said
    assert said.endswith("Stopped: in cell 3 of 3: no table\n")
    assert "cell 1 of 3" not in said
