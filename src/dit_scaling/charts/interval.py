"""The small bar of a verdict: a mean with its interval, single comparisons as dots, zero as a line."""

from collections.abc import Sequence

from markupsafe import Markup

from dit_scaling.charts.scales import Scale
from dit_scaling.charts.svg import element

WIDTH, HEIGHT = 270.0, 46.0
EDGE = 6.0
VALUE = 48.0  # pixels kept left of the bar for the mean's text


def interval_bar(
    said: str,
    value: str,
    bounds: tuple[float, float, float],
    dots: Sequence[float],
    scale: Scale,
    ends: tuple[str, str],
) -> Markup:
    """Left of zero speaks for the claim.

    Args:
        said: for screen readers.
        value: the mean as text.
        bounds: low, mean and high.
        dots: single comparisons.
        scale: from left to right, zero inside.
        ends: what the left and the right side say.
    """

    def at(x: float) -> float:
        return VALUE + min(1.0, max(0.0, scale.place(x))) * (WIDTH - VALUE - EDGE)

    low, mean, high = (at(x) for x in bounds)
    return element(
        "svg",
        element("line", class_="zero", x1=at(0), x2=at(0), y1=0, y2=31),
        element("rect", class_="ci", x=low, y=8, width=max(1.0, high - low), height=7, rx=1),
        element("rect", class_="mean", x=mean - 2, y=4, width=4, height=15),
        *(element("circle", class_="dot", cx=at(x), cy=25, r=2.6) for x in dots),
        element("text", value, class_="ttl", x=low - 6, y=16, text_anchor="end"),
        element("text", f"← {ends[0]}", class_="cap", x=0, y=43),
        element("text", f"{ends[1]} →", class_="cap", x=WIDTH, y=43, text_anchor="end"),
        class_="chart interval",
        viewBox=f"0 0 {WIDTH:g} {HEIGHT:g}",
        role="img",
        aria_label=said,
    )


def bar_scale(values: Sequence[float]) -> Scale:
    """From the lowest to the highest value, zero inside with a little room beyond it."""
    low, high = min([0.0, *values]), max([0.0, *values])
    room = 0.12 * (high - low or 1.0)
    return Scale(low - room, high + room, log=False)
