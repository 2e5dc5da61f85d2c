"""Show how far a catch-up is: on a bar where tqdm is in the environment, else on a line now and then."""

from __future__ import annotations

import threading
import time
from typing import Any

_SECONDS_A_LINE = 10.0
# Nobody needs a bar for what takes a moment.
_DELAY = 2.0


class Progress:
    """Counts runs, and what is written to their counterparts; threads may count at once.

    Parameters
    ----------
    total : int, optional
        How many runs there are, where that is known.
    """

    def __init__(self, total: int | None = None) -> None:
        self._total = total
        self._runs = self._items = 0
        self._began = self._shown = time.monotonic()
        self._lock = threading.Lock()
        self._bar = _bar(total)

    def run(self) -> None:
        """Count a run that was seen to."""
        with self._lock:
            self._runs += 1
            if self._bar is not None:
                self._bar.update()
            self._show()

    def wrote(self, items: int) -> None:
        """Count points and files as they are written: a single run may take long."""
        with self._lock:
            self._items += items
            if self._bar is not None:
                # What is shown is left to `run`: this alone would not heed the delay.
                self._bar.set_postfix_str(f"{self._items} items written", refresh=False)
            self._show()

    def close(self) -> None:
        """Leave the bar as it is."""
        if self._bar is not None:
            self._bar.close()

    def _show(self) -> None:
        if self._bar is None and time.monotonic() - self._shown >= _SECONDS_A_LINE:
            self._shown = time.monotonic()
            print(progress_line(self._runs, self._total, self._items, self._shown - self._began), flush=True)


def progress_line(runs: int, total: int | None, items: int, seconds: float) -> str:
    """How far a catch-up is, how fast, and how long it takes from here where the number of runs is known."""
    rate = runs / seconds
    of_total = "" if total is None else f" of {total}"
    left = f", {(total - runs) / rate:.0f} s left" if total is not None and runs else ""
    return f"catch_up: {runs}{of_total} runs, {items} items written, {rate:.1f} runs a second{left}"


def _bar(total: int | None) -> Any:
    try:
        from tqdm.auto import tqdm
    except ImportError:
        return None
    return tqdm(desc="catch_up", unit=" runs", total=total, delay=_DELAY)
