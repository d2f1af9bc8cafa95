"""A figure as an SVG file of its own: its finding above its panels, with the page's colours inside."""

from collections.abc import Sequence
from textwrap import wrap

from markupsafe import Markup

from dit_scaling.charts.panel import Panel
from dit_scaling.charts.svg import element, text_width
from dit_scaling.common.pages import read_style

SPACE = 14.0
COLUMNS = 3  # panels side by side
HEAD, LINE = 17.0, 20.0
WIDEST = 800.0


def draw_sheet(finding: str, text: str, panels: Sequence[Panel]) -> str:
    """The finding as a title, the panels side by side; a sentence alone where there is no panel."""
    across = min(COLUMNS, len(panels)) or 1
    width = max((across * (panel.width + SPACE) + SPACE for panel in panels), default=WIDEST)
    body, y = title_lines(finding, text, width)
    for first in range(0, len(panels), across):
        row = panels[first : first + across]
        for place, panel in enumerate(row):
            x = SPACE + place * (panel.width + SPACE)
            sizes = {"x": x, "y": y, "width": panel.width, "height": panel.height}
            body.append(element("svg", panel.render(), **sizes))
        y += max(panel.height for panel in row) + SPACE
    return standalone(body, width, y, finding)


def title_lines(finding: str, text: str, width: float) -> tuple[list[Markup], float]:
    """The finding in bold and the text below it, broken into lines, and where they end."""
    body, y = [], SPACE + HEAD
    for said, names, size in ((finding, "head", 16.0), (text, "ax", 12.5)):
        letters = int((width - 2 * SPACE) / text_width("x", size))
        for line in wrap(said, letters):
            body.append(element("text", line, class_=names, x=SPACE, y=y))
            y += LINE
    return body, y


def standalone(body: Sequence[Markup], width: float, height: float, title: str) -> str:
    """An SVG file with its own style and ground."""
    style = Markup(f"<style>{read_style('colours.css')}\n{read_style('chart.css')}</style>")  # our own
    return str(
        element(
            "svg",
            element("title", title),
            style,
            element("rect", class_="ground", width="100%", height="100%"),
            *body,
            xmlns="http://www.w3.org/2000/svg",
            viewBox=f"0 0 {width:g} {height:g}",
            width=width,
            height=height,
        )
    )
