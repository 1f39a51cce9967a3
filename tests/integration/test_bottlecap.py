"""The model of the Datadog extension, and that it finds fault with what comes in a wrong order."""

from collections import namedtuple

import pytest
from bottlecap import Bottlecap, problems

Span = namedtuple("Span", "name trace_id span_id parent_id")  # noqa: PYI024 - a line is enough
UPSTREAM = 7
RULES = pytest.mark.parametrize("unlinks", [True, False], ids=["unlinks", "keeps"])


def request(number, *, parent_id=0):
    """Give the trace of a request, with a child."""
    trace_id = number * 100
    return [
        Span("request", trace_id, trace_id + 1, parent_id),
        Span("child", trace_id, trace_id + 2, trace_id + 1),
    ]


def other(number, *, nth=0):
    """Give a trace of its own that an invocation has made."""
    trace_id = number * 100 + 50 + nth
    return [Span("other", trace_id, trace_id, 0)]


def run(extension, *invocations, requests=None, nobody=()):
    """Have invocations one after the other, each with what comes in it; say what is wrong."""
    for number, chunks in enumerate(invocations, 1):
        extension.next(f"id-{number}")
        for chunk in chunks:
            extension.take([chunk])
        extension.report(f"id-{number}")
    return judge(extension, requests or range(1, len(invocations) + 1), nobody=nobody)


def judge(extension, requests, **more):
    nobody = more.pop("nobody", ())
    spans = [placed.span for placed in extension.placed]
    owners = {
        (span.trace_id, span.span_id): f"id-{span.trace_id // 100}"
        for span in spans
        if span.name not in nobody
    }
    expected = {f"id-{number}": number * 100 for number in requests}
    return problems(extension, requests=expected, owners=owners, **more)


@RULES
def test_the_right_order(unlinks):
    """Each request's trace first, leftovers of any invocation after it: all of it hangs where it belongs."""
    extension = Bottlecap(unlinks=unlinks)
    assert run(extension, [request(1), other(1)], [request(2), other(1, nth=1)], [request(3)]) == []
    assert [placed.request_id for placed in extension.placed] == [
        *("id-1", None, None),
        *("id-2", None, None),
        *("id-3", None),
    ]
    assert extension.placed[0].parent_id == extension.invocations["id-1"].span_id


@RULES
def test_leftovers_first(unlinks):
    """A leftover that comes before the request's trace is taken for it."""
    assert run(Bottlecap(unlinks=unlinks), [request(1)], [other(1), request(2)]) == [
        "other of id-1 hangs under id-2",
        "id-2 is paired with trace 150, not with its own",
    ]


def test_leftovers_alone():
    """A leftover in an invocation that sends nothing else is taken for its trace."""
    assert run(Bottlecap(), [request(1)], [other(1)], requests=[1]) == ["other of id-1 hangs under id-2"]


@RULES
def test_a_readiness_trace_first(unlinks):
    """The trace of a readiness check is nobody's, and takes the place of the request's."""
    readiness = [Span("readiness", 9, 1, 0)]
    assert run(Bottlecap(unlinks=unlinks), [readiness, request(1)], nobody=["readiness"]) == [
        "readiness is nobody's, and was sent",
        "id-1 is paired with trace 9, not with its own",
    ]


@RULES
def test_two_root_traces(unlinks):
    """Of two traces that a request makes, only the first to come is linked, so it is to be the request's."""
    assert run(Bottlecap(unlinks=unlinks), [request(1), other(1)]) == []
    assert run(Bottlecap(unlinks=unlinks), [other(1), request(1)]) == [
        "id-1 is paired with trace 150, not with its own"
    ]


def test_a_late_trace():
    """A trace that comes after its invocation's report is not linked to it any more."""
    assert run(Bottlecap(), [], [request(2), request(1)]) == [
        "id-1 is paired with trace None, not with its own"
    ]


def test_an_invocation_without_a_span():
    """Its report ends its waiting; where it does not, the next request's trace is taken for its."""
    invocations = [], [request(2)], [request(3)]
    assert run(Bottlecap(), *invocations, requests=[2, 3]) == []
    keeps = Bottlecap(unlinks=False)
    assert run(keeps, *invocations, requests=[2, 3]) == [
        "request of id-2 hangs under id-1",
        "2 spans of id-2 do not hang under it",
    ]
    assert judge(keeps, [3], excused={"id-1"}) == []


@RULES
def test_an_upstream_parent(unlinks):
    """With an upstream parent, what has it as its parent is linked, and what has none is not."""
    extension = Bottlecap(unlinks=unlinks)
    extension.next("id-1", parent_id=UPSTREAM)
    extension.take([request(1, parent_id=UPSTREAM)])
    assert judge(extension, [1]) == []
    extension.take([[Span("second root", 100, 103, 0)]])
    assert judge(extension, [1]) == ["1 spans of id-1 do not hang under it"]


@RULES
def test_several_roots_of_one_trace(unlinks):
    """All spans of the trace without a parent are linked, in whatever payloads they come."""
    extension = Bottlecap(unlinks=unlinks)
    extension.next("id-1")
    extension.take([request(1)])
    extension.take([[Span("second root", 100, 103, 0)]])
    assert judge(extension, [1]) == []


@pytest.mark.parametrize(("unlinks", "linked"), [(True, None), (False, "id-1")])
def test_what_is_late_of_a_linked_trace(unlinks, linked):
    """A span that comes after the report is linked where nothing is unlinked."""
    extension = Bottlecap(unlinks=unlinks)
    run(extension, [request(1)], [request(2)])
    extension.take([[Span("late root", 100, 103, 0)]])
    assert extension.placed[-1].request_id == linked


def test_at_once():
    """Of several invocations all are paired with the first trace, which hangs under the oldest of them."""
    extension = Bottlecap()
    for number in (1, 2, 3):
        extension.next(f"id-{number}")
    extension.take([request(2), request(1), request(3)])
    assert [invocation.trace_id for invocation in extension.invocations.values()] == [200, 200, 200]
    assert judge(extension, [1, 2]) == [
        "request of id-2 hangs under id-1",
        "id-1 is paired with trace 200, not with its own",
        "2 spans of id-2 do not hang under it",
    ]


def test_twice():
    """A span that comes a second time is dropped, and told."""
    assert run(Bottlecap(), [request(1), request(1)]) == ["request was sent twice", "child was sent twice"]


def test_the_extensions_own_span():
    """A tracer that sends an `aws.lambda` span makes one too many."""
    assert run(Bottlecap(), [request(1), [Span("aws.lambda", 100, 103, 101)]]) == [
        "aws.lambda was sent, which is the extension's to make"
    ]


def test_an_invocation_that_is_announced_twice():
    """Its second announcement changes nothing."""
    extension = Bottlecap()
    extension.next("id-1")
    extension.next("id-1", parent_id=UPSTREAM)
    assert extension.is_waited_for()
    assert run(extension, [request(1)]) == []
    assert not extension.is_waited_for()


def test_spans_in_a_circle():
    """Spans that are each other's parents hang under nothing."""
    circle = [Span("request", 100, 101, 102), Span("child", 100, 102, 101)]
    assert run(Bottlecap(), [circle]) == ["2 spans of id-1 do not hang under it"]
