from __future__ import annotations

import dataclasses

import pytest
from report_samples import HOUR_NS, make_span

from ddlwa.report.html.timeline import Stretch, Timeline
from ddlwa.report.model import Window

MS = 1_000_000


def make_windows(freezes, *, at=0):
    """Run for 10 ms, be frozen for 3 h, and so on."""
    windows = [Window(at, at + 10 * MS, frozen=False)]
    for _ in range(freezes):
        end = windows[-1].end_ns
        windows += [
            Window(end, end + 3 * HOUR_NS, frozen=True),
            Window(end + 3 * HOUR_NS, end + 3 * HOUR_NS + 10 * MS, frozen=False),
        ]
    return windows


def end_ms(span, *, freezes=1):
    """Give a span's end in ms of a sandbox that was frozen at 10 ms."""
    return Timeline(make_windows(freezes)).end_ns(span) / MS


def span_of(start_ms, duration_ms, *, frozen_ms=0):
    span = make_span(duration_ns=int(duration_ms * MS), frozen_ns=int(frozen_ms * MS))
    return dataclasses.replace(span, start_ns=int(start_ms * MS))


THREE_HOURS_MS = 3 * HOUR_NS / MS


@pytest.mark.parametrize(
    ("span", "end"),
    [
        pytest.param(span_of(2, 5), 7, id="before the freeze"),
        pytest.param(
            span_of(2, 13 + THREE_HOURS_MS, frozen_ms=THREE_HOURS_MS),
            15 + THREE_HOURS_MS,
            id="through the freeze",
        ),
        pytest.param(span_of(2, 13), 15 + THREE_HOURS_MS, id="the freeze taken off"),
        pytest.param(span_of(2, 11, frozen_ms=-2), 15 + THREE_HOURS_MS, id="too much taken off"),
        pytest.param(span_of(2, 8.5), 10.5, id="two clocks, read one after the other"),
        pytest.param(span_of(2, -4), 2, id="negative"),
        pytest.param(span_of(-3, 5), 2, id="begun before the run"),
        pytest.param(span_of(12 + THREE_HOURS_MS, 50), 62 + THREE_HOURS_MS, id="ended after the run"),
        pytest.param(span_of(2, 9, frozen_ms=9), 11, id="never before what it records"),
    ],
)
def test_a_span_ends_when_it_ended(span, end):
    """Its end is that of the wall clock, also where a freeze was taken off the duration that it records."""
    assert end_ms(span) == end


def test_several_freezes_can_be_taken_off():
    """A span that outlived two freezes ends after both."""
    assert end_ms(span_of(2, 25), freezes=2) == 27 + 2 * THREE_HOURS_MS


def test_the_freeze_that_follows_is_shown_whole():
    """What was served for 8 ms and then frozen is 8 ms and the freeze."""
    timeline = Timeline(make_windows(3))
    assert timeline.between(2 * MS, 10 * MS) == (Stretch(8 * MS, 0), Stretch(3 * HOUR_NS, 1))


def test_what_runs_last_is_shown_as_far_as_it_matters():
    """Of the next invocation only what a span needed is there."""
    assert Timeline(make_windows(1)).between(2 * MS, 15 * MS + 3 * HOUR_NS) == (
        Stretch(8 * MS, 0),
        Stretch(3 * HOUR_NS, 1),
        Stretch(5 * MS, 0),
    )


@pytest.mark.parametrize("freezes", [1, 3, 4, 5, 1_000])
def test_many_freezes_are_few_stretches_that_lose_no_time(freezes):
    """What lies between the first and the last of them is one stretch, with their number."""
    windows = make_windows(freezes)
    stretches = Timeline(windows).between(0, windows[-1].end_ns)
    assert len(stretches) <= 9
    assert sum(one.length_ns for one in stretches) == windows[-1].end_ns
    assert sum(one.freezes for one in stretches) == freezes
    assert [bool(one.freezes) for one in stretches[:4]] == [False, True, False, True][: len(stretches)]


def test_a_run_without_windows_just_ran():
    """A moment is a moment where nothing is known of freezes."""
    assert Timeline(()).between(5, 9) == (Stretch(4, 0),)


def test_nothing_has_no_stretches():
    """An invocation that took no time has no timeline."""
    assert Timeline(make_windows(1)).between(5, 5) == ()
