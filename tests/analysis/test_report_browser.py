"""The page in a real browser, without a network: pointed at, clicked, filtered, sorted, in silence."""

from __future__ import annotations

import shutil
from contextlib import contextmanager

import pytest

from analysis.report_page import page
from analysis.report_tables import Made
from tests.analysis.recorded import record_of

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
PATIENCE = 240_000  # milliseconds; a busy machine draws slowly
playwright = pytest.importorskip("playwright.sync_api", reason="the browser's driver is in the extra 'test'")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here; make install-browser gets Debian's"),
    pytest.mark.timeout(900),
]


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """Of two studies and three methods, one name of which looks like HTML."""
    records = [record_of("<b>bold</b>", ("deadzone", "epr")), record_of("three", ("uniform",), gops=True)]
    path = tmp_path_factory.mktemp("page") / "report.html"
    path.write_text(page(records, [Made(), Made()], "by a test"), encoding="utf-8")
    return path


@contextmanager
def opened(browser, path, **options):
    """A tab with the page, and all that it complains of or asks for while it is open."""
    context = browser.new_context(**{"viewport": {"width": 1400, "height": 1000}, **options})
    context.set_default_timeout(PATIENCE)
    tab, found = context.new_page(), []
    tab.on("console", lambda message: found.append(f"console {message.type}: {message.text}"))
    tab.on("pageerror", lambda error: found.append(f"error: {error}"))
    tab.on(
        "request",
        lambda request: None if request.url == path.as_uri() else found.append(f"request: {request.url[:100]}"),
    )
    tab.goto(path.as_uri())
    yield tab, found
    context.close()


def spot(tab, figure, trace, place):
    """Where a point of a figure is on the screen."""
    tab.locator(f"#{figure}").scroll_into_view_if_needed()
    return tab.evaluate(
        """([figure, trace, place]) => {
            const div = document.getElementById(figure), own = div.data.findIndex((t) => t.meta && t.meta.role === trace);
            const { xaxis, yaxis } = div._fullLayout, box = div.getBoundingClientRect(), { x, y, customdata } = div.data[own];
            return { x: box.x + xaxis._offset + xaxis.d2p(x[place]), y: box.y + yaxis._offset + yaxis.d2p(y[place]),
                     key: customdata[place][0], epoch: customdata[place][1] };
        }""",
        [figure, trace, place],
    )


def test_a_point_tells_its_knobs_and_a_click_shows_its_trial(browser, report):
    with opened(browser, report) as (tab, found):
        at = spot(tab, "front-0-0", "on the front", 2)
        tab.mouse.move(at["x"] - 3, at["y"])
        tab.mouse.move(at["x"], at["y"])
        tab.wait_for_selector(".hovertext")
        told = tab.locator(".hovertext").first.text_content()
        assert "bits = " in told
        assert "<b>bold</b>" in tab.locator("h1").text_content()
        before = tab.locator(".panel-title").first.text_content()
        tab.mouse.click(at["x"], at["y"])
        trial = at["key"].partition(":")[2]
        tab.wait_for_function(f"document.querySelector('.panel-title').textContent.endsWith('trial {trial}')")
        assert not before.endswith(f"trial {trial}")
        curves = tab.evaluate("document.getElementById('curves-0').data.map((t) => t.y)")
        own = record_of("", ("deadzone", "epr")).epochs.query("trial_id == @trial")
        assert curves[0] == pytest.approx((100 * own["accuracy"]).tolist())
        assert curves[1] == pytest.approx((own["size"] / 1000).tolist())
        assert tab.locator('tr[aria-selected="true"]').get_attribute("data-key") == at["key"]
        assert found == []


def test_a_filter_hides_a_method_everywhere(browser, report):
    shown = "document.getElementById('front-0-0').data.filter((t) => t.meta.series === 0 && t.visible !== false).length"
    with opened(browser, report) as (tab, found):
        assert tab.evaluate(shown) > 0
        tab.locator('.chip[data-series="0"]').click()
        tab.wait_for_function(f"{shown} === 0")
        assert tab.locator('.chip[data-series="0"]').get_attribute("aria-pressed") == "false"
        assert tab.locator('#trials tr[data-series="0"]:visible').count() == 0
        assert tab.locator('#trials tr[data-series="1"]:visible').count() == 6
        assert not tab.locator("#knobs-0").is_visible()
        tab.locator('.chip[data-series="0"]').click()
        tab.wait_for_function(f"{shown} > 0")
        assert tab.locator("#knobs-0").is_visible()
        tab.locator("#tests").click()
        tab.wait_for_function(
            "document.getElementById('front-0-0').data.some((t) => t.meta.test && t.visible === true)"
        )
        assert found == []


def test_the_table_sorts_and_leads_to_a_trial(browser, report):
    with opened(browser, report) as (tab, found):
        head = tab.locator("#trials th", has_text="size in kB")
        place = tab.evaluate(
            "(name) => [...document.querySelectorAll('#trials th')].findIndex((th) => th.textContent === name)",
            "size in kB",
        )
        cells = f"[...document.querySelectorAll('#trials tbody tr')].map((row) => Number(row.cells[{place}].dataset.v))"
        for direction in ("ascending", "descending"):
            head.locator("button").click()
            assert head.get_attribute("aria-sort") == direction
            values = tab.evaluate(cells)
            assert values == sorted(values, reverse=direction == "descending")
        tab.locator('tr[data-key="1:t3"] button').click()
        assert tab.locator(".panel-title").nth(1).text_content() == "uniform, trial t3"
        assert found == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_narrow_window_needs_no_sideways_scrolling(browser, report, scheme):
    with opened(browser, report, viewport={"width": 390, "height": 844}, color_scheme=scheme) as (tab, found):
        assert tab.evaluate("document.documentElement.scrollWidth") <= 390
        paper, ink = tab.evaluate(
            "[getComputedStyle(document.body).backgroundColor, getComputedStyle(document.body).color]"
        )
        light = [sum(map(int, colour.strip("rgb()").split(","))) for colour in (paper, ink)]
        assert (light[0] > light[1]) == (scheme == "light")
        assert found == []


def test_a_page_that_complains_or_asks_for_more_is_noticed(browser, report, tmp_path):
    text = report.read_text(encoding="utf-8")
    broken = tmp_path / "broken.html"
    broken.write_text(
        text.replace('"use strict";', '"use strict"; fetch("https://example.org/"); undefined.x;', 1), encoding="utf-8"
    )
    with opened(browser, broken) as (tab, found):
        tab.wait_for_timeout(1000)
        assert any(line.startswith("error: ") for line in found)
        assert any("example.org" in line for line in found)
