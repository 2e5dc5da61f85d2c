"""A Spark session with Delta Lake on this machine, sized for two cores, with tables that outlive it."""

from __future__ import annotations

import os
import re
import shutil
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from adbazureml.errors import EnvironmentNotReadyError
from adbazureml.runtime.extras import pip_install
from adbazureml.runtime.java import find_java_home, not_found_message
from adbazureml.runtime.place import home
from adbazureml.text import identifier, literal

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

# Spark and Delta plan for clusters: 200 shuffle tasks, 50 to read a snapshot. Two of each suit a small table.
_SMALL_MACHINE = {
    "spark.master": "local[*]",
    "spark.driver.memory": "2g",
    "spark.driver.host": "127.0.0.1",
    "spark.driver.bindAddress": "127.0.0.1",
    "spark.ui.enabled": "false",
    "spark.ui.showConsoleProgress": "false",
    "spark.sql.shuffle.partitions": "2",
    "spark.databricks.delta.snapshotPartitions": "2",
    "spark.sql.execution.arrow.pyspark.enabled": "true",
    "spark.sql.extensions": "io.delta.sql.DeltaSparkSessionExtension",
    "spark.sql.catalog.spark_catalog": "org.apache.spark.sql.delta.catalog.DeltaCatalog",
}


def local_session() -> SparkSession:
    """Return this process's Spark session, started if needed, that knows every table of the local warehouse.

    Delta Lake's jars come from Maven Central on first use and are cached in the user's Ivy folder.

    Raises
    ------
    EnvironmentNotReadyError
        There is no Java 17 or 21, pyspark or delta-spark is missing, or Spark does not start.
    """
    try:
        from delta import configure_spark_with_delta_pip
        from pyspark.sql import SparkSession
    except ImportError as error:
        raise EnvironmentNotReadyError(
            f"{error.name} is not installed: run `make` in the project, or `{pip_install('local')}`."
        ) from error
    session = _session_there(SparkSession)
    if session is None:
        java_home, seen = find_java_home()
        if java_home is None:
            raise EnvironmentNotReadyError(not_found_message(seen))
        os.environ["JAVA_HOME"] = str(java_home)
        # Workers must be the interpreter that runs this, not the first python3 on the PATH.
        os.environ["PYSPARK_PYTHON"] = sys.executable
        # MLflow's own default is one folder for all users of the machine, which only the first of them can write.
        os.environ.setdefault("MLFLOW_DFS_TMP", str(home() / "tmp"))
        builder = SparkSession.builder.appName("adbazureml")
        fetched = delta_jars()
        # Spark puts the jars of packages on the path of Python too, driver and workers, which search them again and
        # again: a second and more each time that a worker loads a model.
        jars = {"spark.jars": ",".join(fetched)} if fetched else {}
        settings = {**_SMALL_MACHINE, **jars, "spark.sql.warehouse.dir": str(_warehouse())}
        for key, value in settings.items():
            builder = builder.config(key, value)
        log = home() / "spark.log"
        try:
            with _printing_to(log):
                session = (builder if fetched else configure_spark_with_delta_pip(builder)).getOrCreate()
        except Exception as error:
            raise EnvironmentNotReadyError(
                f"Spark did not start ({error}); {log} says more. The first start fetches Delta Lake's jars from Maven"
                " Central: check the network, and that ~/.m2 holds no half-downloaded packages."
            ) from error
        session.sparkContext.setLogLevel("ERROR")
        if not fetched:
            _note_jars(session.sparkContext.getConf().get("spark.jars", ""))
    _know_tables(session)
    return session


def delta_jars() -> list[str]:
    """Return URLs of the jars that Delta Lake needs with this Spark; empty where no session has fetched them yet."""
    try:
        noted = _jars_record().read_text(encoding="utf-8").split()
    except OSError:
        return []
    return noted if all(Path(unquote(urlsplit(url).path)).is_file() for url in noted) else []


def _note_jars(jars: str) -> None:
    # A home that can't be written costs the next start its time, and nothing else.
    with suppress(OSError):
        record = _jars_record()
        record.parent.mkdir(parents=True, exist_ok=True)
        unfinished = record.with_suffix(f".{os.getpid()}")
        unfinished.write_text("\n".join(jars.split(",")), encoding="utf-8")
        unfinished.replace(record)


def _jars_record() -> Path:
    """Return the file that names the jars; outside the local folder, as Ivy's cache of them is."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "adbazureml" / f"delta-{version('delta-spark')}-spark-{version('pyspark')}.txt"


def _session_there(sessions: type[SparkSession]) -> SparkSession | None:
    """The session of this thread, or of the process: with Spark Connect another thread's is not this one's."""
    from pyspark.errors import PySparkRuntimeError

    try:
        return sessions.active()
    except PySparkRuntimeError:
        return None


@contextmanager
def _printing_to(log: Path) -> Iterator[None]:
    """Send what this process and the JVM it starts print to a file: Ivy's report alone is a hundred lines."""
    sys.stdout.flush()
    sys.stderr.flush()
    saved = os.dup(1), os.dup(2)
    try:
        with log.open("ab") as file:
            os.dup2(file.fileno(), 1)
            os.dup2(file.fileno(), 2)
        yield
    finally:
        for target, original in enumerate(saved, start=1):
            os.dup2(original, target)
            os.close(original)


def registered_tables() -> list[str]:
    """Names of the Delta tables in the local warehouse, found without starting Spark.

    Spark's own catalog takes letters, digits and underscores only; of another name, Delta leaves a folder behind.
    """
    there = (folder.name for folder in _warehouse().iterdir() if _is_delta_table(folder))
    return sorted(name for name in there if re.fullmatch(r"[A-Za-z0-9_]+", name))


_telling = threading.Lock()
# Seconds within which whoever made a table's folder has put it into the catalog too.
_SECONDS_TO_REGISTER = 3.0


def _know_tables(session: SparkSession) -> None:
    """Tell the session's catalog, which lives in memory, of tables that other processes made."""
    # One thread at a time: Delta fails where a table appears between its look and its own try, IF NOT EXISTS or not.
    with _telling:
        _tell(session, _warehouse().stat().st_mtime_ns, tuple(registered_tables()))


# Asking the catalog takes a hundredth of a second a table, and everybody who wants a session comes by here: asked again
# only in another session, or where the warehouse changed.
@lru_cache(maxsize=1)
def _tell(session: SparkSession, _changed: int, names: tuple[str, ...]) -> None:
    for name in names:
        # Asking first is the faster way.
        if not session.catalog.tableExists(identifier(name)) and not _is_being_made(session, name):
            folder = str(_warehouse() / name)
            session.sql(f"CREATE TABLE IF NOT EXISTS {identifier(name)} USING DELTA LOCATION {literal(folder)}")


def _is_being_made(session: SparkSession, name: str) -> bool:
    """Whether a thread of this process made the table: told of it before that is through, its own write fails."""
    until = time.monotonic() + _SECONDS_TO_REGISTER
    while time.monotonic() < until and time.time() - _first_commit(name) < _SECONDS_TO_REGISTER:
        time.sleep(0.05)
        if session.catalog.tableExists(identifier(name)):
            return True
    return False


def drop_local_table(session: SparkSession, statement: str, folder: str) -> None:
    """Drop a table and its folder, which Spark takes for an external one where another process made it."""
    with _telling:
        session.sql(statement)
        shutil.rmtree(_warehouse() / folder, ignore_errors=True)


def _first_commit(name: str) -> float:
    """When a table was made, in seconds since 1970; 0 where that is not told."""
    commits = (_warehouse() / name / "_delta_log").glob("*.json")
    return min((path.stat().st_mtime for path in commits), default=0.0)


def _is_delta_table(folder: Path) -> bool:
    return any((folder / "_delta_log").glob("*.json"))


def _warehouse() -> Path:
    folder = home() / "warehouse"
    folder.mkdir(exist_ok=True)
    return folder
