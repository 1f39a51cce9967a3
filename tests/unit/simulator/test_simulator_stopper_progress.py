from __future__ import annotations

import pytest

from ddlwa.simulator.stopper.sitecustomize import Progress


def complete_after(method, *messages):
    """Return the index of the message after which the response is complete, None if never."""
    progress = Progress(method)
    for index, message in enumerate(messages):
        progress.advance(message)
        if progress.complete:
            return index
    return None


def start(status=200, *headers):
    return {"type": "http.response.start", "status": status, "headers": headers}


def body(data=b"", **more):
    return {"type": "http.response.body", "body": data, **more}


@pytest.mark.parametrize(
    ("method", "messages", "index"),
    [
        ("HEAD", [start()], 0),
        ("HEAD", [start(200, (b"content-length", b"5"))], 0),
        ("GET", [start(204)], 0),
        ("GET", [start(304, (b"content-length", b"5"))], 0),
        ("GET", [start(200, (b"content-length", b"0"))], 0),
        (
            "GET",
            [start(200, (b"Content-Length", b"2")), body(b"a", more_body=True), body(b"b", more_body=True)],
            2,
        ),
        ("GET", [start(200, (b"content-length", b"2")), body(b"a", more_body=True)], None),
        ("GET", [start(), body(b"a", more_body=True), body(more_body=True), body()], 3),
        ("GET", [start(), {"type": "http.response.body"}], 1),
        ("GET", [{"type": "http.response.start", "status": 200}, body(b"a")], 1),
        # With both, chunked framing wins: RFC 9112 section 6.3, rule 3.
        (
            "GET",
            [
                start(200, (b"content-length", b"1"), (b"transfer-encoding", b"chunked")),
                body(b"a", more_body=True),
                body(),
            ],
            2,
        ),
        ("GET", [start(200, (b"content-length", b"1, 1")), body(b"a", more_body=True)], 1),
        ("GET", [start(103)], None),
        ("GET", [{"type": "http.response.debug"}, start(204)], 1),
    ],
)
def test_a_client_has_the_response_after(method, messages, index):
    """A response is complete where RFC 9112 section 6.3 says that its client knows its end."""
    assert complete_after(method, *messages) == index
