"""One HTTP exchange at a time: whatever the agent answers, in whatever pieces, it ends once and in time."""

import asyncio
import hashlib
import select
import socket
import struct
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import uvloop
from agent_server import ScriptedAgent, answer
from hypothesis import example, given
from hypothesis import strategies as st

from ddlwa import agent as module
from ddlwa.agent import Address, Answer, AnswerError, AnswerReader, Connection

TIMEOUT_S = 10
REQUEST = b"POST /v0.4/traces HTTP/1.1\r\nhost: agent\r\ncontent-length: 2\r\n\r\n[]"
LARGE = 8 << 20
ENOUGH = 1 << 20


def large_request():
    head = f"POST /v0.4/traces HTTP/1.1\r\nhost: agent\r\ncontent-length: {LARGE}\r\n\r\n"
    return head.encode() + bytes(range(256)) * (LARGE // 256)


def healthy(peer):
    while peer.request() is not None:
        peer.say(answer())


def reset(socket_):
    """Have the connection end with a reset."""
    socket_.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def answering(go_on):
    """Answer each request once something has happened."""

    def script(peer):
        while peer.request() is not None:
            go_on.wait(TIMEOUT_S)
            peer.say(answer())

    return script


def saying(*pieces):
    """Answer the first request with these pieces, and close."""

    def script(peer):
        peer.request()
        for piece in pieces:
            peer.say(piece)

    return script


def hung(peer):
    while peer.socket.recv(1 << 16):
        pass


# -- addresses


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("http://localhost:8126", Address("localhost", 8126, "")),
        ("http://agent", Address("agent", 80, "")),
        ("http://[::1]:8126/prefix", Address("::1", 8126, "")),
        ("unix:///var/run/datadog/apm.socket", Address("", 0, "/var/run/datadog/apm.socket")),
        ("https://localhost:8126", None),
        ("http://", None),
        ("localhost:8126", None),
        ("", None),
    ],
)
def test_address(url, address):
    """Only an http:// or a unix:// URL can be connected to."""
    assert Address.parse(url) == address


# -- the reader

_BODY = st.binary(max_size=80)
_EXTENSION = st.sampled_from([b"", b";x", b";name=value", b' ; name="quoted"'])
_FIELDS = st.lists(
    st.sampled_from([b"Date: now", b"X-Colons: a:b:c", b"empty:", b"Server: agent", b"x-odd:\t\xff\xfe "]),
    max_size=3,
)
_CASING = st.sampled_from([bytes.lower, bytes.title, bytes.upper])


@st.composite
def responses(draw):
    """Make a valid response, and what it is to be read as; with a length of its own, or up to the end."""
    status = draw(st.one_of(st.integers(200, 599), st.sampled_from([204, 304])))
    version = draw(st.sampled_from([b"1.1", b"1.0"]))
    casing = draw(_CASING)
    fields = draw(_FIELDS)
    content = draw(_BODY)
    framing = draw(st.sampled_from(["length", "chunked", "end"]))
    reusable = version == b"1.1"
    if draw(st.booleans()):
        fields.append(casing(b"connection") + b": " + casing(b"close"))
        reusable = False
    body = content
    if status in {204, 304}:
        content = body = framing = b""
        fields += draw(st.sampled_from([[], [b"content-length: 5"], [b"transfer-encoding: chunked"]]))
    elif framing == "length":
        fields.append(casing(b"content-length") + b":%d" % len(content))
    elif framing == "chunked":
        fields.append(casing(b"transfer-encoding") + b": " + casing(b"chunked"))
        body = draw(chunked(content))
    else:
        reusable = False
    interim = draw(
        st.sampled_from([b"", b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 103 E\r\nlink: x\r\n\r\n" * 3])
    )
    reason = draw(st.sampled_from([b"", b" OK", b" Not So Good", b" "]))
    head = b"\r\n".join([b"HTTP/" + version + b" %d" % status + reason, *draw(st.permutations(fields))])
    return interim + head + b"\r\n\r\n" + body, Answer(status, content, reusable), framing == "end"


@st.composite
def chunked(draw, content):
    coded = b""
    while content:
        size = draw(st.integers(1, len(content)))
        digits = draw(st.sampled_from([b"%x", b"%X", b"00%x"])) % size
        coded += digits + draw(_EXTENSION) + b"\r\n" + content[:size] + b"\r\n"
        content = content[size:]
    trailers = draw(st.sampled_from([b"", b"x: y\r\n", b"x: y\r\nz:\r\n"]))
    return coded + b"0" + draw(_EXTENSION) + b"\r\n" + trailers + b"\r\n"


@st.composite
def split(draw, data):
    cuts = sorted(draw(st.lists(st.integers(1, max(len(data) - 1, 1)), max_size=12, unique=True)))
    pieces = [data[begin:end] for begin, end in zip([0, *cuts], [*cuts, len(data)], strict=True)]
    return [piece for piece in pieces if piece]


@given(st.data())
def test_any_valid_response_in_any_pieces(data):
    """However a response is cut, it is whole with its last byte, not before, and is always the same."""
    response, expected, until_end = data.draw(responses())
    pieces = data.draw(split(response))
    reader = AnswerReader()
    answers = [reader.feed(piece) for piece in pieces]
    if until_end:
        answers.append(reader.feed(b""))
    assert answers == [None] * (len(answers) - 1) + [expected]


@given(st.data())
def test_response_that_breaks_off(data):
    """A response that has a length of its own, and ends before, is an error, not an answer."""
    response, _, until_end = data.draw(responses().filter(lambda made: not made[2]))
    assert not until_end
    reader = AnswerReader()
    begun = response[: data.draw(st.integers(0, len(response) - 1))]
    if begun:
        assert reader.feed(begun) is None
    with pytest.raises(AnswerError):
        reader.feed(b"")


@st.composite
def nearly_valid(draw):
    """Make a response with some bytes left out, put in, or replaced."""
    response = bytearray(draw(responses())[0])
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(response)))
        response[at : at + draw(st.integers(0, 3))] = draw(
            st.one_of(st.binary(max_size=3), st.sampled_from([b"\r\n", b"-1", b":", b"\r\n\r\n", b"HTTP/1."]))
        )
    return [bytes(response)]


@given(st.one_of(st.lists(st.binary(min_size=1, max_size=60), max_size=8), nearly_valid()))
@example([b"HTTP/1.1 200 OK\r\ncontent-length: " + b"9" * 5000 + b"\r\n\r\n"])
@example([b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n" + b"f" * 5000 + b"\r\n"])
@example([b"HTTP/1.1 " + b"2" * 5000 + b" OK\r\n\r\n"])
@example([b"\r\n\r\n"])
@example([b"HTTP/1.1 100 Continue\r\n\r\n" * 2000])
def test_arbitrary_bytes(pieces):
    """Whatever comes, it is waited for, an answer or an AnswerError; and the end ends it."""
    reader = AnswerReader()
    try:
        for piece in (*filter(None, pieces), b""):
            outcome = reader.feed(piece)
            if outcome is not None:
                assert isinstance(outcome, Answer)
                return
    except AnswerError:
        return
    pytest.fail("the connection is closed, and the reader waits for more")


@pytest.mark.parametrize(
    "garbage",
    [
        b"SSH-2.0-OpenSSH\r\n",
        b"\x15\x03\x03\x00\x02\x02\x50",
        b"H2",
        b"HTTP/2.0 200 OK\r\n",
        b"HTTP/1.1\r\n\r\n",
        b"HTTP/1.1 OK 200\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: many\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 1, 1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: -2\r\n\r\nabcdef",
        b"HTTP/1.1 -5 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nxyz\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n-3\r\nabcdef\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nabcdef\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n\r\n",
    ],
)
def test_garbage(garbage):
    """What is not HTTP is an error as soon as that can be told."""
    with pytest.raises(AnswerError):
        AnswerReader().feed(garbage)


def test_first_byte_tells_garbage_apart():
    """What begins like HTTP is waited for, byte by byte; the first that does not fit is an error."""
    reader = AnswerReader()
    for byte in b"HTTP/1":
        assert reader.feed(bytes([byte])) is None
    with pytest.raises(AnswerError):
        reader.feed(b"/")


def test_answer_that_is_too_large():
    """An answer is read up to a limit, whatever length it has announced."""
    reader = AnswerReader()
    assert reader.feed(b"HTTP/1.1 200 OK\r\n\r\n") is None
    pieces = [bytes(1000)] * (ENOUGH // 1000)
    with pytest.raises(AnswerError, match="too large"):
        list(map(reader.feed, pieces))


@pytest.mark.parametrize("status", [200, 204])
def test_more_than_an_answer(status):
    """After an answer that more bytes came with, nobody can tell what the next one would be."""
    assert AnswerReader().feed(answer(status, b"") + b"HTTP/1.1 500") == Answer(status, b"", reusable=False)


@pytest.mark.parametrize("value", ["close", "Close", "close, upgrade"])
def test_connection_that_is_to_be_closed(value):
    """An agent that says so is not asked again on this connection."""
    assert not AnswerReader().feed(answer(200, b"", f"Connection: {value}")).reusable


# -- connections


@pytest.fixture(params=["tcp", "unix"])
def listening(request, tmp_path):
    """Give a function that starts an agent on either kind of socket."""
    path = tmp_path / "apm.socket" if request.param == "unix" else None
    agents = []

    def listen(script):
        agents.append(ScriptedAgent(script, path=path))
        return agents[-1]

    yield listen
    for agent in agents:
        agent.__exit__()


@pytest.fixture
def connect():
    """Give a function that connects to an agent, for as long as the test lasts."""
    connections = []

    def connected(agent):
        connection = Connection(agent.address)
        connections.append(connection)
        connection.connect(TIMEOUT_S)
        return connection

    yield connected
    for connection in connections:
        connection.close()


def broken(connection):
    """Wait until a reset has come on a connection, after whatever else."""
    events = select.poll()
    events.register(connection._socket, 0)
    assert events.poll(TIMEOUT_S * 1000)


def readable(connection):
    """Wait until something, or the end, has come on a connection."""
    ready, _, _ = select.select([connection._socket], [], [], TIMEOUT_S)
    assert ready


def test_kept_open(listening, connect):
    """A connection carries one exchange after the other, and knows that it is no longer new."""
    agent = listening(healthy)
    connection = connect(agent)
    assert not connection.used
    for reused in (False, True, True):
        exchange = connection.begin(REQUEST)
        assert (exchange.reused, exchange.sent, exchange.answered) == (reused, False, False)
        assert exchange.block(TIMEOUT_S) == Answer(200, b"{}", reusable=True)
        assert (exchange.sent, exchange.answered) == (True, True)
        assert connection.is_open()
    assert agent.connections == 1


def test_connecting_anew(listening, connect):
    """Connecting once more leaves the old socket behind, and is a fresh start."""
    agent = listening(healthy)
    connection = connect(agent)
    connection.begin(REQUEST).block(TIMEOUT_S)
    connection.connect(TIMEOUT_S)
    assert not connection.used
    assert connection.begin(REQUEST).block(TIMEOUT_S).status == 200
    assert agent.connections == 2


def test_not_connected(tmp_path):
    """A connection that was never made, or is closed, is not open; closing it twice is nothing."""
    connection = Connection(Address("", 0, str(tmp_path / "nobody")))
    assert not connection.is_open()
    connection.close()
    connection.close()
    assert not connection.is_open()


@pytest.mark.parametrize("kind", ["tcp", "unix"])
def test_nobody_listens(kind, tmp_path):
    """Connecting to nobody is an OSError."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    path = str(tmp_path / "nobody") if kind == "unix" else ""
    connection = Connection(Address("127.0.0.1", port, path))
    with pytest.raises(OSError, match=r"."):
        connection.connect(TIMEOUT_S)
    assert not connection.is_open()


@pytest.mark.parametrize("late", [b"", b"HTTP/1.1 408 Request Timeout\r\n\r\n"], ids=["end", "unasked"])
def test_agent_leaves_an_idle_connection(late, listening, connect, monkeypatch):
    """A connection that has ended, or on which something came unasked, is not open any more."""

    def script(peer):
        peer.request()
        peer.say(answer())
        leave.wait(TIMEOUT_S)
        peer.say(late)

    leave = threading.Event()
    connection = connect(listening(script))
    connection.begin(REQUEST).block(TIMEOUT_S)
    assert connection.is_open()
    leave.set()
    readable(connection)
    monkeypatch.setattr(module, "_SOUND_S", 0)
    assert not connection.is_open()


def test_looking_seldom(listening, connect, monkeypatch):
    """What has just worked is taken for open, unless the clock says that this is still to come."""
    monkeypatch.setattr(module, "_SOUND_S", 1000)
    connection = connect(listening(saying(answer())))
    connection.begin(REQUEST).block(TIMEOUT_S)
    readable(connection)
    assert connection.is_open()
    connection._sound_s += 500
    assert not connection.is_open()
    assert connection._socket is None


def test_looking_again_after_a_while(listening, connect, monkeypatch):
    """What has worked a while ago is looked at; a connection that is new as well."""
    monkeypatch.setattr(module, "_SOUND_S", 1000)
    agent = listening(saying(answer()))
    connection = connect(agent)
    connection.begin(REQUEST).block(TIMEOUT_S)
    readable(connection)
    connection._sound_s -= 1000
    assert not connection.is_open()
    agent.script = saying()
    connection._sound_s = time.time()
    connection.connect(TIMEOUT_S)
    connection._socket.send(REQUEST)
    readable(connection)
    assert not connection.is_open()


# -- exchanges that block


@pytest.mark.parametrize(
    ("pieces", "expected"),
    [
        ([answer(202, b"x" * 60_000)], Answer(202, b"x" * 60_000, reusable=True)),
        ([b"HTTP/1.1 100 Continue\r\n\r\n", answer()], Answer(200, b"{}", reusable=True)),
        ([answer(200, b"{}", "connection: close")], Answer(200, b"{}", reusable=False)),
        ([b"HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\n{}"], Answer(200, b"{}", reusable=False)),
        ([b"HTTP/1.0 200 OK\r\n\r\n{", b"}"], Answer(200, b"{}", reusable=False)),
        ([b"HTTP/1.1 500 Oh\r\n\r\n"], Answer(500, b"", reusable=False)),
        ([b"HTTP/1.1 204 No Content\r\n\r\n"], Answer(204, b"", reusable=True)),
    ],
)
def test_answers(pieces, expected, listening, connect):
    """Every form of answer is read, and the connection kept only where it may be."""

    def script(peer):
        saying(*pieces)(peer)
        if expected.reusable:
            hung(peer)

    connection = connect(listening(script))
    assert connection.begin(REQUEST).block(TIMEOUT_S) == expected
    assert connection.is_open() is expected.reusable


@pytest.mark.parametrize(
    "pieces",
    [
        [],
        [b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{"],
        [b"HTTP/1."],
        [b"\0" * 64],
        [b"HTTP/1.1 100 C\r\n\r\n"],
    ],
    ids=["nothing", "half", "less", "garbage", "interim"],
)
def test_no_answer(pieces, listening, connect):
    """An answer that breaks off or is none is an error, and ends the connection."""
    connection = connect(listening(saying(*pieces)))
    exchange = connection.begin(REQUEST)
    with pytest.raises(AnswerError):
        exchange.block(TIMEOUT_S)
    assert exchange.sent
    assert exchange.answered is bool(pieces)
    assert not connection.is_open()


def test_reset(connect):
    """A connection that is reset is an OSError."""

    def script(peer):
        peer.request()
        reset(peer.socket)

    with ScriptedAgent(script) as agent:
        connection = connect(agent)
        with pytest.raises(ConnectionResetError):
            connection.begin(REQUEST).block(TIMEOUT_S)
        assert not connection.is_open()


def trickling(peer):
    peer.request()
    ended = threading.Event()
    for byte in answer():
        peer.say(bytes([byte]))
        ended.wait(0.01)


@pytest.mark.parametrize("script", [hung, trickling])
def test_not_in_time(script, listening, connect):
    """The timeout holds for the whole exchange, not for each byte of the answer."""
    connection = connect(listening(script))
    begun_s = time.monotonic()
    with pytest.raises(TimeoutError):
        connection.begin(REQUEST).block(0.1)
    assert 0.1 <= time.monotonic() - begun_s < 0.1 + 0.15
    assert not connection.is_open()


def test_agent_that_does_not_read(listening, connect):
    """A request that cannot leave is not in time either, and has not been sent."""
    left = threading.Event()
    connection = connect(listening(lambda _: left.wait(TIMEOUT_S)))
    exchange = connection.begin(large_request())
    with pytest.raises(TimeoutError):
        exchange.block(0.1)
    left.set()
    assert not exchange.sent


def test_no_time_at_all(listening, connect):
    """Without any time left nobody waits."""
    connection = connect(listening(hung))
    with pytest.raises(TimeoutError):
        connection.begin(REQUEST).block(0)
    assert not connection.is_open()


# -- exchanges on a loop


@pytest.fixture(params=[asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def new_loop(request):
    return request.param


@pytest.fixture
def run(new_loop):
    """Give a function that runs a coroutine on a loop of either kind."""

    def run_(coroutine):
        loop = new_loop()
        try:
            return loop.run_until_complete(asyncio.wait_for(coroutine, TIMEOUT_S))
        finally:
            loop.close()

    return run_


class Ends:
    """Takes note of how often an exchange has ended, and how."""

    def __init__(self):
        self.outcomes = []
        self.ended = asyncio.get_running_loop().create_future()

    def __call__(self, outcome):
        self.outcomes.append(outcome)
        if not self.ended.done():
            self.ended.set_result(outcome)


async def driven(exchange, **options):
    """Let the running loop drive an exchange; give how it has ended, once."""
    ends = Ends()
    outcome = exchange.run_on(asyncio.get_running_loop(), ends, **options)
    if outcome is None:
        assert exchange.is_on_loop
        assert exchange.is_driven_here()
        assert not exchange.is_orphaned()
        outcome = await ends.ended
        await asyncio.sleep(0)
        assert ends.outcomes == [outcome]
    else:
        assert ends.outcomes == []
    assert not exchange.is_on_loop
    assert not exchange.is_driven_here()
    return outcome


def test_on_a_loop(run, listening, connect):
    """A loop drives one exchange after the other on the same connection, whatever the pieces."""

    def script(peer):
        while peer.request() is not None:
            for byte in answer():
                peer.say(bytes([byte]))

    agent = listening(script)
    connection = connect(agent)

    async def main():
        return [await driven(connection.begin(REQUEST)) for _ in range(3)]

    assert run(main()) == [Answer(200, b"{}", reusable=True)] * 3
    assert connection.is_open()
    assert agent.connections == 1


def test_standing_still(run, listening, connect):
    """A loop may stand still for an answer that comes at once; then nobody is called."""
    connection = connect(listening(healthy))

    async def main():
        exchange = connection.begin(REQUEST)
        outcome = exchange.run_on(asyncio.get_running_loop(), pytest.fail, grace_s=TIMEOUT_S)
        assert not exchange.is_on_loop
        await asyncio.sleep(0)
        return outcome

    assert run(main()) == Answer(200, b"{}", reusable=True)
    assert run(driven(connection.begin(REQUEST))).status == 200


def test_standing_still_in_vain(run, listening, connect):
    """A loop that stood still in vain, or for half an answer, goes on with others, and is called later."""

    def script(peer):
        whole = answer()
        while peer.request() is not None:
            peer.say(whole[:9])
            if agent.connections == 1:
                go_on.wait(TIMEOUT_S)
            peer.say(whole[9:])

    go_on = threading.Event()
    agent = listening(script)
    connection = connect(agent)

    async def main():
        loop = asyncio.get_running_loop()
        loop.call_later(0.02, go_on.set)
        return await driven(connection.begin(REQUEST), grace_s=0.01)

    assert run(main()) == Answer(200, b"{}", reusable=True)
    assert connection.is_open()


def test_standing_still_for_nobody(run, listening, connect):
    """A loop that stood still while nothing came is called once something does."""
    go_on = threading.Event()
    connection = connect(listening(answering(go_on)))

    async def main():
        asyncio.get_running_loop().call_later(0.02, go_on.set)
        begun_s = time.monotonic()
        outcome = asyncio.ensure_future(driven(connection.begin(REQUEST), grace_s=0.005))
        await asyncio.sleep(0)
        assert time.monotonic() - begun_s < 0.1
        return await outcome

    assert run(main()).status == 200


def test_large_request_on_a_loop(run, listening, connect):
    """A request larger than any buffer leaves in parts while the loop goes on, and arrives unchanged."""
    bodies = []

    def script(peer):
        begin.wait(TIMEOUT_S)
        bodies.append(peer.request())
        arrived.set()
        go_on.wait(TIMEOUT_S)
        peer.say(answer())

    begin, arrived, go_on = threading.Event(), threading.Event(), threading.Event()
    connection = connect(listening(script))
    request = large_request()

    async def main():
        exchange = connection.begin(request)
        asyncio.get_running_loop().call_later(0.02, begin.set)
        outcome = asyncio.ensure_future(driven(exchange, grace_s=0.01))
        await asyncio.sleep(0)
        assert not exchange.sent
        loop = asyncio.get_running_loop()
        assert await loop.run_in_executor(None, arrived.wait, TIMEOUT_S)
        assert exchange.sent
        assert not loop.remove_writer(exchange._socket)  # it does not spin
        go_on.set()
        assert (await outcome).status == 200

    run(main())
    assert hashlib.sha256(bodies[0]).digest() == hashlib.sha256(request[-LARGE:]).digest()


@pytest.mark.parametrize("grace_s", [0, TIMEOUT_S])
@pytest.mark.parametrize(
    "pieces",
    [[], [b"\0" * 64], [b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{"]],
    ids=["end", "garbage", "half"],
)
def test_no_answer_on_a_loop(grace_s, pieces, run, listening, connect):
    """Whatever breaks off on a loop is handed over as an error, and ends the connection."""
    connection = connect(listening(saying(*pieces)))
    assert isinstance(run(driven(connection.begin(REQUEST), grace_s=grace_s)), AnswerError)
    assert not connection.is_open()


def test_reset_on_a_loop(run, connect):
    """A reset is handed over, too."""

    def script(peer):
        peer.request()
        reset(peer.socket)

    with ScriptedAgent(script) as agent:
        connection = connect(agent)
        assert isinstance(run(driven(connection.begin(REQUEST))), ConnectionResetError)


@pytest.mark.parametrize("said", [b"", b"HTTP/1.1 4"], ids=["nothing", "half"])
def test_reset_before_sending(said, run, connect):
    """What cannot even be sent has ended at once, and was not sent."""

    def script(peer):
        connected.wait(TIMEOUT_S)
        peer.say(said)
        reset(peer.socket)

    connected = threading.Event()
    with ScriptedAgent(script) as agent:
        connection = connect(agent)
        connected.set()
        broken(connection)
        exchange = connection.begin(REQUEST)
        assert isinstance(run(driven(exchange)), OSError)
        assert not exchange.sent
        assert not connection.is_open()


@pytest.mark.parametrize("on_loop", [True, False], ids=["loop", "blocking"])
@pytest.mark.parametrize("rude", [True, False], ids=["reset", "open"])
def test_refused_before_all_is_sent(rude, on_loop, run, connect):
    """An agent that takes no more, and says so, is heard, even if it then ends the connection at once."""

    def script(peer):
        peer.socket.recv(100)
        peer.say(answer(413, b"", "connection: close"))
        if not rude:
            ended.wait(TIMEOUT_S)

    ended = threading.Event()
    with ScriptedAgent(script) as agent:
        connection = connect(agent)
        exchange = connection.begin(large_request())
        outcome = run(driven(exchange)) if on_loop else exchange.block(TIMEOUT_S)
        ended.set()
        assert outcome == Answer(413, b"", reusable=False)
        assert not exchange.sent
        assert not connection.is_open()


def test_reset_while_sending(run, connect):
    """A connection that is reset in the middle of a large request is handed over."""

    def script(peer):
        peer.socket.recv(100)
        reset(peer.socket)

    with ScriptedAgent(script) as agent:
        connection = connect(agent)
        exchange = connection.begin(large_request())
        assert isinstance(run(driven(exchange)), OSError)
        assert not exchange.sent
        assert not connection.is_open()


def test_loop_that_watches_no_sockets(listening, connect):
    """On a loop that cannot watch a socket, the exchange fails; it does not raise."""
    connection = connect(listening(healthy))
    loop = asyncio.AbstractEventLoop()
    assert isinstance(connection.begin(REQUEST).run_on(loop, pytest.fail), NotImplementedError)
    assert not connection.is_open()


def test_finishing_in_the_loops_thread(run, listening, connect):
    """In its own thread the loop's part can be done at once, and is then not done again."""
    go_on = threading.Event()
    connection = connect(listening(answering(go_on)))

    async def main():
        ends = Ends()
        exchange = connection.begin(REQUEST)
        assert exchange.run_on(asyncio.get_running_loop(), ends) is None
        go_on.set()
        exchange.finish(TIMEOUT_S)
        assert ends.outcomes == [Answer(200, b"{}", reusable=True)]
        await asyncio.sleep(0.01)
        assert len(ends.outcomes) == 1
        return await driven(connection.begin(REQUEST))

    assert run(main()).status == 200


def test_finishing_a_large_request(run, listening, connect):
    """What the loop has sent of a request is not sent again by who finishes it."""
    bodies = []

    def script(peer):
        bodies.append(peer.request())
        peer.say(answer())

    connection = connect(listening(script))
    request = large_request()

    async def main():
        ends = Ends()
        exchange = connection.begin(request)
        exchange.run_on(asyncio.get_running_loop(), ends)
        exchange.finish(TIMEOUT_S)
        return ends.outcomes

    assert [outcome.status for outcome in run(main())] == [200]
    assert bodies[0] == request[-LARGE:]


@pytest.mark.parametrize(("script", "error"), [(hung, TimeoutError), (saying(b"\0"), AnswerError)])
def test_finishing_in_vain(script, error, run, listening, connect):
    """How finishing it failed is what it ended with."""
    connection = connect(listening(script))

    async def main():
        ends = Ends()
        exchange = connection.begin(REQUEST)
        exchange.run_on(asyncio.get_running_loop(), ends)
        exchange.finish(0.1)
        await asyncio.sleep(0)
        return ends.outcomes

    (outcome,) = run(main())
    assert isinstance(outcome, error)
    assert not connection.is_open()


def test_finishing_what_no_loop_drives(listening, connect):
    """Where nobody is to be called, finishing is blocking."""
    connection = connect(listening(healthy))
    connection.begin(REQUEST).finish(TIMEOUT_S)
    assert connection.used


# -- exchanges that are given up


@pytest.fixture
def seen():
    """Give a script that takes note of the end of its connection, and when it has."""

    class Seen:
        def __init__(self):
            self.begun = threading.Event()
            self.end = threading.Event()

        def script(self, peer):
            peer.request()
            self.begun.set()
            if not peer.socket.recv(1):
                self.end.set()

    return Seen()


def test_abandoned_from_another_thread(run, listening, connect, seen):
    """What is abandoned ends, calls nobody, and leaves the connection free for another socket."""
    connection = connect(listening(seen.script))

    async def main():
        loop = asyncio.get_running_loop()
        exchange = connection.begin(REQUEST)
        assert exchange.run_on(loop, pytest.fail) is None
        assert seen.begun.wait(TIMEOUT_S)
        other = threading.Thread(target=exchange.abandon)
        other.start()
        other.join(TIMEOUT_S)
        assert not exchange.is_on_loop
        assert connection._socket is None
        connection.connect(TIMEOUT_S)
        assert await loop.run_in_executor(None, seen.end.wait, TIMEOUT_S)
        assert connection.is_open()

    run(main())


def test_abandoned_when_its_loop_is_closed(new_loop, listening, connect, seen):
    """An exchange whose loop is closed is an orphan; it can be abandoned, and its socket is closed."""
    connection = connect(listening(seen.script))
    exchange = connection.begin(REQUEST)
    loop = new_loop()

    async def main():
        assert exchange.run_on(loop, pytest.fail) is None

    loop.run_until_complete(main())
    assert not exchange.is_orphaned()
    loop.close()
    assert exchange.is_orphaned()
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(exchange.is_stuck, TIMEOUT_S).result()
    exchange.abandon()
    assert seen.end.wait(TIMEOUT_S)
    assert not exchange.is_orphaned()


def stuck(exchange, patience_s):
    """Ask from another thread whether an exchange's loop is stuck."""
    answers = []
    thread = threading.Thread(target=lambda: answers.append(exchange.is_stuck(patience_s)))
    thread.start()
    return thread, answers


def test_a_loop_that_is_stuck(run, listening, connect):
    """An exchange is stuck if another thread's loop does not turn, and not while it does."""
    connection = connect(listening(hung))
    exchange = connection.begin(REQUEST)
    assert not exchange.is_stuck(TIMEOUT_S)  # on no loop

    async def main():
        assert exchange.run_on(asyncio.get_running_loop(), pytest.fail) is None
        assert not exchange.is_stuck(TIMEOUT_S)  # here it is for this thread to drive it
        thread, answers = stuck(exchange, 0.01)
        thread.join(TIMEOUT_S)
        assert answers == [True]
        thread, answers = stuck(exchange, TIMEOUT_S)
        await asyncio.to_thread(thread.join, TIMEOUT_S)
        assert answers == [False]
        exchange.abandon()

    run(main())


def test_a_loop_that_is_closed_is_stuck(new_loop, listening, connect):
    """Nor does one turn that is closed."""
    connection = connect(listening(hung))
    exchange = connection.begin(REQUEST)
    loop = new_loop()

    async def main():
        assert exchange.run_on(loop, pytest.fail) is None

    loop.run_until_complete(main())
    loop.close()
    thread, answers = stuck(exchange, TIMEOUT_S)
    thread.join(TIMEOUT_S)
    assert answers == [True]
    exchange.abandon()


def test_an_answer_can_be_looked_at(run, listening, connect):
    """Whoever looks whether the answer is there leaves it to the loop."""
    go_on = threading.Event()
    connection = connect(listening(answering(go_on)))

    async def main():
        exchange = connection.begin(REQUEST)
        assert exchange.peek() is None
        ends = Ends()
        assert exchange.run_on(asyncio.get_running_loop(), ends) is None
        assert exchange.peek() is None
        go_on.set()
        readable(connection)
        assert [exchange.peek().status for _ in range(2)] == [200, 200]
        assert (await ends.ended).status == 200
        assert exchange.peek() is None

    run(main())


@pytest.mark.parametrize("pieces", [(b"garbage!",), (answer()[:-1],), ()])
def test_an_answer_that_is_none_cannot(pieces, run, listening, connect):
    """What is no answer, or broke off, is none to who looks."""
    connection = connect(listening(saying(*pieces)))

    async def main():
        exchange = connection.begin(REQUEST)
        assert exchange.run_on(asyncio.get_running_loop(), pytest.fail) is None
        readable(connection)
        assert exchange.peek() is None
        exchange.abandon()

    run(main())


def test_abandoned_before_it_began(listening, connect, seen):
    """An exchange that no loop drives is closed at once."""
    connection = connect(listening(seen.script))
    exchange = connection.begin(REQUEST)
    assert not exchange.is_orphaned()
    exchange.abandon()
    assert seen.end.wait(TIMEOUT_S)


def test_abandoned_when_the_answer_is_there(run, listening):
    """An answer that is there already when its exchange is abandoned is nobody's."""
    go_on = threading.Event()
    agent = listening(answering(go_on))
    connections = [Connection(agent.address), Connection(agent.address)]

    async def main():
        loop = asyncio.get_running_loop()
        outcomes = []
        exchanges = []

        def end(outcome):
            outcomes.append(outcome)
            exchanges[0].abandon()
            exchanges[1].abandon()

        for connection in connections:
            connection.connect(TIMEOUT_S)
            exchange = connection.begin(REQUEST)
            assert exchange.run_on(loop, end) is None
            exchanges.append(exchange)
        go_on.set()
        for connection in connections:
            readable(connection)  # the loop finds both at once
        await asyncio.sleep(0.01)
        return outcomes

    assert len(run(main())) == 1
