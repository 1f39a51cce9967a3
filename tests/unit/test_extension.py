"""The extension against a stand-in for Lambda's Extensions API, in threads and with real sockets."""

import json
import queue
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from ddlwa import extension as module
from ddlwa.extension import Extension, RefusedError
from ddlwa.ledger import Ledger

PATIENCE_S = 10


def _extension_threads():
    return {thread for thread in threading.enumerate() if thread.name == "ddlwa-extension"}


class Lambda:
    """Registers extensions, and gives them what a test has put into its queues."""

    def __init__(self):
        self.registrations = []
        self.register_answers = []
        self.events = queue.Queue()
        self.asked = queue.Queue()
        lambda_ = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["content-length"]))
                lambda_.registrations.append((self.path, dict(self.headers), json.loads(body)))
                default = (200, {"Lambda-Extension-Identifier": "id-1"}, b"{}")
                self.answer(*(lambda_.register_answers.pop(0) if lambda_.register_answers else default))

            def do_GET(self):
                lambda_.asked.put((self.path, dict(self.headers)))
                event = lambda_.events.get()
                if event is None:
                    self.close_connection = True
                    return
                self.answer(*event)

            def answer(self, status, headers, content):
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("content-length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *args):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.address = f"127.0.0.1:{self.server.server_port}"

    def invoke(self, request_id, *, timeout_s=30.0):
        event = {
            "eventType": "INVOKE",
            "requestId": request_id,
            "deadlineMs": int((time.time() + timeout_s) * 1000),
        }
        self.events.put((200, {}, json.dumps(event).encode()))

    def wait_until_asked(self, timeout_s=PATIENCE_S):
        return self.asked.get(timeout=timeout_s)

    def never_asked(self):
        """Say whether the extension has not asked for the next event, some time later still not."""
        try:
            self.asked.get(timeout=0.1)
        except queue.Empty:
            return True
        return False


@pytest.fixture
def lambda_():
    lambda_ = Lambda()
    before = _extension_threads()
    yield lambda_
    # Ends the extension's thread, so that its last words are not in the next test.
    for thread in _extension_threads() - before:
        lambda_.events.put((403, {}, b""))
        thread.join(PATIENCE_S)
        assert not thread.is_alive()
    lambda_.server.shutdown()
    lambda_.server.server_close()


@pytest.fixture
def finished():
    return queue.Queue()


@pytest.fixture
def extension(lambda_, finished):
    extension = Extension(lambda_.address, finish=finished.put, ledger=Ledger(), margin_s=0.5)
    extension.start()
    lambda_.wait_until_asked()
    yield extension
    extension.step_down()


def test_registers_for_invocations(lambda_, extension):
    """It registers under its name for INVOKE alone, and asks for events with its identifier."""
    [(path, headers, body)] = lambda_.registrations
    assert path == "/2020-01-01/extension/register"
    assert headers["Lambda-Extension-Name"] == "ddlwa"
    assert body == {"events": ["INVOKE"]}
    lambda_.invoke("a")
    assert extension.takes("a")
    extension.ended("a")
    path, headers = lambda_.wait_until_asked()
    assert path == "/2020-01-01/extension/event/next"
    assert headers["Lambda-Extension-Identifier"] == "id-1"


def test_asks_for_the_next_event_when_the_request_has_ended(lambda_, extension, finished):
    """Lambda is kept waiting until the request has ended, and what is left has been done."""
    lambda_.invoke("a")
    assert extension.takes("a")
    assert lambda_.never_asked()
    assert finished.empty()
    extension.ended("a")
    assert 28 < finished.get(timeout=PATIENCE_S) < 30
    lambda_.wait_until_asked()


def test_a_fast_response_overtakes_the_event(lambda_, extension, finished):
    """A request that has ended before its event comes holds up nothing."""
    assert extension.takes("a")
    extension.ended("a")
    lambda_.invoke("a")
    finished.get(timeout=PATIENCE_S)
    lambda_.wait_until_asked()


def test_the_wrong_request_releases_nothing(lambda_, extension, finished):
    """Only the end of the invocation's own request lets Lambda go on."""
    lambda_.invoke("b")
    assert extension.takes("a")
    assert extension.takes("b")
    extension.ended("a")
    assert lambda_.never_asked()
    extension.ended("b")
    lambda_.wait_until_asked()
    assert finished.qsize() == 1


def test_a_request_that_does_not_end(lambda_, extension, finished):
    """Lambda waits until the deadline less the margin, and no longer; a late end disturbs nothing."""
    begun = time.monotonic()
    lambda_.invoke("a", timeout_s=1.0)
    assert extension.takes("a")
    lambda_.wait_until_asked()
    assert 0.3 < time.monotonic() - begun < 1.0
    assert finished.get(timeout=PATIENCE_S) <= 0
    extension.ended("a")
    lambda_.invoke("b")
    assert extension.takes("b")
    assert lambda_.never_asked()
    extension.ended("b")
    lambda_.wait_until_asked()


def test_an_invocation_that_does_not_reach_the_app(lambda_, extension, monkeypatch, warnings_said):
    """One that goes to another worker, say, makes it take no more requests, with one warning."""
    monkeypatch.setattr(module, "_ARRIVAL_S", 0.05)
    lambda_.invoke("a")
    lambda_.wait_until_asked()
    assert not extension.takes("a")
    assert not extension.takes("b")
    [warning] = warnings_said()
    assert "several server workers" in warning
    lambda_.invoke("b")
    lambda_.wait_until_asked()


def test_a_request_that_comes_too_late_is_not_taken(lambda_, extension, finished):
    """After Lambda was let go for an invocation, its request is to be held."""
    assert extension.takes("a")
    extension.ended("a")
    assert not extension.takes("a")


@pytest.mark.parametrize(
    "event",
    [
        (200, {}, b'{"eventType": "SHUTDOWN"}'),
        (200, {}, b'{"eventType": "INVOKE"}'),
        (200, {}, b'{"eventType": "INVOKE", "requestId": "x", "deadlineMs": null}'),
        (200, {}, b"[]"),
        (200, {}, b"garbage"),
        None,
    ],
    ids=["shutdown", "no fields", "null", "no object", "garbage", "connection closed"],
)
def test_survives_every_answer(event, lambda_, extension):
    """Whatever the API answers, the next event is asked for, and then works."""
    lambda_.events.put(event)
    lambda_.wait_until_asked()
    lambda_.invoke("a")
    assert extension.takes("a")
    extension.ended("a")
    lambda_.wait_until_asked()


def test_finishing_that_fails(lambda_, warnings_said):
    """A failure in what is left to do costs one warning; Lambda is asked for the next event all the same."""

    def fail(limit_s):
        raise RuntimeError("ours")

    extension = Extension(lambda_.address, finish=fail, ledger=Ledger(), margin_s=0.5)
    extension.start()
    lambda_.wait_until_asked()
    lambda_.invoke("a")
    assert extension.takes("a")
    extension.ended("a")
    lambda_.wait_until_asked()
    assert warnings_said() == ["cannot finish an invocation"]


def test_refused_later(lambda_, extension, warnings_said):
    """An extension that Lambda gives no more events takes no more requests."""
    lambda_.events.put((403, {}, b'{"errorType": "Extension.UnknownExtensionIdentifier"}'))
    deadline = time.monotonic() + PATIENCE_S
    while extension.takes("x") and time.monotonic() < deadline:
        time.sleep(0.005)
    assert not extension.takes("a")
    [warning] = warnings_said()
    assert "Extension.UnknownExtensionIdentifier" in warning


def test_step_down_lets_lambda_go(lambda_, extension):
    """Stepping down ends the wait for a request that is under way."""
    lambda_.invoke("a")
    assert extension.takes("a")
    extension.step_down()
    lambda_.wait_until_asked()
    assert not extension.takes("b")


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (
            (403, {}, b'{"errorType": "Extension.RegistrationClosed"}'),
            "status 403, Extension.RegistrationClosed",
        ),
        ((403, {}, b'{"errorType": "Extension.InvalidExtensionState"}'), "Extension.InvalidExtensionState"),
        ((500, {}, b"oops"), "status 500, no error type"),
        ((200, {}, b"{}"), "status 200"),
    ],
)
def test_registration_refused(answer, reason, lambda_):
    """A refusal says why: too late, the name taken, the eleventh, or an API that is none."""
    lambda_.register_answers = [answer]
    extension = Extension(lambda_.address, finish=print, ledger=Ledger(), margin_s=0.5)
    with pytest.raises(RefusedError, match=reason):
        extension.start()
    assert not extension.takes("a")


def test_nothing_answers(monkeypatch):
    """An API that is not there is tried again, and then a refusal."""
    monkeypatch.setattr(module, "_BACKOFF_S", (0.0, 0.0))
    extension = Extension("127.0.0.1:1", finish=print, ledger=Ledger(), margin_s=0.5)
    with pytest.raises(RefusedError, match="does not answer"):
        extension.start()


def test_the_ledger_knows_when_lambda_may_freeze(lambda_, finished):
    """Between asking for an event and its answer the sandbox may be frozen; from then on it is not."""
    calls = []

    class Notes:
        def arrived(self):
            calls.append("arrived")

        def released(self):
            calls.append("released")

    before = _extension_threads()
    extension = Extension(lambda_.address, finish=finished.put, ledger=Notes(), margin_s=0.5)
    extension.start()
    [thread] = _extension_threads() - before
    lambda_.wait_until_asked()
    assert calls == ["arrived", "released"]
    lambda_.invoke("a")
    assert extension.takes("a")
    extension.ended("a")
    lambda_.wait_until_asked()
    assert calls == ["arrived", "released", "arrived", "released"]
    lambda_.events.put(None)
    lambda_.wait_until_asked()
    assert calls[4:] == ["arrived", "released"]
    # Refused, it counts as a request under way no longer: held responses alone keep a freeze off.
    lambda_.events.put((403, {}, b""))
    thread.join(PATIENCE_S)
    assert calls[6:] == []
