"""Spans in a form that can be compared between two runs."""

import re
from collections import defaultdict
from dataclasses import dataclass, field

# What differs between any two runs of the same request, the gate or no gate.
VARYING = {"runtime-id", "process_id", "_dd.p.tid", "ddlwa.released_by"}

# What ddtrace writes on a span by its place: on the first of a chunk that it sends, on a span whose
# parent is of another service.
BY_PLACE = {
    "_dd.base_service",
    "_dd.p.dm",
    "_dd.svc_src",
    "_dd.tags.process",
    "_dd.top_level",
    "_dd.tracer_kr",
    "_sampling_priority_v1",
    "language",
}

_KEPT_FRAMES = 20


@dataclass(frozen=True, kw_only=True)
class Tolerance:
    """What may differ, and why, between ddtrace with and without the gate.

    Attributes:
        late: Names of spans that begin after their trace was closed and sent: they make traces of
            their own then. Compared by themselves, without their place in the tree.
        cut: By name of a span that was finished at the release, what was set on it after that.
        links: A link to a trace carries its sampling decision, if that had been made by then: closing a
            trace makes it, so a link from after the release has it where ddtrace's does not yet.
        stack: A traceback shows the frames it went through, ddlwa's too, and ddtrace keeps the
            innermost 30 of them.
    """

    late: frozenset = frozenset()
    cut: dict = field(default_factory=dict)
    links: bool = False
    stack: bool = False


def describe(spans, tolerance=None):
    """Describe the trees of the spans, a line for each field, without what differs between any runs."""
    tolerance = tolerance or Tolerance()
    ids = {span.span_id: span for span in spans}
    children = defaultdict(list)
    for span in spans:
        if span.name not in tolerance.late:
            children[span.parent_id if span.parent_id in ids else 0].append(span)

    def tree(span):
        parent = "none" if span.parent_id == 0 else "here" if span.parent_id in ids else "remote"
        hidden = VARYING | tolerance.cut.get(span.name, set())
        below = [*_fields(span, ids, hidden, tolerance), *trees(children[span.span_id])]
        return [f"{span.name} of {span.service}, parent: {parent}", *("    " + line for line in below)]

    def trees(siblings):
        return _sorted_blocks(tree(span) for span in siblings)

    return trees(children[0]) + _sorted_blocks(
        [f"late: {span.name}", *_fields(span, ids, VARYING | BY_PLACE, tolerance)]
        for span in spans
        if span.name in tolerance.late
    )


def _sorted_blocks(blocks):
    return [line for block in sorted(blocks) for line in block]


def _fields(span, ids, hidden, tolerance):
    own = {"resource": span.resource, "type": span.type, "error": span.error}
    for key, value in (*own.items(), *sorted({**span.meta, **span.metrics}.items())):
        if key not in hidden:
            yield f"{key}: {_plain(key, value, tolerance)}"
    for link in span.links:
        yield f"link: {_link(link, ids, tolerance)}"


def _plain(key, value, tolerance):
    if key in {"error.message", "error.stack"}:
        # anyio says which task cancelled which scope, by their numbers and addresses.
        value = re.sub(r"(?<=Cancelled via cancel scope ).*", "of some task", value)
    if key == "error.stack" and tolerance.stack:
        value = "\n".join(_innermost(part) for part in value.split("Traceback (most recent call last):"))
    return value


def _innermost(traceback):
    frames = re.split(r"(?m)^(?=  File )", traceback)
    others = [frame for frame in frames if not re.match(r'  File "[^"]*/ddlwa/\w+\.py"', frame)]
    return "".join(others[-_KEPT_FRAMES:])


def _link(link, ids, tolerance):
    """Describe a link; the random part of its trace state is made from the ids."""
    target = ids.get(link["span_id"] if isinstance(link["span_id"], int) else int(link["span_id"], 16))
    known = {"span_id", "trace_id", "trace_id_high"} | ({"flags", "tracestate"} if tolerance.links else set())
    rest = {key: value for key, value in sorted(link.items()) if key not in known}
    if "tracestate" in rest:
        rest["tracestate"] = re.sub(r"rv:\w+", "rv", rest["tracestate"])
    return {"to": target and target.name, **rest}
