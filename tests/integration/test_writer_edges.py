"""Writers of ddtrace that are not the tracer's, or not any more."""

from contextlib import suppress

import pytest
from ddtrace.internal.writer import writer as writers
from ddtrace.trace import tracer
from ddtrace_writers import native
from gates import GENEROUS, gate
from trace_agent import TraceAgent

from ddlwa import tracer as dd_tracer
from ddlwa.agent import Address, AnswerError, AnswerReader
from ddlwa.replacements import Replacements
from ddlwa.tracer import writer as module
from ddlwa.tracer.writer import Buffer


@pytest.fixture
def second():
    """Give an agent of its own, for a writer of its own."""
    agent = TraceAgent()
    yield agent
    agent.close()


def shut_down(writer):
    # The exporter of ddtrace 3.19 may not end within its own 3 s; the traces have left before.
    with suppress(Exception):
        writer.on_shutdown()


def put(writer):
    with tracer.start_span("elsewhere", child_of=None) as span:
        pass
    writer.write([span])


def test_a_writer_that_is_not_the_tracers_sends_by_itself(agent, second):
    """Somebody else's NativeWriter is left as it is: it flushes, ticks and shuts down."""
    writer = native(second.url)
    with gate():
        for act in (writers.NativeWriter.flush_queue, writers.NativeWriter.periodic, shut_down):
            second.clear()
            put(writer)
            act(writer)
            assert [span.name for span in second.spans()] == ["elsewhere"]


def test_the_tracers_writer_delivers_when_it_is_shut_down(agent):
    """What is finished when ddtrace replaces its writer is delivered first."""
    aggregator = tracer._span_aggregator
    before = aggregator.writer
    aggregator.writer = native(agent.url)
    try:
        with gate():
            agent.clear()
            tracer.start_span("last", child_of=None).finish()
            aggregator.writer.periodic()
            shut_down(aggregator.writer)
            assert "last" in {span.name for span in agent.spans()}
    finally:
        aggregator.writer = before


def test_a_payload_outlives_its_writer(agent, monkeypatch):
    """A payload of a writer that is gone goes by itself where no other can take it; nothing is downgraded."""
    writer = native(agent.url)
    buffer = Buffer(sorts=False)
    target = buffer._native(writer)
    put(writer)
    [payload] = buffer._encode(target.client.encoder, target)
    monkeypatch.setattr(tracer._span_aggregator, "writer", writers.LogWriter())
    agent.clear()
    target.send(payload)
    assert [span.name for span in agent.spans()] == ["elsewhere"]
    writer._clients = [module.writers.WRITER_CLIENTS["v0.4"](1 << 20, 1 << 20)]
    target.unsupported(404)
    assert writer._api_version == "v0.5"
    buffer.forked()
    assert buffer.collect(leftovers=True) == ([], [])


def test_where_there_are_no_namespaces(monkeypatch):
    """Where the kernel has no control groups, no container is told apart."""
    monkeypatch.setattr(module, "_CGROUP_NAMESPACE", "/nowhere")
    assert module._in_hosts_namespace() is False


def test_an_address_as_http_writes_it():
    """An IPv6 address stands in brackets."""
    assert module._authority(Address("::1", 8126, "")) == "[::1]:8126"


def test_in_lambda_the_writers_own_thread_sends_nothing(agent):
    """The tick of ddtrace's writer is idle there."""
    env = {**GENEROUS, "AWS_LAMBDA_FUNCTION_NAME": "shop", "AWS_LAMBDA_RUNTIME_API": "127.0.0.1:1"}
    with gate(env):
        agent.clear()
        tracer.start_span("later", child_of=None).finish()
        tracer._span_aggregator.writer.periodic()
        assert agent.spans() == []


def test_an_exit_signal_is_ours_as_long_as_we_are_there(agent, monkeypatch):
    """What a signal calls does nothing once it was undone."""
    handlers, calls = [], []
    monkeypatch.setattr(dd_tracer.atexit, "register_on_exit_signal", handlers.append)
    replacements = Replacements()
    dd_tracer.on_exit(lambda: calls.append("exit"), replacements)
    handlers[0]()
    replacements.undo()
    handlers[0]()
    assert calls == ["exit"]


def test_an_answer_whose_length_is_no_number():
    """A length that is none is no HTTP."""
    with pytest.raises(AnswerError):
        AnswerReader().feed(b"HTTP/1.1 200 OK\r\ncontent-length: -2\r\n\r\n")
    with pytest.raises(AnswerError):
        AnswerReader().feed(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\nxyz\r\n")
    assert AnswerReader().feed(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4") is None
