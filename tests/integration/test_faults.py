import asyncio
import time
from collections import defaultdict

from ddtrace.trace import tracer
from endings import BARE
from gates import GENEROUS, gate
from wire_server import Request, serve

import ddlwa
from ddlwa.tracer.writer import Buffer

JSON = Request(path="/json")


def test_guarantee_5_kept_when_the_agent_does_not_answer_in_time(agent, app_behind, warnings_said):
    """The response leaves after the flush budget; the trace arrives once the agent answers."""
    seen = []

    def on_complete(exchange):
        seen.append(agent.spans())
        agent.may_answer.set()

    with gate({**GENEROUS, "DDLWA_FLUSH_TIMEOUT_MS": "30"}):
        agent.clear()
        agent.may_answer.clear()
        started = time.monotonic()
        (exchange,) = serve(app_behind(BARE), JSON, on_complete=on_complete)
        took_s = time.monotonic() - started
    assert exchange.status == 200
    assert seen == [[]]
    assert took_s < 2
    assert {span.name for span in agent.spans()} >= {"fastapi.request", "work"}
    assert warnings_said() == [
        "the trace agent does not work; it is left alone for a while",
        "the trace agent did not take the traces within 30 ms; they stay behind",
    ]


def test_guarantee_6_a_failing_flush_breaks_nothing(agent, app_behind, monkeypatch, warnings_said):
    """The app's response is the app's, whatever becomes of its trace; what is lost is counted."""

    def fail(self):
        raise OSError("no more")

    with gate(), monkeypatch.context() as patch:
        patch.setattr(type(tracer._span_aggregator.writer), "_set_drop_rate", fail)
        exchanges = [serve(app_behind(BARE), JSON)[0] for _ in range(2)]
        assert ddlwa.stats()["delivery"]["dropped"]["encoding"] == 2
    assert [(exchange.status, exchange.body) for exchange in exchanges] == [(200, b'{"ok":true}')] * 2
    assert warnings_said()[0] == "ddtrace cannot encode its traces"


def test_guarantee_6_a_changed_writer_breaks_nothing(agent, app_behind, monkeypatch, warnings_said):
    """Where we cannot tell where a trace belongs, it goes ddtrace's way, and nothing reaches the app."""

    def fail(self, writer, trace_id):
        raise AttributeError("another writer")

    with gate(), monkeypatch.context() as patch:
        patch.setattr(Buffer, "_client", fail)
        (exchange,) = serve(app_behind(BARE), JSON)
    assert (exchange.status, exchange.body) == (200, b'{"ok":true}')
    assert "cannot tell where a trace belongs" in warnings_said()


def test_guarantee_6_a_changed_aggregator_breaks_nothing(agent, app_behind, monkeypatch, warnings_said):
    """Open spans that cannot be found stay open; the response leaves."""

    class Unreadable(defaultdict):
        def get(self, *_):
            raise TypeError("not a mapping any more")

    aggregator = tracer._span_aggregator
    changed = Unreadable(aggregator._traces.default_factory)
    with gate(), monkeypatch.context() as patch:
        patch.setattr(aggregator, "_traces", changed)
        (exchange,) = serve(app_behind(BARE), JSON)
    assert exchange.status == 200
    assert warnings_said() == ["cannot deliver a trace before its response"]


def test_a_lifespan_has_no_gate(agent, app_behind):
    """What is no HTTP request passes by."""
    sent = []

    async def main():
        incoming = iter([{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}])

        async def receive():
            return next(incoming)

        async def send(message):
            sent.append(message["type"])

        await app_behind(BARE)({"type": "lifespan", "asgi": {"version": "3.0"}, "state": {}}, receive, send)

    with gate():
        asyncio.run(main())
    assert sent == ["lifespan.startup.complete", "lifespan.shutdown.complete"]
