"""Framing names the message that completes the response: by the table, and by a real client's view."""

import asyncio
import logging

import h11
import pytest
from hypothesis import given
from hypothesis import strategies as st
from uvicorn.config import Config
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from ddlwa.framing import Framing, is_last


def start(status=200, *headers, **more):
    return {"type": "http.response.start", "status": status, "headers": list(headers), **more}


def body(data=b"", *, more=None):
    message = {"type": "http.response.body", "body": data}
    return message if more is None else {**message, "more_body": more}


def trailers(*, more=None):
    message = {"type": "http.response.trailers", "headers": []}
    return message if more is None else {**message, "more_trailers": more}


def length(n):
    return (b"content-length", str(n).encode())


CHUNKED = (b"transfer-encoding", b"chunked")
FILE = object()


def zerocopy(**fields):
    return {"type": "http.response.zerocopysend", "file": FILE, **fields}


def first_completing(framing, messages):
    return next((i for i, message in enumerate(messages) if framing.completes(message)), None)


@pytest.mark.parametrize(
    ("method", "messages", "expected"),
    [
        pytest.param("HEAD", [start(), body(b"x")], 0, id="head"),
        pytest.param("HEAD", [start(200, length(5)), body(b"")], 0, id="head with a length"),
        pytest.param("GET", [start(103), start(), body()], 0, id="1xx"),
        pytest.param("GET", [start(204), body()], 0, id="204"),
        pytest.param("GET", [start(304, length(9)), body()], 0, id="304"),
        pytest.param("GET", [start(205), body(b"", more=True), body()], 2, id="205 is framed as any other"),
        pytest.param("GET", [start(200, length(0)), body()], 0, id="length 0"),
        pytest.param("GET", [start(200, length(3)), body(b"abc")], 1, id="length in one message"),
        pytest.param(
            "GET",
            [start(200, length(3)), body(b"abc", more=True), body()],
            1,
            id="length, more_body",
        ),
        pytest.param(
            "GET",
            [start(200, length(3)), body(b"ab", more=True), body(b"", more=True), body(b"c")],
            3,
            id="length, split",
        ),
        pytest.param("GET", [start(200, length(3)), body(b"ab")], None, id="the server will break it off"),
        pytest.param("GET", [start(200, length(3)), body(b"abcd", more=True)], 1, id="too long"),
        pytest.param(
            "GET",
            [start(200, (b"Content-Length", b" 3 ")), body(b"abc", more=True)],
            1,
            id="spelling",
        ),
        pytest.param(
            "GET",
            [start(200, length(3), length(4)), body(b"abc", more=True)],
            1,
            id="first length",
        ),
        pytest.param(
            "GET",
            [start(200, (b"content-length", b"x")), body(b"abc", more=True), body()],
            2,
            id="no number",
        ),
        pytest.param(
            "GET",
            [start(200, length(1), CHUNKED), body(b"a", more=True), body()],
            2,
            id="chunked wins",
        ),
        pytest.param("GET", [start(), body(b"a", more=True), body(b"b", more=False)], 2, id="chunked"),
        pytest.param("GET", [start(), body(b"a")], 1, id="more_body absent"),
        pytest.param("GET", [{"type": "http.response.start", "status": 200}, body()], 1, id="headers absent"),
        pytest.param("GET", [start(), {"type": "http.response.body"}], 1, id="body absent"),
        pytest.param("GET", [start(), {"type": "http.response.pathsend", "path": "/x"}], 1, id="pathsend"),
        pytest.param(
            "HEAD",
            [start(), {"type": "http.response.pathsend", "path": "/x"}],
            0,
            id="head, pathsend",
        ),
        pytest.param("GET", [start(), zerocopy(more_body=True), zerocopy()], 2, id="zerocopysend"),
        pytest.param(
            "GET",
            [start(200, length(4)), zerocopy(count=3, more_body=True), zerocopy(count=1, more_body=True)],
            2,
            id="zerocopysend, length",
        ),
        pytest.param(
            "GET",
            [start(200, length(4)), zerocopy(more_body=True)],
            1,
            id="zerocopysend to the end of the file",
        ),
        pytest.param(
            "GET",
            [{"type": "http.response.debug", "info": {}}, start(), body()],
            2,
            id="debug message",
        ),
        pytest.param("GET", [start(trailers=True), body(b"a"), trailers()], 1, id="trailers not offered"),
    ],
)
def test_table(method, messages, expected):
    """Each row of the table names the message after which nothing of the response is missing."""
    assert first_completing(Framing({"method": method}), messages) == expected


@pytest.mark.parametrize(
    ("messages", "expected"),
    [
        ([start(trailers=True), body(b"a"), trailers(more=True), trailers()], 3),
        ([start(trailers=False), body(b"a")], 1),
        ([start(200, length(1), trailers=True), body(b"a"), trailers()], 1),
        ([start(204, trailers=True), body(), trailers()], 0),
    ],
)
def test_trailers_where_the_server_offers_them(messages, expected):
    """Announced trailers complete a chunked response, and no other, where the server can send them."""
    scope = {"method": "GET", "extensions": {"http.response.trailers": {}}}
    assert first_completing(Framing(scope), messages) == expected


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (start(), False),
        (body(), True),
        (body(more=True), False),
        (zerocopy(more_body=True), False),
        (zerocopy(), True),
        (trailers(more=True), False),
        (trailers(), True),
        ({"type": "http.response.pathsend"}, True),
        ({"type": "http.response.debug"}, False),
        ({}, False),
    ],
)
def test_is_last(message, expected):
    """A message is the last of its body, or of the trailers, when it does not announce more."""
    assert is_last(message) is expected


class RecordingTransport(asyncio.Transport):
    """Keeps what uvicorn writes, with the message during which it was written."""

    def __init__(self):
        super().__init__(extra={"socket": None})
        self.written = [b""]
        self.closed = False

    def write(self, data):
        self.written[-1] += data

    def close(self):
        self.closed = True

    def is_closing(self):
        return self.closed

    def pause_reading(self):
        pass

    def resume_reading(self):
        pass

    def set_protocol(self, protocol):
        pass


def bytes_by_message(protocol_class, method, messages):
    """Send the messages through uvicorn; give the bytes that have left after each of them."""

    async def serve():
        transport = RecordingTransport()
        done = asyncio.get_running_loop().create_future()

        async def app(scope, receive, send):
            for message in messages:
                await send(dict(message))
                transport.written.append(b"")
            done.set_result(None)

        config = Config(app, log_config=None, access_log=False, ws="none", lifespan="off")
        config.load()
        protocol = protocol_class(config=config, server_state=ServerState(), app_state={})
        protocol.connection_made(transport)
        protocol.data_received(f"{method} / HTTP/1.1\r\nhost: test\r\n\r\n".encode())
        await done
        await asyncio.sleep(0)
        protocol.connection_lost(None)
        return transport.written[: len(messages)]

    return asyncio.run(serve())


def client_has_it_all(method, received):
    client = h11.Connection(our_role=h11.CLIENT)
    client.send(h11.Request(method=method, target="/", headers=[("host", "test")]))
    client.send(h11.EndOfMessage())
    client.receive_data(received)
    while True:
        event = client.next_event()
        if event is h11.NEED_DATA:
            return False
        if isinstance(event, h11.EndOfMessage):
            return True


@st.composite
def responses(draw):
    """Any valid response, cut into messages in any valid way."""
    method = draw(st.sampled_from(["GET", "POST", "HEAD"]))
    status = draw(st.sampled_from([200, 201, 204, 205, 302, 304, 404, 500]))
    chunks = [] if status in {204, 304} else draw(st.lists(st.binary(max_size=8), max_size=4))
    headers = []
    if status not in {204, 304} and draw(st.booleans()):
        headers.append(
            (
                draw(st.sampled_from([b"content-length", b"Content-Length"])),
                str(len(b"".join(chunks))).encode(),
            )
        )
    elif status not in {204, 304} and method != "HEAD" and draw(st.booleans()):
        headers.append(CHUNKED)
    messages = [start(status, *headers), *(body(chunk, more=True) for chunk in chunks)]
    last = messages.pop()["body"] if chunks and draw(st.booleans()) else b""
    messages.append(body(last, more=draw(st.sampled_from([None, False]))))
    return method, messages


@pytest.mark.parametrize("protocol_class", [H11Protocol, HttpToolsProtocol])
@given(response=responses())
def test_agrees_with_a_real_client_behind_uvicorn(protocol_class, response):
    """The message that framing names is the first after which a client has the whole response."""
    logging.getLogger("uvicorn.error").disabled = True
    method, messages = response
    written = bytes_by_message(protocol_class, method, messages)
    whole = [client_has_it_all(method, b"".join(written[: i + 1])) for i in range(len(messages))]
    assert True in whole
    assert first_completing(Framing({"method": method}), messages) == whole.index(True)
