"""Run the tests tier by tier, and say what each took; a test that fails fails.

What a tier leaves running when it is done fails it too.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
import uuid
from contextlib import suppress
from pathlib import Path

import psutil
from processes import having, running

ROOT = Path(__file__).parent.parent
PYTEST = (sys.executable, "-m", "pytest")


def where(tier: str) -> list[str]:
    """The folder of a tier's tests and the files elsewhere that mark a test as its own: collecting all takes longer."""
    folder = ROOT / "tests" / tier
    elsewhere = (path for path in (ROOT / "tests").rglob("test_*.py") if folder not in path.parents)
    marked = sorted(path for path in elsewhere if f"pytest.mark.{tier}" in path.read_text())
    return [str(path.relative_to(ROOT)) for path in (folder, *marked)]


# The tests of a group, such as those of one file or of a chain of notebooks, follow one another in one worker.
BY_GROUP = ("--dist", "loadgroup", "--no-loadscope-reorder")
TIERS = {
    "unit": (*PYTEST, *where("unit"), "-m", "unit and not full", "-n", "2", *BY_GROUP),
    # These wait for servers more than they work.
    "service": (*PYTEST, *where("service"), "-m", "service and not full", "-n", "4", *BY_GROUP),
    # A third JVM, which has to load and compile the same code, takes as much as it gives.
    "spark": (*PYTEST, *where("spark"), "-m", "spark and not full", "-n", "2", *BY_GROUP),
    "walk": (
        *PYTEST,
        *("-p", "tests.warm_spark", "--nbval-lax", "--nbval-kernel-startup-timeout", "300", "notebooks"),
        # It fails until a person approves; tests/service/registry shows both.
        *("--ignore", "notebooks/approval.ipynb"),
        *(*where("walk"), "-m", "walk and not full", "-n", "2", *BY_GROUP),
    ),
    "full": (*PYTEST, "tests", "-m", "full", "--timeout", "1800"),
}
DEFAULT = ("unit", "service", "spark", "walk")
# Inherited by every process that a tier starts.
MARK = "TESTS_STARTED_BY"


def run(tier: str, *, coverage: bool = False) -> tuple[int, float]:
    """Run one tier; its exit code and seconds."""
    command = TIERS[tier]
    if coverage:
        command = (sys.executable, "-m", "coverage", "run", "-m", "pytest", *command[len(PYTEST) :])
    home = ROOT / ".local" / "test"
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir(parents=True)
    # The environments of local endpoints outlast a run: they are told apart by what is in them.
    environments = ROOT / ".local" / "environments"
    environments.mkdir(exist_ok=True)
    (home / "environments").symlink_to(environments)
    mark = uuid.uuid4().hex
    environment = {**os.environ, MARK: mark, "ADBAZUREML_HOME": str(home)}
    # Else each of some hundred processes compiles the wheel and the tests anew.
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    start, began = time.monotonic(), time.time()
    code = subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode
    seconds = time.monotonic() - start
    if left := left_running(mark, since=began):
        print(f"Left running by {tier}:", *left, sep="\n  ", flush=True)
        code = code or 1
    return code, seconds


def left_running(mark: str, *, since: float, patience: float = 10.0) -> list[str]:
    """Command lines of the processes that were started with a mark, or serve an endpoint, and do not end."""
    deadline = time.monotonic() + patience
    while True:
        # The server of an endpoint sees no variable of whoever deployed it.
        found = [*having(MARK, mark), *running(str(ROOT / "lib" / "src" / "adbazureml" / "serving"), since=since)]
        if not found or time.monotonic() > deadline:
            break
        time.sleep(0.2)
    commands = []
    for process in found:
        with suppress(psutil.Error):
            commands.append(" ".join(process.cmdline())[:200])
            process.kill()
    return commands


def main(names: list[str]) -> int:
    """Run the tiers that are named, or those of `make test`; 0 when all passed."""
    coverage = "--coverage" in names
    chosen = [name for name in names if name != "--coverage"] or DEFAULT
    done = {tier: run(tier, coverage=coverage) for tier in chosen}
    if coverage:
        for command in ("combine", "report"):
            subprocess.run([sys.executable, "-m", "coverage", command], cwd=ROOT, check=False)
    print()
    for tier, (code, seconds) in done.items():
        print(f"  {tier:<10}{seconds:6.0f} s  {'passed' if code == 0 else 'FAILED'}")
    print(f"  {'all':<10}{sum(seconds for _, seconds in done.values()):6.0f} s", flush=True)
    failed = [tier for tier, (code, _) in done.items() if code]
    if failed:
        print(f"To repeat: {' '.join(f'make test-{tier}' for tier in failed)}")
    return 1 if failed else 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(130)
