"""The machines that containers run on: an image's command as a process on loopback.

Starting a server takes seconds, so containers that are the same in all that they can see share one process.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import threading
from dataclasses import dataclass
from pathlib import Path

from ..loaded_interpreter import LoadedProcess, loaded_interpreter
from .images import Image

_Key = tuple[str, tuple[tuple[str, str], ...], int]


@dataclass
class Process:
    """A running command."""

    running: LoadedProcess
    port: int
    log: Path
    users: int = 0

    @property
    def exit_code(self) -> int | None:
        return self.running.poll()

    def printed(self) -> str:
        return self.log.read_text(errors="replace")

    def stop(self) -> None:
        if self.exit_code is None:
            # The whole session: a server has workers.
            os.killpg(self.running.pid, signal.SIGKILL)
            self.running.wait()


class Machines:
    """Starts processes, and keeps those that ran well for the next container of the same kind."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._folder.mkdir()
        self._processes: dict[_Key, Process] = {}
        self._lock = threading.Lock()
        self._closed = False

    def run(self, image: Image, environment: dict[str, str], port: int) -> Process | None:
        """A process that runs the image's command and listens for what the container has at ``port``.

        None once the machines are closed: a group may still be on its way when its test ends.
        """
        key = (image.digest, tuple(sorted(environment.items())), port)
        with self._lock:
            if self._closed:
                return None
            process = self._processes.get(key)
            if process is None or process.exit_code is not None:
                process = self._processes[key] = self._start(image, environment, port)
            return process

    def close(self) -> None:
        with self._lock:
            self._closed = True
            for process in self._processes.values():
                process.stop()

    def _start(self, image: Image, environment: dict[str, str], port: int) -> Process:
        host_port = _free_port()
        # What a container sees, and nothing of the process that emulates it; paths of the image are in its folder.
        seen = {"HOME": "/", "LANG": "C.UTF-8", **image.environment, **environment}
        mapped = {name: ":".join(_on_host(image, part) for part in value.split(":")) for name, value in seen.items()}
        command = [_on_host(image, word).replace(f"0.0.0.0:{port}", f"127.0.0.1:{host_port}") for word in image.command]
        log = self._folder / f"{host_port}.log"
        python = Path(shutil.which(command[0], path=mapped["PATH"]) or command[0])
        if command[1] != "-m":
            raise ValueError(f"an image's command runs a module of Python here, and not {command}")
        running = loaded_interpreter(python).run(
            command[2], command[3:], folder=image.on_host(image.workdir), environment=mapped, log=log
        )
        return Process(running, host_port, log)


def _on_host(image: Image, said: str) -> str:
    inside = image.on_host(said)
    return str(inside) if said.startswith("/") and inside.exists() else said


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
