"""Where texts go in a chart: beside what they name, never over each other."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from dit_scaling.charts.svg import FONT, text_width

Box = tuple[float, float, float, float]
"""Left, top, right, bottom."""
ASCENT, DESCENT = 0.78, 0.24  # shares of the font's size above and below the baseline
BETWEEN = 1.5  # pixels that texts stay apart


@dataclass(frozen=True)
class Label:
    """A text at a baseline's end: ``anchor`` is start, middle or end."""

    text: str
    x: float
    y: float
    anchor: str
    names: str = ""
    """CSS classes."""

    @property
    def box(self) -> Box:
        width = text_width(self.text)
        left = self.x - {"start": 0.0, "middle": width / 2, "end": width}[self.anchor]
        return left, self.y - ASCENT * FONT, left + width, self.y + DESCENT * FONT


@dataclass
class Placer:
    """Takes the first free place of each label, and remembers what is taken."""

    within: Box
    taken: list[Box] = field(default_factory=list)

    def block(self, x: float, y: float, reach: float) -> None:
        """Nothing is to be written over a mark."""
        self.taken.append((x - reach, y - reach, x + reach, y + reach))

    def block_line(self, places: Sequence[tuple[float, float]]) -> None:
        """Nothing is to be written over a line, taken as small squares along it."""
        for (x1, y1), (x2, y2) in pairwise(places):
            pieces = max(1, int(max(abs(x2 - x1), abs(y2 - y1)) / 6))
            for piece in range(pieces + 1):
                share = piece / pieces
                self.block(x1 + share * (x2 - x1), y1 + share * (y2 - y1), 1.5)

    def place(self, candidates: Sequence[Label]) -> Label | None:
        """The first candidate that is inside and covers nothing; None where there is none."""
        for label in candidates:
            if self._free(label.box):
                self.taken.append(label.box)
                return label
        return None

    def _free(self, box: Box) -> bool:
        left, top, right, bottom = box
        inside = left >= self.within[0] and top >= self.within[1] and right <= self.within[2]
        return (
            inside
            and bottom <= self.within[3]
            and not any(
                left < other[2] + BETWEEN
                and right > other[0] - BETWEEN
                and top < other[3] + BETWEEN
                and bottom > other[1] - BETWEEN
                for other in self.taken
            )
        )


NEAR = (3.0, 9.0, 17.0)
FAR = (30.0, 45.0, 60.0, 80.0)  # where a label needs a line to what it names


def around(text: str, x: float, y: float, reach: float, names: str, distances: Sequence[float] = NEAR) -> list[Label]:
    """Candidates beside a mark: right, left, above, below, and further out."""
    found = []
    for gap in (reach + distance for distance in distances):
        found += [
            Label(text, x + gap, y + 4, "start", names),
            Label(text, x + gap, y - gap + 4, "start", names),
            Label(text, x + gap, y + gap + 6, "start", names),
            Label(text, x - gap, y + 4, "end", names),
            Label(text, x - gap, y - gap + 4, "end", names),
            Label(text, x - gap, y + gap + 6, "end", names),
            Label(text, x, y - gap - 2, "middle", names),
            Label(text, x, y + gap + 10, "middle", names),
        ]
    return found


def spread(wanted: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Places near ``wanted``, in their order, ``gap`` apart or more, and within [low, high] where that is possible."""
    order = sorted(range(len(wanted)), key=lambda i: wanted[i])
    placed: list[float] = []
    for i in order:
        placed.append(max(wanted[i], placed[-1] + gap if placed else low))
    ceiling = high
    for k in reversed(range(len(placed))):
        placed[k] = min(placed[k], ceiling)
        ceiling = placed[k] - gap
    found = [0.0] * len(wanted)
    for k, i in enumerate(order):
        found[i] = placed[k]
    return found
