"""What a model's failure means: whether a row is to blame or where the model runs, and the part that tells."""

from __future__ import annotations

import errno
import re
import ssl
from collections.abc import Iterator
from concurrent.futures import BrokenExecutor
from socket import gaierror

# No value in a row makes these. An OSError by itself may be a row's: a picture that is none, a file that is not there.
_OF_ENVIRONMENT = (ImportError, MemoryError, ConnectionError, TimeoutError, gaierror, ssl.SSLError, BrokenExecutor)
_OF_MACHINE = {
    getattr(errno, name)
    for name in ("EDQUOT", "EHOSTUNREACH", "EIO", "EMFILE", "ENETDOWN", "ENETUNREACH", "ENFILE", "ENOMEM", "ENOSPC")
    if hasattr(errno, name)
}
# MLflow quotes the rows and the whole signature, on many lines, before it says what is wrong.
_QUOTED_ROWS = re.compile(r"Failed to enforce schema of data '.*' with schema '.*?'\. Error: ", re.DOTALL)


def is_of_environment(error: BaseException) -> bool:
    """Whether a module, memory, the network, a disk or a worker is what failed, anywhere in a chain of errors."""
    return any(
        isinstance(one, _OF_ENVIRONMENT) or (isinstance(one, OSError) and one.errno in _OF_MACHINE)
        for one in _chain(error)
    )


def telling_part(said: str) -> str:
    """What MLflow says of rows that do not fit a signature, without the rows."""
    return _QUOTED_ROWS.sub("", said)


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """An error, what caused it, and what was being handled; also what `from None` hides."""
    waiting, seen = [error], set()
    while waiting:
        one = waiting.pop()
        if one is not None and id(one) not in seen:
            seen.add(id(one))
            yield one
            waiting += [one.__cause__, one.__context__]
