"""A finished study's report for the documentation site, and the README's two pictures.

python -m benchmarks.publish_report [results/embedded] [--docs docs]

Writes docs/embedded-report/ (report.html and every file that it links, in the place of what was there),
docs/images/report.png (the report's first screen) and docs/images/samples.png (its grid of samples). Needs chromium.
"""

import argparse
import shutil
import subprocess
import tempfile
import zipfile
from pathlib import Path
from xml.etree import ElementTree

from dit_scaling.common.errors import UserError
from dit_scaling.common.files import atomic_path
from dit_scaling.report.bundle import bundle_report

REPORT = "embedded-report"
FIRST_SCREEN = (1280, 900)
"""Width and height of the window in which the report is photographed, in pixels."""


def unpack_report(page: Path, folder: Path) -> list[str]:
    """Replace ``folder`` by the page and every file that it links; returns the links that lead to none."""
    with tempfile.TemporaryDirectory() as temporary:
        archive = Path(temporary) / "report.zip"
        lost = bundle_report(page, archive)
        shutil.rmtree(folder, ignore_errors=True)
        with zipfile.ZipFile(archive) as bundle:
            for name in bundle.namelist():  # of our own making
                target = folder / name
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(bundle.read(name))
    return lost


def photograph(page: Path, size: tuple[int, int], picture: Path) -> None:
    """Open ``page`` in a window of ``size`` pixels, and save what is seen as PNG.

    Raises:
        UserError: there is no chromium.
    """
    chromium = shutil.which("chromium")
    if chromium is None:
        raise UserError("The pictures need chromium, which is not there (Debian: apt install chromium).")
    picture.parent.mkdir(parents=True, exist_ok=True)
    switches = ("--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars")
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile, atomic_path(picture) as temporary:
        subprocess.run(
            [
                chromium,
                *switches,
                f"--user-data-dir={profile}",
                f"--screenshot={temporary.resolve()}",
                f"--window-size={size[0]},{size[1]}",
                page.resolve().as_uri(),
            ],
            check=True,
            stderr=subprocess.DEVNULL,
            timeout=120,
        )


def size_of(chart: Path) -> tuple[int, int]:
    """Width and height of an SVG file in pixels."""
    root = ElementTree.parse(chart).getroot()
    return round(float(root.attrib["width"])), round(float(root.attrib["height"]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path, nargs="?", default=Path("results/embedded"), help="folder of the study")
    parser.add_argument("--docs", type=Path, default=Path("docs"), help="folder to write into")
    given = parser.parse_args()
    page, grid = given.results / "report.html", given.results / "figures" / "samples.svg"
    for link in unpack_report(page, given.docs / REPORT):
        print(f"left out, as nothing is there: {link}")
    photograph(page, FIRST_SCREEN, given.docs / "images" / "report.png")
    photograph(grid, size_of(grid), given.docs / "images" / "samples.png")
    written = sum(file.stat().st_size for file in (given.docs / REPORT).rglob("*") if file.is_file())
    print(f"{given.docs / REPORT}: {written / 1e6:.1f} MB; {given.docs / 'images'}: report.png, samples.png")


if __name__ == "__main__":
    main()
