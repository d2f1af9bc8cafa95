"""SVG elements as escaped text."""

from collections.abc import Iterable

from markupsafe import Markup, escape

FONT = 12.5
"""Pixels of a chart's text, as `page.css` sets it."""
LETTER = 0.62
WIDE, WIDE_LETTERS = 1.4, frozenset("MWmw@%")
"""Width of a letter as a share of the font's size, a little more than sans-serif fonts need on average."""


def element(name: str, *children: str, **attributes: str | float | None) -> Markup:
    """``<name ...>children</name>``; ``class_`` is class, ``x1`` is x1, ``text_anchor`` is text-anchor.

    Attributes that are None are left out; children that are no Markup are escaped.
    """
    written = Markup("").join(
        Markup(' {}="{}"').format(key.rstrip("_").replace("_", "-"), _write(value))
        for key, value in attributes.items()
        if value is not None
    )
    inner = join(children)
    # Only fixed names come here, never a user's text.
    return Markup(f"<{name}{written}>{inner}</{name}>" if inner else f"<{name}{written}/>")


def join(parts: Iterable[str]) -> Markup:
    return Markup("").join(escape(part) for part in parts)


def text_width(text: str, size: float = FONT) -> float:
    """About how many pixels a text takes, in bold."""
    return LETTER * size * sum(WIDE if letter in WIDE_LETTERS else 1 for letter in text)


def points(places: Iterable[tuple[float, float]]) -> str:
    """Places as a polyline takes them."""
    return " ".join(f"{_write(x)},{_write(y)}" for x, y in places)


def _write(value: str | float) -> str:
    return value if isinstance(value, str) else f"{value:.1f}".removesuffix(".0")
