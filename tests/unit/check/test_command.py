from __future__ import annotations

import pytest

from ddlwa.check.command import DEMO_APP, Options, _close_up
from ddlwa.check.plan import Planned
from ddlwa.demo.tour import CLOSE_UP
from ddlwa.report.model import InvocationResult, Mode, RouteResult, Run


def choose(app, *answered, routes=()):
    """Choose among routes that were answered so; return the chosen one's label."""
    results = tuple(
        RouteResult(method, path, (InvocationResult(1, 1, status, 1, 2, True, (), ()),))  # noqa: FBT003  # delivered
        for method, path, status in answered
    )
    run = Run(Mode.DDLWA, results, others=(), timeline=(), clock_jumped=True, elapsed_s=0.1)
    options = Options(app=app, routes=routes, total=None, freeze_ns=1, modes=(Mode.DDLWA,), explain=True)
    return _close_up(options, run, [Planned(method, path) for method, path, _ in answered]).label


@pytest.mark.parametrize(
    ("answered", "expected"),
    [
        ([("GET", "/", 200), ("GET", "/items", 200)], "GET /"),
        ([("GET", "/", 404), ("POST", "/orders", 201), ("GET", "/items", 200)], "GET /items"),
        ([("GET", "/", 404), ("GET", "/broken", None)], "GET /"),
        ([("POST", "/orders", 201)], "GET /"),
    ],
)
def test_the_first_get_route_that_was_answered_well_is_explained(answered, expected):
    """Many an app has no /, and its 404 has little to show."""
    assert choose("main:app", *answered) == expected


def test_the_demo_has_a_route_to_be_explained():
    """It has a few spans; a route that is named wins."""
    assert choose(DEMO_APP, ("GET", "/", 200)) == f"GET {CLOSE_UP.path}"
    assert choose(DEMO_APP, ("GET", "/logo", 200), routes=(Planned("GET", "/logo"),)) == "GET /logo"
