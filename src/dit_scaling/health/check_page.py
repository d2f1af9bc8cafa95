"""One self-contained page: a verdict, then what it rests on."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import jinja2

from dit_scaling.common.files import atomic_path
from dit_scaling.health.check import Check, describe_margin
from dit_scaling.health.pictures import Picture
from dit_scaling.sampling.images import draw_grid

WIDEST = 900  # pixels; smaller pictures are enlarged by whole factors


@dataclass(frozen=True)
class Numbers:
    """A table of texts."""

    heads: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Section:
    """A part of the page: a sentence, then pictures, then numbers."""

    title: str
    text: str
    pictures: tuple[Picture, ...] = ()
    numbers: Numbers | None = None


@dataclass(frozen=True)
class Page:
    """``status`` colours the verdict: "on track", "undertrained for this budget", "broken", or "no fault found"."""

    title: str
    status: str
    verdict: str
    checks: tuple[Check, ...]
    sections: tuple[Section, ...]


def write_page(path: Path, page: Page) -> None:
    """Write one HTML file without scripts and without references to other files or hosts."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("dit_scaling.health"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    html = environment.get_template("check_page.html.j2").render(page=page, embed=_embed, margin=describe_margin)
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
