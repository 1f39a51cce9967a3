import http.client
import socket
import threading
import time
from contextlib import closing

import msgpack
import pytest

from benchmarks.faulty_agent import FaultyAgent

TIMEOUT_S = 10
SPAN = {
    "service": "shop",
    "name": "fastapi.request",
    "resource": "GET /",
    "trace_id": 7,
    "span_id": 8,
    "start": 1,
    "duration": 2,
    "meta": {"http.method": "GET", "_dd.span_links": '[{"trace_id":"9"}]'},
    "metrics": {"_dd.top_level": 1.0},
}
STRINGS = ["", "shop", "fastapi.request", "GET /", "http.method", "GET", "_dd.top_level", "web"]
SPAN_V05 = [1, 2, 3, 7, 8, 0, 1, 2, 0, {4: 5}, {6: 1.0}, 7]
UNANSWERED = ["hung", "mute", "closing", "resetting", "garbage", "half"]


def v04(*trace_ids):
    return msgpack.packb([[{**SPAN, "trace_id": trace_id}] for trace_id in trace_ids])


def names(agent):
    return [span.trace_id for span in agent.spans()]


def connection_to(agent):
    return closing(http.client.HTTPConnection("127.0.0.1", agent.port, timeout=TIMEOUT_S))


def put(connection, body, *, path="/v0.4/traces", **headers):
    connection.request("PUT", path, body, headers)
    response = connection.getresponse()
    response.read()
    return response.status


@pytest.fixture
def agent():
    before = set(threading.enumerate())
    with FaultyAgent() as agent:
        yield agent
    assert set(threading.enumerate()) == before


def test_healthy_keeps_what_it_is_sent(agent):
    """It decodes the payloads of one connection, in their order."""
    begun_ns = time.time_ns()
    with connection_to(agent) as connection:
        assert put(connection, v04(1, 2), **{"X-Datadog-Trace-Count": "2"}) == 200
        assert put(connection, v04(3)) == 200
    first, second = agent.requests
    assert (first.seq, first.path, first.traces, first.accepted) == (0, "/v0.4/traces", 2, True)
    assert first.headers["x-datadog-trace-count"] == "2"
    assert (second.seq, second.traces, second.accepted, second.fault) == (1, 1, True, "healthy")
    assert begun_ns <= first.arrived_ns <= second.arrived_ns <= time.time_ns()
    assert names(agent) == [1, 2, 3]
    assert [len(chunk) for chunk in agent.chunks()] == [1, 1, 1]
    span = agent.spans()[0]
    assert (span.service, span.parent_id, span.error, span.type) == ("shop", 0, 0, "")
    assert (span.meta, span.links) == ({"http.method": "GET"}, [{"trace_id": "9"}])


def test_both_versions_are_decoded(agent):
    """A span of the v0.5 API is the same as that of the v0.4 API."""
    with connection_to(agent) as connection:
        put(connection, msgpack.packb([STRINGS, [[SPAN_V05]]]), path="/v0.5/traces")
    (span,) = agent.spans()
    assert (span.service, span.name, span.resource, span.type) == ("shop", "fastapi.request", "GET /", "web")
    assert (span.trace_id, span.span_id, span.start, span.duration) == (7, 8, 1, 2)
    assert (span.meta, span.metrics) == ({"http.method": "GET"}, {"_dd.top_level": 1.0})


@pytest.mark.parametrize(
    ("path", "body"),
    [("/v0.4/traces", []), ("/v0.5/traces", [[""], []]), ("/v0.5/traces", [])],
)
def test_probes_are_counted_apart(agent, path, body):
    """A payload without a trace is a probe."""
    with connection_to(agent) as connection:
        put(connection, msgpack.packb(body), path=path)
        put(connection, v04(1))
    assert agent.probes == 1
    assert [request.traces for request in agent.requests] == [0, 1]
    assert len(agent.chunks()) == 1


def test_info_and_a_body_in_pieces(agent):
    """What is no trace payload is answered and not kept; a chunked body is read."""
    body = v04(1)
    with connection_to(agent) as connection:
        connection.request("GET", "/info")
        assert b"/v0.4/traces" in connection.getresponse().read()
        connection.request("PUT", "/v0.4/traces", iter([body[:5], body[5:]]), encode_chunked=True)
        assert connection.getresponse().status == 200
    assert names(agent) == [1]


def test_a_large_payload(agent):
    """A payload that does not fit into a socket's buffers is read."""
    with connection_to(agent) as connection:
        assert put(connection, v04(*range(20_000))) == 200
    assert names(agent) == list(range(20_000))


def test_what_is_no_payload_is_refused_and_counted(agent):
    """Neither bytes that are no payload nor bytes that are no HTTP go unnoticed."""
    with connection_to(agent) as connection:
        assert put(connection, b"\xc1") == 400
    with socket.create_connection(("127.0.0.1", agent.port), TIMEOUT_S) as raw:
        raw.sendall(b"hello\r\n\r\n")
        assert raw.recv(1) == b""
    assert (agent.malformed, agent.requests) == (2, [])


def test_refused_keeps_its_port(agent):
    """It refuses connections, ends those that are open, lets nobody else have its port, and comes back."""
    with connection_to(agent) as connection:
        put(connection, v04(1))
        agent.become("refused")
        with pytest.raises((http.client.RemoteDisconnected, ConnectionError)):
            put(connection, v04(2))
    with connection_to(agent) as connection, pytest.raises(ConnectionRefusedError):
        connection.connect()
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        with pytest.raises(OSError, match="in use"):
            other.bind(("127.0.0.1", agent.port))
    agent.become("healthy")
    with connection_to(agent) as connection:
        put(connection, v04(3))
    assert names(agent) == [1, 3]


@pytest.mark.parametrize("fault", UNANSWERED)
def test_what_the_client_cannot_know_is_not_taken(agent, fault):
    """Without a whole answer a payload does not count, not even once the agent is well again."""
    agent.become(fault)
    with connection_to(agent) as connection:
        connection.timeout = 0.2
        with pytest.raises((http.client.HTTPException, OSError)) as caught:
            put(connection, v04(1))
        assert isinstance(caught.value, TimeoutError) == (fault in {"hung", "mute"})
        agent.become("healthy")
    assert agent.chunks() == []
    assert [request.accepted for request in agent.requests] == [False] * (fault != "mute")


@pytest.mark.parametrize("fault", [fault for fault in UNANSWERED if fault != "mute"])
def test_accepts_silently(fault):
    """If asked to, it takes what it has read without telling the client."""
    with FaultyAgent(fault, accepts_silently=True) as agent:
        with connection_to(agent) as connection:
            connection.timeout = 0.2
            with pytest.raises((http.client.HTTPException, OSError)):
                put(connection, v04(1))
        assert names(agent) == [1]


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ("closing", http.client.RemoteDisconnected),
        ("resetting", ConnectionResetError),
        ("garbage", http.client.BadStatusLine),
        ("half", http.client.IncompleteRead),
    ],
)
def test_how_the_connection_ends(agent, fault, error):
    """Each of these faults looks to the client as its name says."""
    agent.become(fault)
    with connection_to(agent) as connection, pytest.raises(error) as caught:
        put(connection, v04(1))
    assert type(caught.value) is error


def test_mute_reads_nothing(agent):
    """A connection, even one that was open before, is accepted, and its payload left unread."""
    with connection_to(agent) as connection:
        put(connection, v04(1))
        agent.become("mute")
        connection.sock.settimeout(1)
        with pytest.raises(TimeoutError):
            put(connection, b"x" * (1 << 25))
    assert len(agent.requests) == 1


def test_a_stuck_connection_ends_with_the_fault(agent):
    """Who waits for a hung agent sees its connection end when the agent changes, and can connect anew."""
    agent.become("hung")
    with connection_to(agent) as connection:
        connection.request("PUT", "/v0.4/traces", v04(1))
        assert agent.wait(lambda agent: agent.requests, timeout_s=TIMEOUT_S)
        agent.become("hung")
        agent.become("healthy")
        with pytest.raises(http.client.RemoteDisconnected):
            connection.getresponse()
        assert put(connection, v04(2)) == 200
    assert names(agent) == [2]


def test_slow_takes_and_answers_later(agent):
    """The payload is taken when it arrives; the answer comes after the time."""
    agent.become("slow:150")
    begun_s = time.monotonic()
    with connection_to(agent) as connection:
        connection.request("PUT", "/v0.4/traces", v04(1))
        assert agent.wait(lambda agent: agent.chunks(), timeout_s=TIMEOUT_S)
        assert connection.getresponse().status == 200
    assert time.monotonic() - begun_s >= 0.15


@pytest.mark.parametrize("code", [404, 413, 429, 500, 503, 599])
def test_status(agent, code):
    """It answers trace payloads with the status, takes none of them, and goes on."""
    agent.become(f"status:{code}")
    with connection_to(agent) as connection:
        assert put(connection, v04(1)) == code
        connection.request("GET", "/info")
        with connection.getresponse() as info:
            assert info.status == 200
        agent.become("status:202")
        assert put(connection, v04(2)) == 202
    assert names(agent) == [2]


def test_trickle_counts_with_its_last_byte(agent):
    """An answer that trickles is whole in the end; then the payload is taken."""
    agent.become("trickle")
    begun_s = time.monotonic()
    with connection_to(agent) as connection:
        connection.request("PUT", "/v0.4/traces", v04(1))
        assert agent.wait(lambda agent: agent.requests, timeout_s=TIMEOUT_S)
        assert agent.chunks() == []
        assert connection.getresponse().read() == b'{"rate_by_service": {}}'
    assert time.monotonic() - begun_s >= 1
    assert agent.wait(lambda agent: agent.chunks(), timeout_s=TIMEOUT_S)


def test_trickle_to_nobody(agent):
    """A client that does not wait for the end of the answer has not delivered."""
    agent.become("trickle")
    with connection_to(agent) as connection:
        connection.request("PUT", "/v0.4/traces", v04(1))
        assert agent.wait(lambda agent: agent.requests, timeout_s=TIMEOUT_S)
    assert not agent.wait(lambda agent: agent.chunks(), timeout_s=0.2)
    assert agent.chunks() == []


def test_clear(agent):
    """What was read so far is forgotten, and its numbers are not given again."""
    with connection_to(agent) as connection:
        put(connection, v04(1))
        agent.clear()
        put(connection, v04(2))
    assert [request.seq for request in agent.requests] == [1]


@pytest.mark.parametrize("fault", ["", "sick", "slow", "slow:", "slow:x", "status:99", "hung:1", "status:²"])
def test_there_is_no_such_fault(agent, fault):
    """An unknown fault is an error, and changes nothing."""
    with pytest.raises(ValueError, match="no fault"):
        agent.become(fault)
    assert agent.fault == "healthy"
    with pytest.raises(ValueError, match="no fault"):
        FaultyAgent(fault)


def test_changes_from_many_threads(agent):
    """It can be changed while payloads come, from any thread; what it says it took was taken once."""
    faults = ["healthy", "refused", "hung", "closing", "resetting", "status:503", "half", "garbage", "mute"]
    taken = []
    over = threading.Event()

    def change(offset):
        for number in range(100):
            agent.become(faults[(number + offset) % len(faults)])

    def send():
        trace_id = 0
        while not over.is_set():
            trace_id += 1
            try:
                with connection_to(agent) as connection:
                    if put(connection, v04(trace_id)) == 200:
                        taken.append(trace_id)
            except (http.client.HTTPException, OSError):
                pass

    sender = threading.Thread(target=send)
    changers = [threading.Thread(target=change, args=(offset,)) for offset in range(3)]
    sender.start()
    for changer in changers:
        changer.start()
    for changer in changers:
        changer.join(60)
    agent.become("healthy")
    over.set()
    sender.join(TIMEOUT_S * 2)
    assert set(taken) <= set(names(agent))
    assert len(names(agent)) == len(set(names(agent)))


def test_close_ends_what_is_stuck():
    """Closing it ends every thread, whatever waits."""
    before = set(threading.enumerate())
    agent = FaultyAgent("mute")
    with connection_to(agent) as first, connection_to(agent) as second:
        first.request("PUT", "/v0.4/traces", v04(1))
        second.connect()
        agent.close()
        with pytest.raises((http.client.RemoteDisconnected, ConnectionError)):
            first.getresponse()
    assert set(threading.enumerate()) == before
    with connection_to(agent) as connection, pytest.raises(ConnectionRefusedError):
        connection.connect()


@pytest.mark.parametrize("fault", ["healthy", "slow:1"])
def test_otlp_is_answered_and_not_looked_at(agent, fault):
    """It is no trace payload of ddtrace's, and not a malformed one either."""
    agent.become(fault)
    with connection_to(agent) as connection:
        assert put(connection, b"\x0a\x00", path="/v1/traces") == 200
    assert (agent.malformed, agent.requests) == (0, [])
