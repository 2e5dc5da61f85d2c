"""Find the Java that Spark 4.1 runs on: version 17 or 21. Also runs as a script, with nothing installed."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

SUPPORTED = (17, 21)

HOW_TO_INSTALL = """\
  Debian, Ubuntu, Windows with WSL:  sudo apt-get update && sudo apt-get install openjdk-17-jre-headless
      (where that package is not known: openjdk-21-jre-headless)
  macOS:                             brew install openjdk@17
  elsewhere:                         unpack a JDK 17 or 21 and set JAVA_HOME to its folder"""

_WHERE_JAVA_LIVES = (
    "/usr/lib/jvm/*",
    "/opt/homebrew/opt/openjdk@*",
    "/usr/local/opt/openjdk@*",
    "/Library/Java/JavaVirtualMachines/*/Contents/Home",
)


def find_java_home() -> tuple[Path | None, str]:
    """Return the folder to use as JAVA_HOME, and what was seen on the way.

    Returns
    -------
    (Path or None, str)
        The first Java 17 or 21 among ``JAVA_HOME``, ``PATH`` and the usual folders of Debian, macOS and Homebrew; None
        when there is none. The text lists every other Java that was found.
    """
    seen = []
    for java in _candidates():
        version = _major_version(java)
        if version in SUPPORTED:
            return java.resolve().parent.parent, ""
        seen.append(f"{java} (version {version or 'unknown'})")
    return None, ", ".join(dict.fromkeys(seen)) or "no java at all"


def _candidates() -> Iterator[Path]:
    if home := os.environ.get("JAVA_HOME"):
        yield Path(home) / "bin" / "java"
    if on_path := shutil.which("java"):
        yield Path(on_path)
    for pattern in _WHERE_JAVA_LIVES:
        for home_folder in sorted(Path("/").glob(pattern.lstrip("/"))):
            yield home_folder / "bin" / "java"


def _major_version(java: Path) -> int | None:
    try:
        said = subprocess.run([str(java), "-version"], capture_output=True, text=True, timeout=30, check=False).stderr
    except (OSError, subprocess.TimeoutExpired):
        return None
    found = re.search(r'version "(\d+)', said)
    return int(found.group(1)) if found else None


def not_found_message(seen: str) -> str:
    """One sentence for a machine without a fitting Java, and how to get one."""
    return f"Spark needs Java 17 or 21, and this machine has {seen}. Install one:\n{HOW_TO_INSTALL}"


if __name__ == "__main__":
    java_home, others = find_java_home()
    if java_home is None:
        sys.exit(not_found_message(others))
