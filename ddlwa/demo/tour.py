"""The requests that show every way in which the shop's responses end, as plain data."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class DemoRequest:
    """A request to the shop.

    Attributes:
        method: HTTP method.
        path: With its query.
        status: What the shop answers.
        headers: Names and values.
    """

    method: str
    path: str
    status: int
    headers: tuple[tuple[str, str], ...] = ()


# Looked at from every event source: a few spans, each with something to tell.
CLOSE_UP = DemoRequest("GET", "/items/1", 200)

# An invocation that starts background work is followed by one that is busy for longer than that work
# takes. Nothing else gives it the time to end before the next freeze: Lambda runs nothing in between.
TOUR = (
    DemoRequest("GET", "/", 200),
    DemoRequest("GET", "/items", 200, headers=(("accept-encoding", "gzip"),)),
    DemoRequest("GET", "/items/1", 200),
    DemoRequest("GET", "/items/999", 404),
    DemoRequest("GET", "/stock/1", 200),
    DemoRequest("GET", "/stock/999", 503),
    DemoRequest("POST", "/orders", 201),
    DemoRequest("GET", "/search?q=tea", 200),
    DemoRequest("POST", "/reviews", 202),
    DemoRequest("GET", "/shipping", 200),
    DemoRequest("GET", "/items/one", 422),
    DemoRequest("DELETE", "/cart", 204),
    DemoRequest("GET", "/logo", 304, headers=(("if-none-match", '"logo-1"'),)),
    DemoRequest("HEAD", "/logo", 200),
    DemoRequest("GET", "/catalogue", 307),
    DemoRequest("GET", "/export", 200),
    DemoRequest("GET", "/export/sized", 200),
    DemoRequest("GET", "/manual", 200),
    DemoRequest("GET", "/health", 200),
    DemoRequest(
        "OPTIONS",
        "/orders",
        200,
        headers=(("origin", "https://shop.example"), ("access-control-request-method", "POST")),
    ),
    DemoRequest("POST", "/payments", 500),
    DemoRequest("GET", "/broken", 500),
    DemoRequest("GET", "/admin/sales", 200),
    DemoRequest("GET", "/admin/broken", 500),
    DemoRequest("GET", "/legacy/", 200),
)
