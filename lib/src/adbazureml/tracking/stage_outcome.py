"""What a step of the walk came to, told by its own run: which step, and in a sentence what came of it."""

from __future__ import annotations

from typing import Literal

from adbazureml.tracking import run_tags

# The description that MLflow's pages show of a run.
NOTE = "mlflow.note.content"

Stage = Literal["validate", "deploy", "score", "monitor"]


def tell_outcome(stage: Stage, said: str) -> None:
    """Tag the active run with its step, and describe it in a sentence, unless it was started with a description.

    Parameters
    ----------
    stage : {"validate", "deploy", "score", "monitor"}
    said : str
        What came of it; what a tag has no room for is cut off.
    """
    import mlflow

    tags: dict[str, str] = {run_tags.STAGE: stage}
    run = mlflow.active_run()
    if run is None or NOTE not in run.data.tags:
        tags[NOTE] = said if len(said) <= run_tags.TAG_LENGTH else f"{said[: run_tags.TAG_LENGTH - 1]}…"
    mlflow.set_tags(tags)
