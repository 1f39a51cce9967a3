"""Assertions on an invocation's trace, whose messages say what is wrong and what to do."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ddlwa.report.advice import advise
from ddlwa.report.model import Fault, Mode

if TYPE_CHECKING:
    from collections.abc import Collection

    from ddlwa.testing.trace import Trace

__all__ = ["assert_delivered", "assert_no_frozen_time", "assert_right", "assert_whole"]

_TIMES = frozenset(
    {
        Fault.FROZEN_TIME,
        Fault.BACKGROUND_FROZEN_TIME,
        Fault.CUT_SHORT,
        Fault.NEGATIVE_DURATION,
        Fault.OUTSIDE_RUN,
    }
)
_DELIVERY = frozenset({Fault.LATE})
_SHAPE = frozenset({Fault.NOT_WHOLE})

_PLAIN = (
    "Here plain ddtrace traces the app. Trace it with ddlwa: ddlwa.patch_all() before the app is created, or "
    'ddlwa-run; and give the sandbox mode="hold" or mode="extension".'
)
_PRINTED = "See what the app printed: sandbox.output()."


def assert_no_frozen_time(trace: Trace) -> None:
    """Assert that no span counts time for which the sandbox was frozen, nor any other false time.

    Args:
        trace: From ``sandbox.trace()``, after ``sandbox.freeze()``.

    Raises:
        AssertionError: One does; or there is no span, or was no freeze, to judge by.
    """
    __tracebackhide__ = True
    _assert_frozen(trace)
    _assert_none(trace, _TIMES, wrong="recorded times are wrong")


def assert_delivered(trace: Trace) -> None:
    """Assert that all spans of the request reached the trace agent before the freeze.

    Args:
        trace: From ``sandbox.trace()``.

    Raises:
        AssertionError: They did so later, or never.
    """
    __tracebackhide__ = True
    _assert_none(trace, _DELIVERY, wrong="the trace was not delivered before the freeze")


def assert_whole(trace: Trace) -> None:
    """Assert that the request's trace has one root, that no parent is missing and no span came twice.

    Args:
        trace: From ``sandbox.trace()``.

    Raises:
        AssertionError: It is otherwise, or there is no span.
    """
    __tracebackhide__ = True
    _assert_none(trace, _SHAPE, wrong="the trace is not whole")


def assert_right(trace: Trace) -> None:
    """Assert all that ``ddlwa check`` judges of one invocation: a response, times, delivery and wholeness.

    Args:
        trace: From ``sandbox.trace()``, after ``sandbox.freeze()``.

    Raises:
        AssertionError: Something is wrong.
    """
    __tracebackhide__ = True
    _assert_frozen(trace)
    _assert_none(trace, frozenset(Fault), wrong="the trace is wrong")


def _assert_frozen(trace: Trace) -> None:
    __tracebackhide__ = True
    if not trace.frozen:
        raise AssertionError(
            f"{trace.request}: the sandbox was not frozen after this invocation, so that no span can have "
            'frozen time. Call sandbox.freeze("3h") between invoke() and trace().'
        )


def _assert_none(trace: Trace, faults: Collection[Fault], *, wrong: str) -> None:
    __tracebackhide__ = True
    # Of a trace that never came nothing can be said, and least of all that it is right.
    findings = [one for one in trace.findings if one.fault in faults or one.fault is Fault.LOST]
    if not findings:
        return
    found = list(dict.fromkeys(one.fault for one in findings))
    plain = trace.mode is Mode.PLAIN
    advice = [_PLAIN] if plain else [*(advise(fault, mode=trace.mode) for fault in found), _PRINTED]
    raise AssertionError(
        "\n".join(
            [
                f"{trace.request}: {wrong}",
                *(f"- {one.fault.value}: {one.message}" for one in findings),
                *(f"What to do: {text}" for text in dict.fromkeys(advice)),
                str(trace),
            ]
        )
    )
