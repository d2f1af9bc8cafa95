"""A panel: axes, lines, points with intervals, names at the ends of lines; one SVG."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from markupsafe import Markup

from dit_scaling.charts.labels import FAR, Box, Label, Placer, around, spread
from dit_scaling.charts.markers import MARK, marker
from dit_scaling.charts.scales import Scale, describe_tick
from dit_scaling.charts.svg import element, join, points, text_width

WIDTH, HEIGHT = 400.0, 310.0
TOP, BOTTOM = 22.0, 46.0
TICKS_ACROSS, TICKS_UP = 6, 6
NAME_GAP = 15.5  # pixels from the name of a line to the next
DASHES = 4
"""Patterns d1 to d3 of ``chart.css``; they repeat."""


def name_margin(names: Iterable[str]) -> float:
    """Pixels at the right edge of a panel that names of lines take, for `Panel.right`."""
    return max(map(text_width, names), default=10.0) + 18


@dataclass(frozen=True)
class Point:
    """A mark with what it stands for: ``told`` are the lines that a reader gets on it, the first its name."""

    variant: str
    x: float
    y: float
    hue: str
    """CSS class of its colour."""
    shape: int
    """Number of its marker in `MARKERS`."""
    told: tuple[str, ...]
    low: float | None = None
    high: float | None = None
    seeds: tuple[float, ...] = ()
    label: str = ""
    mark: str = "mk"
    radius: float | None = None
    """Of a disc behind the mark, in pixels."""


@dataclass(frozen=True)
class Line:
    """A line through points, by (variant, x, y): those that are switched off leave it. ``name`` stands at its end.

    ``kind`` is its CSS class: ``ln`` through marks, ``curve`` of one variant without marks,
    ``law`` of several variants beside their marks, ``trend`` of no variant.
    """

    places: tuple[tuple[str, float, float], ...]
    hue: str
    name: str
    kind: str = "ln"
    dash: int = 0
    """Number of its pattern, 0 for a whole line."""


@dataclass
class Panel:
    """One chart. ``said`` tells a screen reader what it is; axes have titles, the one across with its unit."""

    said: str
    x: Scale
    y: Scale
    x_title: str
    y_title: str
    height: float = HEIGHT
    width: float = WIDTH
    right: float = 12.0
    x_text: Callable[[float], str] = describe_tick
    x_ticks: Sequence[float] | None = None
    """Ticks of an axis of names; others find their own."""
    names_in_margin: bool = False
    """Names of lines stand one below the other at the right edge, not beside the last points."""
    _parts: list[Markup] = field(default_factory=list)
    _labels: list[Callable[[], Markup]] = field(default_factory=list)
    _ends: list[tuple[str, float, float, str, str | None]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._y_ticks = self.y.ticks(TICKS_UP)
        widest = max((text_width(describe_tick(tick)) for tick in self._y_ticks), default=20.0)
        self.left = widest + 10.0
        self.plot: Box = (self.left, TOP, self.width - self.right, self.height - BOTTOM)
        self.placer = Placer((self.left + 2, TOP + 1, self.width, self.plot[3] - 2))

    def at(self, x: float, y: float) -> tuple[float, float]:
        """Pixels of a place."""
        left, top, right, bottom = self.plot
        return left + self.x.place(x) * (right - left), bottom - self.y.place(y) * (bottom - top)

    def add_line(self, line: Line) -> None:
        """Draw a line; its name is placed with the other labels, near its last point."""
        places = [(variant, *self.at(x, y)) for variant, x, y in line.places]
        bare = [(x, y) for _, x, y in places]
        variants = list(dict.fromkeys(_token(variant) for variant, _, _ in places))
        data: dict[str, str] = {}
        if line.kind == "ln":
            data["data_p"] = " ".join(f"{_token(variant)}={x:.1f},{y:.1f}" for variant, x, y in places)
        elif line.kind == "curve":
            data["data_v"] = variants[0]
        elif line.kind == "law":
            data["data_members"] = " ".join(variants)
        if len(bare) > 1:
            dashed = f" d{line.dash % DASHES}" if line.dash else ""
            drawn = {"class_": f"{line.kind} {line.hue}{dashed}".strip(), "points": points(bare)}
            self._parts.append(element("polyline", **drawn, **data))
            self.placer.block_line(bare)
        if line.name and bare:
            own = line.kind != "trend"
            self._name(line.name, bare[-1], f"lb {line.hue}" if own else "ax", " ".join(variants) if own else None)

    def add_band(self, lower: Sequence[tuple[float, float]], upper: Sequence[tuple[float, float]]) -> None:
        """A pale area between two lines."""
        corners = [self.at(x, y) for x, y in lower] + [self.at(x, y) for x, y in reversed(upper)]
        self._parts.insert(0, element("polygon", class_="band", points=points(corners)))

    def add_points(self, marks: Sequence[Point]) -> None:
        """Points with their intervals and the dots of their seeds; labels are placed after all marks are."""
        for mark in marks:
            x, y = self.at(mark.x, mark.y)
            self.placer.block(x, y, MARK + 1)
            if mark.low is not None and mark.high is not None:
                self.placer.block_line([self.at(mark.x, mark.low), self.at(mark.x, mark.high)])
            for seed in mark.seeds:
                self.placer.block(x - 8, self.at(mark.x, seed)[1], 2.5)
            self._parts.append(self._draw(mark))
        for mark in marks:
            if mark.label:
                self._label(mark)

    def add_edge_note(self, text: str, *, top: bool) -> None:
        """A note at the upper or lower edge: what lies beyond it."""
        left, upper, right, lower = self.plot
        label = Label(text, right, upper + 11, "end") if top else Label(text, left + 4, lower - 5, "start")
        self.placer.taken.append(label.box)
        self._parts.append(_write(label, "ax"))

    def add_level(self, text: str, value: float) -> None:
        """A horizontal line with its name."""
        left, _, right, _ = self.plot
        y = self.at(self.x.low, value)[1]
        self._parts.append(element("line", class_="level", x1=left, x2=right, y1=y, y2=y))
        self.placer.block_line([(left, y), (right, y)])
        label = self.placer.place(
            [
                Label(text, place, y + shift, anchor)
                for shift in (-5.0, 13.0)
                for place, anchor in ((left + 4, "start"), (right - 2, "end"))
            ]
        )
        if label:
            self._parts.append(_write(label, "ax"))

    def render(self) -> Markup:
        """The whole chart; names of lines, then of points, take the places that are left."""
        left, _, right, bottom = self.plot
        grid = [
            join(
                [
                    element("line", class_="grid", x1=left, x2=right, y1=y, y2=y),
                    element("text", describe_tick(tick), class_="ax", x=left - 6, y=y + 4, text_anchor="end"),
                ]
            )
            for tick in self._y_ticks
            for y in [self.at(self.x.low, tick)[1]]
        ]
        axis = [element("line", class_="axis", x1=left, x2=right, y1=bottom, y2=bottom), *self._across()]
        heads = [
            element("text", self.y_title, class_="ttl", x=0, y=11),
            element("text", self.x_title, class_="ttl", x=left, y=self.height - 4),
        ]
        texts = [*self._margin(), *(place() for place in self._labels)]
        return element(
            "svg",
            *grid,
            *axis,
            *self._parts,
            *texts,
            *heads,
            class_="chart",
            viewBox=f"0 0 {self.width:g} {self.height:g}",
            role="group",
            aria_label=self.said,
        )

    def _margin(self) -> list[Markup]:
        """Names of lines at the right edge, in the order of their ends, none over another."""
        _, top, right, bottom = self.plot
        heights = spread([y + 4 for _, _, y, _, _ in self._ends], NAME_GAP, top + 8, bottom)
        found = []
        for (text, x, y, names, members), height in zip(self._ends, heights, strict=True):
            hue = names.removeprefix("lb ")
            leader = points([(x + 1, y), (right + 9, height - 4), (right + 12, height - 4)])
            found.append(element("polyline", class_=f"lead-line {hue}", points=leader, data_members=members))
            found.append(_write(Label(text, right + 14, height, "start"), names, data_members=members))
        return found

    def _across(self) -> list[Markup]:
        """Ticks of the axis across; those whose texts would touch are left out."""
        bottom = self.plot[3]
        found, end = [], 0.0
        for tick in self.x.ticks(TICKS_ACROSS) if self.x_ticks is None else self.x_ticks:
            x, text = self.at(tick, self.y.low)[0], self.x_text(tick)
            half = text_width(text) / 2
            found.append(element("line", class_="axis", x1=x, x2=x, y1=bottom, y2=bottom + 5))
            if x - half > end and x + half <= self.width:
                found.append(element("text", text, class_="ax", x=x, y=bottom + 18, text_anchor="middle"))
                end = x + half + 4
        return found

    def _name(self, text: str, end: tuple[float, float], names: str, members: str | None) -> None:
        if self.names_in_margin:
            self._ends.append((text, *end, names, members))
            return

        def place() -> Markup:
            label = self.placer.place(around(text, *end, MARK, names))
            if label:
                return _write(label, names, data_members=members)
            far = self.placer.place([at for at in around(text, *end, MARK, names, FAR) if at.anchor != "middle"])
            if not far:
                return Markup("")
            leader = [end, (far.x - 2 if far.anchor == "start" else far.x + 2, far.y - 4)]
            self.placer.block_line(leader)
            drawn = {"class_": f"lead-line {names.removeprefix('lb ')}", "points": points(leader)}
            return element("polyline", **drawn, data_members=members) + _write(far, names, data_members=members)

        self._labels.insert(0, place)  # before those of points

    def _label(self, mark: Point) -> None:
        x, y = self.at(mark.x, mark.y)

        def place() -> Markup:
            label = self.placer.place(around(mark.label, x, y, MARK, f"pl {mark.hue}")[:16])
            return _write(label, label.names, data_v=_token(mark.variant)) if label else Markup("")

        self._labels.append(place)

    def _draw(self, mark: Point) -> Markup:
        x, y = self.at(mark.x, mark.y)
        parts = [element("title", "\n".join(mark.told)), element("circle", class_="hit", cx=x, cy=y, r=12)]
        if mark.radius is not None:
            parts.append(element("circle", class_="bubble", cx=x, cy=y, r=mark.radius))
        parts += [element("circle", class_="sd", cx=x - 8, cy=self.at(mark.x, seed)[1], r=2.2) for seed in mark.seeds]
        if mark.low is not None and mark.high is not None:
            low, high = self.at(mark.x, mark.low)[1], self.at(mark.x, mark.high)[1]
            parts.append(element("line", class_="eb", x1=x, x2=x, y1=high, y2=low))
        parts.append(marker(mark.shape, x, y, mark.mark))
        return element("g", *parts, class_=f"pt {mark.hue}".strip(), data_v=_token(mark.variant), role="img")


def _token(variant: str) -> str:
    """A name without spaces, as lists of names in attributes have it."""
    return variant.replace(" ", "_")


def _write(label: Label, names: str, **data: str | None) -> Markup:
    return element("text", label.text, class_=names, x=label.x, y=label.y, text_anchor=label.anchor, **data)
