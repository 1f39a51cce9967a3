"""An internal Lambda extension: Lambda does not freeze the sandbox before it has asked for its next event."""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Any

from ddlwa.errors import DdlwaError
from ddlwa.log import warn_once

if TYPE_CHECKING:
    from collections.abc import Callable

    from ddlwa.ledger import Ledger

_API = "/2020-01-01/extension"
_NAME = "ddlwa"
_REGISTER_TIMEOUT_S = 1.0
_ARRIVAL_S = 1.0
_BACKOFF_S = (0.05, 0.1, 0.2, 0.5, 1.0)
_REMEMBERED = 64
_OK = 200


class RefusedError(DdlwaError):
    """Lambda does not take ddlwa as an extension, or does no longer."""


class Extension:
    """Registers, and at the end of each invocation keeps Lambda from freezing until its work is done.

    Which request belongs to which invocation is told by Lambda's request id, from the event here and
    from the adapter's header there; either may come first.

    Args:
        api: Host and port of the Extensions API (`AWS_LAMBDA_RUNTIME_API`).
        finish: Does what is left to do in an invocation, in at most so many seconds; may raise.
        ledger: Learns when the sandbox may be frozen.
        margin_s: How long before the invocation's deadline the next event is asked for at the latest.

    Source: AWS Lambda developer guide, "Using the Lambda Extensions API".
    """

    def __init__(
        self, api: str, *, finish: Callable[[float], object], ledger: Ledger, margin_s: float
    ) -> None:
        self._api = api
        self._finish = finish
        self._ledger = ledger
        self._margin_s = margin_s
        self._identifier = ""
        self._changed = threading.Condition()
        self._takes = False
        self._arrived: set[str] = set()
        self._passed: deque[str] = deque(maxlen=_REMEMBERED)

    def start(self) -> None:
        """Register, and begin to ask for events on a thread of its own.

        Raises:
            RefusedError: Lambda does not take the extension, or does not answer.
        """
        self._identifier = self._register()
        self._takes = True
        self._ledger.arrived()
        threading.Thread(target=self._serve, name="ddlwa-extension", daemon=True).start()

    def takes(self, request_id: str) -> bool:
        """Say whether the sandbox will stay unfrozen until `ended` is called for this request."""
        with self._changed:
            if not self._takes or request_id in self._passed:
                return False
            self._arrived.add(request_id)
            self._changed.notify_all()
            return True

    def ended(self, request_id: str) -> None:
        """Take note that the app is done with a request that was taken."""
        with self._changed:
            self._arrived.discard(request_id)
            self._passed.append(request_id)
            self._changed.notify_all()

    def step_down(self) -> None:
        """Take no more requests; Lambda is asked for the next event at once from now on."""
        with self._changed:
            self._takes = False
            self._changed.notify_all()

    def _serve(self) -> None:
        failures = 0
        while True:
            self._ledger.released()
            try:
                event = self._next()
            except RefusedError as error:
                # The ledger is left as it is: from now on it is only held responses that keep a freeze off.
                warn_once("extension.refused", "%s; responses are held from now on", error)
                self.step_down()
                return
            except (OSError, http.client.HTTPException, ValueError):
                event = None
            self._ledger.arrived()
            if event is None:
                # Lambda waits for this extension: as long as it may come back, so do we.
                time.sleep(_BACKOFF_S[min(failures, len(_BACKOFF_S) - 1)])
                failures += 1
                continue
            failures = 0
            try:
                self._invoked(event)
            except Exception:  # noqa: BLE001 - whatever fails here, the next event has to be asked for
                warn_once("extension.invoked", "cannot finish an invocation", exc_info=True)

    def _invoked(self, event: dict[str, Any]) -> None:
        if event.get("eventType") != "INVOKE":
            return
        request_id = event["requestId"]
        limit = time.monotonic() + event["deadlineMs"] / 1000 - time.time() - self._margin_s
        with self._changed:
            if not self._takes:
                return
            if not self._wait(lambda: request_id in self._arrived or request_id in self._passed, _ARRIVAL_S):
                self._takes = False
                self._passed.append(request_id)
                warn_once(
                    "extension.arrival",
                    "an invocation did not reach this process within %g s: several server workers? "
                    "Responses are held from now on",
                    _ARRIVAL_S,
                )
                return
            self._wait(lambda: request_id in self._passed, limit - time.monotonic())
            self._arrived.discard(request_id)
            if request_id not in self._passed:
                self._passed.append(request_id)
        self._finish(limit - time.monotonic())

    def _wait(self, condition: Callable[[], bool], timeout_s: float) -> bool:
        return (
            self._changed.wait_for(lambda: condition() or not self._takes, max(timeout_s, 0)) and condition()
        )

    def _register(self) -> str:
        headers = {"Lambda-Extension-Name": _NAME, "Content-Type": "application/json"}
        body = json.dumps({"events": ["INVOKE"]})
        for pause_s in (*_BACKOFF_S[:2], None):
            connection = http.client.HTTPConnection(self._api, timeout=_REGISTER_TIMEOUT_S)
            try:
                connection.request("POST", f"{_API}/register", body, headers)
                answer = connection.getresponse()
                content = answer.read()
            except (OSError, http.client.HTTPException) as error:
                if pause_s is None:
                    raise RefusedError(f"Lambda's Extensions API does not answer: {error!r}") from error
                time.sleep(pause_s)
                continue
            finally:
                connection.close()
            identifier = answer.headers.get("Lambda-Extension-Identifier")
            if answer.status == _OK and identifier:
                return identifier
            raise RefusedError(f"Lambda refused to register an extension: {_reason(answer.status, content)}")
        raise AssertionError  # pragma: no cover - the last pass returns or raises

    def _next(self) -> dict[str, Any]:
        # The one call without a deadline: it lasts as long as the sandbox is frozen.
        connection = http.client.HTTPConnection(self._api, timeout=None)
        try:
            connection.request(
                "GET", f"{_API}/event/next", headers={"Lambda-Extension-Identifier": self._identifier}
            )
            answer = connection.getresponse()
            content = answer.read()
        finally:
            connection.close()
        if answer.status != _OK:
            raise RefusedError(
                f"Lambda gives this extension no more events: {_reason(answer.status, content)}"
            )
        event = json.loads(content)
        if not isinstance(event, dict):
            raise ValueError("an event is an object")  # noqa: TRY004 - to be retried as any other broken answer
        return event


def _reason(status: int, content: bytes) -> str:
    """Describe a refusal by its status and its error type."""
    try:
        kind = str(json.loads(content)["errorType"])[:80]
    except (ValueError, KeyError, TypeError):
        kind = "no error type"
    return f"status {status}, {kind}"
