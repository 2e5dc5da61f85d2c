"""How long a server lives, how it is replaced, and what is refused: real processes, ports and signals."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.request

import mlflow
import psutil
import pytest

from adbazureml.deployment import deploy, endpoints
from adbazureml.errors import DeploymentError

pytestmark = pytest.mark.usefixtures("nothing_else_left")


def test_kill_9_of_the_parent_ends_what_is_not_kept_and_exit_ends_what_was_kept_before(store, frame):
    parent = python(
        f"""
from concurrent.futures import ThreadPoolExecutor
from adbazureml.deployment import deploy, input_example
input_example({store.v1!r})  # MLflow opens a SQLite store from one thread at a time only
def start(name, keep):
    return deploy({store.v1!r}, name=name, keep=keep).pid
with ThreadPoolExecutor() as both:
    print(*both.map(start, ["short", "long"], [False, True]), flush=True)
input()
""",
        store,
    )
    short, long = (int(pid) for pid in parent.stdout.readline().split())
    assert {"short", "long"} <= {endpoint.name for endpoint in endpoints()}
    os.kill(parent.pid, signal.SIGKILL)
    assert wait_for(lambda: not is_running(short), seconds=15)
    parent.wait()
    kept = next(endpoint for endpoint in endpoints() if endpoint.name == "long")
    assert "short" not in {endpoint.name for endpoint in endpoints()}
    assert (kept.pid, kept.status()) == (long, "healthy")
    assert len(kept.score(frame)) == len(frame)

    again = python(
        f"from adbazureml.deployment import deploy; print(deploy({store.v1!r}, name='long', keep=False).pid)", store
    )
    assert int(again.stdout.readline()) == long
    assert again.wait(timeout=30) == 0
    assert not is_running(long)
    assert kept.status() == "stopped"


def test_new_model_takes_over_without_a_gap_and_a_broken_one_does_not(store, frame, free_port):
    client = mlflow.MlflowClient()
    client.set_registered_model_alias("deploy_lines", "served", "1")
    served = "models:/deploy_lines@served"
    first = deploy(served, name="changing", port=free_port, keep=True)
    assert first.url == f"http://127.0.0.1:{free_port}"
    assert deploy(served, name="changing", port=free_port) == first
    assert deploy(served, name="changing") == first

    with pytest.raises(DeploymentError, match=r"changing.*deploy_lines/3.*from another planet") as caught:
        deploy(store.broken, name="changing", port=free_port)
    assert "server.log:\n" in str(caught.value)
    assert first.status() == "healthy"

    client.set_registered_model_alias("deploy_lines", "served", "2")
    with pytest.raises(DeploymentError, match=r"25 of 25 rows differ, first row 0: endpoint 13.3.*, model 33.3"):
        first.compare(frame)
    with Asking(first.url) as asking:
        second = deploy(served, name="changing", port=free_port)
    assert asking.refused <= 1
    assert asking.answered > 10
    assert first.status() == "stopped"
    assert second.url == first.url
    assert second.compare(frame, calls=1).largest_difference == 0
    assert [endpoint for endpoint in endpoints() if endpoint.name == "changing"] == [second]

    with second:
        pass
    assert second.status() == "stopped"
    assert not is_running(second.pid)
    assert "changing" not in {endpoint.name for endpoint in endpoints()}
    with pytest.raises(DeploymentError, match="the endpoint was stopped"):
        second.score(frame)
    assert "startup complete" in second.logs()
    second.stop()


def test_not_healthy_in_time(store, home):
    with pytest.raises(DeploymentError, match=r"'slow'.* not healthy after 0.5 s; raise timeout"):
        deploy(store.v1, name="slow", timeout=0.5)
    assert not any(
        "endpoints/slow" in part
        for process in psutil.process_iter(["cmdline"])
        for part in process.info["cmdline"] or ()
    )


def test_record_of_a_process_that_is_not_ours_is_removed(endpoint, home):
    with subprocess.Popen(["sleep", "60"]) as stranger:
        folder = home / "endpoints" / "reused"
        folder.mkdir(parents=True)
        record = folder / "endpoint.json"
        log = folder / "1" / "server.log"
        record.write_text(json.dumps({**endpoint.as_record(), "name": "reused", "pid": stranger.pid, "log": str(log)}))
        assert endpoints() == [endpoint]
        assert not record.exists()
        assert is_running(stranger.pid)
        stranger.kill()


@pytest.mark.parametrize("content", ["", "{", "[]", '{"pid": 1}'])
def test_damaged_record_is_removed(endpoint, home, content):
    record = home / "endpoints" / "damaged" / "endpoint.json"
    record.parent.mkdir(parents=True, exist_ok=True)
    record.write_text(content)
    assert endpoints() == [endpoint]


def test_port_in_use(store, endpoint, taken_port):
    with pytest.raises(DeploymentError, match=f"endpoint_port {taken_port} is in use by another program: set another"):
        deploy(store.v1, name="other", port=taken_port)
    with pytest.raises(DeploymentError, match=f"endpoint_port {endpoint.port} is in use by endpoint 'lines'"):
        deploy(store.v1, name="other", port=endpoint.port)


@pytest.mark.parametrize("port", [-1, 65536, "8080", None])
def test_port_out_of_range(store, port):
    with pytest.raises(DeploymentError, match=r"endpoint_port .* out of range: set it to 1024 to 65535, or 0"):
        deploy(store.v1, name="other", port=port)


@pytest.mark.parametrize("name", ["", "a", "Upper", "../up", "end-", "x" * 33])
def test_wrong_name(store, name):
    with pytest.raises(DeploymentError, match=r"endpoint_name .* is wrong: use 3 to 32"):
        deploy(store.v1, name=name)


def test_unknown_target(store):
    with pytest.raises(DeploymentError, match="deploy_target 'mars' is not known: set it to 'local'"):
        deploy(store.v1, name="other", target="mars")


@pytest.mark.parametrize(
    "model_uri", ["models:/deploy_lines/9", "models:/nobody/1", "models:/m-0", "runs:/0/model", "nowhere", ""]
)
def test_model_that_does_not_exist(store, model_uri):
    with pytest.raises(DeploymentError, match=r"model_uri .* can't be read from sqlite:.*mlflow.db: ") as caught:
        deploy(model_uri, name="other")
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("kind", ["logged", "of_run"])
def test_every_uri_of_a_model_is_found(store, kind):
    with pytest.raises(DeploymentError, match="not healthy"):
        deploy(getattr(store, kind), name="other", timeout=0)


class Asking:
    """Ask a server for its health, over and over, from another thread."""

    def __init__(self, url):
        self.url, self.answered, self.refused = url, 0, 0
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._ask)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *error):
        self._end.set()
        self._thread.join()

    def _ask(self):
        while not self._end.wait(0.02):
            try:
                with urllib.request.urlopen(f"{self.url}/ping", timeout=10) as answer:
                    self.answered += answer.status == 200
            except OSError:
                self.refused += 1


def is_running(pid):
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


def wait_for(condition, seconds):
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def python(code, store):
    """Another process of the same local folder and store."""
    setup = f"import mlflow; mlflow.set_tracking_uri({store.uri!r})\n"
    return subprocess.Popen(
        [sys.executable, "-c", setup + code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
