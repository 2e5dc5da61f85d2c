"""Take an endpoint's figures under load: some callers at once, for some seconds."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

import requests

from adbazureml.errors import DeploymentError
from adbazureml.runtime.colours import BLUE, DARK_GREY
from adbazureml.text import html_table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# A connection that is signed in as callers are, and the address to post to.
Caller: TypeAlias = tuple[requests.Session, str]

NO_ANSWER = "no answer"
_MOST_CLIENTS = 256
_LONGEST_S = 3600
_TIMEOUT_S = 60
# After a connection that was refused, so that a client of a server that is down does not only try again.
_PAUSE_S = 0.1
_HEADERS = {"Content-Type": "application/json"}


@dataclass(frozen=True, kw_only=True)
class LoadTest:
    """How an endpoint answered some clients, each of which sent its next request when it had the answer to the last.

    Attributes
    ----------
    clients : int
        How many, each with a connection of its own that it keeps open.
    seconds : float
        How long it took, the last answers included.
    rate : float
        Requests a second that were answered with success.
    p50_ms, p95_ms, p99_ms : float
        Percentiles of the time that such an answer took, in milliseconds; NaN without any.
    errors : dict of str to int
        How many requests failed, by HTTP status, or "no answer".
    milliseconds : tuple of float
        The time of each answer with success, rising.
    """

    clients: int
    seconds: float
    rate: float
    p50_ms: float
    p95_ms: float
    p99_ms: float
    errors: Mapping[str, int]
    milliseconds: tuple[float, ...] = field(repr=False)

    def plot(self) -> Figure:
        """Draw which share of the requests was answered within how many milliseconds.

        Returns
        -------
        matplotlib Figure
        """
        from matplotlib.figure import Figure

        figure = Figure(figsize=(7, 3.2), layout="constrained")
        axes = figure.subplots()
        axes.spines[["top", "right"]].set_visible(False)
        if self.milliseconds:
            axes.ecdf(self.milliseconds, color=BLUE)
            axes.set_xscale("log")
        for name, value in (("p50", self.p50_ms), ("p95", self.p95_ms), ("p99", self.p99_ms)):
            axes.axvline(value, color=DARK_GREY, linewidth=0.8, linestyle="--")
            axes.annotate(name, (value, 0.02), rotation=90, ha="right", fontsize=8)
        axes.set_xlabel("milliseconds")
        axes.set_ylabel("share of the requests answered")
        figure.suptitle(str(self), fontsize=10)
        return figure

    def __str__(self) -> str:
        failed = ", ".join(f"{number} x {status}" for status, number in self.errors.items())
        return (
            f"{self.rate:.0f} requests/s with {self.clients} clients: p50 {self.p50_ms:.1f} ms, p95"
            f" {self.p95_ms:.1f} ms, p99 {self.p99_ms:.1f} ms; {f'failed: {failed}' if failed else 'none failed'}"
        )

    def _repr_html_(self) -> str:
        failed = "\n".join(f"{number} x {status}" for status, number in self.errors.items()) or "none"
        rows = [
            ("requests a second", f"{self.rate:.0f}"),
            *((f"p{each} (ms)", f"{getattr(self, f'p{each}_ms'):.1f}") for each in (50, 95, 99)),
            ("failed", failed),
            ("clients", str(self.clients)),
            ("seconds", f"{self.seconds:.1f}"),
        ]
        return html_table(rows)


def load_test(caller: Callable[[], Caller], payload: Mapping[str, Any], *, seconds: float, clients: int) -> LoadTest:
    """Have clients post one request again and again.

    Parameters
    ----------
    caller : callable
        Called once for each client.
    payload : mapping
        A request of the scoring protocol.
    seconds : float
        How long requests are begun, up to an hour.
    clients : int
        How many clients, 1 to 256.

    Returns
    -------
    LoadTest
        The figures.

    Raises
    ------
    DeploymentError
        ``seconds`` or ``clients`` is out of range.
    """
    import numpy as np

    if not 0 < seconds <= _LONGEST_S:
        raise DeploymentError(f"seconds {seconds!r}: expected more than 0, up to {_LONGEST_S}, such as 10.")
    if not 1 <= clients <= _MOST_CLIENTS:
        raise DeploymentError(f"clients {clients!r}: expected 1 to {_MOST_CLIENTS}, such as 8.")
    body = json.dumps(payload)
    began = time.perf_counter()
    with ThreadPoolExecutor(clients) as pool:
        tasks = [pool.submit(_ask_until, began + seconds, *caller(), body) for _ in range(clients)]
        told = [task.result() for task in tasks]
    took = time.perf_counter() - began
    times = np.sort(np.concatenate([np.asarray(times, dtype=float) for times, _ in told]))
    p50, p95, p99 = np.percentile(times, [50, 95, 99]) if times.size else [float("nan")] * 3
    return LoadTest(
        clients=clients,
        seconds=took,
        rate=times.size / took,
        p50_ms=float(p50),
        p95_ms=float(p95),
        p99_ms=float(p99),
        errors=dict(sorted(sum((errors for _, errors in told), Counter()).items())),
        milliseconds=tuple(times.tolist()),
    )


def _ask_until(end: float, connection: requests.Session, url: str, body: str) -> tuple[list[float], Counter[str]]:
    """Milliseconds of each answer with success, and how many others there were."""
    times: list[float] = []
    errors: Counter[str] = Counter()
    with connection:
        start = time.perf_counter()
        # Each asks once, however busy the machine is.
        while start < end or not (times or errors):
            try:
                answer = connection.post(url, data=body, headers=_HEADERS, timeout=_TIMEOUT_S)
            except requests.RequestException:
                errors[NO_ANSWER] += 1
                time.sleep(_PAUSE_S)
            else:
                if answer.ok:
                    times.append((time.perf_counter() - start) * 1000)
                else:
                    errors[str(answer.status_code)] += 1
            start = time.perf_counter()
    return times, errors
