"""Why no answer came from a host, in words; and a wait for one that has an end."""

from __future__ import annotations

import json
import queue
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import requests
from urllib3.exceptions import NameResolutionError

Answer = TypeVar("Answer")


# What is somewhere in the chain of an error, the most telling first.
_OUTAGES: tuple[tuple[tuple[type[BaseException], ...], str], ...] = (
    (
        (requests.exceptions.SSLError,),
        "its certificate is not trusted here; REQUESTS_CA_BUNDLE names the authorities that are",
    ),
    ((socket.gaierror, NameResolutionError), "no host of this name is known here"),
    ((requests.exceptions.ProxyError,), "the proxy does not let it through"),
    ((ConnectionRefusedError,), "the connection is refused"),
    ((requests.Timeout,), "it does not answer"),
    ((requests.ConnectionError, ConnectionError), "the connection breaks off"),
    ((TimeoutError,), "it does not answer"),
    ((json.JSONDecodeError,), "it answers with something that is not JSON: a proxy or a wrong host?"),
)


def outage(error: BaseException) -> str:
    """Say why no answer came; empty for an error that is of another kind.

    Clients wrap each other's errors, and some drop the cause that they had and keep it under a name of their own.
    """
    chain = list(_chain(error))
    return next((said for kinds, said in _OUTAGES if any(isinstance(one, kinds) for one in chain)), "")


def within(seconds: float, call: Callable[[], Answer]) -> Answer:
    """Call, but wait no longer than this: names are resolved, and programs run, with no time limit of their own.

    Raises
    ------
    TimeoutError
        Time ran out; the call goes on in a thread that ends with the process.
    """
    answers: queue.SimpleQueue[tuple[Answer | None, Exception | None]] = queue.SimpleQueue()

    def answer() -> None:
        try:
            answers.put((call(), None))
        except Exception as error:
            answers.put((None, error))

    try:
        threading.Thread(target=answer, name="adbazureml-waited-for", daemon=True).start()
    except RuntimeError:
        # While the interpreter exits, no thread can start any more.
        return call()
    try:
        result, error = answers.get(timeout=max(seconds, 0))
    except queue.Empty:
        raise TimeoutError from None
    if error is not None:
        raise error
    return result  # type: ignore[return-value]


def _chain(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    left: list[Any] = [error]
    while left:
        one = left.pop()
        if not isinstance(one, BaseException) or id(one) in seen:
            continue
        seen.add(id(one))
        yield one
        named = (getattr(one, name, None) for name in ("reason", "original_error", "inner_exception"))
        left += [one.__cause__, one.__context__, *named, *one.args]
