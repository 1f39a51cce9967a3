from __future__ import annotations

import pytest

from ddlwa.check.plan import Planned, parse_route, schedule


@pytest.mark.parametrize(
    ("text", "method", "path"),
    [
        ("GET /items/1", "GET", "/items/1"),
        ("POST  /orders?x=1", "POST", "/orders?x=1"),
        (" /search ", "GET", "/search"),
    ],
)
def test_a_route_is_a_method_and_a_path(text, method, path):
    """The method may be left out for a GET."""
    assert parse_route(text) == Planned(method, path)


@pytest.mark.parametrize("text", ["", "items", "get /items", "GET", "GET items", "GET /a b", "GET /a\n/b"])
def test_anything_else_is_no_route(text):
    """What is no route is refused with an example of one."""
    with pytest.raises(ValueError, match="GET /items/1"):
        parse_route(text)


@pytest.mark.parametrize(("routes", "total"), [(1, 10), (4, 40), (25, 100), (30, 90), (300, 300)])
def test_the_default_is_whole_rounds(routes, total):
    """Each route is asked for ten times, or as often as makes about a hundred, but once at least."""
    requests = [Planned("GET", f"/{number}") for number in range(routes)]
    assert len(schedule(requests, total=None)) == total


def test_requests_go_round():
    """A total that is no multiple ends in the middle of a round."""
    one, two = Planned("GET", "/1"), Planned("GET", "/2")
    assert schedule([one, two], total=3) == (one, two, one)
