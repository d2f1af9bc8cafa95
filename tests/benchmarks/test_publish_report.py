"""The report on the documentation site takes the place of an older one, and the one that is there lacks nothing."""

from pathlib import Path

import pytest
from benchmarks.publish_report import REPORT, photograph, size_of, unpack_report
from PIL import Image

from browser import CHROMIUM
from dit_scaling.report.bundle import bundle_report
from pipeline import ROOT


def test_a_report_takes_the_place_of_an_older_one(tmp_path: Path) -> None:
    page, folder = tmp_path / "study" / "report.html", tmp_path / "docs" / REPORT
    (page.parent / "tables").mkdir(parents=True)
    page.write_text('<a href="tables/a.csv">a</a><a href="gone.csv">b</a>')
    (page.parent / "tables" / "a.csv").write_text("1")
    (page.parent / "not-linked.csv").touch()
    folder.mkdir(parents=True)
    (folder / "of-before.csv").touch()
    assert unpack_report(page, folder) == ["gone.csv"]
    found = {str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file()}
    assert found == {"report.html", "tables/a.csv"}


def test_the_published_report_has_every_file_that_it_links(tmp_path: Path) -> None:
    assert bundle_report(ROOT / "docs" / REPORT / "report.html", tmp_path / "report.zip") == []


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine (Debian: apt install chromium)")
def test_a_chart_is_photographed_in_its_size(tmp_path: Path) -> None:
    chart, picture = tmp_path / "chart.svg", tmp_path / "images" / "chart.png"
    drawn = '<rect width="640" height="481" fill="red"/>'
    chart.write_text(f'<svg xmlns="http://www.w3.org/2000/svg" width="640" height="480.2">{drawn}</svg>')
    assert size_of(chart) == (640, 480)
    photograph(chart, size_of(chart), picture)
    with Image.open(picture) as taken:
        assert taken.size == (640, 480)
        assert taken.convert("RGB").getcolors() == [(640 * 480, (255, 0, 0))]
