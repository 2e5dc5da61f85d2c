"""Run the notebooks in order on this machine, in one kernel, with a line of progress a step and a closing summary.

One kernel, because starting Python, MLflow and Spark anew for each notebook takes longer than all the work they do.
Each notebook still starts from an empty namespace. The executed notebooks, with their tables and pictures, are kept in
the local folder.
"""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import nbformat
from jupyter_client.manager import KernelManager
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, DeadKernelError

from adbazureml import Settings, errors, runtime

FOLDER = Path(__file__).parent.parent / "notebooks"
# The longest cell starts Spark, and on a new machine fetches Delta Lake's jars before that.
CELL_TIMEOUT = 900


class StepFailedError(Exception):
    """A notebook stopped; the message is for the user."""


def notebooks() -> list[Path]:
    """The notebooks in the order of the walk."""
    return sorted(FOLDER.glob("[0-9][0-9]_*.ipynb"))


def walk(paths: Sequence[Path]) -> None:
    """Run notebooks one after the other.

    Raises
    ------
    StepFailedError
        One of them stopped; those after it were not run.
    """
    executed = runtime.home() / "executed"
    executed.mkdir(exist_ok=True)
    with _kernel() as kernel:
        for path in paths:
            start = time.monotonic()
            print(f"  {path.stem:<20}", end="", flush=True)
            notebook = nbformat.read(path, as_version=4)
            try:
                _execute(kernel, notebook)
            finally:
                nbformat.write(notebook, executed / path.name)
            print(f"{time.monotonic() - start:6.1f} s", flush=True)


@contextmanager
def _kernel() -> Iterator[KernelManager]:
    manager = KernelManager(kernel_name="python3")
    with (runtime.home() / "kernel.log").open("wb") as log:
        manager.start_kernel(cwd=str(FOLDER), stdout=log, stderr=log)
        try:
            yield manager
        finally:
            # Asked politely first, so that what the notebooks left running is stopped.
            manager.shutdown_kernel(now=not manager.is_alive())


def _execute(kernel: KernelManager, notebook: nbformat.NotebookNode) -> None:
    client = NotebookClient(notebook, km=kernel, timeout=CELL_TIMEOUT)
    try:
        client.execute()
        with client.setup_kernel():
            client.kc.execute("%reset -f", silent=True)
    except CellExecutionError as error:
        raise StepFailedError(_said(error)) from error
    except DeadKernelError as error:
        raise StepFailedError(
            "the kernel died: the machine may be out of memory (the walk needs about 4 GB)."
        ) from error


def _said(error: CellExecutionError) -> str:
    """One sentence for what this project raises on purpose, the whole traceback for anything else."""
    if isinstance(getattr(errors, error.ename, None), type):
        return error.evalue
    return re.sub(r"\x1b\[[0-9;]*m", "", str(error))


def summary() -> str:
    """What came out of the walk, and where to look."""
    import mlflow

    from adbazureml import AzureMLWorkspace, DatabricksWorkspace, track

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
    lines.append(f"model versions  {handed_on.get('registered', '')}")
    lines.append(f"predictions     {handed_on.get('scored', '')}")
    lines.append(f"drift           {handed_on.get('drift', '')}")
    lines.append(f"look at         {runtime.home() / 'executed'} (the notebooks with their tables and pictures)")
    pages = [place.url.removesuffix("/#") for place in (DatabricksWorkspace.current(), workspace) if place]
    lines.append(f"or              make ui, then {' and '.join(pages)}")
    return "\n".join(f"  {line}" for line in lines)


def main() -> int:
    """Run the walk; 0 when every notebook ran."""
    print("The walk, on this machine (the first time also fetches Delta Lake for Spark):", flush=True)
    try:
        Settings.from_notebook()
        walk(notebooks())
        print(f"Done.\n{summary()}")
    except (StepFailedError, errors.AdbAzureMLError) as error:
        print(f"\nStopped: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nStopped by you; run it again to go on.", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
