"""Real ddtrace, patched once for the process, and a trace agent that keeps what it is sent."""

import functools
import logging

import pytest
from ddtrace.trace import tracer
from ddtrace_writers import native
from gates import gate
from trace_agent import TraceAgent

from ddlwa import log


@pytest.fixture(autouse=True)
def warnings_said(caplog, monkeypatch):
    """Give each test its own memory of the warnings that ddlwa has logged."""
    monkeypatch.setattr(log, "_said", {})
    caplog.set_level(logging.WARNING, logger="ddlwa")
    return lambda: [record.getMessage() for record in caplog.records if record.name == "ddlwa"]


@pytest.fixture(scope="session")
def agent():
    """Instrument as stock ddtrace does, and give an agent that gets its traces; when asked, not by time."""
    agent = TraceAgent()
    with gate({"DDLWA_ENABLED": "false"}):
        pass
    aggregator = tracer._span_aggregator
    stock = aggregator.writer
    aggregator.writer = native(agent.url)
    yield agent
    agent.may_answer.set()
    tracer.flush()
    aggregator.writer = stock
    agent.close()


@pytest.fixture(scope="session")
def app_behind(agent):
    """Give the app behind a stack of middlewares; each is built once, as ddtrace patches for good."""
    import shop  # noqa: PLC0415 - its apps are to be made by patched classes

    return functools.cache(shop.build)
