"""The report in a real browser, opened from disk: facts of its layout at three widths, light and dark, and on paper."""

import itertools
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from browser import CHROMIUM, Browser, browser
from dit_scaling.health.check import at_most
from dit_scaling.health.check_page import Page, Section, write_page
from dit_scaling.health.gates.loss_curve import draw_loss
from dit_scaling.paper.published import landmarks
from dit_scaling.report.drawings import draw_figures
from dit_scaling.report.page import write_report
from report_study import make_study

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine (Debian: apt install chromium)"),
]

WIDE, MIDDLE, PHONE = 1440, 820, 390
SCREEN = 900  # pixels high
PRINTED = 688  # pixels between the margins of A4
MOST_PAGES = 15
SMALLEST = {WIDE: 11.5, MIDDLE: 11.5, PHONE: 12.0}  # pixels of a chart's text as drawn, by the screen's width
TWELVE = [f"DiT-{size}/{patch}" for size in ("S", "B", "L", "XL") for patch in (4, 2, 1)]

# Texts of a chart that are drawn over each other, each as the two texts.
OVERLAPS = """[...document.querySelectorAll('svg.chart')].flatMap(chart => {
  const texts = [...chart.querySelectorAll('text')].map(e => [e.textContent, e.getBoundingClientRect()])
    .filter(([, box]) => box.width > 0);
  return texts.flatMap(([a, p], i) => texts.slice(i + 1).filter(([, q]) =>
    Math.min(p.right, q.right) - Math.max(p.left, q.left) > 1 &&
    Math.min(p.bottom, q.bottom) - Math.max(p.top, q.top) > 3).map(([b]) => [a, b]));
})"""
# Every visible text with its contrast to the ground below it, by WCAG 2's relative luminance.
CONTRASTS = r"""(() => {
  const channel = c => (c /= 255) <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
  const parse = text => text.match(/[\d.]+/g).map(Number);
  const luminance = ([r, g, b]) => 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b);
  const ground = e => { for (; e; e = e.parentElement) { const c = parse(getComputedStyle(e).backgroundColor);
    if (c.length < 4 || c[3] > 0) return c; } return [255, 255, 255]; };
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT), found = [];
  for (let node; node = walker.nextNode();) {
    const e = node.parentElement, box = e.getBoundingClientRect();
    if (!node.textContent.trim() || !box.width || ['SCRIPT', 'STYLE', 'title'].includes(e.tagName)) continue;
    const style = getComputedStyle(e), ink = parse(e instanceof SVGElement ? style.fill : style.color);
    const [a, b] = [luminance(ink), luminance(ground(e))].sort((x, y) => y - x);
    found.push([Math.round((a + 0.05) / (b + 0.05) * 100) / 100, node.textContent.trim().slice(0, 40)]);
  }
  return found;
})()"""
SIZES = """[...document.querySelectorAll('svg.chart text')].map(e => parseFloat(getComputedStyle(e).fontSize) *
  e.ownerSVGElement.getBoundingClientRect().width / e.ownerSVGElement.viewBox.baseVal.width).filter(size => size > 0)"""
FOCUS = """(e => [e.tagName, e.className.baseVal ?? e.className, e.textContent.trim().slice(0, 30)])
  (document.activeElement)"""
SLIVERS = """[...document.querySelectorAll('td, th, dd, p')].filter(e => e.offsetWidth && e.offsetWidth < 24
  && e.textContent.trim().length > 6).map(e => e.textContent)"""
CLIPPED = """[...document.querySelectorAll('pre, dd, td, th')].filter(e => e.clientWidth
  && e.scrollWidth > e.clientWidth + 1).map(e => e.textContent.slice(0, 40))"""
# Facts whose name or value is drawn over another's, as hashes once were.
FACTS = """[...document.querySelectorAll('dl')].flatMap(list => {
  const texts = [...list.querySelectorAll('dt, dd')].map(e => { const range = document.createRange();
    range.selectNodeContents(e); return [e.textContent, range.getBoundingClientRect()]; })
    .filter(([, box]) => box.width > 0);
  return texts.flatMap(([a, p], i) => texts.slice(i + 1).filter(([, q]) =>
    Math.min(p.right, q.right) - Math.max(p.left, q.left) > 1 &&
    Math.min(p.bottom, q.bottom) - Math.max(p.top, q.top) > 3).map(([b]) => [a, b]));
})"""
# Words of headings that are broken over two lines.
BROKEN_WORDS = r"""[...document.querySelectorAll('h1, h2, h3, h4, th')].flatMap(heading => {
  const walker = document.createTreeWalker(heading, NodeFilter.SHOW_TEXT), found = [];
  for (let node; node = walker.nextNode();) for (const word of node.textContent.matchAll(/[\p{L}\d.]+/gu)) {
    const range = document.createRange();
    range.setStart(node, word.index);
    range.setEnd(node, word.index + word[0].length);
    if (range.getClientRects().length > 1) found.push(word[0]);
  }
  return found;
})"""
VARIANTS = "[...document.querySelectorAll('#scaling table.sort')].find(t => t.rows[0].cells[0].innerText == 'Variant')"


@pytest.fixture(scope="module", params=["six variants", "twelve variants in colour, two seeds"])
def report(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("study")
    if request.param == "six variants":
        made = make_study(folder)
    else:
        made = make_study(folder, variants=TWELVE, seeds=(0, 1), image_size=64, channels=3)
    samples = dict(zip(made.study.variants, made.inputs.samples, strict=True))
    inputs = made.inputs
    draw_figures(inputs.table, inputs.curves, inputs.levels, inputs.claims, samples, inputs.figures)
    write_report(made.settings, inputs, folder / "report.html")
    return folder / "report.html"


@pytest.fixture(scope="module")
def tab() -> Iterator[Browser]:
    with browser() as opened:
        yield opened


def check_quiet(tab: Browser, report: Path) -> None:
    """Nothing was asked for but the file itself, and nothing was complained of."""
    urls = {told["request"]["url"] for told in tab.told("Network.requestWillBeSent")}
    assert {url for url in urls if not url.startswith("data:")} == {report.as_uri()}
    assert tab.told("Log.entryAdded", "Runtime.consoleAPICalled", "Runtime.exceptionThrown") == []


def open_all(tab: Browser) -> None:
    tab.evaluate("document.querySelectorAll('details:not(.menu)').forEach(fold => { fold.open = true; })")


@pytest.mark.parametrize(("width", "colours"), list(itertools.product((WIDE, MIDDLE, PHONE), ("light", "dark"))))
def test_layout(report: Path, tab: Browser, width: int, colours: str) -> None:
    tab.prefer(colours)
    tab.open(report, width)
    check_quiet(tab, report)
    for opened in (False, True):
        if opened:
            open_all(tab)
        assert tab.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
        assert tab.evaluate(OVERLAPS) == []
        assert tab.evaluate(FACTS) == []
        contrasts = tab.evaluate(CONTRASTS)
        assert len(contrasts) > 200
        assert [told for told in contrasts if told[0] < 4.5] == []
    ground = "rgb(255, 255, 255)" if colours == "light" else "rgb(18, 23, 29)"
    assert tab.evaluate("getComputedStyle(document.body).backgroundColor") == ground
    assert min(tab.evaluate(SIZES)) >= SMALLEST[width]


def bottom(tab: Browser, selector: str) -> float:
    found: float = tab.evaluate(f"document.querySelector('{selector}').getBoundingClientRect().bottom")
    return found


def test_the_first_screen_answers_three_questions(report: Path, tab: Browser) -> None:
    tab.prefer("light")
    tab.open(report, WIDE)
    alarms = tab.evaluate("[...document.querySelectorAll('.alarm')].reduce((sum, e) => sum + e.offsetHeight + 10, 0)")
    for selector in (".claims", "#verdicts .health"):  # do they hold, how sure, what differs from the paper
        assert bottom(tab, selector) < 0.55 * SCREEN + alarms
    assert bottom(tab, ".hero .panels") < SCREEN + alarms
    first = tab.evaluate("document.querySelector('#verdicts').innerText")
    assert re.search(r"\d+% (lower|higher) distance on average \(95% CI", first)
    assert re.search(r"\d+ of \d+ comparisons agree", first)
    assert re.search(r"\d+ of \d+ settings differ from the paper", first)


def test_a_phone_scrolls_at_most_twice_as_far(report: Path, tab: Browser) -> None:
    heights = {}
    for width in (WIDE, PHONE):
        tab.open(report, width)
        heights[width] = tab.evaluate("document.documentElement.scrollHeight")
    assert heights[PHONE] <= 2 * heights[WIDE]
    assert tab.evaluate("getComputedStyle(document.querySelector('.menu')).display") == "block"
    assert tab.evaluate("getComputedStyle(document.querySelector('.toc')).display") == "none"
    open_all(tab)
    assert tab.evaluate(SLIVERS) == []  # no column of single letters


def test_the_contents_stay_in_sight_on_a_wide_screen(report: Path, tab: Browser) -> None:
    tab.open(report, WIDE)
    tab.evaluate("scrollTo({top: 3000, behavior: 'instant'})")
    assert 0 <= tab.evaluate("document.querySelector('.toc a').getBoundingClientRect().top") < SCREEN


def test_a_walk_by_keyboard(report: Path, tab: Browser) -> None:
    tab.open(report, WIDE)
    seen: list[Any] = []
    while len(seen) < 60 and not (seen and seen[-1][1].startswith("pt")):
        tab.press("Tab")
        seen.append(tab.evaluate(FOCUS))
    assert seen[0][1] == "skip"
    assert ["SUMMARY", "", "Why"] in seen
    told = tab.evaluate("document.getElementById('tip').innerText")
    assert "95% interval" in told
    tab.press("ArrowRight")
    assert tab.evaluate("document.getElementById('tip').innerText") != told
    tab.press("Escape")
    assert tab.evaluate("document.getElementById('tip').hidden")
    chart = "[...document.querySelectorAll('svg.chart')].findIndex(e => e.contains(document.activeElement))"
    before = tab.evaluate(chart)
    tab.press("Tab")
    assert tab.evaluate(chart) != before  # a figure is one stop
    assert tab.evaluate("['main', 'nav', 'header', 'h1'].every(name => document.querySelector(name))")
    assert tab.evaluate("[...document.querySelectorAll('thead th')].every(e => e.scope)")


def test_variants_are_switched_on_and_off(report: Path, tab: Browser) -> None:
    tab.open(report, WIDE)
    first = "document.querySelector('.toggles [data-w]')"
    marks = f"""[...document.querySelectorAll('.pt[data-v="{tab.evaluate(f"{first}.dataset.w")}"]')]"""
    shown = f"{marks}.filter(e => e.getBoundingClientRect().width).length"
    corners = "document.querySelector('[data-p]').getAttribute('points').split(' ').length"
    before, points = tab.evaluate(shown), tab.evaluate(corners)
    assert before > 1
    tab.evaluate(f"{first}.click()")
    assert tab.evaluate(shown) == 0
    assert tab.evaluate(corners) == points - 1
    assert tab.evaluate(f"{first}.getAttribute('aria-pressed')") == "false"
    tab.evaluate(f"{first}.click()")
    assert tab.evaluate(shown) == before


def test_tables_are_sorted_by_a_heading(report: Path, tab: Browser) -> None:
    tab.open(report, WIDE)
    distances = f"[...{VARIANTS}.tBodies[0].rows].map(row => parseFloat(row.cells[1].innerText))"
    for order in ("ascending", "descending"):
        tab.evaluate(f"{VARIANTS}.rows[0].cells[1].querySelector('button').click()")
        found = tab.evaluate(distances)
        assert found == sorted(found, reverse=order == "descending")
        assert tab.evaluate(f"{VARIANTS}.rows[0].cells[1].getAttribute('aria-sort')") == order


def test_without_script_everything_is_there(report: Path, tab: Browser) -> None:
    tab.command("Emulation.setScriptExecutionDisabled", value=True)
    try:
        tab.open(report, WIDE)
        assert not tab.evaluate("document.documentElement.classList.contains('js')")
        assert "95% interval" in tab.evaluate("document.querySelector('.pt title').textContent")
        assert tab.evaluate("document.querySelectorAll('table.sort tbody tr').length") > 30
        assert tab.evaluate(OVERLAPS) == []
    finally:
        tab.command("Emulation.setScriptExecutionDisabled", value=False)


def test_on_paper(report: Path, tab: Browser) -> None:
    tab.prefer("dark")
    tab.open(report, PRINTED)
    tab.command("Emulation.setEmulatedMedia", media="print")
    assert tab.evaluate("getComputedStyle(document.body).color") == "rgb(0, 0, 0)"
    assert tab.evaluate("document.documentElement.scrollWidth") <= PRINTED
    assert 3 <= len(re.findall(rb"/Type\s*/Page\b", tab.pdf())) <= MOST_PAGES
    open_all(tab)
    assert tab.evaluate(CLIPPED) == []
    assert tab.evaluate(FACTS) == []
    assert tab.evaluate(BROKEN_WORDS) == []
    check_quiet(tab, report)


def test_a_gates_page_follows_the_reports_style(tab: Browser, tmp_path: Path) -> None:
    lines = [{"step": step, "loss": 0.2 + 1 / step, "mse": 0.15 + 1 / step} for step in range(50, 5001, 50)]
    chart = draw_loss(lines, landmarks(), 0.3)
    checks = (at_most("EMA moved", 0.5, 1.0, "a frozen average"),)
    loss = Section("Loss", "Means of the training log’s windows.", chart=chart)
    write_page(tmp_path / "gate.html", Page("DiT-S/8: gate", "on track", "no fault", checks, (loss,), "report.html"))
    grounds = set()
    for width, colours in itertools.product((WIDE, PHONE), ("light", "dark")):
        tab.prefer(colours)
        tab.open(tmp_path / "gate.html", width)
        check_quiet(tab, tmp_path / "gate.html")
        assert tab.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
        assert tab.evaluate(OVERLAPS) == []
        contrasts = tab.evaluate(CONTRASTS)
        assert {"loss", "noise error", "healthy DiT-S/8", "← The study’s report"} <= {text for _, text in contrasts}
        assert [told for told in contrasts if told[0] < 4.5] == []
        assert min(tab.evaluate(SIZES)) >= SMALLEST[width]
        grounds.add(tab.evaluate("getComputedStyle(document.body).backgroundColor"))
    assert len(grounds) == 2
    assert tab.evaluate("document.querySelector('nav a').getAttribute('href')") == "report.html#gates"


def test_the_checks_see_a_request_an_overflow_and_texts_over_each_other(
    report: Path, tab: Browser, tmp_path: Path
) -> None:
    spoiled = tmp_path / "report.html"
    html = re.sub(r"<meta http-equiv[^>]*>", "", report.read_text())
    texts = '<text x="10" y="20">one</text><text x="14" y="22">another</text>'
    place = "display:block;position:relative"
    facts = f'<dl style="{place}"><dt>a hash</dt><dd style="position:absolute;top:0">its value</dd></dl>'
    page = (
        f'<img src="missing.png"><p style="width:3000px;color:#ccc">wide</p><svg class="chart">{texts}</svg>{facts}'
        '<h2 style="width:40px;overflow-wrap:anywhere">unbreakable</h2></body>'
    )
    spoiled.write_text(html.replace("</body>", page))
    tab.prefer("light")
    tab.open(spoiled, MIDDLE)
    assert tab.evaluate("document.documentElement.scrollWidth") > MIDDLE
    assert tab.evaluate(OVERLAPS) == [["one", "another"]]
    assert tab.evaluate(FACTS) == [["a hash", "its value"]]
    assert tab.evaluate(BROKEN_WORDS) == ["unbreakable"]
    assert [told for told in tab.evaluate(CONTRASTS) if told[0] < 4.5] == [[1.61, "wide"]]
    with pytest.raises(AssertionError):
        check_quiet(tab, spoiled)
