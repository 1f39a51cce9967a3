"""Lambda in a box: runs an HTTP app as Lambda does, freezes included."""

from __future__ import annotations

from ddlwa.simulator.adapter import AdapterOptions, InvokeMode, LwaBinary
from ddlwa.simulator.agent import TraceAgent
from ddlwa.simulator.durations import parse_duration
from ddlwa.simulator.errors import (
    AdapterFailedError,
    AgentFailedError,
    AppFailedError,
    FreezeError,
    InvocationTimeoutError,
    SimulatorError,
)
from ddlwa.simulator.events import EventSource
from ddlwa.simulator.sandbox import Sandbox
from ddlwa.simulator.types import FreezeMoment, HttpRequest, HttpResponse, Invocation, Window

__all__ = [
    "AdapterFailedError",
    "AdapterOptions",
    "AgentFailedError",
    "AppFailedError",
    "EventSource",
    "FreezeError",
    "FreezeMoment",
    "HttpRequest",
    "HttpResponse",
    "Invocation",
    "InvocationTimeoutError",
    "InvokeMode",
    "LwaBinary",
    "Sandbox",
    "SimulatorError",
    "TraceAgent",
    "Window",
    "parse_duration",
]
