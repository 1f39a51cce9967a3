"""Work after the response: what an app may leave to be done, and what became of it."""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import sys
import time
from collections import Counter
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from ddlwa.errors import DdlwaError
from ddlwa.log import warn_once
from ddlwa.request import current

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from contextlib import AbstractContextManager

    from ddlwa.request import Request

    _F = TypeVar("_F", bound=Callable[..., Any])

DEFAULT_TIMEOUT_S = 5.0


@dataclass(frozen=True, slots=True)
class Job:
    """Something to be done after a response.

    Attributes:
        function: What to call, sync (in a thread) or async.
        args: Its arguments.
        critical: To be done before the sandbox can be frozen, before anything that is not.
        timeout_s: How long it is waited for, in seconds.
        origin: The span that left it to be done, if any.
    """

    function: Callable[..., Any]
    args: tuple[Any, ...]
    critical: bool
    timeout_s: float
    origin: Any = None

    @property
    def name(self) -> str:
        """The function's name, for logs and spans."""
        function = self.function.func if isinstance(self.function, partial) else self.function
        return getattr(function, "__qualname__", type(function).__name__)


class _NotInTimeError(DdlwaError):
    """Work after the response took longer than it may."""


counts: Counter[str] = Counter()
"""How many jobs were completed, failed, timed_out or abandoned, since the process began."""

_handlers: list[Job] = []
_running: set[asyncio.Task[None]] = set()


def defer(
    function: Callable[..., Any], *args: Any, critical: bool = False, timeout_s: float = DEFAULT_TIMEOUT_S
) -> None:
    """Have something done once this request's response has been sent.

    With `critical` it is done before the sandbox can be frozen: in extension mode after the response,
    in hold mode before its last byte. What is not critical runs after the response: in extension mode
    before the freeze, in hold mode as far as there is time, and on in the next invocation. A failure is
    logged once by its name, is in a span of its own, and never reaches the response.

    Outside a request that ddlwa serves (a script, a server where it is off) it is begun at once, in a
    task of the running event loop.

    Args:
        function: Sync (runs in a thread) or async.
        args: Its arguments.
        critical: Whether it must not be interrupted by a freeze.
        timeout_s: How long it is waited for, in seconds; an async one is then cancelled.

    Raises:
        RuntimeError: There is neither a request nor a running event loop.
    """
    job = Job(function, args, critical=critical, timeout_s=timeout_s, origin=_current_span())
    request = current.get()
    if request is not None:
        request.jobs.append(job)
        return
    task = asyncio.get_running_loop().create_task(_run(job, timeout_s))
    _running.add(task)
    task.add_done_callback(_running.discard)


def before_freeze(*, critical: bool = False, timeout_s: float = DEFAULT_TIMEOUT_S) -> Callable[[_F], _F]:
    """Have the decorated function, which takes no argument, done at the end of every invocation.

    Args:
        critical: As in `defer`.
        timeout_s: As in `defer`.
    """

    def register(function: _F) -> _F:
        _handlers.append(Job(function, (), critical=critical, timeout_s=timeout_s))
        return function

    return register


def registered() -> list[Job]:
    """Give the jobs that every request has, as a list of its own."""
    return _handlers.copy()


async def around(request: Request, served: Awaitable[Any]) -> Any:
    """Await what serves a request, during which work can be deferred, then do that work."""
    outer = current.get()
    current.set(request)
    try:
        result = await served
    except Exception:
        await _do(request, rest=True)
        raise
    else:
        if request.jobs:
            await _do(request, rest=True)
        return result
    finally:
        current.set(outer)
        if request.jobs:
            counts["abandoned"] += len(request.jobs)
        request.ended()


async def do_critical(request: Request) -> None:
    """Do what must be done before the sandbox can be frozen."""
    await _do(request, rest=False)


async def _do(request: Request, *, rest: bool) -> None:
    # What is critical comes first, whatever was left first.
    jobs = request.jobs
    while job := next(filter(_is_critical, jobs), jobs[0] if rest and jobs else None):
        jobs.remove(job)
        await _run(job, _limit_s(job, request.deadline_s))


def _limit_s(job: Job, deadline_s: float | None) -> float:
    if deadline_s is None:
        return job.timeout_s
    return max(0.0, min(job.timeout_s, deadline_s - time.time()))


def _is_critical(job: Job) -> bool:
    return job.critical


async def _run(job: Job, limit_s: float) -> None:
    outcome = "abandoned"
    try:
        with _span(job):
            await _call_within(job, limit_s)
        outcome = "completed"
    except asyncio.CancelledError:
        raise
    except _NotInTimeError:
        outcome = "timed_out"
        warn_once(f"work.late.{job.name}", "work after the response is not done in time: %s", job.name)
    except Exception:  # noqa: BLE001 - the work's own failure ends here
        outcome = "failed"
        warn_once(f"work.{job.name}", "work after the response failed: %s", job.name, exc_info=True)
    finally:
        counts[outcome] += 1


async def _call_within(job: Job, limit_s: float) -> None:
    task = asyncio.ensure_future(_call(job))
    try:
        done, _ = await asyncio.wait({task}, timeout=limit_s)
    except asyncio.CancelledError:
        task.cancel()
        raise
    if not done:
        task.cancel()
        raise _NotInTimeError(f"{job.name} was not done within {limit_s:g} s")
    task.result()


async def _call(job: Job) -> None:
    if inspect.iscoroutinefunction(job.function):
        await job.function(*job.args)
        return
    work = partial(contextvars.copy_context().run, job.function, *job.args)
    result = await asyncio.get_running_loop().run_in_executor(None, work)
    if inspect.isawaitable(result):
        await result


def _span(job: Job) -> AbstractContextManager[Any]:
    tracer = sys.modules.get("ddlwa.tracer")
    return nullcontext() if tracer is None else tracer.work_span(job.name, job.origin)


def _current_span() -> Any:
    tracer = sys.modules.get("ddlwa.tracer")
    return None if tracer is None else tracer.current_span()
