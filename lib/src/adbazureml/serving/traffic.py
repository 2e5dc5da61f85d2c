"""How a local server is given the traffic of its endpoint and gives it up: two files and a socket in its folder.

All servers of an endpoint accept connections from one listening socket, which the next one is handed by the one before:
no connection is lost between them, and the endpoint keeps its port for life. A server accepts while the file `OPEN`
lies in its folder. While it does, or has connections that it accepted, `ACCEPTING` lies there. Needs the standard
library only, as it runs in the model's environment.
"""

from __future__ import annotations

import socket
import tempfile
import threading
from pathlib import Path

OPEN = "open"
ACCEPTING = "accepting"
# Seconds between two looks at the file.
LOOK_S = 0.1
# How long a connection without a request is kept open by a server that others take over from: for a request which is
# on its way already.
LINGER_S = 5
_LISTENER = "listener.sock"
_TIMEOUT_S = 10


def hand_over_on_demand(folder: Path, listener: socket.socket) -> None:
    """Hand the listening socket of this process, whose working directory is the folder, to whoever asks."""
    # The path of such a socket may have some 100 characters: this one is relative.
    Path(_LISTENER).unlink(missing_ok=True)
    door = socket.socket(socket.AF_UNIX)
    door.bind(_LISTENER)
    (folder / _LISTENER).chmod(0o600)
    door.listen()

    def answer() -> None:
        while True:
            asking, _ = door.accept()
            with asking:
                socket.send_fds(asking, [b"1"], [listener.fileno()])

    threading.Thread(target=answer, daemon=True).start()


def take_over(folder: Path) -> socket.socket:
    """Return the listening socket of the server of a folder.

    Raises
    ------
    OSError
        It does not hand it over.
    """
    with tempfile.TemporaryDirectory() as short, socket.socket(socket.AF_UNIX) as door:
        (Path(short) / "to").symlink_to(folder)
        door.settimeout(_TIMEOUT_S)
        door.connect(str(Path(short) / "to" / _LISTENER))
        _, numbers, _, _ = socket.recv_fds(door, 1, 1)
    if not numbers:
        raise ConnectionError("the server ended meanwhile")
    return socket.socket(fileno=numbers[0])
