"""Framing given what no app should send: it fails as the gate expects, and never completes too early."""

import asyncio
import logging
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ddlwa import log
from ddlwa.expiry import Expiry
from ddlwa.framing import BODY, PATHSEND, START, TRAILERS, ZEROCOPYSEND, Framing
from ddlwa.gate import Gate, State

MARKER = "s3cr3t-m4rk3r"
CHUNKED = (b"transfer-encoding", b"chunked")


class Hostile:
    """Fails at whatever is asked of it."""

    def _fail(self, *_):
        raise LookupError("hostile")

    __bool__ = __contains__ = __eq__ = __hash__ = __iter__ = __len__ = __lt__ = __sub__ = __rsub__ = _fail


SCALAR = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.sampled_from([0, 1, 103, 200, 204, 304, 10**400, b"9" * 5000]),
    st.floats(),
    st.text(max_size=5),
    st.binary(max_size=5),
    st.binary(max_size=8).map(bytearray),
    st.binary(max_size=8).map(memoryview),
    st.sampled_from([MARKER, MARKER.encode()]),
    st.builds(object),
)
ANYTHING = st.one_of(
    SCALAR,
    st.lists(SCALAR, max_size=3),
    st.dictionaries(st.text(max_size=3), SCALAR, max_size=2),
)
NAME = st.sampled_from([b"content-length", b"Content-Length", b"TRANSFER-ENCODING", b"x-a"])
LENGTH = st.sampled_from(
    [b"0", b"3", b" 7 ", b"-1", b"+1", b"1_0", b"0x1", b"1.0", b"", b"1, 1", "٣".encode(), b"\t2\x0b"]
)
PAIRS = st.lists(st.tuples(NAME | st.binary(max_size=4), LENGTH | st.binary(max_size=4)), max_size=4)
HEADERS = st.one_of(
    PAIRS, ANYTHING, st.lists(ANYTHING, max_size=3), st.lists(st.tuples(ANYTHING, ANYTHING), max_size=3)
)
KIND = st.sampled_from(
    [START, BODY, TRAILERS, PATHSEND, ZEROCOPYSEND, "http.response.debug", "websocket.send"]
)
FIELDS = {
    "type": KIND,
    "status": st.sampled_from([100, 103, 200, 204, 304, 500]),
    "headers": HEADERS,
    "body": st.binary(max_size=8),
    "more_body": st.booleans(),
    "count": st.integers(-1, 8),
    "trailers": st.booleans(),
    "more_trailers": st.booleans(),
}


def messages(value):
    """Give messages of which any field may be absent, or any such value."""
    odd = {name: field | value for name, field in FIELDS.items()}
    return st.one_of(
        st.fixed_dictionaries({"type": KIND}, optional={k: v for k, v in odd.items() if k != "type"}),
        st.fixed_dictionaries({}, optional=odd),
        st.dictionaries(st.text(max_size=5), value, max_size=3),
    )


def scopes(value):
    method = st.sampled_from(["GET", "HEAD"]) | value
    extensions = st.sampled_from([{TRAILERS: {}}, {}, None]) | value
    return st.fixed_dictionaries({}, optional={"method": method, "extensions": extensions})


@given(
    scope=scopes(ANYTHING | st.builds(Hostile)),
    sent=st.lists(messages(ANYTHING | st.builds(Hostile)), max_size=6),
)
def test_any_messages(scope, sent):
    """Whatever the messages, framing says yes or no or raises an Exception, and the gate says yes or no."""
    framing = Framing(scope)
    passed_on = passes_on(scope, sent)
    for number, message in enumerate(sent):
        try:
            expected = framing.completes(message)
        except Exception:  # noqa: BLE001 - the gate guards against any
            expected = False
        assert expected in (True, False)
        if expected:
            assert passed_on == number
            break
    else:
        assert passed_on == len(sent)


def passes_on(scope, sent):
    """Send messages through a gate; give how many it has passed on by the time when it holds one."""
    passed_on = []

    class Trace:
        async def deliver(self, reason):
            pass

    async def main():
        async def server(message):
            if gate._state is State.STREAMING:
                passed_on.append(message)

        gate = Gate(scope, None, server, trace=Trace(), expiry=Expiry(1.0))
        for message in sent:
            await gate.send(message)
            if gate._state is not State.STREAMING:
                break

    asyncio.run(main())
    return len(passed_on)


@given(scope=scopes(ANYTHING), sent=st.lists(messages(ANYTHING), max_size=6))
def test_nothing_of_a_message_is_logged(scope, sent):
    """A message that cannot be followed means one warning, whose traceback shows nothing of the message."""
    lines = []

    class Handler(logging.Handler):
        def emit(self, record):
            lines.append(self.format(record))

    handler = Handler()
    log._said.clear()
    logging.getLogger("ddlwa").addHandler(handler)
    try:
        passes_on(scope, sent)
    finally:
        logging.getLogger("ddlwa").removeHandler(handler)
    assert len(lines) <= 1
    assert MARKER not in "".join(lines)


@pytest.mark.parametrize("message", [{}, {"type": START}, {"type": BODY, "body": None}])
def test_exceptions_the_gate_guards(message):
    """A message that is not shaped as ASGI says raises, and so is told from one that completes nothing."""
    framing = Framing({"method": "GET"})
    if message.get("type") == BODY:
        framing.completes({"type": START, "status": 200})
    with pytest.raises((KeyError, TypeError)):
        framing.completes(message)


def test_an_interrupt_is_not_guarded():
    """What is no Exception, such as an interrupt, passes through framing and gate."""

    class Interrupting(dict):
        def get(self, *_):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        passes_on({"method": "GET"}, [Interrupting(type=START, status=200)])


def announced(headers):
    """Read the length that RFC 9112, 6.3, finds in headers; None if the body is delimited otherwise."""
    if any(name.lower() == b"transfer-encoding" for name, _ in headers):
        return None
    lengths = [value for name, value in headers if name.lower() == b"content-length"]
    return next((int(value) for value in lengths if re.fullmatch(rb"\s*[0-9]+\s*", value)), None)


@given(headers=PAIRS, body=st.binary(max_size=12), more=st.booleans())
def test_any_headers(headers, body, more):
    """Among any headers the length is found, and an unreadable one is not taken for a length."""
    framing = Framing({"method": "GET"})
    length = announced(headers)
    assert framing.completes({"type": START, "status": 200, "headers": headers}) is (length == 0)
    if length != 0:
        complete = not more if length is None else len(body) >= length
        assert framing.completes({"type": BODY, "body": body, "more_body": more}) is complete


@given(
    status=st.integers(100, 199) | st.sampled_from([204, 304]),
    headers=HEADERS,
    head=st.booleans(),
)
def test_responses_without_content(status, headers, head):
    """A response that has no content is complete at its start, whatever its headers."""
    scope = {"method": "HEAD" if head else "GET"}
    assert Framing(scope).completes({"type": START, "status": 200 if head else status, "headers": headers})


CARRIERS = st.one_of(
    st.fixed_dictionaries(
        {"type": st.just(BODY)}, optional={"body": FIELDS["body"] | ANYTHING, "more_body": ANYTHING}
    ),
    st.fixed_dictionaries(
        {"type": st.just(ZEROCOPYSEND)},
        optional={"count": FIELDS["count"] | ANYTHING, "more_body": ANYTHING, "file": ANYTHING},
    ),
    st.fixed_dictionaries(
        {"type": st.sampled_from(["http.response.debug", "http.response.early_hint", "", None])},
        optional={"body": ANYTHING, "more_body": ANYTHING, "more_trailers": ANYTHING},
    ),
)


def size_of(message, missing):
    """Give how many bytes a message carries, 0 if none or nothing that could be counted."""
    if message["type"] == BODY:
        body = message.get("body", b"")
        return len(body) if hasattr(body, "__len__") else 0
    if message["type"] == ZEROCOPYSEND:
        count = message.get("count")
        if count is None:
            return missing
        return count if isinstance(count, (int, float)) else 0
    return 0


@given(
    length=st.integers(1, 40),
    others=st.lists(
        st.tuples(st.sampled_from([b"x-a", b"content-length", b"content-type"]), LENGTH), max_size=3
    ),
    extensions=st.sampled_from([{TRAILERS: {}}, {}, None]),
    trailers=ANYTHING,
    sent=st.lists(CARRIERS, max_size=12),
)
def test_never_complete_before_the_last_byte(length, others, extensions, trailers, sent):
    """While bytes of the announced length are missing, nothing that a message says makes it complete."""
    framing = Framing({"method": "GET", "extensions": extensions})
    headers = [(b"Content-Length", str(length).encode()), *others]
    assert (
        framing.completes({"type": START, "status": 200, "headers": headers, "trailers": trailers}) is False
    )
    missing = length
    for message in sent:
        size = size_of(message, missing)
        try:
            complete = framing.completes(message)
        except Exception:  # noqa: BLE001 - the gate guards against any
            complete, size = False, 0
        missing -= size
        carries = message["type"] in {BODY, ZEROCOPYSEND}
        assert not complete or (carries and missing <= 0)
        if complete:
            break


@given(
    length=st.integers(1, 40), chunks=st.lists(st.binary(max_size=12), min_size=1, max_size=8), more=ANYTHING
)
def test_complete_with_the_last_byte(length, chunks, more):
    """The message with the last byte of the announced length completes, whatever it says of more."""
    framing = Framing({"method": "GET"})
    framing.completes({"type": START, "status": 200, "headers": [(b"content-length", str(length).encode())]})
    sent = 0
    for chunk in chunks:
        sent += len(chunk)
        assert framing.completes({"type": BODY, "body": chunk, "more_body": more}) is (sent >= length)
        if sent >= length:
            break


LONG = {"type": START, "status": 200, "headers": [(b"content-length", b"5")]}
PART = {"type": BODY, "body": b"ab", "more_body": True}


@pytest.mark.parametrize(
    "sent",
    [
        pytest.param([LONG, PART, {"type": TRAILERS}], id="trailers while bytes are missing"),
        pytest.param([{**LONG, "headers": [CHUNKED]}, PART, {"type": TRAILERS}], id="trailers not announced"),
        pytest.param([LONG, PART, {"type": START, "status": 204}], id="second start"),
        pytest.param([LONG, PART, {"type": PATHSEND, "path": "/x"}], id="path after a part of the body"),
        pytest.param([{"type": BODY}], id="body before the start"),
        pytest.param([{"type": PATHSEND, "path": "/x"}], id="path before the start"),
    ],
)
def test_forbidden_order(sent):
    """A message that ASGI forbids in its place completes nothing, so the server's refusal reaches the app."""
    framing = Framing({"method": "GET"})
    assert [framing.completes(message) for message in sent] == [False] * len(sent)
