"""Tells, by the rule of the Datadog extension, under which invocation's `aws.lambda` span each span ends up.

The rule is that of DataDog/datadog-lambda-extension, in `bottlecap/src`:

- `lwa/mod.rs`, `process_invocation_next`: with `AWS_LWA_LAMBDA_RUNTIME_API_PROXY` set, the extension sees
  each answer to the adapter's `next`. It makes up the id of that invocation's `aws.lambda` span, and takes
  the upstream parent id from the event's headers, or 0.
- `traces/trace_agent.rs`, `handle_traces` and `handle_reparenting`: of a payload it drops what it has seen
  before. The first span that comes gives its trace id to every invocation that has none yet. A span of an
  invocation's trace whose parent is the upstream one, or 0 without one, becomes a child of `aws.lambda`.

So nothing but the order says what belongs together: something of an invocation has to come before anything of
the next one does.

That an invocation's report ends all this is from our own notes on the head of August 2026 (facts.md). The
public copy that was read for this (`trace_agent.rs` at commit aead5a17) forgets an invocation only when 500
others have come: if no span has come for one, it takes the next one's. `unlinks` says which of the two holds.
"""

from collections import defaultdict
from dataclasses import dataclass
from typing import Any, NamedTuple


@dataclass
class Invocation:
    """What the extension knows of an invocation.

    Attributes:
        span_id: The id of its `aws.lambda` span; negative, so that no tracer has it.
        parent_id: The upstream parent id; 0 without one.
        trace_id: The trace with which it is paired; None as long as it waits.
    """

    request_id: str
    span_id: int
    parent_id: int
    trace_id: int | None = None


class Placed(NamedTuple):
    """A span with its parent, and the invocation under whose `aws.lambda` span it hangs directly, if any."""

    span: Any
    parent_id: int
    request_id: str | None


class Bottlecap:
    """The extension, as far as it pairs traces with invocations.

    Args:
        unlinks: An invocation's report ends its pairing.

    Attributes:
        invocations: All, by request id.
        placed: The spans it has taken, in their order.
        repeated: The spans that it had before.
    """

    def __init__(self, *, unlinks=True):
        self._unlinks = unlinks
        self.invocations = {}
        self.placed = []
        self.repeated = []
        self._waiting = []
        self._paired = defaultdict(list)  # the oldest first
        self._seen = set()

    def next(self, request_id, *, parent_id=0):
        """Take note that an invocation is handed to the adapter."""
        if request_id not in self.invocations:
            invocation = Invocation(request_id, -1 - len(self.invocations), parent_id)
            self.invocations[request_id] = invocation
            self._waiting.append(invocation)

    def is_waited_for(self):
        """Say whether an invocation waits for its first span."""
        return bool(self._waiting)

    def report(self, request_id):
        """Take note of Lambda's report of an invocation."""
        if self._unlinks:
            invocation = self.invocations[request_id]
            for invocations in (self._waiting, self._paired[invocation.trace_id]):
                if invocation in invocations:
                    invocations.remove(invocation)

    def take(self, chunks):
        """Take a payload: traces, or parts of them, each a list of spans."""
        for span in (span for chunk in chunks for span in chunk):
            if (span.trace_id, span.span_id) in self._seen:
                self.repeated.append(span)
            else:
                self._seen.add((span.trace_id, span.span_id))
                self.placed.append(self._place(span))

    def _place(self, span):
        for invocation in self._waiting:
            invocation.trace_id = span.trace_id
            self._paired[span.trace_id].append(invocation)
        self._waiting.clear()
        for invocation in self._paired.get(span.trace_id, ()):
            if span.parent_id == invocation.parent_id:
                return Placed(span, invocation.span_id, invocation.request_id)
        return Placed(span, span.parent_id, None)


def problems(extension, *, requests, owners, excused=frozenset()):
    """Say what is wrong with where the spans are, a sentence each.

    Args:
        extension: A `Bottlecap` that has taken them.
        requests: By request id the id of its request's trace, where the whole of it is to hang under the
            invocation's `aws.lambda` span.
        owners: By trace id and span id whose a span is: a request id, or another name. What is nobody's was
            not to be sent.
        excused: Request ids of invocations which may have others' spans under them.
    """
    found = [f"{span.name} was sent twice" for span in extension.repeated]
    mine = defaultdict(dict)
    for span, parent_id, request_id in extension.placed:
        owner = owners.get((span.trace_id, span.span_id))
        mine[owner, span.trace_id][span.span_id] = parent_id
        if span.name.startswith("aws.lambda"):
            found.append(f"{span.name} was sent, which is the extension's to make")
        if owner is None:
            found.append(f"{span.name} is nobody's, and was sent")
        elif request_id not in {None, owner, *excused}:
            found.append(f"{span.name} of {owner} hangs under {request_id}")
    for request_id, trace_id in requests.items():
        invocation = extension.invocations[request_id]
        if invocation.trace_id != trace_id:
            found.append(f"{request_id} is paired with trace {invocation.trace_id}, not with its own")
            continue
        parents = mine[request_id, trace_id]
        loose = [span_id for span_id in parents if not _hangs(span_id, parents, invocation.span_id)]
        if loose:
            found.append(f"{len(loose)} spans of {request_id} do not hang under it")
    return found


def _hangs(span_id, parents, root_id):
    """Say whether a span is below another by its ancestors."""
    passed = set()
    while span_id in parents and span_id not in passed:
        passed.add(span_id)
        span_id = parents[span_id]
    return span_id == root_id
