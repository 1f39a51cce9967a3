"""Tests that fail, each for the reason in its name."""

import pytest
from ddtrace.trace import tracer

from ddlwa.testing import assert_delivered, assert_no_frozen_time


@pytest.mark.ddlwa(app="main:app", mode="plain")
def test_plain_ddtrace(lambda_sandbox):
    lambda_sandbox.invoke("/broken")
    lambda_sandbox.freeze("3h")
    trace = lambda_sandbox.trace()
    with pytest.raises(AssertionError, match="late: 1 of 1 span arrived only after the thaw"):
        assert_delivered(trace)
    assert_no_frozen_time(trace)


@pytest.mark.ddlwa(app="main:app")
def test_a_background_task(lambda_sandbox):
    lambda_sandbox.invoke("/mail")
    with pytest.raises(AssertionError, match="was not frozen after this invocation"):
        assert_no_frozen_time(lambda_sandbox.trace())
    lambda_sandbox.invoke("GET", "items")


@pytest.mark.ddlwa(app="nowhere:app")
def test_no_such_app(lambda_sandbox):
    pass


def test_no_app(lambda_sandbox):
    pass


@pytest.mark.ddlwa(app="main:app", modus="hold")
def test_no_such_option(lambda_sandbox):
    pass


@pytest.mark.ddlwa("main:app")
def test_no_keyword(lambda_sandbox):
    pass


@pytest.mark.ddlwa(app="main:app")
def test_both(lambda_sandbox, frozen_clock):
    pass


@pytest.mark.usefixtures("no_aggregator", "frozen_clock")
def test_unsupported_ddtrace():
    pass


@pytest.fixture
def no_aggregator(monkeypatch):
    monkeypatch.delattr(tracer, "_span_aggregator")


@pytest.mark.usefixtures("no_freezegun", "frozen_clock")
def test_no_freezegun():
    pass


@pytest.fixture
def no_freezegun(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "freezegun" else name)
