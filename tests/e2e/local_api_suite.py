"""Requests to Lambda's local APIs, right and wrong ones, the same for AWS's emulator and the simulator."""

from __future__ import annotations

import contextlib
import http.client
import json
import re
from dataclasses import dataclass, field

RUNTIME = "/2018-06-01/runtime"
EXTENSION = "/2020-01-01/extension"
IDENTIFIER = "Lambda-Extension-Identifier"
NOBODY = "00000000-0000-0000-0000-000000000000"
ERROR = b'{"errorMessage":"m","errorType":"T","stackTrace":[]}'
PAYLOAD_LIMIT = 6 * 1024 * 1024 + 100
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_COMPARED = ("content-type", "allow", "lambda-")


@dataclass(frozen=True)
class Step:
    """One request.

    Args:
        method: The method.
        path: The path; ``{id}`` is the id of the invocation that the runtime got last.
        headers: The headers; ``{name}`` in a value is the identifier of the extension of that name.
        body: The body.
        waits: Whether there is no answer for now.
        answers: Which waiting request, counted from the first, has its answer after this step.
    """

    method: str
    path: str
    headers: dict = field(default_factory=dict)
    body: bytes = b""
    waits: bool = False
    answers: int | None = None


def register(name="one", events=b'{"events":["INVOKE"]}', **headers):
    return Step("POST", f"{EXTENSION}/register", {"Lambda-Extension-Name": name, **_dashed(headers)}, events)


def event_next(name="{one}", **more):
    return Step("GET", f"{EXTENSION}/event/next", {IDENTIFIER: name}, **more)


def report(kind, name="{one}", **headers):
    return Step("POST", f"{EXTENSION}/{kind}/error", {IDENTIFIER: name, **_dashed(headers)}, ERROR)


def runtime_next(**more):
    return Step("GET", f"{RUNTIME}/invocation/next", **more)


def post(kind, request_id="{id}", body=ERROR, **headers):
    return Step("POST", f"{RUNTIME}/invocation/{request_id}/{kind}", _dashed(headers), body)


def init_error():
    return Step("POST", f"{RUNTIME}/init/error", {"Lambda-Runtime-Function-Error-Type": "Runtime.X"}, ERROR)


def _dashed(headers):
    return {name.replace("_", "-"): value for name, value in headers.items()}


_TYPE = {"Lambda_Extension_Function_Error_Type": "Extension.X"}
_MODE = "Lambda_Runtime_Function_Response_Mode"
_STREAM = b'{"statusCode":201}' + b"\0" * 8 + b"abc"

SCENARIOS = {
    "paths": [
        Step("GET", "/"),
        Step("GET", f"{RUNTIME}/nope"),
        Step("GET", f"{EXTENSION}/nope"),
        Step("GET", f"{EXTENSION}/event/next/"),
        Step("POST", f"{RUNTIME}/invocation/next"),
        Step("GET", f"{RUNTIME}/invocation/x/response"),
        Step("PUT", f"{RUNTIME}/init/error"),
        Step("GET", f"{EXTENSION}/register"),
        Step("POST", f"{EXTENSION}/event/next"),
    ],
    "names": [
        Step("POST", f"{EXTENSION}/register", {}, b'{"events":["INVOKE"]}'),
        register(""),
        register("", b"{"),
        register("a/b"),
        register("with space"),
        register("one"),
        register("one"),
        register("one", b'{"events":["FOO"]}'),
    ],
    "events": [
        register("one", b'{"events":["FOO"]}'),
        register("one", b'{"events":["SHUTDOWN"]}'),
        register("one", b'{"events":["INVOKE","SHUTDOWN"]}'),
        register("one", b'{"events":[]}'),
        register("two", b'{"events":null}'),
        register("three", b"{}"),
        register("four", b'{"events":["INVOKE","INVOKE"]}'),
    ],
    "bodies": [register("one", b""), register("one", b"{"), register("one", b"[]")],
    "account": [register("one", Lambda_Extension_Accept_Feature="accountId")],
    "eleven": [
        *[register(f"n{number}") for number in range(10)],
        register("n10"),
        register("n0"),
        register("n11", b'{"events":["FOO"]}'),
    ],
    "closed": [
        runtime_next(),
        register(""),
        register("one", b"{"),
        register("one", b'{"events":["FOO"]}'),
        register("one"),
    ],
    "identifiers": [
        register("one"),
        *[
            Step(method, f"{EXTENSION}/{path}", headers, ERROR if method == "POST" else b"")
            for method, path in (("GET", "event/next"), ("POST", "init/error"), ("POST", "exit/error"))
            for headers in (
                {},
                {IDENTIFIER: ""},
                {IDENTIFIER: "x"},
                {IDENTIFIER: NOBODY},
                {IDENTIFIER: NOBODY, "Lambda-Extension-Function-Error-Type": "Extension.X"},
                {IDENTIFIER: "x", "Lambda-Extension-Function-Error-Type": "Extension.X"},
            )
        ],
    ],
    "extension init error": [
        register("one"),
        report("init"),
        report("init", **_TYPE),
        event_next(),
        report("init", **_TYPE),
        report("exit", **_TYPE),
    ],
    "extension exit error": [
        register("one"),
        report("exit"),
        report("exit", **_TYPE),
        event_next(),
        report("exit", **_TYPE),
    ],
    "invocation": [
        register("one"),
        register("two", b"{}"),
        event_next("{one}", waits=True),
        event_next("{two}", waits=True),
        runtime_next(answers=0),
        report("init", **_TYPE),
        post("response", body=b'{"ok":1}'),
        runtime_next(waits=True),
        event_next("{one}", waits=True),
    ],
    "runtime before next": [post("response", "x"), post("error", "x")],
    "runtime asks again": [
        runtime_next(),
        init_error(),
        runtime_next(),
        post("response", "x"),
        post("error", "x"),
        post("response", body=b'{"ok":1}'),
        post("response", body=b'{"ok":2}'),
        post("error"),
        post("response", "x"),
        runtime_next(waits=True),
    ],
    "error": [
        runtime_next(),
        post("error", Lambda_Runtime_Function_Error_Type="Runtime.X"),
        post("error"),
        post("response"),
        runtime_next(waits=True),
    ],
    "error without JSON": [runtime_next(), post("error", body=b"not json"), runtime_next(waits=True)],
    "init error": [init_error(), init_error(), register("one"), runtime_next()],
    "largest": [runtime_next(), post("response", body=b"x" * PAYLOAD_LIMIT), runtime_next(waits=True)],
    "too large": [
        runtime_next(),
        post("response", body=b"x" * (PAYLOAD_LIMIT + 1)),
        post("response", body=b"x"),
        runtime_next(waits=True),
    ],
    "streamed": [
        runtime_next(),
        post(
            "response",
            body=_STREAM,
            Content_Type="application/vnd.awslambda.http-integration-response",
            **{_MODE: "streaming"},
        ),
        runtime_next(waits=True),
    ],
    "empty mode": [runtime_next(), post("response", body=b"1", **{_MODE: ""}), runtime_next(waits=True)],
    "wrong mode": [runtime_next(), post("response", body=b"1", **{_MODE: "buffered"}), runtime_next()],
}


class Client:
    """Sends a scenario's steps to a server, and takes down the answers.

    Args:
        address: Host and port of the server.
    """

    def __init__(self, address):
        self._address = address
        self._ids = {}
        self._waiting = []

    def run(self, steps):
        """Return the answers to the steps, in a form that does not depend on ids and times."""
        answers = []
        for step in steps:
            exchange = _Exchange(self._address, *self._filled(step))
            if step.waits:
                self._waiting.append(exchange)
                answers.append("waits")
                continue
            status, headers, body = exchange.answer()
            self._remember(step, headers)
            answers.append(normal(status, headers, body))
            if step.answers is not None:
                answers.append(normal(*self._waiting[step.answers].answer()))
        return answers

    def close(self):
        for exchange in self._waiting:
            exchange.close()

    def _filled(self, step):
        headers = {name: _fill(value, self._ids) for name, value in step.headers.items()}
        return step.method, _fill(step.path, self._ids), headers, step.body

    def _remember(self, step, headers):
        if "Lambda-Runtime-Aws-Request-Id" in headers:
            self._ids["id"] = headers["Lambda-Runtime-Aws-Request-Id"]
        if IDENTIFIER in headers:
            self._ids[step.headers["Lambda-Extension-Name"]] = headers[IDENTIFIER]


class _Exchange:
    """A request whose answer may be a long time coming."""

    def __init__(self, address, method, path, headers, body):
        self._connection = http.client.HTTPConnection(address, timeout=10)
        self._connection.request(method, path, body=body or None, headers=headers)

    def answer(self):
        with contextlib.closing(self._connection):
            response = self._connection.getresponse()
            return response.status, dict(response.getheaders()), response.read()

    def close(self):
        self._connection.close()


def _fill(text, ids):
    for name, value in ids.items():
        text = text.replace(f"{{{name}}}", value)
    return text


def normal(status, headers, body):
    """Return an answer without what differs from run to run."""
    kept = {
        name.lower(): _UUID.sub("<id>", re.sub(r"^\d{13}$", "<ms>", value))
        for name, value in headers.items()
        if name.lower().startswith(_COMPARED)
    }
    text = _UUID.sub("<id>", re.sub(r'"deadlineMs":\d{13}', '"deadlineMs":0', body.decode()))
    try:
        return status, kept, json.loads(text)
    except ValueError:
        return status, kept, text
