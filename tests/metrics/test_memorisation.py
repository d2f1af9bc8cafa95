"""Memorisation: planted copies are found and fresh images are not, on points, on digits and on large pictures."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from scipy import stats
from scipy.spatial import KDTree

from dit_scaling.common.files import read_json
from dit_scaling.config.image_settings import ImageFolder, Mnist
from dit_scaling.config.stages import DataSettings, MemorisationSettings
from dit_scaling.data.sources import open_source, read_images
from dit_scaling.data.split import split_indices
from dit_scaling.metrics import memorisation
from dit_scaling.metrics.copying import HeldOutShare, copying_test, held_out_share, stream_nearest
from dit_scaling.metrics.memorisation import measure_memorisation, to_pixels
from dit_scaling.metrics.neighbours import nearest_neighbours
from dit_scaling.sampling.images import Samples, write_samples

RNG = np.random.default_rng(0)
DIGITS = DataSettings(data=Mnist(source="mnist", held_out=1000), seed=0, fingerprint="digits")
TRAIN, HELD_OUT = split_indices(5000, 1000, 0)


def points(count: int, seed: int) -> NDArray[np.float64]:
    return np.random.default_rng(seed).normal(size=(count, 8))


# Closed forms and scipy


def test_streamed_neighbours_are_the_k_d_trees() -> None:
    queries, references = points(50, 0), points(333, 1)
    found = stream_nearest(queries, np.array_split(references, 7))
    distance, index = KDTree(references).query(queries)
    np.testing.assert_array_equal(found.index[:, 0], index)
    np.testing.assert_allclose(found.distance[:, 0], distance, rtol=1e-12)
    with pytest.raises(ValueError, match="No references"):
        stream_nearest(queries, [])


@pytest.mark.parametrize("shift", [-0.5, 0.0, 0.5])
def test_z_is_mann_and_whitneys(shift: float) -> None:
    samples, held_out = RNG.gamma(9, size=300) + shift, RNG.gamma(9, size=120)
    found = copying_test(samples, held_out)
    oracle = stats.mannwhitneyu(samples, held_out, alternative="less", method="asymptotic", use_continuity=False)
    assert stats.norm.cdf(found.z) == pytest.approx(oracle.pvalue, rel=1e-9)
    assert found.closer == pytest.approx(np.mean(samples[:, None] < held_out))


def share_of(
    samples: NDArray[np.float64], training: NDArray[np.float64], held_out: NDArray[np.float64]
) -> HeldOutShare:
    nearest = nearest_neighbours(samples, training), nearest_neighbours(samples, held_out)
    return held_out_share(*nearest, len(training), len(held_out))


def test_the_share_is_that_of_one_pool() -> None:
    samples, training, held_out = points(200, 0), points(300, 1), points(100, 2)
    found = share_of(samples, training, held_out)
    nearest = KDTree(np.concatenate([training, held_out])).query(samples)[1]
    assert found.share == np.mean(nearest >= 300)
    assert found.expected == 0.25


def test_the_interval_is_that_of_shuffled_splits() -> None:
    """Which of the pool are held out is drawn again and again: their share scatters as the interval says."""
    samples, pool = points(150, 0), points(400, 1)
    nearest = KDTree(pool).query(samples)[1]
    rng = np.random.default_rng(0)
    shares = [np.isin(nearest, rng.choice(400, 100, replace=False)).mean() for _ in range(4000)]
    found = share_of(samples, pool[:300], pool[300:])
    assert np.mean(shares) == pytest.approx(0.25, abs=0.005)
    assert (found.high - found.low) / 2 == pytest.approx(1.96 * np.std(shares), rel=0.05)


def test_a_tie_is_no_copy() -> None:
    one = np.array([[1.0, 2.0]])
    assert share_of(one, one, one).share == 1.0


# Truth that is known


def test_fresh_points_are_called_copied_as_rarely_as_the_level_says() -> None:
    """At 95%, 5 of 100 intervals may miss the expected share; the binomial's 99.9% bound is 13."""
    missed = 0
    for seed in range(100):
        drawn = points(400, seed)
        found = share_of(drawn[:100], drawn[100:300], drawn[300:])
        missed += not found.low <= found.expected <= found.high
    assert missed <= 13


def test_a_share_of_copies_lowers_the_share_as_much() -> None:
    drawn = points(1300, 0)
    fresh, training, held_out = drawn[:300], drawn[300:800], drawn[800:]
    found = share_of(np.concatenate([fresh, training[:300] + 0.01]), training, held_out)
    assert found.share == pytest.approx(0.25, abs=0.05)
    assert found.high < found.expected == 0.5


@pytest.mark.parametrize("seed", range(5))
def test_blurred_samples_are_near_to_everything_but_not_copied(seed: int) -> None:
    """Samples that all lie about the centre: the three-sample test is fooled, the share is not."""
    samples, training, held_out = 0.3 * points(200, seed), points(600, seed + 100), points(200, seed + 200)
    found = share_of(samples, training, held_out)
    assert found.low < found.expected < found.high
    to_training = [KDTree(training).query(queries)[0] for queries in (samples, held_out)]
    assert copying_test(*to_training).z < -5


# The stage


def measure(folder: Path, images: NDArray[np.uint8], settings: DataSettings = DIGITS) -> dict[str, object]:
    parts = []
    for number, some in enumerate(np.array_split(images, 2)):
        parts.append(folder / f"part-{number}.npz")
        write_samples(parts[-1], Samples(some, np.zeros(len(some), np.int64), np.arange(len(some))))
    output = folder / "memorisation.json"
    measure_memorisation(MemorisationSettings(data=settings, samples="x"), parts, output, folder / "picture.png")
    record: dict[str, object] = read_json(output)
    return record


@pytest.fixture
def fresh(monkeypatch: pytest.MonkeyPatch) -> NDArray[np.uint8]:
    """Digits that are neither searched nor held out: the stage is told of fewer training images."""
    monkeypatch.setattr(memorisation, "split_indices", lambda *_: (TRAIN[500:], HELD_OUT))
    return read_images(open_source(DIGITS.data), TRAIN[:500])


def test_fresh_digits_are_not_copied(tmp_path: Path, fresh: NDArray[np.uint8]) -> None:
    record = measure(tmp_path, fresh)
    assert record["samples"] == 500
    share = record["held_out_share"]
    assert share["expected"] == pytest.approx(1000 / 4500)
    assert share["low"] < share["expected"] < share["high"]
    assert abs(record["copying_test"]["z"]) < 3.5


def test_planted_copies_are_found_and_shown(tmp_path: Path, fresh: NDArray[np.uint8]) -> None:
    """Half of the samples are training images, most of them changed a little."""
    source, searched = open_source(DIGITS.data), TRAIN[500:]
    copies = read_images(source, searched[:200]).astype(int)
    copies[10:] += RNG.integers(-8, 9, copies[10:].shape)
    record = measure(tmp_path, np.concatenate([np.clip(copies, 0, 255).astype(np.uint8), fresh[:200]]))
    assert record["held_out_share"]["high"] < record["held_out_share"]["expected"]
    assert record["training_share"] == 1.0
    closest = record["closest"]
    assert len(closest) == memorisation.SHOWN
    assert [entry["training"] for entry in closest] == [source.keys[searched[entry["sample"]]] for entry in closest]
    assert {entry["sample"] for entry in closest} == set(range(10))
    assert all(entry["to_training"] == 0 < entry["to_held_out"] for entry in closest)
    with Image.open(tmp_path / "picture.png") as picture:
        sheet = np.asarray(picture)
    assert sheet.shape == (3 * 33 + 1, 10 * 33 + 1)
    np.testing.assert_array_equal(sheet[1:33], sheet[34:66])
    assert not np.array_equal(sheet[1:33], sheet[67:99])


def test_all_copies_leave_no_doubt(tmp_path: Path) -> None:
    record = measure(tmp_path, read_images(open_source(DIGITS.data), TRAIN[:200]))
    assert record["median_to_training"] == 0 < record["median_held_out_to_training"]
    assert record["copying_test"]["z"] < -15


def test_distances_are_root_mean_squares_of_area_averages() -> None:
    large = RNG.integers(0, 256, (3, 64, 64, 3), dtype=np.uint8)
    averaged = large.reshape(3, 32, 2, 32, 2, 3).mean(axis=(2, 4)).reshape(3, -1)
    rows = to_pixels(large)
    assert rows.shape == (3, 32 * 32 * 3)
    np.testing.assert_allclose(rows * np.sqrt(rows.shape[1]), averaged, rtol=1e-6)
    small = large[:, :32, :32]
    difference = (small[0].astype(float) - small[1]).ravel()
    assert np.linalg.norm(np.subtract(*to_pixels(small)[:2])) == pytest.approx(np.sqrt(np.mean(difference**2)))


def test_large_colour_pictures_and_parts_of_the_training_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memorisation, "MAX_TRAINING", 12)
    monkeypatch.setattr(memorisation, "MAX_SAMPLES", 3)
    monkeypatch.setattr(memorisation, "BATCH", 5)
    for number in range(30):
        (tmp_path / "images" / "one").mkdir(parents=True, exist_ok=True)
        Image.fromarray(RNG.integers(0, 256, (48, 48, 3), dtype=np.uint8)).save(tmp_path / f"images/one/{number}.png")
    data = ImageFolder(source="image_folder", path=str(tmp_path / "images"), image_size=48, classes=1, held_out=6)
    settings = DataSettings(data=data, seed=0, fingerprint="noise")
    record = measure(tmp_path, RNG.integers(0, 256, (4, 48, 48, 3), dtype=np.uint8), settings)
    assert (record["training"], record["training_share"], record["held_out"]) == (12, 0.5, 6)
    assert record["samples"] == len(record["closest"]) == 3
