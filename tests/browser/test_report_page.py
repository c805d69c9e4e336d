"""The report in a real browser: by mouse and by keyboard, at every width, in light and dark, with hostile records."""

from __future__ import annotations

from pathlib import Path

import pytest
from headless import Browser
from report_builders import beside_published

from dfdgbench.results import html
from dfdgbench.results.report.writing import write
from dfdgbench.results.table import build
from dfdgbench.tables.spec import load

pytestmark = pytest.mark.browser

ENTER, ESCAPE, TAB, SPACE, RIGHT = "\ue007", "\ue00c", "\ue004", "\ue00d", "\ue014"
COLUMN = """
const [column] = arguments;
return [...document.querySelector('table.results').tBodies[0].rows].map((row) => row.cells[column].innerText.trim());
"""
LUMINANCE = """
const parts = getComputedStyle(document.body)[arguments[0]].match(/[0-9.]+/g).map(Number);
return (parts[0] + parts[1] + parts[2]) / 3;
"""
CONTRASTS = """
// The contrast of every text with what it stands on (WCAG 2), of elements that hold text of their own.
function rgb(text) {
  const canvas = document.createElement('canvas').getContext('2d');
  canvas.fillStyle = text; canvas.fillRect(0, 0, 1, 1);
  return [...canvas.getImageData(0, 0, 1, 1).data];
}
function luminance([r, g, b]) {
  const [x, y, z] = [r, g, b].map((v) => { v /= 255; return v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4; });
  return 0.2126 * x + 0.7152 * y + 0.0722 * z;
}
const found = {};
for (const element of document.querySelectorAll('body *')) {
  const own = [...element.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim());
  if (!own || !element.getClientRects().length || element.closest('script, option, title')) continue;
  let under = element, paper = [0, 0, 0, 0];
  while (under && paper[3] === 0) { paper = rgb(getComputedStyle(under).backgroundColor); under = under.parentElement; }
  const style = getComputedStyle(element);
  const [a, b] = [luminance(rgb(element.closest('svg') ? style.fill : style.color)), luminance(paper)].sort();
  const ratio = Math.round(100 * (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05)) / 100;
  if (ratio < 4.5) found[`${element.tagName}.${element.className.baseVal ?? element.className}`] = ratio;
}
return found;
"""


@pytest.fixture
def shown(browser: Browser, page: Path) -> Browser:
    browser.open(page)
    return browser


def heading(browser: Browser, column: int) -> object:
    return browser.all("table.results thead tr:last-child th button")[column]


def test_a_heading_sorts_down_up_and_back(shown: Browser) -> None:
    before = shown.run(COLUMN, 1)
    down = sorted(before, key=lambda text: -float(text.split()[0]))
    assert before != down, "the test would not see a sort"
    for wanted, order in ((down, "descending"), (down[::-1], "ascending"), (before, "none")):
        heading(shown, 1).click()  # type: ignore[attr-defined]
        assert shown.run(COLUMN, 1) == wanted
        cells = shown.all("table.results thead th[aria-sort]")
        assert [cell.get_attribute("aria-sort") for cell in cells] == ["none", order, "none", "none"]


def test_sorting_and_the_panel_by_keyboard_alone(shown: Browser) -> None:
    shown.run("arguments[0].focus()", heading(shown, 0))
    shown.press(ENTER)
    assert shown.run(COLUMN, 0) == ["ERM", "DEKAN", "AvgPred"]
    assert shown.one("#said").text == "Sorted by Method, descending"
    width = shown.run("return parseFloat(getComputedStyle(document.activeElement).outlineWidth)")
    assert width >= 2, "what has the focus can be seen"
    cell = shown.one("table.results [data-cell]")
    shown.run("arguments[0].focus()", cell)
    shown.press(ENTER)
    assert shown.one("#panel").is_displayed()
    assert shown.run("return document.getElementById('panel').contains(document.activeElement)")
    shown.press(ESCAPE)
    assert not shown.one("#panel").is_displayed()
    assert shown.driver.switch_to.active_element == cell, "the focus is back where it was"


def test_every_control_can_be_reached_with_tab(shown: Browser) -> None:
    wanted = shown.run(
        "return [...document.querySelectorAll('a, button, select, input, summary')]"
        ".filter((e) => e.getClientRects().length && !(e.type === 'radio' && !e.checked)).length"
    )
    reached = set()
    for _ in range(4 * wanted):
        shown.press(TAB)
        element = shown.driver.switch_to.active_element
        if element.tag_name == "body":
            break
        if element.tag_name in ("a", "button", "select", "input", "summary"):
            reached.add(element.id)
    assert len(reached) == wanted


def test_a_number_opens_the_runs_behind_it(shown: Browser) -> None:
    shown.all("table.results tbody tr")[1].find_element("css selector", "[data-cell]").click()
    panel = shown.one("#panel")
    assert shown.one("#panel-h").text.startswith("DEKAN, ")
    assert "The 2 runs behind it" in panel.text
    for summary in shown.all("#panel-body > details > summary"):
        assert "chosen at step 200" in summary.text
        summary.click()
    for text in ("trial seed", "hparams seed", "folder", "MiniDigits", "env0_in_acc"):
        assert text in panel.text, text
    chosen = [row.text.split()[0] for row in shown.all("#panel tr.chosen")]
    assert chosen == ["200", "200"]
    shown.one("[data-close]").click()
    assert not panel.is_displayed()


def test_a_run_opens_from_the_list_and_the_list_is_filtered(shown: Browser) -> None:
    shown.one("[data-filter]").send_keys("failed")
    rows = [row for row in shown.all("#run-table tbody tr") if row.is_displayed()]
    assert len(rows) == 1
    rows[0].find_element("css selector", "[data-run]").click()
    assert "RuntimeError: the loss is not finite" in shown.one("#panel").text


def test_links_lead_to_their_sections(shown: Browser) -> None:
    for link in shown.all("nav a"):
        section = shown.one(link.get_attribute("href").partition("#")[2].join(("#", "")))
        shown.run("arguments[0].click()", link)
        top = shown.run("return arguments[0].getBoundingClientRect().top", section)
        bottom = shown.run("return innerHeight + scrollY >= document.documentElement.scrollHeight - 1")
        assert -1 <= top <= 100 or bottom


def test_lines_and_measures_of_the_curves_can_be_chosen(shown: Browser) -> None:
    lines = "[data-measure=target] [data-line='1']"
    assert all(line.is_displayed() for line in shown.all(lines))
    shown.one("[data-show-line='1']").click()
    assert not any(line.is_displayed() for line in shown.all(lines))
    shown.one("[data-measures] input[value=source]").click()
    assert not shown.one("[data-measure=target]").is_displayed()
    assert shown.one("[data-measure=source]").is_displayed()


def test_a_mark_says_its_numbers_when_pointed_at(shown: Browser) -> None:
    mark = shown.one("#ladder g.dot")
    shown.run("arguments[0].scrollIntoView({block: 'center', behavior: 'instant'})", mark)
    place = shown.run(
        "const r = arguments[0].getBoundingClientRect(); return [r.x + r.width / 2, r.y + r.height / 2]", mark
    )
    for x, y in ((1, 1), place):
        shown.driver.execute_cdp_cmd("Input.dispatchMouseEvent", {"type": "mouseMoved", "x": x, "y": y})
    assert shown.one("#tip").text.startswith("ours: ")


@pytest.fixture(scope="module")
def comparison(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of a sweep whose table has printed numbers."""
    folder = tmp_path_factory.mktemp("comparison")
    beside_published(folder / "sweep")
    return write(folder / "sweep", folder / "report.html").path


def test_the_switch_of_what_tables_show(browser: Browser, comparison: Path) -> None:
    browser.open(comparison)
    cell = browser.one("table.results tbody tr:nth-child(4) td:nth-child(4)")
    texts = {}
    for view in ("both", "ours", "published", "difference"):
        browser.one(f"[data-views] input[value={view}]").click()
        texts[view] = " ".join(cell.text.split())
    assert texts == {
        "both": "80.0 [1/3] (96.29)", "ours": "80.0 [1/3]", "published": "(96.29)", "difference": "-16.3"
    }  # fmt: skip
    browser.one("[data-views] input[value=both]").send_keys(SPACE + RIGHT)
    assert browser.run("return document.documentElement.dataset.view") == "ours", "the arrows choose too"


def test_a_sorted_table_follows_the_switch(browser: Browser, comparison: Path) -> None:
    browser.open(comparison)
    heading(browser, 3).click()  # type: ignore[attr-defined]
    assert browser.run(COLUMN, 0)[:2] == ["DEKAN", "AvgPred"], "80.0 and 75.0, then what is printed alone"
    browser.one("[data-views] input[value=published]").click()
    printed = [float(text.split("(")[1].rstrip(")§")) for text in browser.run(COLUMN, 3)]
    assert printed == sorted(printed, reverse=True)


def test_ours_stand_against_the_published(browser: Browser, comparison: Path) -> None:
    browser.open(comparison)
    assert len(browser.all("#published .chart")) == 5
    assert len(browser.all("#published .chart:first-child :is(.dot, .ring)")) == 4
    browser.one("#published .numbers summary").click()
    assert "Photo 80.0 1 96.29 -16.3" in browser.one("#published .numbers").text


def test_printed_numbers_alone_leave_nothing_to_switch(browser: Browser, tmp_path: Path) -> None:
    path = tmp_path / "table.html"
    path.write_text(html.document(build(load("dekan-table1"))), encoding="utf-8")
    browser.open(path)
    assert browser.all("[data-views]") == []
    assert "(83.88§)" in browser.one("table").text
    heading(browser, 1).click()  # type: ignore[attr-defined]
    assert browser.run(COLUMN, 1)[0] == "(86.0)"
    assert browser.complaints() == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 820, 1440])
def test_it_fits_every_width_and_can_be_read(
    browser: Browser, page: Path, hostile_page: Path, width: int, scheme: str
) -> None:
    for shown in (page, hostile_page):
        browser.open(shown, width, scheme)
        assert browser.run("return document.documentElement.scrollWidth") == width, "nothing sticks out"
        paper, ink = browser.run(LUMINANCE, "backgroundColor"), browser.run(LUMINANCE, "color")
        assert (paper > 200 and ink < 60) if scheme == "light" else (paper < 60 and ink > 200)
        assert browser.run(CONTRASTS) == {}
    small = browser.run(
        "return [...document.querySelectorAll('svg text')].filter((t) => t.getClientRects().length)"
        ".map((t) => parseFloat(getComputedStyle(t).fontSize) * t.ownerSVGElement.clientWidth / 360)"
    )
    assert min(small) > 7.5


def test_the_colours_can_be_switched_against_the_system(browser: Browser, page: Path) -> None:
    browser.open(page, scheme="light")
    for value, light in (("dark", False), ("light", True), ("", True)):
        browser.one(f"[data-theme-switch] option[value='{value}']").click()
        assert (browser.run(LUMINANCE, "backgroundColor") > 128) == light


def test_nothing_moves_where_that_is_not_wanted(browser: Browser, page: Path) -> None:
    for motion, behaviour in (("no-preference", "smooth"), ("reduce", "auto")):
        browser.open(page, motion=motion)
        assert browser.run("return getComputedStyle(document.documentElement).scrollBehavior") == behaviour


def test_on_paper_there_are_no_controls(browser: Browser, page: Path) -> None:
    browser.open(page, scheme="dark")
    browser.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    try:
        assert browser.run(LUMINANCE, "backgroundColor") > 200
        assert not browser.one("nav").is_displayed()
        assert not browser.one("[data-theme-switch]").is_displayed()
        assert browser.one("table.results").is_displayed()
    finally:
        browser.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})


def test_nothing_is_fetched_and_nothing_complains(browser: Browser, page: Path) -> None:
    browser.open(page)
    for button in browser.all("[data-cell]")[:5]:
        browser.run("arguments[0].click()", button)
        browser.one("[data-close]").click()
    fetched = browser.fetched()
    assert fetched[0].startswith("file://"), "what is fetched is noted"
    assert [address for address in fetched[1:] if not address.startswith("data:")] == []
    assert browser.complaints() == []


def test_hostile_records_do_nothing(browser: Browser, hostile_page: Path) -> None:
    browser.open(hostile_page)
    for button in [*browser.all("[data-cell]"), *browser.all("[data-run]")]:
        browser.run("arguments[0].click()", button)
        browser.run("for (const part of document.querySelectorAll('#panel details')) part.open = true")
        assert browser.run("return document.querySelectorAll('#panel :is(img, script, svg)').length") == 0
        browser.one("[data-close]").click()
    assert "<script>window.harmed='element'</script>" in browser.one("#tables").text
    assert browser.run("return window.harmed ?? null") is None
    assert browser.run("return document.scripts.length") == 2
    assert browser.complaints() == []
    assert [address for address in browser.fetched()[1:] if not address.startswith("data:")] == []


def test_the_policy_stops_what_would_get_past_the_escaping(browser: Browser, page: Path, tmp_path: Path) -> None:
    harm = "<script>window.harmed = 1</script><img src='https://example.org/x.png' onerror='window.harmed = 2'>"
    broken = tmp_path / "broken.html"
    broken.write_text(page.read_text(encoding="utf-8").replace("</main>", f"{harm}</main>"), encoding="utf-8")
    browser.open(broken)
    assert browser.run("return window.harmed ?? null") is None
    assert [address for address in browser.fetched() if address.startswith("http")] == []
    assert any("Content Security Policy" in said for said in browser.complaints())


def test_without_a_script_the_numbers_are_there(browser: Browser, page: Path) -> None:
    browser.driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        browser.open(page)
        assert "DEKAN" in browser.one("table.results").text
        assert not browser.one("[data-theme-switch]").is_displayed()
        assert browser.one("#curves svg.curve").is_displayed()
    finally:
        browser.driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})
