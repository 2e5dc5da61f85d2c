"""How long a local server lives, how it is replaced, and what is refused: real processes, ports and signals."""

import http.client
import json
import os
import signal
import subprocess
import sys
import threading
import time
from urllib.parse import urlsplit

import mlflow
import psutil
import pytest

from adbazureml.deployment import Local, deploy, endpoints, find_endpoint
from adbazureml.deployment.targets.local import environments
from adbazureml.errors import DeploymentError

pytestmark = pytest.mark.usefixtures("nothing_else_left")


@pytest.mark.full
def test_kill_9_of_the_parent_ends_what_is_not_kept_and_exit_ends_what_was_kept_before(store, frame):
    """Two threads deploy the second endpoint at once: one server, and both get it."""
    parent = python(
        f"""
from concurrent.futures import ThreadPoolExecutor
from adbazureml.deployment import Local, deploy, input_example
input_example({store.v1!r})  # MLflow opens a SQLite store from one thread at a time only
def start(name, keep):
    return deploy({store.v1!r}, name=name, target=Local(keep=keep), timeout=400).url
with ThreadPoolExecutor() as both:
    print(*both.map(start, ["short", "long", "long"], [False, True, True]), flush=True)
input()
""",
        store,
    )
    urls = parent.stdout.readline().split()
    assert len(set(urls)) == 2
    short, long = (find_endpoint(name) for name in ("short", "long"))
    assert [short.url, long.url] == urls[:2]
    os.kill(parent.pid, signal.SIGKILL)
    assert wait_for(lambda: not processes_of("short"), seconds=30)
    parent.wait()
    assert "short" not in {endpoint.name for endpoint in endpoints()}
    assert long.status().deployments[0].state == "healthy"
    assert len(long.score(frame)) == len(frame)

    again = python(f"from adbazureml.deployment import deploy; print(deploy({store.v1!r}, name='long').url)", store)
    assert again.stdout.readline().strip() == long.url
    assert again.wait(timeout=60) == 0
    assert not processes_of("long")
    assert long.status().deployments == ()


def test_new_model_takes_over_without_a_gap_and_one_that_fails_does_not(store, frame):
    client = mlflow.MlflowClient()
    client.set_registered_model_alias("deploy_lines", "served", "1")
    served = "models:/deploy_lines@served"
    first = deploy(served, name="changing", target=Local(keep=True), timeout=400)
    port = int(first.url.split(":")[2].split("/")[0])
    assert deploy(served, name="changing", target=Local(port=port)) == first
    assert deploy(served, name="changing", target=Local(keep=True)) == first
    one = first.deployment

    with pytest.raises(DeploymentError, match=r"changing.*deploy_lines/3.*from another planet") as caught:
        deploy(store.broken, name="changing", target=Local(port=port), timeout=400)
    sentence, log = str(caught.value).split("\n", 1)
    assert sentence.endswith(f"Deployment {one!r} (100 %) goes on serving.")
    assert "server.log:\n" in log
    assert [each.name for each in first.status().deployments] == [one]
    assert first.status().traffic == {one: 100}

    client.set_registered_model_alias("deploy_lines", "served", "2")
    with Asking(first.url, keep_alive=True) as kept, Asking(first.url, keep_alive=False) as new:
        second = deploy(served, name="changing", timeout=400)
        assert second == first
        assert second.compare(frame, calls=1).largest_difference == 0
        states = [(each.state, each.traffic) for each in second.status().deployments]
        assert states == [("stopped", 0), ("healthy", 100)]
        assert [endpoint.name for endpoint in endpoints() if endpoint.name == "changing"] == ["changing"]
        assert find_endpoint("changing").rollback(timeout=400).traffic == {one: 100}
        assert second.score(frame) == pytest.approx((frame["age"] * 2 + frame["visits"] / 7).tolist())
    assert (kept.lost, new.lost) == ([], [])
    assert min(kept.answered, new.answered) > 50

    with pytest.raises(DeploymentError, match="to delete the endpoint, type its name: 'changing'"):
        second.delete(confirm="yes")
    second.delete(confirm="changing")
    assert not processes_of("changing")
    assert "changing" not in {endpoint.name for endpoint in endpoints()}
    with pytest.raises(DeploymentError, match="the endpoint was stopped"):
        second.score(frame)
    with pytest.raises(DeploymentError, match="No deployment of endpoint 'changing' has traffic"):
        second.logs()
    second.delete(confirm="changing")
    second.release()


@pytest.mark.full
def test_killed_half_way_and_run_again(store, frame, home):
    killed = python(
        f"from adbazureml.deployment import deploy; deploy({store.v2!r}, name='halfway', timeout=400)", store
    )
    assert wait_for(lambda: list(home.glob("endpoints/halfway/*/server.json")), seconds=400)
    os.kill(killed.pid, signal.SIGKILL)
    killed.wait()
    with deploy(store.v2, name="halfway", timeout=400) as endpoint:
        assert [each.state for each in endpoint.status().deployments] == ["healthy"]
        assert len(processes_of("halfway")) == 2, "one server: a parent and its worker"
        assert len(endpoint.score(frame)) == len(frame)
    assert not processes_of("halfway")


def test_not_healthy_in_time(store, home):
    with pytest.raises(
        DeploymentError, match=r"'slow'.* not healthy after 0.5 s; raise timeout.*Nothing is left of it"
    ):
        deploy(store.v1, name="slow", timeout=0.5)
    assert not processes_of("slow")


@pytest.mark.parametrize("content", ["", "{", "[]", '{"deployment": 1}', '{"deployment": "gone"}'])
def test_damaged_record_is_removed(home, content):
    record = home / "endpoints" / "damaged" / "endpoint.json"
    record.parent.mkdir(parents=True, exist_ok=True)
    record.write_text(content)
    assert "damaged" not in {endpoint.name for endpoint in endpoints()}
    assert not record.exists()


def test_record_of_a_process_that_is_not_ours_is_removed(endpoint, home):
    (known,) = home.glob("endpoints/lines/*/server.json")
    with subprocess.Popen(["sleep", "60"]) as stranger:
        folder = home / "endpoints" / "reused"
        (folder / "m-1").mkdir(parents=True)
        (folder / "m-1" / "server.json").write_text(json.dumps({**json.loads(known.read_text()), "pid": stranger.pid}))
        (folder / "endpoint.json").write_text('{"deployment": "m-1"}')
        assert "reused" not in {endpoint.name for endpoint in endpoints()}
        assert not (folder / "endpoint.json").exists()
        assert stranger.poll() is None
        stranger.kill()


def test_port_in_use(store, endpoint, taken_port):
    with pytest.raises(DeploymentError, match=f"port {taken_port} is in use by another program: set another"):
        deploy(store.v1, name="other", target=Local(port=taken_port))
    port = int(endpoint.url.split(":")[2].split("/")[0])
    with pytest.raises(DeploymentError, match=f"port {port} is in use by endpoint 'lines'"):
        deploy(store.v1, name="other", target=Local(port=port))
    for model in (store.v1, store.v2):
        with pytest.raises(DeploymentError, match=f"endpoint 'lines' keeps port {port} .*; leave the port 0"):
            deploy(model, name="lines", target=Local(port=taken_port))


def test_an_environment_behind_a_link_outlasts_the_link(tmp_path, monkeypatch):
    home, kept = tmp_path / "home", tmp_path / "kept"
    home.mkdir()
    kept.mkdir()
    (home / "environments").symlink_to(kept)
    monkeypatch.setenv("ADBAZUREML_HOME", str(home))
    python = environments.interpreter(["--no-index"], progress=print)
    assert python.is_relative_to(kept.resolve())
    assert str(home) not in (python.parent / "activate").read_text()


class Asking:
    """Ask an endpoint for a prediction, over and over, from another thread; what is not answered is lost."""

    ROW = json.dumps({"dataframe_records": [{"age": 3.5, "visits": 1.0}]})

    def __init__(self, url, *, keep_alive):
        self.address = urlsplit(url)
        self.keep_alive = keep_alive
        self.answered, self.lost = 0, []
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._ask)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *error):
        self._end.set()
        self._thread.join()

    def _ask(self):
        connection = self._connection()
        while not self._end.wait(0.03):
            try:
                connection.request("POST", "/score", self.ROW, {"Content-Type": "application/json"})
                answer = connection.getresponse()
                body = answer.read()
                if answer.status == 200:
                    self.answered += 1
                else:
                    self.lost.append(body)
            except (OSError, http.client.HTTPException) as error:
                self.lost.append(repr(error))
                connection = self._connection()
            if not self.keep_alive:
                connection.close()

    def _connection(self):
        return http.client.HTTPConnection(self.address.hostname, self.address.port, timeout=60)


def processes_of(name):
    """Processes that serve an endpoint."""
    return [
        process.pid
        for process in psutil.process_iter(["cmdline", "status"])
        if process.info["status"] != psutil.STATUS_ZOMBIE
        and any(f"endpoints/{name}/" in part for part in process.info["cmdline"] or ())
    ]


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
