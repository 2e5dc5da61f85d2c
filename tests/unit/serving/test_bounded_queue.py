"""How many requests a server of ours takes at once, and what the others are told."""

import json
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from adbazureml.serving.bounded_queue import BoundedQueue

LONG_S = 30


class Model:
    """A WSGI application whose predictions wait until they are let go."""

    def __init__(self):
        self.go_on = threading.Event()
        self.entered = threading.Semaphore(0)

    def __call__(self, environ, start_response):
        if environ["PATH_INFO"] == "/score":
            self.entered.release()
            self.go_on.wait(LONG_S)
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [b"by ", threading.current_thread().name.encode()]


@pytest.fixture
def model():
    made = Model()
    yield made
    made.go_on.set()


def ask(queue, path="/score"):
    said = []
    body = b"".join(queue({"PATH_INFO": path}, lambda status, headers: said.extend((status, dict(headers)))))
    return said[0], said[1], body


def test_liveness_is_answered_while_the_model_is_busy_and_what_is_too_much_is_sent_away(model):
    queue = BoundedQueue(model, seconds=LONG_S, at_once=1, waiting=1)
    with ThreadPoolExecutor(2) as callers:
        served = [callers.submit(ask, queue) for _ in range(2)]
        assert model.entered.acquire(timeout=LONG_S)
        while queue._places.acquire(blocking=False):  # the second caller waits in a moment
            queue._places.release()
        status, headers, body = ask(queue)
        assert status.startswith("503")
        assert int(headers["Retry-After"]) > 0
        assert json.loads(body)["message"].startswith("The endpoint has too many requests")
        assert ask(queue, "/")[0] == "200 OK"
        model.go_on.set()
        assert [each.result(LONG_S)[0] for each in served] == ["200 OK", "200 OK"]
    assert ask(queue)[2] == b"by model_0"


def test_a_model_that_never_answers_is_given_up_in_time_and_noticed(model):
    noticed = []
    queue = BoundedQueue(model, seconds=0.01, at_once=2, waiting=1, give_up=lambda: noticed.append(True))
    status, _, body = ask(queue)
    assert status.startswith("504")
    assert "within 0.01 s: send fewer rows at once, or raise request_timeout" in json.loads(body)["message"]
    assert not noticed
    assert ask(queue)[0].startswith("504")
    assert noticed
    assert ask(queue)[0].startswith("503")


def test_what_an_application_fails_with_is_not_kept_back():
    def broken(environ, start_response):
        raise OSError("no such file")

    with pytest.raises(OSError, match="no such file"):
        ask(BoundedQueue(broken, seconds=LONG_S))
