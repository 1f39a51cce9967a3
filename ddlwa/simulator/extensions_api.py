"""The Lambda Extensions API, as a part of a server on this machine."""

from __future__ import annotations

import asyncio
import enum
import json
import uuid
from typing import TYPE_CHECKING, Any

from ddlwa.simulator.http_server import Reply, Request, Route, json_reply

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from ddlwa.simulator.environment import Function
    from ddlwa.simulator.runtime_api import Event

__all__ = ["Extension", "ExtensionsApi"]

_VERSION = "2020-01-01"
_LIMIT = 10
_INVOKE, _SHUTDOWN = "INVOKE", "SHUTDOWN"


class _State(enum.Enum):
    """The life of an extension, in the names that Lambda gives the states.

    ::

        REGISTERED ──next──▶ READY ──event──▶ RUNNING ──next──▶ READY …
            └──init/error──▶ INIT_ERROR
        any but INIT_ERROR ──exit/error──▶ EXIT_ERROR
    """

    REGISTERED = "Registered"
    READY = "Ready"
    RUNNING = "Running"
    INIT_ERROR = "InitError"
    EXIT_ERROR = "ExitError"


class Extension:
    """An extension that has registered.

    Args:
        name: The name under which it did.
        events: The events that it wants.
        external: Whether it is a process that Lambda itself started.
    """

    def __init__(self, name: str, *, events: Collection[str], external: bool) -> None:
        self.name = name
        self.events = frozenset(events)
        self.external = external
        self.identifier = str(uuid.uuid4())
        self.state = _State.REGISTERED
        self.pending: asyncio.Queue[dict[str, Any]] = asyncio.Queue()


class ExtensionsApi:
    """Keeps the extensions of one sandbox, and tells them what happens.

    Source: AWS Lambda Developer Guide, "Using the Lambda Extensions API to create extensions"; the
    answers to wrong calls are those of AWS's Runtime Interface Emulator.

    Args:
        function: The function that extensions are told about.
        external: By label, the names under which each external extension may register; any other name
            is an internal extension's.
        registration_open: Whether internal extensions may still register.
        on_change: Called when an extension has registered, failed or asked for its next event.
    """

    def __init__(
        self,
        *,
        function: Function,
        external: Mapping[str, Collection[str]],
        registration_open: Callable[[], bool],
        on_change: Callable[[], None],
    ) -> None:
        self.error: str | None = None
        """What an extension reported before it gave up."""
        self._function = function
        self._external = external
        self._registration_open = registration_open
        self._on_change = on_change
        self._extensions: dict[str, Extension] = {}
        base = f"/{_VERSION}/extension"
        self.routes = [
            Route("POST", f"{base}/register", self._register),
            Route("GET", f"{base}/event/next", self._next),
            Route("POST", f"{base}/init/error", self._init_error),
            Route("POST", f"{base}/exit/error", self._exit_error),
        ]

    @property
    def registered(self) -> tuple[Extension, ...]:
        """The extensions that have registered, in that order."""
        return tuple(self._extensions.values())

    @property
    def busy(self) -> tuple[str, ...]:
        """The names of those that have not asked for their next event."""
        return tuple(one.name for one in self.registered if one.state is not _State.READY)

    @property
    def missing(self) -> tuple[str, ...]:
        """The labels of the external extensions that have not registered."""
        here = {one.name for one in self.registered}
        return tuple(label for label, names in self._external.items() if here.isdisjoint(names))

    def wants_invocations(self) -> bool:
        """Return whether any extension is told about invocations."""
        return any(_INVOKE in one.events for one in self.registered)

    def wants_shutdown(self, names: Collection[str]) -> bool:
        """Return whether an extension under one of these names is told about the sandbox's end."""
        return any(_SHUTDOWN in one.events and one.name in names for one in self.registered)

    def invoke(self, event: Event) -> None:
        """Tell every extension that wants to know about an invocation."""
        tracing = {"tracing": {"type": "X-Amzn-Trace-Id", "value": event.trace_id}} if event.trace_id else {}
        self._deliver(
            {
                "eventType": _INVOKE,
                "deadlineMs": event.deadline_ms,
                "requestId": event.request_id,
                "invokedFunctionArn": event.function_arn,
                **tracing,
            }
        )

    def shut_down(self, *, reason: str, deadline_ms: int) -> None:
        """Tell every extension that wants to know about the sandbox's end.

        Args:
            reason: ``"spindown"``, ``"timeout"`` or ``"failure"``.
            deadline_ms: When all processes are killed, in milliseconds since the epoch, the sandbox's clock.
        """
        self._deliver({"eventType": _SHUTDOWN, "shutdownReason": reason, "deadlineMs": deadline_ms})

    def _deliver(self, event: dict[str, Any]) -> None:
        for one in self.registered:
            if event["eventType"] in one.events:
                one.state = _State.RUNNING if one.state is _State.READY else one.state
                one.pending.put_nowait(event)

    async def _register(self, request: Request) -> Reply:
        name = request.headers.get("lambda-extension-name", "")
        if not name:
            return _refusal("Extension.InvalidExtensionName", "Empty extension name")
        try:
            events = _events(await request.read())
        except ValueError as error:
            return _refusal("InvalidRequestFormat", str(error))
        external = any(name in names for names in self._external.values())
        refusal = _event_refusal(events, external=external) or self._place_refusal(name, external=external)
        if refusal is not None:
            return refusal
        extension = Extension(name, events=events, external=external)
        self._extensions[extension.identifier] = extension
        self._on_change()
        function = self._function
        answer = {
            "functionName": function.name,
            "functionVersion": function.version,
            "handler": function.handler,
        }
        if "accountId" in request.headers.get("lambda-extension-accept-feature", "").split(","):
            answer["accountId"] = function.account
        return json_reply(answer, headers={"Lambda-Extension-Identifier": extension.identifier})

    def _place_refusal(self, name: str, *, external: bool) -> Reply | None:
        """Return why there is no place for another extension, None if there is one."""
        if not (external or self._registration_open()):
            return _refusal("Extension.RegistrationClosed", "Extension registration closed already")
        if len(self._extensions) == _LIMIT:
            return _refusal("Extension.TooManyExtensions", f"Extension limit ({_LIMIT}) reached")
        if any(one.name == name for one in self.registered):
            already = "Extension with this name already registered"
            return _refusal("Extension.InvalidExtensionState", already)
        return None

    async def _next(self, request: Request) -> Reply:
        extension = self._find(request)
        if isinstance(extension, Reply):
            return extension
        if extension.state in (_State.INIT_ERROR, _State.EXIT_ERROR):
            return _forbidden(extension, to="Ready")
        if extension.pending.empty():
            extension.state = _State.READY
            self._on_change()
        event = await extension.pending.get()
        extension.state = _State.RUNNING
        return json_reply(event, headers={"Lambda-Extension-Event-Identifier": str(uuid.uuid4())})

    async def _init_error(self, request: Request) -> Reply:
        return await self._fail(
            request, to=_State.INIT_ERROR, allowed={_State.REGISTERED, _State.INIT_ERROR}, name="InitError"
        )

    async def _exit_error(self, request: Request) -> Reply:
        return await self._fail(
            request, to=_State.EXIT_ERROR, allowed=set(_State) - {_State.INIT_ERROR}, name="Exited"
        )

    async def _fail(self, request: Request, *, to: _State, allowed: Collection[_State], name: str) -> Reply:
        error_type = request.headers.get("lambda-extension-function-error-type")
        extension = self._find(request, error_type=error_type, reports=True)
        if isinstance(extension, Reply):
            return extension
        body = await request.read()
        if extension.state not in allowed:
            return _forbidden(extension, to=name)
        extension.state = to
        self.error = f"{extension.name}: {error_type}: {body.decode('utf-8', 'replace')}"
        self._on_change()
        return json_reply({"status": "OK"}, status=202)

    def _find(
        self, request: Request, *, error_type: str | None = None, reports: bool = False
    ) -> Extension | Reply:
        """Return who asks, or the answer to somebody who does not say so."""
        identifier = request.headers.get("lambda-extension-identifier", "")
        if not identifier:
            missing = "Missing Lambda-Extension-Identifier header"
            return _refusal("Extension.MissingExtensionIdentifier", missing)
        try:
            key = str(uuid.UUID(identifier))
        except ValueError:
            return _refusal("Extension.InvalidExtensionIdentifier", "Invalid Lambda-Extension-Identifier")
        if reports and not error_type:
            missing = "Lambda-Extension-Function-Error-Type not found"
            return _refusal("Extension.MissingHeader", missing)
        if key not in self._extensions:
            unknown = "Unknown Lambda-Extension-Identifier" if reports else f"Unknown extension {key}"
            return _refusal("Extension.UnknownExtensionIdentifier", unknown)
        return self._extensions[key]


def _events(body: bytes) -> list[str]:
    """Return the names of events in a registration's body, or raise ValueError."""
    content = json.loads(body)
    try:
        return [str(event) for event in content.get("events") or ()]
    except (AttributeError, TypeError) as error:
        raise ValueError(f"not an object with a list of events: {content!r}") from error


def _event_refusal(events: Collection[str], *, external: bool) -> Reply | None:
    """Return why an extension cannot have these events, None if it can."""
    for event in events:
        if event not in (_INVOKE, _SHUTDOWN):
            return _refusal("Extension.InvalidEventType", f"{event}: ErrorInvalidEventType")
        if event == _SHUTDOWN and not external:
            why = f"{event}: ShutdownEventNotSupportedForInternalExtension"
            return _refusal("Extension.InvalidEventType", why)
    return None


def _refusal(error_type: str, message: str) -> Reply:
    return json_reply({"errorMessage": message, "errorType": error_type}, status=403)


def _forbidden(extension: Extension, *, to: str) -> Reply:
    return _refusal(
        "Extension.InvalidExtensionState",
        f"State transition from {extension.state.value} to {to} failed for extension "
        f"{extension.identifier}. Error: State transition is not allowed",
    )
