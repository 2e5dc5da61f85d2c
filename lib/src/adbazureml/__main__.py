"""`python -m adbazureml`, which is the command `adbazureml`."""

import os
import signal
import sys


def run() -> None:
    """Run a command. Ctrl-C ends it at once, also while it is still being imported."""
    signal.signal(signal.SIGINT, _stop)
    from adbazureml.cli import main

    main()


def _stop(*_: object) -> None:
    # Every command may be run again. An exception would wait for threads, and those for a host that does not answer.
    print("\nStopped by you.", file=sys.stderr, flush=True)
    os._exit(130)


if __name__ == "__main__":
    run()
