"""AWS's Lambda Web Adapter itself, as a process of the sandbox."""

from __future__ import annotations

import contextlib
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ddlwa.simulator.adapter.relay import Relay
from ddlwa.simulator.errors import AdapterFailedError, SimulatorError
from ddlwa.simulator.process import ChildProcess

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType

    from typing_extensions import Self

__all__ = ["LwaAdapter", "LwaBinary"]

_NAME = "lambda-adapter"
_INSTALL = "`cargo install lambda_web_adapter` installs it"
_GRACE_S = 0.5
# rustc leaves the paths of its sources in the binary, cargo's have the version in them.
_VERSION = re.compile(rb"lambda_web_adapter-(\d+\.\d+\.\d+(?:-[a-z]+\.?\d*)?)/")
_CHECK_PORTS = {"AWS_LWA_READINESS_CHECK_PORT", "READINESS_CHECK_PORT"}
# Variables that are for the app only, or lead the adapter elsewhere.
_NOT_PASSED = ("LD_PRELOAD", "AWS_LWA_LAMBDA_RUNTIME_API_PROXY")


@dataclass(frozen=True, slots=True)
class LwaBinary:
    """An executable of LWA.

    Args:
        path: Where it is.
        version: Its version, or "of unknown version".
    """

    path: Path
    version: str

    @classmethod
    def named(cls, name: str) -> LwaBinary:
        """Find the executable by what a user calls it.

        Args:
            name: ``lwa`` for the one on PATH, or its path.

        Raises:
            AdapterFailedError: It is not there, or not executable.
        """
        return cls.find(None if name == "lwa" else Path(name))

    @classmethod
    def find(cls, place: Path | None = None) -> LwaBinary:
        """Find the executable.

        Args:
            place: Where it is, None for the ``lambda-adapter`` on PATH.

        Raises:
            AdapterFailedError: It is not there, or not executable.
        """
        found = shutil.which(_NAME if place is None else str(place.absolute()))
        if found is None:
            if place is None:
                problem = f"there is no {_NAME} on PATH; {_INSTALL}"
            elif place.is_file():
                problem = f"the adapter {place} is not executable"
            else:
                problem = f"there is no adapter {place}; {_INSTALL}"
            raise AdapterFailedError(problem, part="adapter")
        path = Path(found)
        match = _VERSION.search(path.read_bytes())
        return cls(path, match[1].decode() if match else "of unknown version")


class LwaAdapter:
    """The real adapter, for the time of an ``async with`` block.

    Args:
        binary: Its executable.
        environment: The function's variables, with those of Lambda.
        port: The app's port on 127.0.0.1.
        relayed: Whether its connections to the app can be closed from outside.
    """

    def __init__(
        self, binary: LwaBinary, *, environment: Mapping[str, str], port: int, relayed: bool
    ) -> None:
        self.process: ChildProcess | None = None
        """The adapter's process, which is frozen with the app; None before its start."""
        self._binary = binary
        self._environment = {
            name: value for name, value in environment.items() if name not in _NOT_PASSED
        } | {"AWS_LWA_HOST": "127.0.0.1", "AWS_LWA_PORT": str(port)}
        self._relay = Relay(port=port) if relayed else None
        self._stack = contextlib.AsyncExitStack()

    async def __aenter__(self) -> Self:
        async with contextlib.AsyncExitStack() as stack:
            if self._relay is not None:
                await stack.enter_async_context(self._relay)
                # The relay listens before the app does, so the readiness check goes past it.
                if not _CHECK_PORTS & self._environment.keys():
                    self._environment["AWS_LWA_READINESS_CHECK_PORT"] = self._environment["AWS_LWA_PORT"]
                self._environment["AWS_LWA_PORT"] = str(self._relay.port)
            try:
                self.process = ChildProcess([str(self._binary.path)], env=self._environment, part="adapter")
            except SimulatorError as error:
                raise AdapterFailedError(str(error), part=error.part) from error
            stack.push_async_callback(self.process.close, grace_s=_GRACE_S)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._stack.aclose()

    async def forget_connections(self) -> None:
        """Close the idle connections to the app, which the next invocation then opens anew.

        An app that is stopped at the last byte of a response has not yet told whether it keeps the
        connection. LWA would have noticed by the time of the next invocation; when the app only closes it
        after the thaw, a request that is on its way on it fails.
        """
        if self._relay is not None:
            await self._relay.hang_up()

    async def run(self) -> None:
        """Wait for its end, which must not come.

        Raises:
            AdapterFailedError: It exited.
        """
        if self.process is None:
            raise AdapterFailedError("the adapter is not started; use it inside its `async with`")
        await self.process.wait_exited()
        raise AdapterFailedError(
            f"the adapter {self._binary.path} exited with code {self.process.returncode}; "
            "its output says why",
            part="adapter",
            output=self.process.output,
        )
