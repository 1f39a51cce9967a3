"""A clock that stands still until a test moves it, and that ddtrace's spans follow."""

from __future__ import annotations

import calendar
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING

import freezegun
from freezegun.api import get_current_time

from ddlwa.simulator.durations import parse_duration
from ddlwa.testing import ddtrace_clock
from ddlwa.testing.errors import FixtureError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from freezegun.api import FrozenDateTimeFactory, StepTickTimeFactory, TickingDateTimeFactory

    _Factory = FrozenDateTimeFactory | StepTickTimeFactory | TickingDateTimeFactory

__all__ = ["FrozenClock", "frozen_clock"]

_MICROSECOND_NS = 1_000
_SECOND_NS = 1_000_000_000
_PROBED_NS = 3 * 3_600 * _SECOND_NS
# freezegun leaves modules of these names alone: pytest goes on to measure how long tests take.
_NOT_FROZEN = ["_pytest.timing"]


class FrozenClock:
    """The frozen time of this process, for code under test and for ddtrace's spans alike.

    Args:
        factory: freezegun's handle.
    """

    def __init__(self, factory: _Factory) -> None:
        self._factory = factory

    @property
    def now_ns(self) -> int:
        """What the clock shows, in nanoseconds since the epoch."""
        return _now_ns()

    def tick(self, duration: str | timedelta) -> None:
        """Move the clock forward.

        Args:
            duration: How far, such as ``"3h"``, ``"1h30m"`` or a timedelta; in whole microseconds.

        Raises:
            ValueError: The text is no duration, or not one of whole microseconds.
        """
        if isinstance(duration, str):
            microseconds, rest_ns = divmod(parse_duration(duration), _MICROSECOND_NS)
            if rest_ns:
                raise ValueError(
                    f"{duration!r} is no whole number of microseconds, in which this clock moves"
                )
            duration = timedelta(microseconds=microseconds)
        self._factory.tick(duration)

    def move_to(self, moment: str | datetime) -> None:
        """Set the clock, forward or back.

        Args:
            moment: A datetime, or a text such as ``"2030-01-01 12:00"``; in UTC where it has no time zone.
        """
        self._factory.move_to(moment)


@contextmanager
def frozen_clock() -> Iterator[FrozenClock]:
    """Freeze this process's clock for the time of a ``with`` block; asyncio's own clock goes on.

    Raises:
        FixtureError: The spans of this ddtrace do not follow.
    """
    with freezegun.freeze_time(
        # Not datetime.now(): where time is frozen already, this goes on from there.
        datetime.now(timezone.utc),
        real_asyncio=True,
        ignore=_NOT_FROZEN,
    ) as factory:
        clock = FrozenClock(factory)
        with ddtrace_clock.spans_follow(_now_ns):
            _verify(clock)
            yield clock


def _now_ns() -> int:
    """Read the innermost frozen clock.

    ``time.time_ns`` is not good enough: freezegun computes it with floats, which are off by up to 240 ns,
    and gives threads the real time.
    """
    now = get_current_time()
    return calendar.timegm(now.timetuple()) * _SECOND_NS + now.microsecond * _MICROSECOND_NS


def _verify(clock: FrozenClock) -> None:
    """Refuse a ddtrace whose spans go by another clock: a test of durations would measure nothing."""
    begun_ns = clock.now_ns
    began = get_current_time()
    try:
        found = ddtrace_clock.measure(lambda: clock.tick(timedelta(seconds=_PROBED_NS // _SECOND_NS)))
    except Exception as error:
        raise _refusal(f"a span failed with {error!r}") from error
    finally:
        clock.move_to(began)
    start_ns, duration_ns = found
    if start_ns != begun_ns:
        raise _refusal(f"a span started at {start_ns} ns while the clock stood at {begun_ns} ns")
    if duration_ns != _PROBED_NS:
        raise _refusal(f"a span over 3 h of that clock lasted {duration_ns} ns instead of {_PROBED_NS} ns")


def _refusal(found: str) -> FixtureError:
    return FixtureError(
        f"the spans of ddtrace {ddtrace_clock.VERSION} cannot be put on a frozen clock: {found}. "
        "Durations measured here would mean nothing. Use a ddtrace that ddlwa supports (>=3.19,<5), "
        "or test with lambda_sandbox."
    )
