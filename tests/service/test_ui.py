"""`make ui` serves both local backends on ports that are free, says so in one line, and ends with Ctrl-C."""

import os
import re
import signal
import socket
import subprocess
import sys
import urllib.request
from contextlib import suppress
from pathlib import Path

import psutil

from adbazureml import AzureMLWorkspace, DatabricksWorkspace

UI = Path(__file__).parents[2] / "tools" / "ui.py"


def test_free_ports_one_line_and_nothing_left(tmp_path, monkeypatch):
    environment = {**os.environ, "ADBAZUREML_HOME": str(tmp_path), "PYTHONUNBUFFERED": "1"}
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # Taken by this test, or by somebody else.
        with suppress(OSError):
            taken.bind(("127.0.0.1", 5000))
            taken.listen()
        with subprocess.Popen([sys.executable, str(UI)], env=environment, stdout=subprocess.PIPE, text=True) as serving:
            ready = serving.stdout.readline()
            found = re.fullmatch(r"Ready: Databricks (\S+), Azure ML (\S+); Ctrl-C stops both\.\n", ready)
            assert found, ready
            assert ":5000" not in ready
            monkeypatch.setenv("ADBAZUREML_HOME", str(tmp_path))
            there = DatabricksWorkspace.current(), AzureMLWorkspace.get(name="", subscription_id="", resource_group="")
            assert tuple(one.url for one in there) == tuple(f"{address}/#" for address in found.groups())
            for address in found.groups():
                assert b"MLflow" in urllib.request.urlopen(address, timeout=20).read()
            serving.send_signal(signal.SIGINT)
            assert serving.communicate(timeout=30)[0] == "\nStopped.\n"
    assert serving.returncode == 0
    left = [" ".join(one.info["cmdline"] or []) for one in psutil.process_iter(["cmdline"])]
    assert not [command for command in left if str(tmp_path) in command]
