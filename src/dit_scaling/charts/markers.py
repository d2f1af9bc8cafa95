"""Markers by number, one a patch."""

from markupsafe import Markup

from dit_scaling.charts.svg import element, points

MARK = 5.0  # half the size of a marker in pixels


def marker(shape: int, x: float, y: float, names: str = "mk", size: float = MARK) -> Markup:
    """A marker by its number: circle, square, triangle, diamond, plus, star; they repeat."""
    s = size
    if shape % 6 == 0:
        return element("circle", class_=names, cx=x, cy=y, r=s)
    corners: dict[int, list[tuple[float, float]]] = {
        1: [(-0.9, -0.9), (0.9, -0.9), (0.9, 0.9), (-0.9, 0.9)],
        2: [(0, -1.2), (1.2, 0.9), (-1.2, 0.9)],
        3: [(0, -1.3), (1.3, 0), (0, 1.3), (-1.3, 0)],
        4: [(-0.4, -1.2), (0.4, -1.2), (0.4, 1.2), (-0.4, 1.2)],
        5: [(0, -1.3), (0.4, -0.4), (1.3, 0), (0.4, 0.4), (0, 1.3), (-0.4, 0.4), (-1.3, 0), (-0.4, -0.4)],
    }
    return element("polygon", class_=names, points=points((x + s * a, y + s * b) for a, b in corners[shape % 6]))


def key_marker(shape: int) -> Markup:
    """A marker alone, for keys and tables."""
    drawn = marker(shape, 6, 6, "g", 4.2)
    return element("svg", drawn, class_="key-mark", viewBox="0 0 12 12", aria_hidden="true")
