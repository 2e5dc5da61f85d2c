"""Show both local tracking stores in MLflow's UI until Ctrl-C."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import requests
from processes import end_started, mark

if TYPE_CHECKING:
    from adbazureml.workspaces import Workspace

START_SECONDS = 120
_servers: list[subprocess.Popen[bytes]] = []


def _free_port(wanted: int) -> int:
    """The port where links of the notebooks lead, or any other where that is taken."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", wanted))
        except OSError:
            probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _start(workspace: Workspace) -> str:
    """Start the server of a local backend; its address."""
    from adbazureml.workspaces.local_backend import keep_ui_port

    port = _free_port(urlsplit(workspace.url).port or 0)
    keep_ui_port(workspace.name, port)
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    command += ["--backend-store-uri", workspace.tracking_uri, "--default-artifact-root", f"{workspace.name}/artifacts"]
    # A session of its own: Ctrl-C reaches only this process.
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    _servers.append(subprocess.Popen(command, start_new_session=True, **quiet))
    return f"http://127.0.0.1:{port}"


def _answers(address: str) -> bool:
    try:
        return requests.get(f"{address}/health", timeout=2).ok
    except requests.RequestException:
        return False


def _serve() -> int:
    from adbazureml import AzureMLWorkspace, DatabricksWorkspace

    databricks = _start(DatabricksWorkspace.current())
    azureml = _start(AzureMLWorkspace.get(name="", subscription_id="", resource_group=""))
    late = time.monotonic() + START_SECONDS
    told = False
    while all(server.poll() is None for server in _servers) and (told or time.monotonic() < late):
        if not told and _answers(databricks) and _answers(azureml):
            print(f"Ready: Databricks {databricks}, Azure ML {azureml}; Ctrl-C stops both.", flush=True)
            told = True
        time.sleep(0.5)
    print("A server ended by itself, or did not start: try again, after `make run`.", file=sys.stderr)
    return 1


def _stop(*_: object) -> None:
    end_started()
    print("\nStopped.", flush=True)
    os._exit(0)


def main() -> int:
    """Serve until Ctrl-C; 1 if a server can't start."""
    mark()
    signal.signal(signal.SIGINT, _stop)
    signal.signal(signal.SIGTERM, _stop)
    from adbazureml import errors

    try:
        return _serve()
    except errors.AdbAzureMLError as error:
        print(error, file=sys.stderr)
        return 1
    finally:
        end_started()


if __name__ == "__main__":
    sys.exit(main())
