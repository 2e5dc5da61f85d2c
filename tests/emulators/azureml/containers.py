"""What a deployment runs: the folder it was given, under Microsoft's real inference server, on loopback."""

from __future__ import annotations

import http.client
import os
import re
import socket
import subprocess
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.metadata import distributions
from pathlib import Path

from .messages import Problem

_PIN = re.compile(r"(?P<name>[A-Za-z0-9._-]+)(?:\[[^\]]*\])?==(?P<version>[^\s;]+)")
_GUIDE = "Please see troubleshooting guide, available here: https://aka.ms/oe-tsg"


@dataclass(frozen=True)
class Reply:
    """What the container answered."""

    status: int
    content: bytes
    content_type: str


class Image:
    """The one environment that there is here; ``scripts`` is its folder of commands, azmlinfsrv among them.

    Nothing is installed: pins that it has not are like pins that no package index has.
    """

    def __init__(self, scripts: Path) -> None:
        self.scripts = scripts
        sites = [str(site) for site in scripts.parent.glob("lib/python*/site-packages")]
        self._has = {_plain(one.metadata["Name"]): one.version for one in distributions(path=sites)}

    def build(self, pins: Iterable[str]) -> None:
        """Raises `Problem` as a build does whose environment cannot be installed."""
        named = []
        for pin in pins:
            match = _PIN.match(pin)
            if match is None:
                continue
            named.append(_plain(match["name"]))
            if self._has.get(named[-1]) != match["version"]:
                raise Problem(
                    400,
                    "ImageBuildFailure",
                    "Image build failed: Pip subprocess error: ERROR: Could not find a version that satisfies the "
                    f"requirement {pin}. {_GUIDE}#error-imagebuildfailure",
                )
        if "azureml-inference-server-http" not in named:
            raise Problem(
                400,
                "ResourceNotReady",
                "ResourceNotReady: User container has crashed or terminated: exec azmlinfsrv: no such file or "
                f"directory. {_GUIDE}#error-resourcenotready",
            )


class Container:
    """One process of the inference server."""

    def __init__(self, image: Image, folder: Path, script: Path, environment: Mapping[str, str]) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port: int = free.getsockname()[1]
        self._log = folder / "log"
        # Nothing of the tests' own environment: a container has none of it.
        inherited = {"PATH": f"{image.scripts}:{os.defpath}", "HOME": str(folder), "LANG": "C.UTF-8"}
        command = [image.scripts / "azmlinfsrv", "--entry_script", script, "--port", str(self.port)]
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [str(part) for part in command],
                cwd=folder,
                env={**inherited, **environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def wait(self, seconds: float) -> None:
        """Raises `Problem` unless it becomes healthy in time."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if self._process.poll() is not None:
                reason = f"exit code {self._process.returncode}"
                break
            try:
                if self.ask("GET", "/", timeout=2).status == 200:
                    return
            except OSError:
                pass
            time.sleep(0.05)
        else:
            reason = "Liveness probe failed: HTTP probe failed with statuscode: 502"
        raise Problem(
            400,
            "ResourceNotReady",
            f"ResourceNotReady: User container has crashed or terminated: {reason}. {_GUIDE}#error-resourcenotready",
        )

    def ask(
        self,
        method: str,
        path: str,
        content: bytes = b"",
        headers: Mapping[str, str] | None = None,
        *,
        timeout: float,
    ) -> Reply:
        """What it answers; raises `OSError`."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        try:
            connection.request(method, path, content or None, dict(headers or {}))
            answer = connection.getresponse()
            return Reply(answer.status, answer.read(), answer.headers.get("Content-Type", ""))
        except http.client.HTTPException as error:
            raise ConnectionError(str(error)) from error
        finally:
            connection.close()

    def log(self, lines: int) -> str:
        """The end of what it printed."""
        return "\n".join(self._log.read_text(errors="replace").splitlines()[-lines:])

    def stop(self) -> None:
        if self._process.poll() is None:
            # It starts a worker process of its own; both are in the session that it leads.
            os.killpg(self._process.pid, 9)
        self._process.wait()


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
