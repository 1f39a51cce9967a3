"""The idea of LWA's background-task example: an internal extension flushes after the response."""

from __future__ import annotations

import http.client
import json
import os
import threading
from typing import TYPE_CHECKING

from ddtrace.trace import tracer

from benchmarks.approaches.asgi_types import after_invocations

if TYPE_CHECKING:
    from benchmarks.approaches.asgi_types import Asgi

_API = "/2020-01-01/extension"


class FlushingExtension:
    """Asks Lambda for the next event when what belongs to the last one has been sent."""

    def __init__(self) -> None:
        self._api = os.environ["AWS_LAMBDA_RUNTIME_API"]
        self._returned = threading.Semaphore(0)
        headers = {"Lambda-Extension-Name": "background-tasks", "Content-Type": "application/json"}
        answer = self._ask("POST", "register", json.dumps({"events": ["INVOKE"]}), headers)
        self._identifier = answer.headers["Lambda-Extension-Identifier"]
        threading.Thread(target=self._serve, daemon=True).start()

    def returned(self) -> None:
        """Take note that the app has returned from an invocation."""
        self._returned.release()

    def _serve(self) -> None:
        while True:
            self._ask("GET", "event/next", None, {"Lambda-Extension-Identifier": self._identifier})
            self._returned.acquire()
            tracer.flush()

    def _ask(
        self, method: str, path: str, body: str | None, headers: dict[str, str]
    ) -> http.client.HTTPResponse:
        connection = http.client.HTTPConnection(self._api)
        try:
            connection.request(method, f"{_API}/{path}", body, headers)
            answer = connection.getresponse()
            answer.read()
        finally:
            connection.close()
        return answer


def instrument(app: Asgi) -> Asgi:
    """Wrap an app, and ddtrace's middleware with it."""
    return after_invocations(app, FlushingExtension().returned)
