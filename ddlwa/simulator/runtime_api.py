"""The Lambda Runtime API, as a part of a server on this machine."""

from __future__ import annotations

import asyncio
import base64
import enum
import json
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ddlwa.simulator.http_server import Reply, Request, Route, json_reply

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Event", "Outcome", "RuntimeApi"]

_VERSION = "2018-06-01"
_PAYLOAD_LIMIT = 6 * 1024 * 1024 + 100  # "Lambda quotas", and what Lambda adds for its own
_OK = {"status": "OK"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """What the runtime gets for an invocation.

    Args:
        request_id: Lambda's request id.
        deadline_ms: When the function times out, in milliseconds since the epoch, the sandbox's wall clock.
        function_arn: The invoked function's ARN.
        trace_id: The X-Ray trace header.
        payload: The event itself, anything that JSON can say.
        client_context: The client context that the caller gave, in JSON, or None.
        cognito_identity: The caller's Amazon Cognito identity, in JSON, or None.
        tenant_id: The tenant for whom it is, or None.
    """

    request_id: str
    deadline_ms: int
    function_arn: str
    trace_id: str
    payload: Any
    client_context: str | None = None
    cognito_identity: str | None = None
    tenant_id: str | None = None

    def headers(self) -> dict[str, str]:
        """Return the headers that tell the runtime about the invocation."""
        optional = {
            "Lambda-Runtime-Trace-Id": self.trace_id,
            "Lambda-Runtime-Client-Context": self.client_context,
            "Lambda-Runtime-Cognito-Identity": self.cognito_identity,
            "Lambda-Runtime-Aws-Tenant-Id": self.tenant_id,
        }
        return {
            "Lambda-Runtime-Aws-Request-Id": self.request_id,
            "Lambda-Runtime-Deadline-Ms": str(self.deadline_ms),
            "Lambda-Runtime-Invoked-Function-Arn": self.function_arn,
            **{name: value for name, value in optional.items() if value},
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What the runtime made of an invocation.

    Args:
        response: The response's payload, None if there is none.
        error: The error's description, None if it went well. A stream that broke has both.
        streamed: Whether the response came in the streaming mode.
        content_type: The content type that the runtime gave to its response.
        wall_ns: When the last byte of it was there, in nanoseconds since the epoch, this machine's clock.
    """

    response: bytes | None = None
    error: str | None = None
    streamed: bool = False
    content_type: str = ""
    wall_ns: int


class _State(enum.Enum):
    """The life of a runtime, in the names that Lambda gives the states.

    ::

        STARTED ──next──▶ READY ──event──▶ RUNNING ──response, error──▶ RESPONDING ──▶ RESPONDED
           │                ▲                                                              │
           └─init/error─▶ INIT_ERROR                              └────────────next────────┘

    With several invocations at a time each has a state of its own, from RUNNING to RESPONDED.
    """

    STARTED = "Started"
    READY = "Ready"
    RUNNING = "Running"
    RESPONDING = "InvocationResponse"
    FAILING = "InvocationErrorResponse"
    RESPONDED = "RuntimeResponseSentState"
    INIT_ERROR = "InitError"


class _Invocation:
    def __init__(self, event: Event) -> None:
        self.event = event
        self.state = _State.RUNNING
        self.outcome: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()

    def end(
        self,
        *,
        response: bytes | None = None,
        error: str | None = None,
        streamed: bool = False,
        content_type: str = "",
    ) -> None:
        self.state = _State.RESPONDED
        if not self.outcome.done():
            self.outcome.set_result(
                Outcome(
                    response=response,
                    error=error,
                    streamed=streamed,
                    content_type=content_type,
                    wall_ns=time.time_ns(),
                )
            )


class RuntimeApi:
    """Hands invocations to the runtime, and takes what it makes of them.

    Source: AWS Lambda Developer Guide, "Using the Lambda runtime API" and "Response streaming"; the
    answers to wrong calls are those of AWS's Runtime Interface Emulator.

    Args:
        one_at_a_time: Whether it has one invocation at a time, as it has but on Lambda Managed Instances.
        on_change: Called when the runtime has asked for its next invocation, or failed.
    """

    def __init__(self, *, one_at_a_time: bool = True, on_change: Callable[[], None]) -> None:
        self.init_error: str | None = None
        self._one_at_a_time = one_at_a_time
        self._on_change = on_change
        self._state = _State.STARTED
        self._queue: asyncio.Queue[_Invocation] = asyncio.Queue()
        self._invocations: dict[str, _Invocation] = {}
        self._current: _Invocation | None = None
        base = f"/{_VERSION}/runtime"
        self.routes = [
            Route("GET", f"{base}/invocation/next", self._next),
            Route("POST", f"{base}/invocation/{{request_id}}/response", self._response),
            Route("POST", f"{base}/invocation/{{request_id}}/error", self._error),
            Route("POST", f"{base}/init/error", self._init_error),
        ]

    @property
    def started(self) -> bool:
        """Whether the runtime has asked for its first invocation."""
        return self._state is _State.READY

    @property
    def ready(self) -> bool:
        """Whether the runtime has asked for its next invocation and there is none."""
        return self.started and self._current is None and self._queue.empty()

    def submit(self, event: Event) -> asyncio.Future[Outcome]:
        """Queue an invocation, and return the future of what becomes of it."""
        invocation = _Invocation(event)
        self._invocations[event.request_id] = invocation
        self._queue.put_nowait(invocation)
        return invocation.outcome

    async def _next(self, _request: Request) -> Reply:
        current = self._current
        state = self._state if current is None else current.state
        if state in (_State.INIT_ERROR, _State.RESPONDING, _State.FAILING):
            return _forbidden(state, to="Ready")
        if current is not None:
            if current.state is _State.RUNNING:  # it asks again, after a lost connection perhaps
                return json_reply(current.event.payload, headers=current.event.headers())
            self._forget(current)
        self._state = _State.READY
        self._on_change()
        invocation = await self._queue.get()
        if self._one_at_a_time:
            self._current = invocation
        return json_reply(invocation.event.payload, headers=invocation.event.headers())

    async def _response(self, request: Request) -> Reply:
        invocation = self._begin(request, _State.RESPONDING)
        if isinstance(invocation, Reply):
            return invocation
        mode = request.headers.get("lambda-runtime-function-response-mode", "")
        if mode not in ("", "streaming"):
            body = {
                "errorMessage": "Invalid function response mode",
                "errorType": "InvalidFunctionResponseMode",
            }
            return json_reply(body, status=400)
        streamed = mode == "streaming"
        content_type = request.headers.get("content-type", "")
        payload = bytearray()
        try:
            async for piece in request.pieces():
                payload += piece
        except ConnectionError:
            error = "Runtime.TruncatedResponse: the runtime left before the end of its response"
            self._end(
                invocation,
                response=bytes(payload) if streamed else None,
                error=error,
                streamed=streamed,
                content_type=content_type,
            )
            raise
        if not streamed and len(payload) > _PAYLOAD_LIMIT:
            self._end(
                invocation,
                error="Function.ResponseSizeTooLarge: Response payload size exceeded maximum allowed "
                f"payload size ({_PAYLOAD_LIMIT} bytes).",
            )
            too_large = f"Exceeded maximum allowed payload size ({_PAYLOAD_LIMIT} bytes)."
            body = {"errorMessage": too_large, "errorType": "RequestEntityTooLarge"}
            return json_reply(body, status=413)
        self._end(
            invocation,
            response=bytes(payload),
            error=_trailing_error(request.trailers) if streamed else None,
            streamed=streamed,
            content_type=content_type,
        )
        return json_reply(_OK, status=202)

    async def _error(self, request: Request) -> Reply:
        invocation = self._begin(request, _State.FAILING)
        if isinstance(invocation, Reply):
            return invocation
        self._end(invocation, error=_describe(await request.read()))
        return json_reply(_OK, status=202)

    async def _init_error(self, request: Request) -> Reply:
        body = await request.read()
        state = self._state if self._current is None else self._current.state
        if state is not _State.STARTED:
            return _forbidden(state, to="InitError")
        self._state = _State.INIT_ERROR
        self.init_error = _describe(body)
        self._on_change()
        return json_reply(_OK, status=202)

    def _begin(self, request: Request, state: _State) -> _Invocation | Reply:
        """Return the invocation that a request is about, now in a new state, or the refusal."""
        invocation = self._invocations.get(request.parameters["request_id"])
        if invocation is None or (self._one_at_a_time and invocation is not self._current):
            body = {"errorMessage": "Invalid request ID", "errorType": "InvalidRequestID"}
            return json_reply(body, status=400)
        if invocation.state is not _State.RUNNING:
            return _forbidden(invocation.state, to=state.value)
        invocation.state = state
        return invocation

    def _end(self, invocation: _Invocation, **outcome: Any) -> None:
        invocation.end(**outcome)
        if not self._one_at_a_time:
            self._forget(invocation)

    def _forget(self, invocation: _Invocation) -> None:
        self._invocations.pop(invocation.event.request_id, None)
        if invocation is self._current:
            self._current = None


def _forbidden(state: _State, *, to: str) -> Reply:
    message = (
        f"State transition from {state.value} to {to} failed for runtime. "
        "Error: State transition is not allowed"
    )
    return json_reply({"errorMessage": message, "errorType": "InvalidStateTransition"}, status=403)


def _trailing_error(trailers: dict[str, str]) -> str | None:
    """Return what the trailers of a streamed response say that went wrong, None if nothing did."""
    error_type = trailers.get("lambda-runtime-function-error-type")
    if not error_type:
        return None
    try:
        body = base64.b64decode(trailers.get("lambda-runtime-function-error-body", ""), validate=True)
    except ValueError:
        body = b""
    return _describe(body) if body else error_type


def _describe(body: bytes) -> str:
    """Return the message of an error's JSON body, or the body itself if it is something else."""
    try:
        error = json.loads(body)
        return f"{error['errorType']}: {error['errorMessage']}"
    except (ValueError, TypeError, KeyError):
        return body.decode("utf-8", "replace")
