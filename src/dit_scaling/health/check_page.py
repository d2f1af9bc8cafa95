"""One self-contained page: a verdict, then what it rests on."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

from markupsafe import Markup

from dit_scaling.charts.panel import Panel
from dit_scaling.common.files import atomic_path
from dit_scaling.common.pages import STYLES, content_policy, page_environment, read_style
from dit_scaling.health.check import Check, describe_margin
from dit_scaling.health.pictures import Picture
from dit_scaling.sampling.images import draw_grid

LOOKS = {"on track": "good", "no fault found": "good", "broken": "fault"}
WIDEST = 900  # pixels; smaller pictures are enlarged by whole factors


@dataclass(frozen=True)
class Numbers:
    """A table of texts."""

    heads: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Chart:
    """A chart under its finding, a sentence."""

    finding: str
    panel: Panel


@dataclass(frozen=True)
class Section:
    """A part of the page: a sentence, then pictures, a chart, and numbers."""

    title: str
    text: str
    pictures: tuple[Picture, ...] = ()
    numbers: Numbers | None = None
    chart: Chart | None = None


@dataclass(frozen=True)
class Page:
    """``status`` colours the verdict: "on track", "undertrained for this budget", "broken", or "no fault found"."""

    title: str
    status: str
    verdict: str
    checks: tuple[Check, ...]
    sections: tuple[Section, ...]
    report: str = ""
    """Address of the study's report, seen from the page; empty where there is none."""

    @property
    def look(self) -> str:
        """CSS class of the verdict's badge."""
        return LOOKS.get(self.status, "open")


def write_page(path: Path, page: Page) -> None:
    """Write one HTML file without scripts, which asks nothing of other files or hosts; it may link the report."""
    style = "\n".join(read_style(name) for name in (*STYLES, "chart.css"))
    html = (
        page_environment("dit_scaling.health")
        .get_template("check_page.html.j2")
        .render(
            page=page,
            embed=_embed,
            margin=describe_margin,
            style=Markup(style),  # our own
            policy=content_policy([style]),
        )
    )
    with atomic_path(path) as temporary:
        temporary.write_text(html, encoding="utf-8")


def tabulate(names: Sequence[str], columns: Sequence[Sequence[float]], first: Sequence[str]) -> Numbers:
    """A row for each of ``first``, then a column of numbers for each name after the first."""
    rows = tuple((label, *(f"{column[number]:.4g}" for column in columns)) for number, label in enumerate(first))
    return Numbers(tuple(names), rows)


def _embed(picture: Picture) -> str:
    _, _, width, _ = picture.images.shape
    sheet = draw_grid(picture.images, picture.columns, max(1, WIDEST // ((width + 1) * picture.columns * 2)))
    stream = BytesIO()
    sheet.save(stream, "PNG")
    return "data:image/png;base64," + base64.b64encode(stream.getvalue()).decode()
