import os
import re
import shutil
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from adbazureml import runtime


# Each notebook of the walk finds those of the one before.
@pytest.mark.full
def test_a_table_made_by_one_process_is_found_by_another(spark, home):
    code = (
        "import os; from adbazureml import spark; spark().range(7).write.saveAsTable('from_elsewhere', format='delta');"
        "print(os.environ['MLFLOW_DFS_TMP'])"
    )
    environment = {name: value for name, value in os.environ.items() if name != "MLFLOW_DFS_TMP"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, check=True, capture_output=True, text=True)
    # MLflow's own is one folder for all users of a machine.
    assert done.stdout.splitlines()[-1] == str(home / "tmp")
    assert "from_elsewhere" in runtime.registered_tables()
    assert runtime.table_exists("from_elsewhere")
    assert runtime.spark().table("from_elsewhere").count() == 7
    runtime.drop_table("from_elsewhere")
    assert not runtime.table_exists("from_elsewhere")
    assert "from_elsewhere" not in runtime.registered_tables()


def test_files_without_a_commit_are_no_table(spark, home):
    half = home / "warehouse" / "half_written"
    half.mkdir(parents=True)
    (half / "part-0.parquet").write_bytes(b"half")
    assert not runtime.table_exists("half_written")
    spark.range(3).write.format("delta").mode("overwrite").saveAsTable("half_written")
    assert spark.table("half_written").count() == 3
    runtime.drop_table("half_written")


def test_progress_is_told_while_spark_works(spark, capsys):
    with runtime.progress("Waiting", seconds_between=0.05):
        spark.sparkContext.parallelize(range(4), 4).foreach(lambda _: time.sleep(0.5))
    assert re.search(r"\rWaiting: \d of 4 tasks, \d+ s", capsys.readouterr().out)
    with runtime.progress("Nothing", seconds_between=60):
        pass
    assert capsys.readouterr().out == ""


def test_threads_that_meet_a_table_of_another_process_at_once(spark, home):
    names = [f"met_at_once_{number}" for number in range(20)]
    first, *others = (home / "warehouse" / name for name in names)
    spark.range(3).write.format("delta").save(str(first))
    for folder in others:
        shutil.copytree(first, folder)
    together = threading.Barrier(4)

    def meet(_):
        together.wait()
        return runtime.spark().table(names[-1]).count()

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(meet, range(4))) == [3] * 4
    for name in names:
        runtime.drop_table(name)


def test_a_table_is_made_while_another_thread_asks_for_the_session(spark):
    names = [f"made_meanwhile_{number}" for number in range(3)]
    done = threading.Event()

    def ask():
        while not done.is_set():
            runtime.spark()

    with ThreadPoolExecutor(1) as pool:
        asking = pool.submit(ask)
        try:
            for name in names:
                spark.range(3).write.saveAsTable(name, format="delta")
        finally:
            done.set()
        asking.result()
    for name in names:
        assert runtime.spark().table(name).count() == 3
        runtime.drop_table(name)
