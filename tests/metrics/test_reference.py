"""References as they are given, the suite's metrics on shared features, and the memory of one pass."""

import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch_fidelity.metric_isc import isc_features_to_metric
from torch_fidelity.metric_kid import kid_features_to_metric
from torch_fidelity.metric_prc import prc_features_to_metric

from dit_scaling.common.errors import UserError
from dit_scaling.common.files import sha256_file
from dit_scaling.config.stages import Scoring
from dit_scaling.metrics import frechet_distance
from dit_scaling.metrics.extraction import protocol_of, see
from dit_scaling.metrics.features import Features
from dit_scaling.metrics.kept import KeptFiles, ReferenceFiles, read_kept, read_reference, write_kept
from dit_scaling.metrics.moments import Moments, save_moments
from dit_scaling.metrics.reference import import_reference
from dit_scaling.metrics.score import describe_protocol, measure

SIDE = 4
SCORING = Scoring(kid_subsets=1, kid_subset_size=300, neighbours=3, bootstrap=10, seed=0)


class Suite:
    """Stands in for Inception: random projections of the pixels as pooled and spatial features."""

    name = "inception"
    dim = 6
    description = "projections"
    resize = "none"
    weights_sha256 = "1" * 64
    logit_weights: NDArray[np.float32] | None = np.random.default_rng(1).standard_normal((9, 6)).astype(np.float32)

    def __init__(self) -> None:
        rng = np.random.default_rng(0)
        self._pooled, self._spatial = rng.standard_normal((48, 6)), rng.standard_normal((48, 5))

    def __call__(self, images: NDArray[np.uint8]) -> Features:
        flat = images.reshape(len(images), -1) / 255
        return Features((flat @ self._pooled).astype(np.float32), spatial=(flat @ self._spatial).astype(np.float32))


def pictures(count: int, seed: int, top: int = 256) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, top, (count, SIDE, SIDE, 3), dtype=np.uint8)


def adm_reference(path: Path, images: NDArray[np.uint8], *without: str) -> Path:
    """An npz as ADM publishes it: statistics of more images than it holds as arr_0."""
    features = Suite()(np.concatenate([images, pictures(500, 9)]))
    assert features.spatial is not None
    arrays = {
        "mu": features.values.mean(axis=0),
        "sigma": np.cov(features.values, rowvar=False),
        "mu_s": features.spatial.mean(axis=0),
        "sigma_s": np.cov(features.spatial, rowvar=False),
        "arr_0": images,
    }
    np.savez(path, **{key: value for key, value in arrays.items() if key not in without})  # type: ignore[arg-type]
    return path


def as_moments(arrays: dict[str, NDArray[np.float64]]) -> dict[str, Any]:
    return {"mean": arrays["mu"], "covariance": arrays["sigma"], "features": None}


def measured(folder: Path, images: NDArray[np.uint8], files: ReferenceFiles) -> dict[str, Any]:
    """The metrics of images through the features that are kept of them."""
    kept = KeptFiles.beside(folder / "kept" / "features.json")
    kept.record.parent.mkdir()
    write_kept(kept, see(Suite(), np.array_split(images, 4)), protocol_of(Suite()), None, Suite.logit_weights)
    return measure(SCORING, read_kept(kept)[0], read_reference(files))


def test_adms_reference_is_taken_as_it_is(tmp_path: Path) -> None:
    images = pictures(400, 0)
    given = adm_reference(tmp_path / "VIRTUAL.npz", images)
    files = ReferenceFiles(tmp_path / "moments.npz", tmp_path / "features.npy")
    import_reference(given, Suite(), files, SIDE)
    reference = read_reference(files)
    with np.load(given) as archive:
        np.testing.assert_array_equal(reference.moments.mean, archive["mu"])
        np.testing.assert_array_equal(reference.moments.covariance, archive["sigma"])
        assert reference.spatial is not None
        np.testing.assert_array_equal(reference.spatial.covariance, archive["sigma_s"])
    np.testing.assert_array_equal(reference.features, Suite()(images).values)
    assert describe_protocol(protocol_of(Suite()), reference) == {
        "extractor_inception": "projections",
        "weights_sha256_inception": "1" * 64,
        "resize_inception": "none",
        "reference_sha256_inception": sha256_file(given),
    }


def test_the_suites_metrics_are_torch_fidelitys_on_the_same_features(tmp_path: Path) -> None:
    real, made = pictures(300, 0), pictures(300, 1, top=240)
    files = ReferenceFiles(tmp_path / "moments.npz", tmp_path / "features.npy")
    given = adm_reference(tmp_path / "VIRTUAL.npz", real)
    import_reference(given, Suite(), files, SIDE)
    record = measured(tmp_path, made, files)
    ours, theirs = Suite()(made), torch.from_numpy(Suite()(real).values).double()
    pooled, spatial = torch.from_numpy(ours.values).double(), ours.spatial
    assert spatial is not None
    with np.load(given) as archive:
        for metric, values, mu, sigma in (("fid", ours.values, "mu", "sigma"), ("sfid", spatial, "mu_s", "sigma_s")):
            of_values = values.mean(axis=0, dtype=np.float64), np.cov(values, rowvar=False)
            expected = frechet_distance(*of_values, archive[mu], archive[sigma])
            assert record[metric] == pytest.approx(expected, rel=1e-5)
    score = isc_features_to_metric(pooled @ torch.from_numpy(Suite.logit_weights).double().T, splits=10, shuffle=False)
    assert record["inception_score"] == pytest.approx(score["inception_score_mean"], rel=1e-9)
    assert record["inception_score_sd"] == pytest.approx(score["inception_score_std"], rel=1e-9)
    shares = prc_features_to_metric(pooled, theirs, prc_neighborhood=3, prc_batch_size=128, verbose=False)
    assert record["precision_inception"] == pytest.approx(shares["precision"], abs=1e-6)
    assert record["recall_inception"] == pytest.approx(shares["recall"], abs=1e-6)
    assert 0 < record["precision_inception"] < 1
    # One subset of all images needs no draw.
    kid = kid_features_to_metric(pooled, theirs, kid_subsets=1, kid_subset_size=300, verbose=False)
    assert record["kid_inception"] == pytest.approx(kid["kernel_inception_distance_mean"], rel=1e-6)
    assert record["kid_inception_sd"] == 0


def test_what_a_reference_does_not_hold_is_not_reported(tmp_path: Path) -> None:
    files = ReferenceFiles(tmp_path / "moments.npz", tmp_path / "features.npy")
    given = adm_reference(tmp_path / "bare.npz", pictures(50, 0), "mu_s", "sigma_s", "arr_0")
    import_reference(given, Suite(), files, SIDE)
    record = measured(tmp_path, pictures(60, 1), files)
    of_moments = {"fid", "fid_se", "fid_bias", "fidinf", "fidinf_se"}
    assert set(record) == {"n_samples", *of_moments, "inception_score", "inception_score_sd"}


def test_a_reference_of_other_features_or_none_is_refused(tmp_path: Path) -> None:
    files = ReferenceFiles(tmp_path / "moments.npz", tmp_path / "features.npy")
    np.savez(tmp_path / "other.npz", mu=np.zeros(7), sigma=np.eye(7))
    with pytest.raises(UserError, match=r"other\.npz is of 7 features, those of inception are 6"):
        import_reference(tmp_path / "other.npz", Suite(), files, SIDE)
    with pytest.raises(UserError, match=r"absent\.npz does not exist"):
        import_reference(tmp_path / "absent.npz", Suite(), files, SIDE)
    assert not files.moments.exists()


@pytest.mark.parametrize(
    ("stated", "reason"),
    [
        ({"features": "clean"}, "says features 'clean', but the study's is 'inception'"),
        ({"resize": "bicubic"}, "says resize 'bicubic', but the study's is 'none'"),
        ({"image_size": 256}, "says image_size '256', but the study's is '4'"),
        ({"arr_0": np.zeros((3, 8, 8, 3), np.uint8)}, "says image_size '8', but the study's is '4'"),
    ],
)
def test_a_reference_of_something_else_is_refused(tmp_path: Path, stated: dict[str, Any], reason: str) -> None:
    files = ReferenceFiles(tmp_path / "moments.npz", tmp_path / "features.npy")
    np.savez(tmp_path / "given.npz", **{"mu": np.zeros(6), "sigma": np.eye(6)} | stated)
    with pytest.raises(UserError, match=f"given.npz {reason}: a distance to it would stand under a wrong name"):
        import_reference(tmp_path / "given.npz", Suite(), files, SIDE)
    assert not files.features.exists()


def test_what_a_reference_does_not_say_is_said_to_be_unknown(tmp_path: Path) -> None:
    files = ReferenceFiles(tmp_path / "moments.npz", tmp_path / "features.npy")
    arrays = {"mu": np.zeros(6), "sigma": np.eye(6)}
    np.savez(tmp_path / "bare.npz", **arrays)  # type: ignore[arg-type]
    import_reference(tmp_path / "bare.npz", Suite(), files, SIDE)
    expected = "given: an unknown number of images of unknown size, features that it doesn't name, an unknown resize"
    assert read_reference(files).moments.describe() == expected
    ours = Moments(**as_moments(arrays) | {"features": "inception"}, count=500, image_size=4, resize="none")
    save_moments(tmp_path / "ours.npz", ours)
    import_reference(tmp_path / "ours.npz", Suite(), files, SIDE)
    expected = "given: 500 images of 4 x 4 pixels, features 'inception', resize 'none'"
    assert read_reference(files).moments.describe() == expected
    for images, told in ((500, expected), (480, f"{expected}; the study trains on 480 images")):
        import_reference(tmp_path / "ours.npz", Suite(), files, SIDE, images)
        assert read_reference(files).moments.describe() == told


def test_memory_of_a_pass_does_not_grow_with_the_number_of_images() -> None:
    class Wide(Suite):
        dim = 500

        def __call__(self, images: NDArray[np.uint8]) -> Features:
            return Features(np.random.default_rng(0).random((len(images), 500), dtype=np.float32))

    def stream(batches: int) -> Iterator[NDArray[np.uint8]]:
        for batch in range(batches):
            yield pictures(100, batch)

    def peak(batches: int) -> int:
        tracemalloc.start()
        scored = see(Wide(), stream(batches))
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert scored.features.shape == (100 * batches, 500)
        assert scored.moments.count == 100 * batches
        return peak

    few, many = peak(5), peak(100)
    assert many < 1.1 * few  # 20 MB of features went by
