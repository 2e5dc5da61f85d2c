"""Write the table of stacks to where people look for it: the README, the docs."""

from __future__ import annotations

import re
from pathlib import Path

from adbazureml.runtime.stacks import STACKS, Stack

ROOT = Path(__file__).parent.parent
SHORT = ("Databricks Runtime", "MLflow", "Spark", "Supported until", "Last run")
LONG = (
    *("Databricks Runtime", "Python", "MLflow", "Spark", "Delta", "scikit-learn", "azureml-mlflow", "databricks-sdk"),
    *("Supported until", "Pinned in", "Last run"),
)


def lock_file(stack: Stack) -> str:
    """The file in the project's folder that pins a stack for a local machine."""
    return "requirements.txt" if stack is STACKS[0] else f"requirements-{stack.name}.txt"


def table(columns: tuple[str, ...]) -> str:
    """The stacks, a row each."""
    rows = [columns, ["---"] * len(columns)]
    for stack in STACKS:
        until = f"{stack.supported_until:%B %-d, %Y}" if stack.supported_until else "not yet said"
        cells = {
            "Databricks Runtime": stack.runtime,
            "Python": stack.python,
            "MLflow": stack.mlflow,
            "Spark": stack.spark,
            "Delta": stack.delta,
            "scikit-learn": stack.scikit_learn,
            "azureml-mlflow": stack.azureml_mlflow,
            "databricks-sdk": stack.databricks_sdk,
            "Supported until": until,
            "Pinned in": f"`{lock_file(stack)}`",
            "Last run": stack.ran,
        }
        rows.append([cells[column] for column in columns])
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def written() -> dict[Path, str]:
    """Each file and what it should hold."""
    files = {ROOT / "README.md": SHORT, ROOT / "docs" / "runtimes.md": LONG}
    return {
        file: re.sub(
            r"\| Databricks Runtime \|.*\n(?:\|.*\n)*",
            lambda _, columns=columns: table(columns),
            file.read_text(encoding="utf-8"),
        )
        for file, columns in files.items()
    }


if __name__ == "__main__":
    for file, text in written().items():
        file.write_text(text, encoding="utf-8")
