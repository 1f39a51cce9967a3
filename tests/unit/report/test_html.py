from __future__ import annotations

import base64
import dataclasses
import hashlib
import json
import re
from html.parser import HTMLParser

import pytest
from report_samples import make_invocation, make_report, make_run, make_span

from ddlwa.report import html
from ddlwa.report.comparison import Compared, Comparison
from ddlwa.report.model import Explained, Fault, Finding, Mode, OtherTrace, RouteResult, TracedSpan

RIGHT = make_run(Mode.DDLWA)
WRONG = make_run(Mode.PLAIN, wrong=True)
HOSTILE = "/<script>alert(1)</script><!--\u2028\u202e\udc80&amp;'\"</title><style>"
OTHER = OtherTrace(spans=(make_span(),), findings=(Finding(Fault.OUTSIDE_RUN, "starts too early"),))


class Page(HTMLParser):
    """What a browser would make of a page."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.tags = []
        self.inside = {}
        self.words = []
        self._open = None
        self.feed(text)
        self.close()
        self.text = " ".join(" ".join(self.words).split())

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self._open = tag
        if tag in ("script", "style"):
            self.inside.setdefault(tag, []).append("")

    def handle_endtag(self, tag):
        self._open = None

    def handle_data(self, data):
        if self._open in ("script", "style"):
            self.inside[self._open][-1] += data
        else:
            self.words.append(data)

    def attributes(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]

    @property
    def policy(self):
        policies = [one["content"] for one in self.attributes("meta") if "http-equiv" in one]
        assert len(policies) == 1
        return dict(part.strip().split(" ", 1) for part in policies[0].split(";"))

    @property
    def data(self):
        return json.loads(self.inside["script"][0])


def name_everything(hostile):
    """Make a report in which all that comes from an app is called so."""
    span = dataclasses.replace(make_span(), name=hostile, resource=hostile)
    finding = Finding(Fault.FROZEN_TIME, hostile)
    invocation = dataclasses.replace(make_invocation(1), spans=(span,), findings=(finding,))
    run = dataclasses.replace(
        RIGHT,
        routes=(RouteResult("GET", hostile, (invocation,)),),
        others=(OtherTrace(spans=(span,), findings=(finding,)),),
    )
    traced = TracedSpan(1, 1, 0, hostile, hostile, hostile, 1, 2, error=True, tags={hostile: hostile})
    compared = Compared(hostile, hostile, "p50:20%", 1, 9, 2, cause=hostile)
    return dataclasses.replace(
        make_report(run),
        app=hostile,
        adapter=hostile,
        explained=(Explained(hostile, hostile, None, hostile, (traced,)),),
        comparison=Comparison(hostile, (hostile,), (compared,), (hostile,), (hostile,), (hostile,)),
    )


def test_what_an_app_is_called_stays_text():
    """Names with markup, line separators, changes of direction and broken bytes add no element."""
    hostile, harmless = html.render(name_everything(HOSTILE)), html.render(name_everything("/items"))
    assert [tag for tag, _ in Page(hostile).tags] == [tag for tag, _ in Page(harmless).tags]
    assert not re.search("[\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]", hostile)
    assert "alert(1)" in Page(hostile).text
    hostile.encode("utf-8")


def test_the_embedded_data_cannot_end_its_block():
    """In it no markup is left; a reader of JSON gets it back."""
    page = html.render(name_everything(HOSTILE))
    block = re.search(r'<script id="data" type="application/json">(.*?)</script>', page).group(1)
    assert not re.search(r"[<>&\u2028\u2029]", block)
    assert any("<script>alert(1)</script><!--" in text for text in json.loads(block)["texts"])


@pytest.mark.parametrize(
    "report", [make_report(WRONG, RIGHT), name_everything(HOSTILE)], ids=["plain", "hostile"]
)
def test_only_the_page_itself_may_run(report):
    """The policy names the style and the script by what they are, and allows nothing else."""
    page = Page(html.render(report))

    def source(text):
        return "'sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() + "'"

    assert page.policy["default-src"] == "'none'"
    assert page.policy["style-src"] == source(page.inside["style"][0])
    assert page.policy["script-src"] == source(page.inside["script"][1])
    assert {"base-uri", "form-action", "require-trusted-types-for"} <= page.policy.keys()
    assert len(page.inside["style"]) == 1
    assert len(page.inside["script"]) == 2


def test_nothing_is_fetched():
    """Each address is a place in the page or in itself, and no markup has styles or handlers of its own."""
    page = Page(html.render(make_report(WRONG, RIGHT)))
    for _, attributes in page.tags:
        assert "src" not in attributes
        assert attributes.get("href", "#").startswith(("#", "data:"))
        assert not any(name == "style" or name.startswith("on") for name in attributes)
    assert not re.search(r"@import|url\(|https?:", page.inside["style"][0])
    assert not re.search(
        r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval|https?:", page.inside["script"][1]
    )


def test_the_same_report_gives_the_same_page():
    """Nothing of the moment or of the machine is in it."""
    report = make_report(make_run(Mode.PLAIN, wrong=True), make_run(Mode.DDLWA, others=(OTHER,)))
    assert html.render(report) == html.render(report)


def test_it_is_html_from_its_first_byte():
    """A browser does not go into quirks mode."""
    assert html.render(make_report(RIGHT)).startswith(
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset'
    )


@pytest.mark.parametrize(
    ("report", "summary"),
    [
        (make_report(RIGHT), "All 6 invocations are right with ddlwa"),
        (make_report(WRONG), "6 of 6 invocations are wrong with plain ddtrace."),
        (make_report(WRONG, RIGHT), "All 6 invocations are right with ddlwa"),
        (make_report(make_run(Mode.DDLWA, others=(OTHER,))), "1 trace of no invocation is wrong."),
    ],
)
def test_the_verdict_is_the_reports(report, summary):
    """What decides is on top, in words."""
    page = Page(html.render(report))
    assert summary in page.text
    assert f"{report.app} {'✓ right' if report.right else '✗ wrong'}" in page.text


def test_counts_are_the_models():
    """Right, delivered, spans with frozen time and the longest duration stand there for each mode."""
    page = Page(html.render(make_report(WRONG, RIGHT))).text
    counts = (
        "invocations right {0} /6 delivered before the freeze {0} /6 spans with frozen time {1} "
        "longest duration {2}"
    )
    assert "plain ddtrace ✗ wrong " + counts.format(0, 6, "3h 0m") in page
    assert "ddlwa ✓ right " + counts.format(6, 0, "4.2 ms") in page


def test_findings_say_what_to_do():
    """Each kind is there with its number, an example that leads to its timeline, and advice."""
    page = Page(html.render(make_report(make_run(Mode.DDLWA, wrong=True))))
    assert (
        "✗ late 6 times on 3 routes For example GET / , invocation 1 : 1 of 1 span arrived only" in page.text
    )
    assert page.text.count("What to do:") == 2
    assert {"href": "#open=1"} in page.attributes("a")


def test_each_route_has_its_row():
    """Route, status, both modes' delivery and longest duration, and the verdict are in the table."""
    page = Page(html.render(make_report(WRONG, RIGHT))).text
    assert "GET /items/1 200 ✗ 0/2 ✓ 2/2 3h 0m 4.2 ms ✓ right" in page


@pytest.mark.parametrize("slower", [True, False])
def test_a_comparison_with_a_baseline_is_there(slower):
    """What is slower is named with both durations, its limit and its likely cause; so is what is new."""
    one = Compared("GET /", "db.query", "p50:20%", 2_000_000, 6_000_000 if slower else 2_100_000, 2_400_000)
    one = dataclasses.replace(one, cause="db.query itself takes more" if slower else "")
    comparison = Comparison("base.json", ("p50:20%",), (one,), new=("GET /new",), measurements=5)
    report = dataclasses.replace(make_report(RIGHT), comparison=comparison)
    page = Page(html.render(report)).text
    assert ("GET / db.query p50:20% 2.0 ms 6.0 ms +200% 2.4 ms ✗ slower" in page) is slower
    assert ("Most likely: db.query itself takes more." in page) is slower
    assert ("1 span is slower than the baseline allows." in page) is slower
    assert ("✗ wrong" in page) is slower
    assert "Only now GET /new" in page


def test_explained_invocations_are_there():
    """Each event source has its trace with its tags, as a tree."""
    parent = TracedSpan(
        1, 1, 0, "fastapi.request", "POST /events", "shop", 1, 2_000_000, error=False, tags={"a": "b"}
    )
    child = dataclasses.replace(parent, span_id=2, parent_id=1, name="db.query", tags={"_dd.noise": "1"})
    explained = (
        Explained("SQS", "POST /events", 200, None, (parent, child)),
        Explained("SNS", "x", None, "late", ()),
    )
    page = Page(html.render(dataclasses.replace(make_report(RIGHT), explained=explained))).text
    assert (
        "SQS POST /events , 200 fastapi.request POST /events shop 2.0 ms a b db.query POST /events shop"
        in page
    )
    assert "SNS x ✗ late ✗ no trace arrived" in page
    assert "noise" not in page


def test_a_trace_may_be_very_deep():
    """Two thousand spans within each other are all there."""
    spans = tuple(
        TracedSpan(1, number, number - 1, f"span {number}.", "", "", number, 1, error=False, tags={})
        for number in range(1, 2_001)
    )
    page = html.render(
        dataclasses.replace(make_report(RIGHT), explained=(Explained("SQS", "x", 200, None, spans),))
    )
    assert all(f"span {number}." in page for number in range(1, 2_001))


def test_real_freezes_are_told():
    """Where the clock could not be moved the page says that the freezes were short."""
    page = Page(html.render(make_report(dataclasses.replace(RIGHT, clock_jumped=False)))).text
    assert "real and short" in page


def test_a_comparison_without_a_difference_says_so():
    """Where plain ddtrace is right everywhere, the reader is told."""
    page = Page(html.render(make_report(make_run(Mode.PLAIN), RIGHT))).text
    assert "does not show the problem" in page


def test_what_one_run_lacks_is_said():
    """A route that only the judged run has is there all the same."""
    plain = dataclasses.replace(WRONG, routes=WRONG.routes[1:])
    page = Page(html.render(make_report(plain, RIGHT)))
    assert "GET / 200 none ✓ 2/2 none 4.2 ms ✓ right" in page.text
    assert page.data["rows"][0][2] is None
