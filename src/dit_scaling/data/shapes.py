"""Generated pictures: one shape in one colour on a striped gradient. Colour data that need no file and no network.

Picture ``index`` is a function of (seed, index). It is drawn from numpy's default_rng((seed, index)), in this order:

1. Background: two colours, uniform in RGB, blended along a uniform direction; a plane wave of uniform direction, phase,
   wavelength (1/4 to 1 side) and amplitude (0 to 24 levels) is added to all channels.
2. Shape ``index mod classes``: a uniform rotation, a uniform circumradius (0.28 to 0.42 sides), a uniform centre for
   which the circumscribed circle lies inside the picture.
3. Colour of the shape: uniform in RGB among those at least 100 levels away from both colours of the background.

The shape is drawn four times as large and averaged down, so its edge is anti-aliased. Every shape is its own mirror
image, and no direction is preferred: a mirrored picture is as likely as the picture, and mirroring is safe.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

SUPERSAMPLING = 4
WAVELENGTHS = (0.25, 1.0)
AMPLITUDES = (0.0, 24.0)
RADII = (0.28, 0.42)
CONTRAST = 100.0

Points = NDArray[np.float64]
Outline = tuple[Points, Points | None]
"""Corners (K, 2) of a polygon in the unit circle, and of the hole in it."""


def _circle(radius: float = 1.0, right: float = 0.0) -> Points:
    angles = np.linspace(0, 2 * np.pi, 64, endpoint=False)
    return radius * np.column_stack([np.cos(angles), np.sin(angles)]) + (right, 0)


def _polygon(corners: int) -> Points:
    angles = 2 * np.pi * np.arange(corners) / corners
    return np.column_stack([np.cos(angles), np.sin(angles)])


def _star() -> Points:
    return _polygon(10) * np.where(np.arange(10) % 2, 0.42, 1.0)[:, None]


def _cross(half: float = 0.3) -> Points:
    reach = np.sqrt(1 - half**2)
    arm = np.array([(reach, -half), (reach, half), (half, half)])
    quarter = np.array([(0.0, 1.0), (-1.0, 0.0)])
    return np.concatenate([arm @ np.linalg.matrix_power(quarter, turns) for turns in range(4)])


def _heart() -> Points:
    """The curve x = 13 cos t - 5 cos 2t - 2 cos 3t - cos 4t, y = 16 sin^3 t, moved and scaled into the unit circle."""
    t = np.linspace(0, 2 * np.pi, 64, endpoint=False)
    x = 13 * np.cos(t) - 5 * np.cos(2 * t) - 2 * np.cos(3 * t) - np.cos(4 * t)
    points = np.column_stack([x - (x.max() + x.min()) / 2, 16 * np.sin(t) ** 3])
    return np.asarray(points / np.linalg.norm(points, axis=1).max())


OUTLINES: Mapping[str, Outline] = {
    "circle": (_circle(), None),
    "square": (_polygon(4), None),
    "triangle": (_polygon(3), None),
    "star": (_star(), None),
    "ring": (_circle(), _circle(0.55)),
    "cross": (_cross(), None),
    "crescent": (_circle(), _circle(0.8, right=0.5)),
    "heart": (_heart(), None),
}
"""All shapes, symmetric about the x axis, in the order of the labels."""


def draw_picture(seed: int, index: int, classes: int, size: int) -> NDArray[np.uint8]:
    """Picture ``index`` as uint8 (size, size, 3); it shows the shape of label ``index mod classes``.

    Args:
        seed: of the whole set of pictures, >= 0.
        index: of the picture, >= 0.
        classes: number of shapes in use, 1 to ``len(OUTLINES)``.
        size: side of the picture, in pixels.
    """
    rng = np.random.default_rng((seed, index))
    colours = rng.uniform(0, 255, (2, 3))
    background = draw_background(rng, colours, size)
    coverage = draw_coverage(rng, list(OUTLINES.values())[index % classes], size)
    picture = background + coverage * (_distinct_colour(rng, colours) - background)
    return np.rint(picture).astype(np.uint8)


def draw_background(rng: np.random.Generator, colours: NDArray[np.float64], size: int) -> NDArray[np.float64]:
    """(size, size, 3) in 0..255."""
    blend = (1 + _along(rng.uniform(0, 2 * np.pi), size) / np.sqrt(0.5)) / 2
    position = _along(rng.uniform(0, 2 * np.pi), size) / rng.uniform(*WAVELENGTHS)
    wave = rng.uniform(*AMPLITUDES) * np.sin(2 * np.pi * (position + rng.uniform()))
    gradient = colours[0] + blend[..., None] * (colours[1] - colours[0])
    background: NDArray[np.float64] = np.clip(gradient + wave[..., None], 0, 255)
    return background


def _along(direction: float, size: int) -> NDArray[np.float64]:
    """Coordinate (size, size) of each pixel's centre along a direction, from the picture's centre, in sides."""
    rows, columns = (np.indices((size, size)) + 0.5) / size - 0.5
    return np.asarray(np.cos(direction) * columns + np.sin(direction) * rows)


def draw_coverage(
    rng: np.random.Generator, outline: Outline, size: int, radii: tuple[float, float] = RADII
) -> NDArray[np.float64]:
    """Share (size, size, 1) of each pixel that the shape covers."""
    angle, radius = rng.uniform(0, 2 * np.pi), rng.uniform(*radii)
    centre = rng.uniform(radius, 1 - radius, 2)
    rotation = np.array([(np.cos(angle), np.sin(angle)), (-np.sin(angle), np.cos(angle))])
    canvas = Image.new("L", (SUPERSAMPLING * size, SUPERSAMPLING * size))
    pen = ImageDraw.Draw(canvas)
    for points, fill in zip(outline, (255, 0), strict=True):
        if points is not None:
            corners = (points @ rotation * radius + centre) * SUPERSAMPLING * size
            pen.polygon([(float(x), float(y)) for x, y in corners], fill=fill)
    return np.asarray(canvas.reduce(SUPERSAMPLING), dtype=np.float64)[..., None] / 255


def _distinct_colour(rng: np.random.Generator, others: NDArray[np.float64]) -> NDArray[np.float64]:
    while True:
        colour = rng.uniform(0, 255, 3)
        if np.linalg.norm(others - colour, axis=1).min() >= CONTRAST:
            return np.asarray(colour)
