"""Show both stand-in tracking stores in MLflow's UI until Ctrl-C."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from urllib.parse import urlsplit

from adbazureml import AzureMLWorkspace, DatabricksWorkspace, errors
from adbazureml.workspace import Workspace


def _start(workspace: Workspace) -> subprocess.Popen[bytes]:
    port = urlsplit(workspace.url).port
    with socket.socket() as probe:
        if probe.connect_ex(("127.0.0.1", int(port or 0))) == 0:
            raise errors.EnvironmentNotReadyError(f"Port {port} is in use: stop what listens there, then try again.")
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    command += ["--backend-store-uri", workspace.tracking_uri, "--default-artifact-root", f"{workspace.name}/artifacts"]
    # A session of its own: the server's children stop with it, and Ctrl-C reaches only this process.
    return subprocess.Popen(command, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def main() -> int:
    """Serve until Ctrl-C; 1 if a server can't start."""
    servers: list[subprocess.Popen[bytes]] = []
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        workspaces = (
            DatabricksWorkspace.current(),
            AzureMLWorkspace.get(name="", subscription_id="", resource_group=""),
        )
        for workspace in workspaces:
            servers.append(_start(workspace))
            print(f"{type(workspace).__name__:<20} {workspace.url.removesuffix('/#')}")
        print("Ready in a few seconds; Ctrl-C stops both.", flush=True)
        while all(server.poll() is None for server in servers):
            time.sleep(0.5)
        print("A server ended by itself; `make run` first, or look at what else uses its port.", file=sys.stderr)
    except errors.AdbAzureMLError as error:
        print(error, file=sys.stderr)
    except KeyboardInterrupt:
        print("\nStopped.")
        return 0
    finally:
        for server in servers:
            os.killpg(server.pid, signal.SIGTERM)
            server.wait(timeout=20)
    return 1


if __name__ == "__main__":
    sys.exit(main())
