"""The errors of the simulator."""

from __future__ import annotations

__all__ = [
    "AdapterFailedError",
    "AgentFailedError",
    "AppFailedError",
    "FreezeError",
    "InvocationTimeoutError",
    "SimulatorError",
]


class SimulatorError(Exception):
    """A part of the simulated Lambda failed.

    Args:
        message: What failed, what was found and what to do.
        part: Which part it was, such as ``"app"`` or ``"trace agent"``.
        output: What that part last printed, empty if nothing or unknown.
    """

    def __init__(self, message: str, *, part: str | None = None, output: str = "") -> None:
        super().__init__(message)
        self.part = part
        self.output = output


class AppFailedError(SimulatorError):
    """The app could not be started, did not become ready or exited."""


class AdapterFailedError(SimulatorError):
    """The adapter is not there, could not be started or exited."""


class AgentFailedError(SimulatorError):
    """The trace agent could not be started or did not answer."""


class FreezeError(SimulatorError):
    """A process of the sandbox could not be stopped, or is not in the state that was asked for."""


class InvocationTimeoutError(SimulatorError):
    """An invocation was not over by its deadline, and Lambda killed the sandbox."""
