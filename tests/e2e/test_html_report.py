"""The page of a report in a real browser: from a file, without a network."""

from __future__ import annotations

import dataclasses
import statistics
import time

import pytest
from axe_playwright_python.sync_playwright import Axe
from browser import Tab, launched
from page_reports import (
    EPOCH_NS,
    HOSTILE,
    HOUR_NS,
    MS,
    make_compared,
    make_report,
    make_run,
    make_span,
    make_wrong,
)

from ddlwa.report import html
from ddlwa.report.model import Mode
from ddlwa.report.units import duration

REPORTS = {"compared": make_compared, "wrong": make_wrong}
LONG = "GET /a/path/that/is/rather/long/for/a/phone?with=a&query=too"


@pytest.fixture(scope="module")
def browser():
    with launched() as chromium:
        yield chromium


@pytest.fixture(scope="module")
def file_of(tmp_path_factory):
    """Write a report's page."""
    folder = tmp_path_factory.mktemp("pages")

    def write(name, report):
        file = folder / f"{name}.html"
        file.write_text(html.render(report), "utf-8")
        return file

    return write


@pytest.fixture(scope="module")
def files(file_of):
    return {name: file_of(name, make()) for name, make in REPORTS.items()}


@pytest.fixture
def visit(browser, files):
    """Open a report's page in tabs of their own."""
    tabs = []

    def open_tab(file, **options):
        tabs.append(Tab(browser, files.get(file, file), **options))
        return tabs[-1]

    yield open_tab
    for tab in tabs:
        tab.context.close()


@pytest.mark.parametrize("name", REPORTS)
def test_it_opens_from_a_file_without_a_complaint(visit, name):
    """Nothing is fetched, the console is silent, and the page keeps its own policy, whatever is open."""
    tab = visit(name)
    tab.unfold()
    assert tab.complaints == []
    assert tab.violations == []
    assert [url for url in tab.requested if not url.startswith("data:")] == [tab.page.url.partition("#")[0]]


def test_the_policy_is_in_force(visit):
    """A script that someone manages to add does not run, and nothing can be fetched."""
    tab = visit("wrong")
    tab.page.evaluate("""() => {
        const script = document.createElement("script");
        try { script.text = "window.added = true"; } catch { script.append("window.added = true"); }
        document.body.append(script);
        document.body.append(Object.assign(new Image(), { src: "https://example.invalid/x.png" }));
    }""")
    tab.page.wait_for_function("violations.length >= 2")
    assert tab.page.evaluate("window.added") is None
    assert "img-src" in tab.violations


def test_what_an_app_is_called_is_shown_and_not_done(visit):
    """A route with markup stands there as text, in the table, the filter, the list and the timeline."""
    tab = visit("wrong", fragment="#open=4")
    shown = HOSTILE.replace("\u2028", "\\u2028").replace("\u202e", "\\u202e")
    for place in ("#routes ~ table", "#rows details[open] summary", "#rows details[open] .trace", "#filters"):
        assert shown in tab.page.locator(place).first.text_content()
    assert tab.complaints == []


def test_the_route_filter_keeps_to_one_route(visit):
    """Only its invocations are shown, the address says so, and opening that address shows the same."""
    tab = visit("compared")
    tab.page.get_by_role("combobox", name="Route").select_option("GET /items/1")
    assert tab.numbers() == [f"#{number}" for number in range(2, 41, 4)]
    assert tab.page.locator("#shown").text_content() == "10 of 10 shown"
    again = visit("compared", fragment="#" + tab.page.url.partition("#")[2])
    assert again.numbers() == tab.numbers()
    assert again.page.get_by_role("combobox", name="Route").input_value() == "GET /items/1"


def test_a_route_with_an_ampersand_survives_the_address(visit):
    """The link in the table leads to it."""
    tab = visit("compared")
    tab.page.get_by_role("link", name=LONG).click()
    tab.page.wait_for_function("document.querySelector('#rows .nth').textContent === '#3'")
    assert len(tab.numbers()) == 10
    assert tab.focused == "Invocations"


def test_the_verdict_filter_keeps_to_what_is_wrong(visit):
    """With one mode wrong means that; the trace of no invocation is wrong, too."""
    tab = visit("wrong")
    tab.page.get_by_role("combobox", name="Verdict").select_option(label="wrong only")
    assert tab.numbers() == [*(f"#{number}" for number in range(4, 41, 4)), ""]
    tab.page.get_by_role("button", name="Reset").click()
    assert len(tab.numbers()) == 41
    assert tab.page.url.endswith("#")


def test_each_mode_can_be_wrong(visit):
    """Of both modes plain ddtrace is wrong everywhere, ddlwa nowhere, and the page says that, too."""
    tab = visit("compared")
    tab.page.get_by_role("combobox", name="Verdict").select_option(label="wrong only, with plain ddtrace")
    assert len(tab.numbers()) == 40
    tab.page.get_by_role("combobox", name="Verdict").select_option(label="wrong only, with ddlwa")
    assert tab.numbers() == []
    assert tab.page.locator("#shown").text_content() == "No invocation matches."


def test_an_address_of_another_report_shows_everything(visit):
    """A route, a verdict or an invocation that is not there filters nothing."""
    tab = visit("compared", fragment="#route=GET+%2Fgone&wrong=x&open=999")
    assert len(tab.numbers()) == 40
    assert tab.complaints == []


def test_a_finding_leads_to_its_timeline(visit):
    """Its link opens the invocation and goes there."""
    tab = visit("wrong")
    tab.page.locator(".problem a").first.click()
    tab.page.wait_for_function("document.activeElement.tagName === 'SUMMARY'")
    assert tab.focused.startswith("#4")
    assert tab.page.locator("details[data-number='4'] .trace").is_visible()


def test_the_keyboard_is_enough(visit):
    """Tab reaches each control and each invocation, Enter opens and closes it, and the focus can be seen."""
    tab = visit("compared", fragment="#open=2")
    tab.page.keyboard.press("Tab")
    assert tab.focused == "Skip to the invocations"
    tab.page.keyboard.press("Enter")
    reached = []
    for _ in range(4):
        tab.page.keyboard.press("Tab")
        reached.append(
            tab.page.evaluate("document.activeElement.name || document.activeElement.type || 'row'")
        )
        assert tab.page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    assert reached == ["route", "wrong", "reset", "row"]
    row = tab.page.locator("#rows details").first
    assert tab.focused.startswith("#1")
    assert row.get_attribute("open") is None
    tab.page.keyboard.press("Enter")
    row.locator(".trace").first.wait_for()
    assert tab.page.url.endswith("#open=1")
    tab.page.keyboard.press("Enter")
    row.locator(".trace").first.wait_for(state="hidden")


def test_more_can_be_shown(visit, file_of):
    """Fifty come at once; the button adds fifty, goes to the first of them, and leaves when all are there."""
    tab = visit(file_of("many", make_compared(count=120)))
    assert len(tab.numbers()) == 50
    more = tab.page.locator("#more")
    more.click()
    assert tab.focused.startswith("#51")
    assert more.text_content() == "Show 20 more"
    more.click()
    assert len(tab.numbers()) == 120
    assert more.is_hidden()


def test_an_invocation_far_down_can_be_addressed(visit, file_of):
    """The list is as long as it takes to have it open."""
    tab = visit(file_of("far", make_compared(count=120)), fragment="#open=110")
    assert tab.page.locator("details[data-number='110'] .trace").first.is_visible()
    assert len(tab.numbers()) == 110


def boxes(tab, selector):
    """Give the left edge and the width of each element, in px."""
    return tab.page.eval_on_selector_all(
        selector, "all => all.map((one) => one.getBoundingClientRect()).map((box) => [box.left, box.width])"
    )


def test_a_freeze_is_as_wide_as_any_other_and_the_rest_is_to_scale(visit):
    """12 and 20 ms beside 3 h: both modes run on one scale, and the freeze is one width, with its length."""
    tab = visit("compared", fragment="#open=1")
    for side in (1, 2):
        within = f"details[data-number='1'] .side:nth-of-type({side}) .axis"
        assert tab.page.locator(f"{within} .cold").text_content() == "frozen3h 0m"
    (first, second), (third, fourth) = [
        [width for _, width in boxes(tab, f"details[data-number='1'] .side:nth-of-type({side}) .axis .ran")]
        for side in (1, 2)
    ]
    assert (first, second) == pytest.approx((third, fourth), abs=1)
    assert second / first == pytest.approx(20 / 12, rel=0.02)
    frozen = [width for _, width in boxes(tab, "details[data-number='1'] .axis .cold")]
    assert frozen == pytest.approx([frozen[0]] * 2, abs=1)
    assert 40 < frozen[0] < 120


def test_frozen_time_is_shown_as_such(visit):
    """A span that counts a freeze is hatched over it, and goes on behind it."""
    tab = visit("compared", fragment="#open=1")
    plain = "details[data-number='1'] .side:nth-of-type(1)"
    bars = tab.page.locator(f"{plain} tbody tr").first.locator(".bar")
    assert [bars.nth(place).get_attribute("class").strip() for place in range(3)] == [
        "bar",
        "bar counted",
        "bar",
    ]
    hatched, frozen = boxes(tab, f"{plain} .counted"), boxes(tab, f"{plain} .axis .cold")
    assert hatched[0] == pytest.approx(frozen[0], abs=1)
    assert "gradient" in bars.nth(1).evaluate("(bar) => getComputedStyle(bar).backgroundImage")
    assert tab.page.locator(f"{plain} tbody tr").first.locator("td").nth(1).text_content() == "3h 0m"


def make_spans(*spans):
    """Make a report whose only invocation has these spans."""
    run = make_run(Mode.DDLWA, count=1)
    (invocation,) = run.routes[0].invocations
    route = dataclasses.replace(run.routes[0], invocations=(dataclasses.replace(invocation, spans=spans),))
    return make_report(dataclasses.replace(run, routes=(route,)))


def test_frozen_time_that_was_taken_off_is_no_part_of_the_span(visit, file_of):
    """A span that outlived a freeze and does not count it is interrupted there, and ends where it ended."""
    tab = visit(file_of("ledger", make_spans(make_span(1, EPOCH_NS + 2 * MS, 15 * MS))))
    bars = tab.page.locator("details[open] .bar")
    assert [bars.nth(place).get_attribute("class").strip() for place in range(3)] == [
        "bar",
        "bar uncounted",
        "bar",
    ]
    (_, before), _, (_, after) = boxes(tab, "details[open] .bar")
    assert before / after == pytest.approx(10 / 5, rel=0.05)


def test_durations_read_as_everywhere_else(visit, file_of):
    """The page's script writes them as the rest of the report does, halves and minus signs included."""
    edges = [10**power + more for power in range(16) for more in (-1, 0, 1)]
    halves = [50, 1_050, 1_150, 1_250, 9_950, 9_949, 10_500, 11_500, 999_500, 12_500_000, 59_999_999_999]
    minutes = [60 * 10**9, 119_500_000_000, 3_599_500_000_000, 3_600_500_000_000, HOUR_NS * 25]
    every = [*edges, *halves, *minutes, -4_200_000]
    spans = [make_span(number, EPOCH_NS + number, each) for number, each in enumerate(every, 1)]
    tab = visit(file_of("durations", make_spans(*spans)))
    cells = tab.page.locator("details[open] tbody td:nth-of-type(1)").all_text_contents()
    assert cells == [duration(each) for each in every]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", REPORTS)
@pytest.mark.parametrize("width", [390, 1280])
def test_axe_finds_nothing(visit, name, scheme, width):
    """Names, roles, structure and contrast hold in both schemes, on a desk and on a phone."""
    tab = visit(name, width=width, color_scheme=scheme)
    tab.unfold()
    found = Axe().run(tab.page)
    assert found.violations_count == 0, found.generate_report()


def test_it_is_dark_where_the_reader_likes_it_dark(visit):
    """The page follows the reader's scheme, with its controls."""
    back = "getComputedStyle(document.body).backgroundColor.match(/[0-9]+/g).map(Number)"
    assert min(visit("wrong", color_scheme="light").page.evaluate(back)) > 200
    tab = visit("wrong", color_scheme="dark")
    assert max(tab.page.evaluate(back)) < 50
    assert max(tab.page.evaluate(back.replace("document.body", "document.querySelector('select')"))) < 60


@pytest.mark.parametrize("name", REPORTS)
@pytest.mark.parametrize("width", [320, 390, 700, 1000])
def test_it_is_never_wider_than_its_window(visit, name, width):
    """With all kinds of things open the page does not scroll sideways, and no timeline leaves its place."""
    tab = visit(name, width=width)
    tab.unfold()
    assert tab.overflow <= 0
    assert all(left >= 0 and left + size <= width for left, size in boxes(tab, ".track, .bar, .axis span"))


def test_it_can_be_printed(visit):
    """On paper there are no controls, and it is light."""
    tab = visit("wrong", width=760, color_scheme="dark")
    tab.page.emulate_media(media="print")
    assert not tab.page.locator("select, #more, .skip").filter(visible=True).count()
    assert tab.page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert tab.overflow <= 0
    assert tab.page.pdf().startswith(b"%PDF")


def test_nothing_moves_for_those_who_do_not_want_it(visit):
    """With reduced motion there is no transition."""
    still = "getComputedStyle(document.querySelector('#rows summary'), '::before').transitionDuration"
    assert visit("wrong").page.evaluate(still) != "0s"
    assert visit("wrong", reduced_motion="reduce").page.evaluate(still) == "0s"


@pytest.mark.parametrize("name", REPORTS)
def test_without_javascript_the_summary_can_be_read(visit, name):
    """Verdict, counts, findings with advice, and routes are there; what would not work is not."""
    tab = visit(name, scripts=False)
    tab.page.locator("section > details > summary").first.click()
    for words in ("shop.main:app", "invocations right", "What to do", "GET /items/1", "does not run here"):
        assert tab.page.get_by_text(words).first.is_visible()
    assert not tab.page.locator("#filters").is_visible()


def test_thousands_of_invocations_open_as_a_hundred_do(visit, file_of):
    """The page has as many elements, and takes not much longer: fifty times the data, less than ten times."""
    few, many = file_of("few", make_compared(count=100)), file_of("lots", make_compared(count=5_000))

    def measure(file):
        began_s = time.perf_counter()
        tab = visit(file)
        tab.page.locator("#rows details").first.wait_for()
        return time.perf_counter() - began_s, tab.page.evaluate("document.querySelectorAll('*').length")

    few_s, few_elements = zip(*(measure(few) for _ in range(3)), strict=True)
    many_s, many_elements = zip(*(measure(many) for _ in range(3)), strict=True)
    assert few_elements == many_elements
    assert statistics.median(many_s) < 10 * statistics.median(few_s)


def test_thousands_of_invocations_are_filtered_at_once(visit, file_of):
    """Among five thousand the filter finds a route's 1,250, and draws fifty."""
    tab = visit(file_of("filtered", make_compared(count=5_000)))
    tab.page.get_by_role("combobox", name="Route").select_option("GET /items/1")
    assert tab.page.locator("#shown").text_content() == "50 of 1,250 shown"
    assert len(tab.numbers()) == 50
