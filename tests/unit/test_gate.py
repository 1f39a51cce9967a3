"""The hold, release by release, with exact times: the loop's clock is virtual."""

import asyncio
import contextlib

import pytest
from virtual_time import run

from ddlwa.expiry import Expiry
from ddlwa.gate import Gate, Release, State

HOLD_S, FLUSH_S = 0.1, 0.2
SCOPE = {"type": "http", "method": "GET"}
START = {"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]}
WHOLE = {"type": "http.response.body", "body": b"ok"}
RELAYED = {"type": "http.response.body", "body": b"ok", "more_body": True}
END = {"type": "http.response.body", "body": b"", "more_body": False}


class Server:
    """Notes what it gets, when, and how much of the trace had been delivered by then."""

    def __init__(self, trace, *, send_s=0.0, fail_at=None):
        self.trace = trace
        self.send_s = send_s
        self.fail_at = fail_at
        self.got = []
        self.times = []
        self.delivered = []

    async def send(self, message):
        self.got.append(message)
        self.times.append(asyncio.get_running_loop().time())
        self.delivered.append(list(self.trace.reasons))
        if self.fail_at == len(self.got) - 1:
            raise OSError("client has gone")
        if self.send_s:
            await asyncio.sleep(self.send_s)

    async def receive(self):
        await asyncio.sleep(1000)
        return {"type": "http.disconnect"}


class Trace:
    """Notes when it is delivered, and why."""

    def __init__(self, *, flush_s=0.0, error=None):
        self.flush_s = flush_s
        self.error = error
        self.reasons = []

    def begun(self):
        pass

    async def deliver(self, reason):
        if self.flush_s:
            await asyncio.sleep(self.flush_s)
        self.reasons.append(reason)
        if self.error is not None:
            raise self.error


def serve(app, *, trace=None, scope=SCOPE, servers=None, server_class=Server, **server_options):
    """Run an app behind a gate; give the server, the trace, and what run() returned or raised.

    An app that looks at its server finds it in `servers`, a list.
    """
    trace = trace or Trace()
    server = server_class(trace, **server_options)
    if servers is not None:
        servers.append(server)

    async def main():
        gate = Gate(scope, server.receive, server.send, trace=trace, expiry=Expiry(HOLD_S))
        try:
            return await gate.run(app)
        except BaseException as error:  # noqa: BLE001 - the outcome is the test's subject
            return error

    return server, trace, run(main())


def test_passes_on_everything_before_the_completing_message():
    """A streamed chunk leaves when the app sends it, not later."""

    async def app(scope, receive, send):
        await send({**START, "headers": []})
        await send(RELAYED)
        await asyncio.sleep(5)
        await send(END)

    server, _, result = serve(app)
    assert (server.times, result) == ([0, 0, 5], None)
    assert server.delivered == [[], [], [Release.APP_DONE]]


def test_headers_that_can_be_read_once():
    """Headers that are an iterator are read here, and the server gets the same ones."""
    headers = [(b"content-length", b"2"), (b"x-one", b"1")]

    async def app(scope, receive, send):
        await send({**START, "headers": iter(headers)})
        await send({**RELAYED, "body": b"ok"})
        await asyncio.sleep(0.01)

    server, _, _ = serve(app)
    assert server.got[0] == {**START, "headers": headers}
    assert server.delivered == [[], [Release.APP_DONE]]


@pytest.mark.parametrize("last", [[WHOLE], [RELAYED, END]])
def test_release_1_app_returned(last):
    """The completing message, and all after it, leave when the app has returned and the trace is out."""

    async def app(scope, receive, send):
        for message in [START, *last]:
            await send(message)
        await asyncio.sleep(0.05)
        return "result"

    server, _, result = serve(app, trace=Trace(flush_s=0.01))
    assert (server.got, result) == ([START, *last], "result")
    assert server.times == [0, *[pytest.approx(0.06)] * len(last)]
    assert server.delivered == [[], *[[Release.APP_DONE]] * len(last)]


LARGE = b"x" * (1 << 16)


class Uvicorn(Server):
    """A server that takes views."""

    __module__ = "uvicorn.protocols.http.h11_impl"


@pytest.mark.parametrize(
    ("server_class", "body", "length", "early"),
    [
        (Uvicorn, LARGE, len(LARGE), True),
        (Uvicorn, LARGE, None, True),
        (Uvicorn, LARGE[:-1], len(LARGE) - 1, False),
        (Uvicorn, LARGE, len(LARGE) - 1, False),  # the client has it all before its last byte
        (Uvicorn, bytearray(LARGE), len(LARGE), False),
        (Server, LARGE, len(LARGE), False),
    ],
)
def test_large_body(server_class, body, length, early):
    """All but the last byte of it leaves before the flush, if the server takes a view of it."""
    headers = [] if length is None else [(b"content-length", str(length).encode())]

    async def app(scope, receive, send):
        await send({**START, "headers": headers})
        await send({"type": "http.response.body", "body": body, "spice": 1})

    server, _, result = serve(app, server_class=server_class)
    assert result is None
    assert all(message["spice"] == 1 for message in server.got[1:])
    assert b"".join(message["body"] for message in server.got[1:]) == body
    seen = [(len(message["body"]), message.get("more_body", False)) for message in server.got[1:]]
    assert seen == ([(len(body) - 1, True), (1, False)] if early else [(len(body), False)])
    assert server.delivered[1:] == [[], [Release.APP_DONE]][not early :]


def test_release_1_app_raised():
    """The held response leaves before the app's own exception reaches the server."""

    async def app(scope, receive, send):
        await send(START)
        await send(WHOLE)
        raise ValueError("mine")

    server, trace, result = serve(app)
    assert server.got == [START, WHOLE]
    assert isinstance(result, ValueError)
    assert trace.reasons == [Release.APP_DONE]


def test_release_1_app_cancelled():
    """A cancelled app's response leaves, delivered, and the cancellation passes through."""

    async def app(scope, receive, send):
        await send(START)
        await send(WHOLE)
        await asyncio.sleep(1000)

    async def main():
        trace = Trace()
        server = Server(trace)
        gate = Gate(SCOPE, server.receive, server.send, trace=trace, expiry=Expiry(HOLD_S))
        task = asyncio.ensure_future(gate.run(app))
        await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return server, trace

    server, trace = run(main())
    assert server.got == [START, WHOLE]
    assert trace.reasons == [Release.APP_DONE]


@pytest.mark.parametrize(("when", "reasons"), [(0.05, []), (0.15, [Release.APP_DONE])])
def test_cancelled_while_it_releases(when, reasons):
    """Cancelled in the flush or in the server's send, it hands over each held message once all the same."""

    async def app(scope, receive, send):
        await send(START)
        await send(RELAYED)
        await send(END)

    async def main():
        trace = Trace(flush_s=0.1)
        server = Server(trace)
        gate = Gate(SCOPE, server.receive, server.send, trace=trace, expiry=Expiry(HOLD_S))
        task = asyncio.ensure_future(gate.run(app))
        await asyncio.sleep(0.01)
        server.send_s = 0.1
        await asyncio.sleep(when - 0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return server, trace

    server, trace = run(main())
    assert server.got == [START, RELAYED, END]
    assert trace.reasons == reasons


@pytest.mark.parametrize("reached", ["before the last message", "after the last message"])
def test_release_2_background_task(reached):
    """The response leaves, delivered, before the background task runs, which it does not wait for."""
    order = []

    async def app(scope, receive, send):
        await send(START)
        if reached == "after the last message":
            await send(WHOLE)
            await send.__self__.background_starts()
        else:
            relay = asyncio.ensure_future(send.__self__.background_starts())
            await asyncio.sleep(0)
            await send(RELAYED)
            await send(END)
            await relay
        order.append(list(server_seen()))
        await asyncio.sleep(1000)

    def server_seen():
        return servers[0].got

    servers = []
    _, trace, _ = serve(app, servers=servers)
    assert order == [servers[0].got]
    assert servers[0].times == [0] * len(servers[0].got)
    assert trace.reasons == [Release.BACKGROUND_TASK]


def test_release_2_lets_middlewares_pass_the_last_message_on():
    """A background task that starts before its response has come through the middlewares waits for that."""
    released = []

    async def app(scope, receive, send):
        background = asyncio.ensure_future(send.__self__.background_starts())
        await send(START)
        await send(RELAYED)
        for _ in range(8):
            await asyncio.sleep(0)
        released.append(background.done())
        await send(END)
        await background

    server, trace, _ = serve(app)
    assert released == [False]
    assert server.got == [START, RELAYED, END]
    assert trace.reasons == [Release.BACKGROUND_TASK]


def test_release_2_does_not_wait_for_a_response_that_does_not_end():
    """A background task that runs before the response completes makes it leave at once when it does."""

    async def app(scope, receive, send):
        await send(START)
        await send.__self__.background_starts()
        await asyncio.sleep(3)
        await send(RELAYED)
        await asyncio.sleep(3)
        await send(END)

    server, trace, _ = serve(app)
    assert server.times == [0, 3, 6]
    assert trace.reasons == [Release.BACKGROUND_TASK]


def test_release_3_receive():
    """The response leaves when the app waits for the client to disconnect."""

    async def app(scope, receive, send):
        await send(START)
        await send(WHOLE)
        await receive()

    server, trace, _ = serve(app)
    assert server.times == [0, 0]
    assert trace.reasons == [Release.RECEIVE]


def test_receive_before_the_hold_is_the_servers():
    """Reading the request releases nothing."""

    async def app(scope, receive, send):
        with contextlib.suppress(TimeoutError, asyncio.TimeoutError):
            await asyncio.wait_for(receive(), 1)
        await send(START)
        await send(WHOLE)

    server, trace, _ = serve(app)
    assert server.got == [START, WHOLE]
    assert trace.reasons == [Release.APP_DONE]


@pytest.mark.parametrize("flush_s", [0, FLUSH_S])
def test_release_4_budget(flush_s):
    """An app that does not unwind delays its response by the hold budget and the flush, no longer."""

    async def app(scope, receive, send):
        await send(START)
        await send(WHOLE)
        await asyncio.sleep(1000)

    server, trace, _ = serve(app, trace=Trace(flush_s=flush_s))
    assert server.times == [0, pytest.approx(HOLD_S + flush_s)]
    assert trace.reasons == [Release.BUDGET]


def test_budget_release_that_the_server_refuses():
    """The server's error at a release by the budget reaches the server through the app's return."""

    async def app(scope, receive, send):
        await send(START)
        await send(WHOLE)
        await asyncio.sleep(1)

    server, _, result = serve(app, fail_at=1)
    assert isinstance(result, OSError)
    assert server.got == [START, WHOLE]


def test_return_waits_for_a_release_under_way():
    """The app's return does not overtake the held messages that another release is sending."""

    async def app(scope, receive, send):
        await send(START)
        await send(WHOLE)
        await asyncio.sleep(HOLD_S + 0.05)

    server, trace, _ = serve(app, trace=Trace(flush_s=0.2))
    assert server.got == [START, WHOLE]
    assert server.times[1] == pytest.approx(HOLD_S + 0.2)
    assert trace.reasons == [Release.BUDGET]


def test_messages_sent_during_a_release_keep_their_order():
    """What the app sends while its held messages leave follows them."""

    async def app(scope, receive, send):
        await send(START)
        await send(RELAYED)
        await asyncio.sleep(HOLD_S + 0.05)
        await send(END)

    server, _, _ = serve(app, trace=Trace(flush_s=0.2))
    assert server.got == [START, RELAYED, END]


def test_messages_after_a_release_pass():
    """After the release the gate is a pass-through."""

    async def app(scope, receive, send):
        await send(START)
        await send(RELAYED)
        await asyncio.sleep(1)
        await send(END)

    server, trace, _ = serve(app)
    assert server.times == [0, pytest.approx(HOLD_S), 1]
    assert trace.reasons == [Release.BUDGET]


def test_borrowed_file_is_not_kept():
    """A file that the app may close after its send is sent within that send."""
    zerocopy = {"type": "http.response.zerocopysend", "file": object(), "count": 2}
    seen = []

    async def app(scope, receive, send):
        await send(START)
        await send(zerocopy)
        seen.append(len(servers[0].got))

    servers = []
    _, trace, _ = serve(app, servers=servers)
    assert seen == [2]
    assert trace.reasons == [Release.BORROWED_FILE]


@pytest.mark.parametrize("buffer", [bytearray(b"ok"), memoryview(bytearray(b"ok"))])
def test_held_message_is_out_of_the_apps_reach(buffer):
    """An app that reuses its message, its headers or its buffer does not change what is held."""
    message = {"type": "http.response.body", "body": buffer}
    headers = [(b"x-a", b"1")]

    async def app(scope, receive, send):
        await send(START)
        await send(message)
        buffer[:] = b"no"
        message["body"] = b"neither"

    async def head(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        headers.clear()

    server, _, _ = serve(app)
    assert server.got == [START, {"type": "http.response.body", "body": b"ok"}]
    server, _, _ = serve(head, scope={**SCOPE, "method": "HEAD"})
    assert server.got[0]["headers"] == [(b"x-a", b"1")]


@pytest.mark.parametrize("raises", [None, ValueError("mine")])
def test_app_that_does_not_complete_its_response(raises):
    """The trace is delivered before the server gets to complete, or break off, the response itself."""

    async def app(scope, receive, send):
        await send(START)
        if raises is not None:
            raise raises

    _, trace, result = serve(app, trace=Trace(flush_s=0.1))
    assert result is raises
    assert trace.reasons == [Release.APP_DONE]


def test_cancelled_while_it_delivers_an_incomplete_response():
    """A cancellation in the flush of a broken-off response passes through."""

    async def app(scope, receive, send):
        await send(START)

    async def main():
        trace = Trace(flush_s=1)
        server = Server(trace)
        gate = Gate(SCOPE, server.receive, server.send, trace=trace, expiry=Expiry(HOLD_S))
        task = asyncio.ensure_future(gate.run(app))
        await asyncio.sleep(0.1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    run(main())


def test_servers_error_reaches_the_caller():
    """What the server raises at a held message is raised once all have been handed to it."""

    async def app(scope, receive, send):
        await send(START)
        await send(RELAYED)
        await send(END)

    server, _, result = serve(app, fail_at=1)
    assert isinstance(result, OSError)
    assert server.got == [START, RELAYED, END]


def test_apps_error_comes_before_the_servers():
    """An app that has raised is not made to raise something else."""

    async def app(scope, receive, send):
        await send(START)
        await send(WHOLE)
        raise ValueError("mine")

    _, _, result = serve(app, fail_at=1)
    assert isinstance(result, ValueError)


def test_servers_error_before_the_hold_is_the_apps():
    """What the server raises at a message that passes is raised in the app's send."""
    caught = []

    async def app(scope, receive, send):
        try:
            await send(START)
        except OSError as error:
            caught.append(error)

    serve(app, fail_at=0)
    assert len(caught) == 1


def test_delivery_that_fails(warnings_said):
    """A failure of ddlwa's own delivery costs one warning, never the response."""

    async def app(scope, receive, send):
        await send(START)
        await send(WHOLE)

    for _ in range(2):
        server, _, result = serve(app, trace=Trace(error=RuntimeError("ours")))
        assert (server.got, result) == ([START, WHOLE], None)
    assert len(warnings_said()) == 1


@pytest.mark.parametrize("message", [{}, {"type": "http.response.start"}, {**START, "headers": [(b"x",)]}])
def test_malformed_message_is_the_servers_to_judge(message, warnings_said):
    """A message whose framing cannot be followed goes to the server as it is."""

    async def app(scope, receive, send):
        await send(message)

    server, trace, _ = serve(app)
    assert server.got == [message]
    assert trace.reasons == [Release.APP_DONE]
    assert len(warnings_said()) == 1


def test_closed_coroutine():
    """A request whose loop is gone ends without a word."""
    gate = Gate(SCOPE, None, None, trace=Trace(), expiry=Expiry(HOLD_S))

    async def app(scope, receive, send):
        await asyncio.Event().wait()

    async def main():
        request = gate.run(app)
        with contextlib.suppress(StopIteration):
            request.send(None)
        request.close()

    run(main())
    assert gate._state is State.STREAMING


def test_several_wait_for_one_release():
    """Whoever asks for a release that is under way waits for its end."""

    async def app(scope, receive, send):
        await send(START)
        await send(WHOLE)
        await asyncio.sleep(HOLD_S + 0.05)
        await asyncio.gather(*(send.__self__.background_starts() for _ in range(3)))
        assert len(servers[0].got) == 2

    servers = []
    _, trace, result = serve(app, trace=Trace(flush_s=0.2), servers=servers)
    assert result is None
    assert trace.reasons == [Release.BUDGET]
