"""Generated shapes: pictures that depend on (seed, index) alone, hold what their label says, and have no handedness."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from dit_scaling.config.image_settings import Shapes
from dit_scaling.data.fingerprint import fingerprint
from dit_scaling.data.shapes import CONTRAST, OUTLINES, draw_background, draw_coverage, draw_picture
from dit_scaling.data.sources import open_source, read_images
from pipeline import ROOT, edited, plan, snakemake

CLASSES = len(OUTLINES)


def area(points: NDArray[np.float64]) -> float:
    """The shoelace formula."""
    x, y = points.T
    return abs(float(np.sum(x * np.roll(y, -1) - y * np.roll(x, -1)))) / 2


def test_a_picture_is_a_function_of_seed_and_index() -> None:
    one = open_source(Shapes(source="shapes", images=40, held_out=4))
    other = open_source(Shapes(source="shapes", images=400, held_out=4))
    backwards = read_images(one, np.arange(40)[::-1])[::-1]
    np.testing.assert_array_equal(backwards, read_images(other, np.arange(40)))
    assert backwards.shape == (40, 32, 32, 3)
    assert backwards.dtype == np.uint8
    assert len(np.unique(backwards.reshape(40, -1), axis=0)) == 40
    assert not np.array_equal(one.image(3), draw_picture(1, 3, CLASSES, 32))


def test_labels_names_and_keys() -> None:
    source = open_source(Shapes(source="shapes", images=12, held_out=2, classes=5))
    assert source.class_names == ["circle", "square", "triangle", "star", "ring"]
    assert source.labels.tolist() == [0, 1, 2, 3, 4, 0, 1, 2, 3, 4, 0, 1]
    assert len(set(source.keys)) == len(source) == 12


def test_the_config_allows_every_shape_that_there_is() -> None:
    assert Shapes(source="shapes", held_out=2).classes == CLASSES
    with pytest.raises(ValueError, match="classes"):
        Shapes(source="shapes", held_out=2, classes=CLASSES + 1)


def test_no_shape_has_a_handedness() -> None:
    """Mirrored at its axis, each outline is the same set of corners, inside the unit circle."""
    for name, outline in OUTLINES.items():
        for points in outline:
            if points is None:
                continue
            mirrored = points * (1, -1)
            distance = np.linalg.norm(points[:, None] - mirrored[None], axis=2).min(axis=1)
            assert distance.max() < 1e-12, name
        assert np.linalg.norm(outline[0], axis=1).max() == pytest.approx(1), name


def test_areas_are_those_of_geometry() -> None:
    """Circle and square in closed form; a cross of half-width h and reach r is 4 (2 r - h) h."""
    assert area(OUTLINES["circle"][0]) == pytest.approx(np.pi, rel=2e-3)
    assert area(OUTLINES["square"][0]) == pytest.approx(2)
    assert area(OUTLINES["triangle"][0]) == pytest.approx(3 * np.sqrt(3) / 4)
    assert area(OUTLINES["cross"][0]) == pytest.approx(4 * 0.3 * (2 * np.sqrt(1 - 0.3**2) - 0.3))
    hole = OUTLINES["ring"][1]
    assert hole is not None
    assert area(hole) == pytest.approx(0.55**2 * np.pi, rel=2e-3)


@pytest.mark.parametrize("label", range(CLASSES))
def test_a_shape_covers_its_share_of_the_circle_around_it(label: int) -> None:
    """Anti-aliased at its edge."""
    outline, hole = list(OUTLINES.values())[label]
    coverage = draw_coverage(np.random.default_rng(label), (outline, hole), 64, radii=(0.4, 0.4))
    covered = coverage.sum() / (0.4 * 64) ** 2
    if hole is None or list(OUTLINES)[label] == "ring":
        assert covered == pytest.approx(area(outline) - (0 if hole is None else area(hole)), rel=0.06)
    else:  # The crescent's hole reaches out of the circle.
        assert 0.1 < covered < area(outline) - 0.5
    assert np.count_nonzero((coverage > 0) & (coverage < 1)) > 20


@pytest.mark.parametrize("label", range(CLASSES))
def test_the_drawn_shape_is_the_labels_in_one_colour_on_its_background(label: int) -> None:
    rng = np.random.default_rng((0, label))
    background = draw_background(rng, rng.uniform(0, 255, (2, 3)), 64)
    coverage = draw_coverage(rng, list(OUTLINES.values())[label], 64)[..., 0]
    picture = draw_picture(0, label, CLASSES, 64)
    np.testing.assert_array_equal(picture[coverage == 0], np.rint(background[coverage == 0]))
    assert len(np.unique(picture[coverage == 1], axis=0)) == 1


def test_a_shape_differs_from_its_background() -> None:
    """The circle's centre is far from the median of the border in most pictures, as its colour is from both ends."""
    distances = []
    for index in range(0, 40 * CLASSES, CLASSES):
        picture = draw_picture(0, index, CLASSES, 32).astype(float)
        border = np.concatenate([picture[0], picture[-1], picture[:, 0], picture[:, -1]])
        distances.append(np.linalg.norm(picture - np.median(border, axis=0), axis=2).max())
    assert np.mean(np.array(distances) > CONTRAST / 2) > 0.9


def test_fingerprints_tell_pictures_apart() -> None:
    data = Shapes(source="shapes", held_out=2)
    changes = [{}, {"seed": 1}, {"image_size": 64}, {"classes": 3}]
    assert len({fingerprint(data.model_copy(update=change)) for change in changes}) == len(changes)
    assert fingerprint(data) == fingerprint(data.model_copy(update={"held_out": 5}))


@pytest.mark.slow
def test_the_study_of_shapes_ends_in_a_report(tmp_path: Path) -> None:
    """config/shapes.yaml cut down to a minute: the same chain, in colour."""
    changes = {
        "data.images": 240,
        "data.held_out": 40,
        "vae.steps": 800,
        "training.steps": 20,
        "training.warmup_steps": 5,
        "sampling.num_samples": 40,
        "sampling.steps": 5,
        "metrics.extractor.feature_dim": 16,
        "metrics.extractor.steps": 20,
        "metrics.kid_subset_size": 20,
    }
    config = edited(tmp_path, changes, ROOT / "config" / "shapes.yaml")
    run = snakemake(tmp_path, "--cores", "2", config=config)
    assert run.returncode == 0, run.stderr
    results = tmp_path / "results" / "shapes"
    variants = ["DiT-Nano/2", "DiT-Nano/1", "DiT-Mini/2", "DiT-Mini/1"]
    assert pd.read_csv(results / "metrics.csv")["variant"].tolist() == variants
    assert pd.read_csv(results / "agreement.csv")["metric"].iloc[0] == "fd_classifier16"
    with np.load(results / "DiT-Mini-1/seed-0/step-20/guidance-1.0/samples/part-00000.npz") as part:
        assert part["arr_0"].shape == (40, 32, 32, 3)
    page = (results / "report.html").read_text()
    assert all(name in page for name in OUTLINES)
    assert plan(tmp_path, config=config) == {}
