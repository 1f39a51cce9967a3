from __future__ import annotations

import pytest

from ddlwa.simulator import HttpResponse, Invocation
from ddlwa.testing.errors import FixtureError
from ddlwa.testing.invocation import LambdaInvocation


def invoked(*, response=None, payload=b"{}", error=None):
    raw = Invocation(
        request_id="1",
        request=None,
        event={},
        payload=payload,
        response=response,
        error=error,
        started_ns=1,
        responded_ns=3,
        frozen_ns=2,
    )
    return LambdaInvocation(raw, label="GET /")


def test_a_response_reads_as_that_of_an_http_client():
    """Status, headers, body and times are at hand."""
    headers = (("content-type", "application/json"), ("vary", "a"), ("vary", "b"))
    invocation = invoked(response=HttpResponse(status=201, headers=headers, body=b'{"tea": "\xc3\xa9"}'))
    assert invocation.status == 201
    assert invocation.headers == {"content-type": "application/json", "vary": "a, b"}
    assert invocation.json() == {"tea": "é"}
    assert invocation.text == '{"tea": "é"}'
    assert invocation.error is None
    assert (invocation.started_ns, invocation.frozen_ns, invocation.responded_ns) == (1, 2, 3)
    assert repr(invocation) == "<LambdaInvocation GET /: 201>"


def test_an_event_has_the_payload_for_a_body():
    """What the function returned can be read, but there is no status."""
    invocation = invoked(payload=b"[1]")
    assert invocation.json() == [1]
    with pytest.raises(FixtureError, match="no HTTP response: the event was no HTTP request's; see body"):
        _ = invocation.status


def test_a_failed_invocation_says_why_it_has_no_response():
    """The reason stands in the error of whoever asks for the response."""
    invocation = invoked(payload=None, error="the app exited")
    assert repr(invocation) == "<LambdaInvocation GET /: the app exited>"
    with pytest.raises(FixtureError, match="GET / has no HTTP response: the app exited"):
        _ = invocation.body
