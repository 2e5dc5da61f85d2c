"""Run the notebooks in order on this machine, in one kernel, with a line of progress a step and a closing summary.

One kernel, because starting Python, MLflow and Spark anew for each notebook takes longer than all the work they do.
Each notebook still starts from an empty namespace. The executed notebooks, with their tables and pictures, are kept in
the local folder.
"""

from __future__ import annotations

import os
import re
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Any

from processes import end_started, mark

# What takes a second to import is imported where it is used, when Ctrl-C is told in one line already.
if TYPE_CHECKING:
    import nbformat
    from jupyter_client.manager import KernelManager
    from nbclient.exceptions import CellExecutionError

FOLDER = Path(__file__).parent.parent / "notebooks"
# The longest cell starts Spark, and on a new machine fetches Delta Lake's jars before that.
CELL_TIMEOUT = 900
# A kernel that dies as it starts is seen at once; one on a machine that is busy may take minutes.
KERNEL_TIMEOUT = 900
# Seconds that the kernel, Spark and the servers get to end by themselves, after Ctrl-C.
STOP_SECONDS = 1.5
# Of a JVM that lives for minutes, its second compiler takes a third of the time. What the user set wins.
JAVA = {"JDK_JAVA_OPTIONS": "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC"}


class StepFailedError(Exception):
    """A notebook stopped; the message is for the user."""


def notebooks() -> list[Path]:
    """The notebooks in the order of the walk; after the first validation, one that shows what others come to."""
    walk = sorted(FOLDER.glob("[0-9][0-9]_*.ipynb"))
    walk.insert(5, FOLDER / "challengers.ipynb")
    return walk


def walk(paths: Sequence[Path]) -> None:
    """Run notebooks one after the other.

    Raises
    ------
    StepFailedError
        One of them stopped; those after it were not run.
    """
    import nbformat

    from adbazureml import runtime

    executed = runtime.home() / "executed"
    executed.mkdir(exist_ok=True)
    with _kernel() as kernel:
        for path in paths:
            start = time.monotonic()
            notebook = nbformat.read(path, as_version=4)
            progress = _Progress(path.stem, notebook)
            try:
                _in_a_thread(kernel, notebook, progress)
            finally:
                nbformat.write(notebook, executed / path.name)
            progress.say(f"{time.monotonic() - start:6.1f} s\n")


class _Progress:
    """Which cell of how many runs: in place on a terminal, and elsewhere nothing but each notebook's line."""

    def __init__(self, name: str, notebook: nbformat.NotebookNode) -> None:
        self._name = name
        self._numbers = {
            index: number
            for number, index in enumerate((i for i, cell in enumerate(notebook.cells) if cell.cell_type == "code"), 1)
        }
        self.cell = ""
        if sys.stdout.isatty():
            self.say("")
        else:
            print(f"  {name:<20}", end="", flush=True)

    def at(self, cell_index: int, **_: Any) -> None:
        """Tell that a cell starts."""
        if cell_index in self._numbers:
            self.cell = f"cell {self._numbers[cell_index]} of {len(self._numbers)}"
        if sys.stdout.isatty():
            self.say(self.cell)

    def say(self, text: str) -> None:
        """Write behind the notebook's name, in place of what stood there."""
        print(f"\r  {self._name:<20}{text:<20}" if sys.stdout.isatty() else text, end="", flush=True)


@contextmanager
def _kernel() -> Iterator[KernelManager]:
    from jupyter_client.manager import KernelManager

    from adbazureml import runtime

    manager = KernelManager(kernel_name="python3")
    with (runtime.home() / "kernel.log").open("wb") as log:
        manager.start_kernel(cwd=str(FOLDER), stdout=log, stderr=log, env={**JAVA, **os.environ})
        try:
            _wait_until_ready(manager)
            yield manager
        finally:
            # Asked politely first, so that what the notebooks left running is stopped.
            manager.shutdown_kernel(now=not manager.is_alive())


def _wait_until_ready(kernel: KernelManager) -> None:
    client = kernel.client()
    client.start_channels()
    try:
        client.wait_for_ready(timeout=KERNEL_TIMEOUT)
    except RuntimeError as error:
        log = "kernel.log, in .local or where ADBAZUREML_HOME leads"
        raise StepFailedError(f"Python's kernel does not start ({error}). What it said is in {log}.") from error
    finally:
        client.stop_channels()


def _in_a_thread(kernel: KernelManager, notebook: nbformat.NotebookNode, progress: _Progress) -> None:
    """Run a notebook beside the main thread: in that, nbclient would take Ctrl-C for itself, and fail over it."""
    failures: list[BaseException] = []

    def execute() -> None:
        try:
            _execute(kernel, notebook, progress)
        except BaseException as error:
            failures.append(error)

    thread = Thread(target=execute, daemon=True)
    thread.start()
    thread.join()
    if failures:
        raise failures[0]


def _execute(kernel: KernelManager, notebook: nbformat.NotebookNode, progress: _Progress) -> None:
    from nbclient import NotebookClient
    from nbclient.exceptions import CellExecutionError, DeadKernelError

    client = NotebookClient(notebook, km=kernel, timeout=CELL_TIMEOUT, on_cell_start=progress.at)
    try:
        client.execute()
        with client.setup_kernel():
            # What each main module has, and pyspark 4.2 asks for, is reset too.
            client.kc.execute("%reset -f\n__spec__ = None", silent=True)
    except CellExecutionError as error:
        raise StepFailedError(f"in {progress.cell}: {_said(error)}") from error
    except DeadKernelError as error:
        raise StepFailedError(
            f"in {progress.cell} the kernel died: the machine may be out of memory (the walk needs about 4 GB)."
        ) from error


def stop(*_: object) -> None:
    """End at once, with all that the walk started; every step may be run again."""
    # A second Ctrl-C changes nothing.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    end_started(grace=STOP_SECONDS)
    print("\nStopped by you; run it again to go on.", file=sys.stderr, flush=True)
    # Not by an exception: whatever runs just now would be asked to clean up first, and takes its time.
    os._exit(130)


def _said(error: CellExecutionError) -> str:
    """One sentence for what this project raises on purpose, the whole traceback for anything else."""
    from adbazureml import errors

    if isinstance(getattr(errors, error.ename, None), type):
        return error.evalue
    return re.sub(r"\x1b\[[0-9;]*m", "", str(error))


def titled(title: str, text: str) -> list[str]:
    """A part of the summary: a title before its first line, and the other lines below that one."""
    return [f"{'' if place else title:<15} {line}" for place, line in enumerate(text.splitlines() or [""])]


def summary() -> str:
    """What came out of the walk, and where to look; writes the report page."""
    import mlflow

    from adbazureml import AzureMLWorkspace, DatabricksWorkspace, Settings, runtime, track, walk_report
    from adbazureml.registry import alias_holders

    settings = Settings.from_notebook()
    workspace = AzureMLWorkspace.of(settings)
    track(workspace, mode=settings.tracking)
    handed_on = runtime.handed_on()
    lines = []
    for run_id in filter(None, (settings.run_id, settings.spark_run_id)):
        run = mlflow.get_run(run_id)
        valid = sorted(item for item in run.data.metrics.items() if item[0].startswith("valid_"))
        metrics = ", ".join(f"{name} {value:.4g}" for name, value in valid)
        lines.append(f"run {run.info.run_name:<11} {run_id}: {metrics}")
    for title, name in (("model versions", "registered"), ("champion", "verdict"), ("challengers", "challengers")):
        lines += titled(title, handed_on.get(name, ""))
    if workspace and settings.registry == "both":
        lines.append(f"{'':<15} {alias_holders(settings.challengers_model_name, workspace=workspace)}")
    lines += titled("predictions", handed_on.get("scored", ""))
    lines += titled("drift", handed_on.get("drift", ""))
    page = runtime.home() / "report.html"
    walk_report(settings, workspace=workspace).write(page)
    lines.append(f"report          {page} (the same with reasons, pictures and links: open it in a browser)")
    lines.append(f"look at         {runtime.home() / 'executed'} (the notebooks with their tables and pictures)")
    pages = [place.url.removesuffix("/#") for place in (DatabricksWorkspace.current(), workspace) if place]
    lines.append(f"or              make ui, then {' and '.join(pages)}")
    return "\n".join(f"  {line}" for line in lines)


def main() -> int:
    """Run the walk; 0 when every notebook ran."""
    mark()
    signal.signal(signal.SIGINT, stop)
    from adbazureml import Settings, errors

    print("The walk, on this machine (the first time also fetches Delta Lake for Spark):", flush=True)
    try:
        Settings.from_notebook()
        walk(notebooks())
        print(f"Done.\n{summary()}")
    except (StepFailedError, errors.AdbAzureMLError) as error:
        print(f"\nStopped: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
