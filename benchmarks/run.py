"""Measure the figures that docs/measured.md gives, each a ratio of things timed in one run, in alternated rounds.

`python benchmarks/run.py [name …]` runs all benchmarks or the named ones.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from azure_ml import azure_ml
from rounds import alternate
from scoring import scoring
from serving import serving
from tracking import tracking
from validation import validation

ROOT = Path(__file__).parent.parent


def imports() -> None:
    """What `import adbazureml` adds to `import mlflow`, in new processes.

    MLflow reads this package's entry points while it is imported, so MLflow alone is timed with the package hidden.
    """

    def run(code: str, before: str) -> Callable[[], float]:
        timed = f"{before}; import time; start = time.perf_counter(); {code}; print(time.perf_counter() - start)"
        return lambda: float(subprocess.check_output([sys.executable, "-c", timed], text=True))

    hidden = "import sys, warnings; warnings.simplefilter('ignore'); sys.modules['adbazureml'] = None"
    ways = {"mlflow": run("import mlflow", before=hidden), "both": run("import mlflow, adbazureml", before="pass")}
    medians = alternate(ways, rounds=9)
    added = medians["both"] - medians["mlflow"]
    print(f"import mlflow {medians['mlflow']:.2f} s; with adbazureml {medians['both']:.2f} s: {added:+.2f} s")


def log_model() -> None:
    """`log_model` with its requirements given, as notebook 03 does, against requirements inferred."""
    import logging

    import mlflow
    from sklearn.datasets import load_diabetes
    from sklearn.linear_model import LinearRegression

    from adbazureml import AzureMLWorkspace, model_requirements, track

    logging.getLogger("mlflow").setLevel(logging.ERROR)
    features, label = load_diabetes(return_X_y=True, as_frame=True)
    model = LinearRegression().fit(features, label)
    track(AzureMLWorkspace.get(name="", subscription_id="", resource_group=""))
    mlflow.set_experiment("/Users/bench/log_model")
    signature = mlflow.models.infer_signature(features, model.predict(features))

    def log(requirements: list[str] | None, example: object = None) -> Callable[[], float]:
        def once() -> float:
            with mlflow.start_run():
                start = time.perf_counter()
                mlflow.sklearn.log_model(
                    model, name="model", signature=signature, input_example=example, pip_requirements=requirements
                )
                return time.perf_counter() - start

        return once

    given = model_requirements("scikit-learn", "pandas", "numpy")
    log(given, features.head(5))()
    ways = {"given": log(given), "given, with an input example": log(given, features.head(5)), "inferred": log(None)}
    medians = alternate(ways, rounds=5)
    for name, seconds in medians.items():
        print(f"log_model, requirements {name}: {seconds:.3f} s, {medians['inferred'] / seconds:.0f} times less")


def walk() -> None:
    """`make run` once everything is fetched, on stores and tables that are not there yet."""
    with tempfile.TemporaryDirectory() as home:
        environment = {**os.environ, "ADBAZUREML_HOME": home}
        start = time.perf_counter()
        subprocess.run([sys.executable, str(ROOT / "tools" / "walk.py")], check=True, env=environment)
        print(f"the walk: {time.perf_counter() - start:.0f} s on {os.cpu_count()} cores")


BENCHMARKS = {
    benchmark.__name__: benchmark
    for benchmark in (imports, log_model, tracking, azure_ml, validation, scoring, serving, walk)
}


def main() -> None:
    """Run the benchmarks named on the command line, or all, on stores of their own."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", choices=[[], *BENCHMARKS], help="which; all without")
    names = parser.parse_args().names or list(BENCHMARKS)
    with tempfile.TemporaryDirectory() as home:
        os.environ["ADBAZUREML_HOME"] = home
        for name in names:
            print(f"== {name}", flush=True)
            BENCHMARKS[name]()


if __name__ == "__main__":
    main()
