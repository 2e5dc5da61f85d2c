"""Jobs and their runs; a run goes on by a step at each look."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from .routes import Asked, Routes, page, refused, required

if TYPE_CHECKING:
    from .emulator import DatabricksEmulator

STEPS = ("PENDING", "RUNNING")


@dataclass
class Run:
    """One run of a job, or a run without one."""

    run_id: int
    job_id: int
    tasks: list[dict[str, Any]]
    parameters: dict[str, str]
    looks: int = 0
    cancelled: bool = False
    started: int = field(default_factory=lambda: int(time.time() * 1000))


class Jobs:
    """The jobs and runs of the workspace.

    Attributes:
        jobs: the settings of each job, by id.
        runs: the runs, by id.
        failing: task keys that fail, each with the service's message.
    """

    page_size = 20

    def __init__(self, workspace: DatabricksEmulator) -> None:
        self._workspace = workspace
        self.jobs: dict[int, dict[str, Any]] = {}
        self.runs: dict[int, Run] = {}
        self.failing: dict[str, str] = {}
        self._ids = iter(range(1001, 10**9))

    def routes(self) -> Routes:
        api = "/api/2.2/jobs"
        return {
            ("POST", f"{api}/create"): self._create,
            ("GET", f"{api}/get"): lambda asked: self._shown(self._job_id(asked)),
            ("GET", f"{api}/list"): self._list,
            ("POST", f"{api}/reset"): self._reset,
            ("POST", f"{api}/delete"): self._delete,
            ("POST", f"{api}/run-now"): self._run_now,
            ("POST", f"{api}/runs/submit"): self._submit,
            ("GET", f"{api}/runs/get"): self._get_run,
            ("GET", f"{api}/runs/list"): self._list_runs,
            ("POST", f"{api}/runs/cancel"): self._cancel,
        }

    def _create(self, asked: Asked) -> dict[str, Any]:
        job_id = next(self._ids)
        self.jobs[job_id] = asked
        return {"job_id": job_id}

    def _reset(self, asked: Asked) -> dict[str, Any]:
        self.jobs[self._job_id(asked)] = asked["new_settings"]
        return {}

    def _list(self, asked: Asked) -> dict[str, Any]:
        found = [one for one, settings in self.jobs.items() if asked.get("name") in (None, settings.get("name"))]
        return page([self._shown(one) for one in found], "jobs", asked, self.page_size, asked_size="limit")

    def _delete(self, asked: Asked) -> dict[str, Any]:
        del self.jobs[self._job_id(asked)]
        return {}

    def _run_now(self, asked: Asked) -> dict[str, Any]:
        job_id = self._job_id(asked)
        settings = self.jobs[job_id]
        defaults = {one["name"]: one["default"] for one in settings.get("parameters", ())}
        unknown = set(asked.get("job_parameters") or {}) - set(defaults)
        if unknown:
            raise refused(400, "INVALID_PARAMETER_VALUE", f"Job parameters {sorted(unknown)} are not defined.")
        return self._start(job_id, settings.get("tasks", []), {**defaults, **(asked.get("job_parameters") or {})})

    def _submit(self, asked: Asked) -> dict[str, Any]:
        return self._start(0, required(asked, "tasks"), {})

    def _start(self, job_id: int, tasks: list[dict[str, Any]], parameters: dict[str, str]) -> dict[str, Any]:
        run_id = next(self._ids)
        self.runs[run_id] = Run(run_id, job_id, tasks, parameters)
        return {"run_id": run_id, "number_in_job": run_id}

    def _get_run(self, asked: Asked) -> dict[str, Any]:
        run = self._run(asked)
        run.looks += 1
        return self._shown_run(run)

    def _list_runs(self, asked: Asked) -> dict[str, Any]:
        wanted = int(asked.get("job_id") or 0)
        found = [self._shown_run(run) for run in reversed(self.runs.values()) if wanted in (0, run.job_id)]
        return page(found, "runs", asked, self.page_size, asked_size="limit")

    def _cancel(self, asked: Asked) -> dict[str, Any]:
        self._run(asked).cancelled = True
        return {}

    def _shown(self, job_id: int) -> dict[str, Any]:
        return {"job_id": job_id, "creator_user_name": self._workspace.user_name, "settings": self.jobs[job_id]}

    def _shown_run(self, run: Run) -> dict[str, Any]:
        return {
            "run_id": run.run_id,
            "job_id": run.job_id,
            "start_time": run.started,
            "run_page_url": f"{self._workspace.host}/?o=0#job/{run.job_id}/run/{run.run_id}",
            "state": self._state(run, [task["task_key"] for task in run.tasks]),
            "job_parameters": [{"name": name, "value": value} for name, value in run.parameters.items()],
            "tasks": [
                {**task, "run_id": run.run_id, "state": self._state(run, [task["task_key"]])} for task in run.tasks
            ],
        }

    def _state(self, run: Run, task_keys: list[str]) -> dict[str, Any]:
        if run.cancelled:
            return {"life_cycle_state": "TERMINATED", "result_state": "CANCELED", "state_message": "Run cancelled."}
        if run.looks <= len(STEPS):
            return {"life_cycle_state": STEPS[max(run.looks - 1, 0)], "state_message": ""}
        failed = [self.failing[key] for key in task_keys if key in self.failing]
        if failed:
            return {"life_cycle_state": "INTERNAL_ERROR", "result_state": "FAILED", "state_message": failed[0]}
        return {"life_cycle_state": "TERMINATED", "result_state": "SUCCESS", "state_message": ""}

    def _job_id(self, asked: Asked) -> int:
        job_id = int(required(asked, "job_id"))
        if job_id not in self.jobs:
            raise refused(400, "INVALID_PARAMETER_VALUE", f"Job {job_id} does not exist.")
        return job_id

    def _run(self, asked: Asked) -> Run:
        run_id = int(required(asked, "run_id"))
        if run_id not in self.runs:
            raise refused(400, "INVALID_PARAMETER_VALUE", f"Run {run_id} does not exist.")
        return self.runs[run_id]
