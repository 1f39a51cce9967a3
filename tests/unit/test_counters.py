"""The numbers of every part, in one place."""

import sys
from collections import Counter
from types import SimpleNamespace

import pytest

import ddlwa
from ddlwa import counters, invocation, postresponse


@pytest.fixture(autouse=True)
def nothing_counted(monkeypatch):
    monkeypatch.setattr(postresponse, "counts", Counter())
    monkeypatch.setattr(invocation, "counts", Counter())


def patch_with(monkeypatch, serving):
    monkeypatch.setitem(sys.modules, "ddlwa.patch", SimpleNamespace(serving=lambda: serving))


NOTHING = {
    "work": {"completed": 0, "failed": 0, "timed_out": 0, "abandoned": 0},
    "delivery": None,
    "outlets": {},
    "headers": {"malformed": 0},
}


def test_before_anything_is_patched(monkeypatch):
    """Asking for the numbers does not import what patches, nor anything it would need."""
    monkeypatch.delitem(sys.modules, "ddlwa.patch", raising=False)
    assert counters.stats() == NOTHING
    assert "ddlwa.patch" not in sys.modules


def test_off(monkeypatch):
    """Where ddlwa is off there is no delivery to speak of."""
    patch_with(monkeypatch, None)
    assert counters.stats() == NOTHING


def test_on(monkeypatch):
    """Where it is on, each part says its own."""
    delivery = SimpleNamespace(stats=lambda: {"sent": 7})
    outlets = SimpleNamespace(stats=lambda: {"statsd": {"late": 1}})
    patch_with(monkeypatch, SimpleNamespace(delivery=delivery, outlets=outlets))
    postresponse.counts["timed_out"] += 2
    invocation.counts["malformed"] += 3
    stats = counters.stats()
    assert stats["delivery"] == {"sent": 7}
    assert stats["outlets"] == {"statsd": {"late": 1}}
    assert stats["work"] == {"completed": 0, "failed": 0, "timed_out": 2, "abandoned": 0}
    assert stats["headers"] == {"malformed": 3}


def test_asking_counts_nothing(monkeypatch):
    """Asking changes no number, and what is given is the asker's own."""
    patch_with(monkeypatch, None)
    counters.stats()["work"]["completed"] = 9
    assert counters.stats() == NOTHING
    assert postresponse.counts == {}


def test_public_name():
    """The function is there under its public name."""
    assert ddlwa.stats is counters.stats
