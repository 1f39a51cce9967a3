"""Patches ddtrace, and undoes that, as one transaction."""

from __future__ import annotations

import functools
import os
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ddlwa.apps import untraced_apps
from ddlwa.errors import UnsupportedError
from ddlwa.log import warn_once
from ddlwa.replacements import Replacements
from ddlwa.request import current
from ddlwa.settings import Mode, Settings, load

if TYPE_CHECKING:
    from types import ModuleType

    from ddlwa.serve import Serving


@dataclass(frozen=True, slots=True)
class _Installation:
    replacements: Replacements
    serving: Serving


_lock = threading.Lock()
_installation: _Installation | None = None


def patch_all(*, strict: bool = False, **integrations: bool) -> None:
    """Instrument what ddtrace instruments, and hold responses until their trace has been delivered.

    To be called once, before the app is created; a second call changes nothing. In Lambda the hold is
    installed unless `DDLWA_ENABLED=false`; elsewhere only with `DDLWA_ENABLED=true`. Without it this
    is stock ddtrace.

    Args:
        strict: Raise where the default is one warning and stock ddtrace.
        integrations: ddtrace's own keyword form, such as `redis=False`.

    Raises:
        UnsupportedError: With `strict` only: this ddtrace cannot be patched, an integration cannot be
            had as asked, or an app exists already that will not be traced.
    """
    with _lock:
        before = _installation
        problems = _patch(load(os.environ), integrations)
        if strict and problems:
            if before is None:
                _uninstall()
            raise UnsupportedError("; ".join(problems))
    for problem in problems:
        warn_once(problem, "%s", problem)


def serving() -> Serving | None:
    """Give what serves requests, or None where ddlwa is off."""
    return None if _installation is None else _installation.serving


def unpatch() -> None:
    """Take out exactly what `patch_all` put into ddtrace; what ddtrace itself patched stays patched."""
    with _lock:
        _uninstall()


def _uninstall() -> None:
    global _installation  # noqa: PLW0603 - patching is per process
    if _installation is not None:
        _installation.replacements.undo()
        _installation.serving.stop()
        _installation = None


def _patch(settings: Settings, integrations: dict[str, bool]) -> list[str]:
    """Do all that can be done; say what could not."""
    try:
        from ddlwa import tracer  # noqa: PLC0415 - its imports are what an unsupported ddtrace fails on
    except ImportError as error:
        import ddtrace.auto  # noqa: F401, PLC0415 - stock ddtrace, by its public door

        return [f"ddlwa cannot patch this ddtrace ({error}); it is left as it is"]
    problems = tracer.instrument(integrations, os.environ) + [
        f"{app} was created before ddlwa.patch_all() and will not be traced: "
        "call patch_all() first, or start the server with ddlwa-run"
        for app in untraced_apps(tracer.TraceMiddleware)
    ]
    if settings.mode is not Mode.OFF and _installation is None:
        problems += _install(settings)
    return problems


def _install(settings: Settings) -> list[str]:
    global _installation  # noqa: PLW0603 - patching is per process
    from ddlwa import tracer  # noqa: PLC0415 - as in _patch
    from ddlwa.serve import Serving  # noqa: PLC0415 - needed only where ddlwa is on

    reason = tracer.probe()
    if reason is not None:
        return [f"{reason}; ddtrace is left as it is"]
    replacements = Replacements()
    serving = Serving(settings)
    problems = serving.start()
    try:
        _replace(replacements, serving)
    except Exception as error:  # noqa: BLE001 - a half-done patch is undone, and the app goes on
        replacements.undo()
        serving.stop()
        return [f"patching ddtrace failed ({error!r}); it is left as it is"]
    _installation = _Installation(replacements, serving)
    return problems


def _replace(replacements: Replacements, serving: Serving) -> None:
    from ddlwa import tracer  # noqa: PLC0415 - as in _patch
    from ddlwa.request_trace import note_begin  # noqa: PLC0415 - as in _install
    from ddlwa.tracer.writer import take_over_sending, take_over_traces  # noqa: PLC0415 - as in _install

    def patch_background(module: ModuleType) -> None:
        if replacements.active:
            replacements.replace(module.BackgroundTask, "__call__", _after_release)

    take_over_traces(serving.buffer, replacements)
    tick = None if serving.settings.one_at_a_time else serving.look_around
    take_over_sending(serving.buffer, serving.delivery, replacements, tick=tick)
    tracer.correct_durations(serving.ledger, replacements)
    tracer.on_request_start(note_begin, replacements)
    replacements.replace(
        tracer.TraceMiddleware,
        "__call__",
        functools.partial(_served, replacements=replacements, serving=serving),
    )
    tracer.on_exit(serving.exit, replacements)
    tracer.when_imported("starlette.background", patch_background)


def _served(call: Any, *, replacements: Replacements, serving: Serving) -> Any:
    @functools.wraps(call)
    async def __call__(self: Any, scope: Any, receive: Any, send: Any) -> Any:  # noqa: N807 - it is one
        # A mounted app's middleware finds the outer one's mark, and leaves the rest to it.
        if not replacements.active or scope["type"] != "http" or "datadog" in scope:
            return await call(self, scope, receive, send)
        return await serving.serve(functools.partial(call, self), scope, receive, send)

    return __call__


def _after_release(call: Any) -> Any:
    @functools.wraps(call)
    async def __call__(self: Any) -> None:  # noqa: N807 - it is one
        request = current.get()
        if request is not None and request.hold is not None:
            await request.hold.background_starts()
        await call(self)

    return __call__
