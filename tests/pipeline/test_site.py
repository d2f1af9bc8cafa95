"""The documentation site: its pages in their order, nothing from a network, and a search that works from disk."""

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from browser import CHROMIUM, Browser, browser
from pipeline import ROOT

PAGES = [
    "Start",
    "Your own images",
    "ImageNet on GPUs",
    "A cluster",
    "What is measured",
    "How verdicts are made",
    "When a run is broken",
    "From Python",
    "Results",
    "How it is built",
]


def check(site: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / ".ci" / "check_site.py"), str(site)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_the_site_has_its_pages_in_their_order() -> None:
    nav = yaml.safe_load((ROOT / "mkdocs.yml").read_text())["nav"]
    assert [title for entry in nav for title in entry] == PAGES


@pytest.mark.parametrize(
    ("page", "fault"),
    [
        ('<a href="https://example.org">x</a><img src="here.png"><link rel="canonical" href="https://a.b/">', None),
        ('<script src="https://example.org/x.js"></script>', "asks for https://example.org/x.js"),
        ('<link rel="stylesheet" href="//fonts.example.org/css">', "asks for //fonts.example.org/css"),
        ('<iframe src="gone/report.html"></iframe>', "gone/report.html is not there"),
        (None, "no pages"),
    ],
)
def test_what_a_browser_would_fetch_is_found(tmp_path: Path, page: str | None, fault: str | None) -> None:
    (tmp_path / "here.png").touch()
    if page is not None:
        (tmp_path / "index.html").write_text(page)
    answer = check(tmp_path)
    assert answer.returncode == (fault is not None)
    assert fault is None or fault in answer.stdout


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("documentation") / "site"
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    return folder


@pytest.fixture(scope="module")
def tab() -> Iterator[Browser]:
    with browser() as opened:
        yield opened


@pytest.mark.slow
def test_built_pages_ask_for_nothing_remote(site: Path) -> None:
    assert check(site).returncode == 0


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine (Debian: apt install chromium)")
def test_the_search_works_from_disk(site: Path, tab: Browser) -> None:
    tab.open(site / "index.html", 1280)
    tab.evaluate("document.querySelector('[data-md-component=search-query]').focus()")
    tab.command("Input.insertText", text="micro_batch")
    found: list[str] = []
    for _ in range(100):
        tab.press("ArrowRight")
        found = tab.evaluate("[...document.querySelectorAll('.md-search-result__link')].map(a => a.href)")
        if found:
            break
        time.sleep(0.1)
    assert any("imagenet.html" in address for address in found)
    asked = [event["request"]["url"] for event in tab.told("Network.requestWillBeSent")]
    assert asked
    assert not [url for url in asked if not url.startswith(("file:", "data:"))]


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine (Debian: apt install chromium)")
def test_the_page_of_results_shows_the_report(site: Path, tab: Browser) -> None:
    tab.open(site / "results.html", 1280)
    tab.evaluate("document.querySelector('iframe.report').scrollIntoView()")
    for _ in range(100):
        asked = [event["request"]["url"] for event in tab.told("Network.requestWillBeSent")]
        if any(url.endswith("embedded-report/report.html") for url in asked):
            break
        tab.evaluate("0")
        time.sleep(0.1)
    assert any(url.endswith("embedded-report/report.html") for url in asked)
    assert not [url for url in asked if not url.startswith(("file:", "data:"))]
