"""The report in a real browser: opened from disk, at two widths and on paper."""

import dataclasses
import io
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from browser import CHROMIUM, Browser, browser
from dit_scaling.report.captions import FIGURES
from dit_scaling.report.figures import draw_figures
from dit_scaling.report.page import write_report
from report_study import make_study

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine (Debian: apt install chromium)"),
]

PRINTED = 688  # pixels between the margins of A4
TWELVE = [f"DiT-{size}/{patch}" for size in ("S", "B", "L", "XL") for patch in (4, 2, 1)]


@pytest.fixture(scope="module", params=["six variants", "twelve variants in colour"])
def report(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("study")
    if request.param == "six variants":
        made = make_study(folder)
    else:
        made = make_study(folder, variants=TWELVE, seeds=(0, 1), image_size=256, channels=3)
    samples = dict(zip(made.study.variants, made.inputs.samples, strict=False))
    draw_figures(made.inputs.table, made.curves, made.inputs.levels, made.inputs.claims, samples, folder / "figures")
    figures = [folder / "figures" / f"{name}.svg" for name in FIGURES]
    write_report(made.settings, dataclasses.replace(made.inputs, figures=figures), folder / "report.html")
    return folder / "report.html"


@pytest.fixture
def tab() -> Iterator[Browser]:
    with browser() as opened:
        yield opened


def overflowing(tab: Browser, selector: str) -> list[str]:
    """The beginnings of the elements whose content is wider than they are."""
    wide = f"[...document.querySelectorAll('{selector}')].filter(e => e.scrollWidth > e.clientWidth + 1)"
    found: list[str] = tab.evaluate(f"{wide}.map(e => e.scrollWidth + ' ' + e.textContent.trim().slice(0, 60))")
    return found


def check_quiet(tab: Browser, report: Path) -> None:
    """Nothing was asked for but the file itself, and nothing was complained of."""
    urls = {told["request"]["url"] for told in tab.told("Network.requestWillBeSent")}
    assert {url for url in urls if not url.startswith("data:")} == {report.as_uri()}
    assert tab.told("Log.entryAdded", "Runtime.consoleAPICalled", "Runtime.exceptionThrown") == []


@pytest.mark.parametrize("width", [800, 1600])
def test_on_a_screen(report: Path, tab: Browser, width: int) -> None:
    tab.open(report, width)
    check_quiet(tab, report)
    assert report.stat().st_size < 10e6
    assert tab.evaluate("document.documentElement.scrollWidth") <= width
    pictures = tab.evaluate("[...document.images].map(picture => picture.complete && picture.naturalWidth > 0)")
    assert len(pictures) > 10
    assert all(pictures)
    screen = np.asarray(Image.open(io.BytesIO(tab.screenshot())).convert("L"))
    first = screen[:900]
    assert screen.shape[0] > 3000
    assert first.std() > 10
    assert ((first < 128).mean(axis=1) > 0).mean() > 0.3  # ink on a third of its lines
    assert tab.evaluate("document.querySelector('.verdicts').getBoundingClientRect().bottom") < 900
    if width > 800:
        assert tab.evaluate("document.querySelector('.samples img').getBoundingClientRect().bottom") < 900


def test_on_paper(report: Path, tab: Browser) -> None:
    tab.open(report, PRINTED)
    tab.command("Emulation.setEmulatedMedia", media="print")
    assert overflowing(tab, "html, .wrap, pre") == []
    pdf = tab.pdf()
    assert pdf.startswith(b"%PDF")
    assert len(re.findall(rb"/Type\s*/Page\b", pdf)) >= 5
    check_quiet(tab, report)


def test_the_checks_see_a_request_and_an_overflow(report: Path, tab: Browser, tmp_path: Path) -> None:
    spoiled = tmp_path / "report.html"
    html = re.sub(r"<meta http-equiv[^>]*>", "", report.read_text())
    page = '<img src="missing.png"><div class="wrap"><div style="width:3000px">wide</div></div></body>'
    spoiled.write_text(html.replace("</body>", page))
    tab.open(spoiled, 800)
    assert [text for text in overflowing(tab, ".wrap") if text.startswith("3000 wide")]
    with pytest.raises(AssertionError):
        check_quiet(tab, spoiled)
