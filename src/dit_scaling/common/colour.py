"""Colours of words on a terminal; nowhere else, and not where NO_COLOR is set (https://no-color.org)."""

import os
from typing import Literal, TextIO

Colour = Literal["red", "green", "yellow", "dim"]
CODES: dict[Colour, str] = {"red": "31", "green": "32", "yellow": "33", "dim": "2"}


def takes_colour(stream: TextIO) -> bool:
    """Whether a stream is a terminal that shows colours, to someone who wants them."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def coloured(text: str, colour: Colour, stream: TextIO) -> str:
    """``text`` as it is to be written to ``stream``."""
    return f"\x1b[{CODES[colour]}m{text}\x1b[0m" if takes_colour(stream) else text
