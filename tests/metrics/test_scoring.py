"""Scoring sets of images: names, streaming, extractors under one contract, and what is refused."""

from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL
from numpy.typing import NDArray

from dit_scaling.common.errors import UserError
from dit_scaling.common.files import read_json, sha256_file
from dit_scaling.config.image_settings import Mnist
from dit_scaling.config.metrics_settings import ClassifierExtractor
from dit_scaling.config.stages import (
    DataSettings,
    ExtractorSettings,
    LatentsSettings,
    ReferenceSettings,
    ScoreSettings,
    Scoring,
    VaeSettings,
)
from dit_scaling.config.vae_settings import Latents, TrainedVae
from dit_scaling.metrics import frechet_distance, score
from dit_scaling.metrics.bootstrap import bootstrap_frechet
from dit_scaling.metrics.extractors import make_extractor, open_extractor
from dit_scaling.metrics.features import Features
from dit_scaling.metrics.moments import Moments, RunningMoments, save_moments
from dit_scaling.metrics.reference import make_reference
from dit_scaling.metrics.score import (
    Reference,
    ReferenceFiles,
    headline_metric,
    metrics_of,
    read_reference,
    score_samples,
    score_set,
)
from dit_scaling.sampling.images import Samples, write_samples

CPU = torch.device("cpu")
SCORING = Scoring(kid_subsets=5, kid_subset_size=50, neighbours=3, bootstrap=20, num_samples=100, seed=0)
SETTINGS = ScoreSettings(scoring=SCORING, references=("x",), samples="x")
DATA = DataSettings(data=Mnist(source="mnist", held_out=200), seed=0, fingerprint="digits")
CLASSIFIER = ExtractorSettings(
    extractor=ClassifierExtractor(kind="classifier", feature_dim=8, steps=30, batch_size=32), data=DATA
)


class MeanOfRows:
    """Stand-in extractor: a feature per image row."""

    name = "rows"
    dim = 4
    description = "mean of each row"
    resize = "none"
    weights_sha256 = "0" * 64
    logit_weights: NDArray[np.float32] | None = None

    def __call__(self, images: NDArray[np.uint8]) -> Features:
        rows = images.mean(axis=(2, 3)).astype(np.float32)
        return Features(rows, rows.argmax(axis=1))


def images(count: int, seed: int, shift: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(shift, shift + 100, size=(count, 4, 4, 1), dtype=np.uint8)


def reference_of(pictures: NDArray[np.uint8]) -> Reference:
    scored = score_set(MeanOfRows(), [pictures])
    moments = Moments(scored.moments.mean, scored.moments.covariance, scored.moments.count, "rows")
    return Reference("rows", moments, None, scored.features, "0" * 64)


def test_batches_do_not_change_the_moments() -> None:
    pictures = images(100, 0)
    whole, streamed = score_set(MeanOfRows(), [pictures]), score_set(MeanOfRows(), np.array_split(pictures, 7))
    np.testing.assert_allclose(whole.moments.covariance, streamed.moments.covariance, rtol=1e-12)
    assert np.array_equal(whole.features, streamed.features)
    rows = pictures.mean(axis=(2, 3))
    np.testing.assert_allclose(whole.moments.mean, rows.mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(whole.moments.covariance, np.cov(rows.T), rtol=1e-5)


def test_every_metric_carries_the_name_of_its_features() -> None:
    labels = np.zeros(100, dtype=np.int64)
    record = metrics_of(
        SCORING, MeanOfRows(), score_set(MeanOfRows(), [images(100, 1)]), reference_of(images(100, 0)), labels
    )
    assert set(record) == {
        "n_samples",
        "fd_rows",
        "fd_rows_se",
        "fd_rows_bias",
        "kid_rows",
        "kid_rows_sd",
        "precision_rows",
        "recall_rows",
        "class_accuracy_rows",
    }
    assert headline_metric("rows") == "fd_rows"
    assert [headline_metric(name) for name in ("inception", "clean", "dinov2")] == ["fid", "clean_fid", "fd_dinov2"]


def test_values_are_those_of_the_public_functions() -> None:
    reference, scored = reference_of(images(100, 0)), score_set(MeanOfRows(), [images(100, 1, shift=40)])
    record = metrics_of(SCORING, MeanOfRows(), scored, reference, scored.classes)
    moments = scored.moments
    expected = frechet_distance(moments.mean, moments.covariance, reference.moments.mean, reference.moments.covariance)
    assert record["fd_rows"] == expected
    assert record["fd_rows"] > 4 * 30**2
    assert record["class_accuracy_rows"] == 1.0
    assert record["n_samples"] == 100
    assert 0 < record["fd_rows_se"] < record["fd_rows"]


def test_the_error_of_all_images_is_scaled_from_those_resampled(monkeypatch: pytest.MonkeyPatch) -> None:
    """The spread falls as 1/sqrt(N), the bias as 1/N: those of 50 images of 200 count half, and a quarter."""
    reference, pictures = reference_of(images(200, 0)), images(200, 1)
    monkeypatch.setattr(score, "KEPT_FEATURES", 50)
    scored = score_set(MeanOfRows(), np.array_split(pictures, 3))
    assert scored.features.shape == (200, 4)
    of_part = bootstrap_frechet(
        scored.features[:50], reference.moments.mean, reference.moments.covariance, resamples=20, seed=0
    )
    record = metrics_of(SCORING, MeanOfRows(), scored, reference, None)
    assert record["fd_rows_se"] == pytest.approx(of_part.standard_error / 2)
    assert record["fd_rows_bias"] == pytest.approx(of_part.bias / 4)


def test_farther_images_score_worse_on_every_distance() -> None:
    reference = reference_of(images(200, 0))
    near, far = (
        metrics_of(SCORING, MeanOfRows(), score_set(MeanOfRows(), [images(200, 1, shift)]), reference, None)
        for shift in (3, 60)
    )
    assert near["fd_rows"] < far["fd_rows"]
    assert near["kid_rows"] < far["kid_rows"]
    assert near["precision_rows"] > far["precision_rows"]
    assert "class_accuracy_rows" not in near


@pytest.fixture
def extractor(tmp_path: Path) -> Path:
    record = tmp_path / "extractor.json"
    make_extractor(CLASSIFIER, record, CPU)
    return record


def test_the_classifier_learns_and_opens_again(extractor: Path) -> None:
    facts = read_json(extractor)
    assert facts["held_out_accuracy"] > 0.25  # chance is 0.1
    network = open_extractor(extractor, CPU)
    assert network.name == "classifier8"
    features = network(np.zeros((3, 32, 32, 1), dtype=np.uint8))
    assert features.values.shape == (3, 8)
    assert features.classes is not None
    assert features.classes.shape == (3,)


def write_reference(folder: Path, network: str, features: NDArray[np.float32]) -> ReferenceFiles:
    files = ReferenceFiles(folder / "moments.npz", folder / "features.npy")
    moments = RunningMoments(features.shape[1])
    moments.update(features)
    save_moments(files.moments, moments, network)
    np.save(files.features, features)
    return files


def test_the_fid_stage_scores_all_parts(extractor: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    pictures = rng.integers(0, 255, size=(120, 32, 32, 1), dtype=np.uint8)
    network = open_extractor(extractor, CPU)
    reference = write_reference(tmp_path, network.name, network(pictures).values)
    parts = []
    for part, indices in enumerate(np.array_split(np.arange(100), 3)):
        parts.append(tmp_path / f"part-{part}.npz")
        write_samples(parts[-1], Samples(pictures[indices], indices % 10, indices))
    score_samples(SETTINGS, parts, [extractor], [reference], tmp_path / "metrics.json", CPU)
    record = read_json(tmp_path / "metrics.json")
    assert record["n_samples"] == 100
    assert record["fd_classifier8"] < 1.0
    assert "classifier" in record["extractor"]


def test_one_record_holds_every_extractor_with_its_protocol(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Named(MeanOfRows):
        def __init__(self, name: str) -> None:
            self.name, self.description, self.resize = name, f"network {name}", f"resize {name}"
            self.weights_sha256 = (name * 64)[:64]

    monkeypatch.setattr(score, "open_extractor", lambda record, _device: Named(record.stem))
    names, references = ("inception", "clean", "dinov2"), []
    for name in names:
        (tmp_path / name).mkdir()
        references.append(write_reference(tmp_path / name, name, MeanOfRows()(images(60, 0)).values))
    write_samples(tmp_path / "part.npz", Samples(images(60, 1), np.arange(60) % 10, np.arange(60)))
    extractors = [tmp_path / f"{name}.json" for name in names]
    score_samples(SETTINGS, [tmp_path / "part.npz"], extractors, references, tmp_path / "metrics.json", CPU)
    record = read_json(tmp_path / "metrics.json")
    assert record["fid"] == record["clean_fid"] == record["fd_dinov2"] > 0
    assert record["n_samples"] == 60
    assert record["quantiser"] == "uint8 of clamp(127.5 x + 128, 0, 255)"
    assert record["extractor"] == "network inception"
    for name, files in zip(names, references, strict=True):
        assert record[f"extractor_{name}"] == f"network {name}"
        assert record[f"resize_{name}"] == f"resize {name}"
        assert record[f"weights_sha256_{name}"] == (name * 64)[:64]
        assert record[f"reference_sha256_{name}"] == sha256_file(files.moments)
        assert {f"kid_{name}", f"kid_{name}_sd", f"precision_{name}", f"recall_{name}"} <= set(record)


def test_a_reference_of_other_features_is_refused(extractor: Path, tmp_path: Path) -> None:
    reference = write_reference(tmp_path, "other", np.random.default_rng(0).normal(size=(20, 8)).astype(np.float32))
    write_samples(tmp_path / "part.npz", Samples(np.zeros((9, 32, 32, 1), np.uint8), np.arange(9), np.arange(9)))
    with pytest.raises(UserError, match=r"moments\.npz.*other.*classifier8"):
        score_samples(SETTINGS, [tmp_path / "part.npz"], [extractor], [reference], tmp_path / "m.json", CPU)
    assert not (tmp_path / "m.json").exists()


@pytest.mark.parametrize("damage", ["missing", "text"])
def test_a_damaged_reference_is_named(tmp_path: Path, damage: str) -> None:
    files = write_reference(tmp_path, "rows", np.random.default_rng(0).normal(size=(20, 4)).astype(np.float32))
    files.features.unlink()
    if damage == "text":
        files.features.write_text("no array")
    with pytest.raises(UserError, match=r"features\.npy"):
        read_reference(files)


@pytest.mark.parametrize("damage", ["missing", "text"])
def test_a_damaged_classifier_is_named(extractor: Path, damage: str) -> None:
    weights = extractor.with_name("classifier.safetensors")
    weights.unlink()
    if damage == "text":
        weights.write_text("no tensors")
    with pytest.raises(UserError, match=r"classifier\.safetensors"):
        open_extractor(extractor, CPU)


def test_the_reference_stage_draws_floors_below_the_ceiling(
    extractor: Path, toy_vae: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    through_vae: list[int] = []
    for name in ("encode", "decode"):
        original = getattr(AutoencoderKL, name)
        monkeypatch.setattr(
            AutoencoderKL,
            name,
            lambda vae, batch, original=original: through_vae.append(len(batch)) or original(vae, batch),
        )
    vae = TrainedVae(
        source="trained", block_channels=(4, 4, 4), latent_channels=2, steps=3, batch_size=1, learning_rate=0.1
    )
    latents = LatentsSettings(latents=Latents(), vae=VaeSettings(vae=vae, fingerprint="", data=DATA))
    files, lines = ReferenceFiles(tmp_path / "m.npz", tmp_path / "f.npy"), tmp_path / "lines.json"
    settings = ReferenceSettings(scoring=SCORING, extractor=CLASSIFIER, latents=latents)
    make_reference(settings, extractor, toy_vae, None, files, lines, CPU)
    record = read_json(lines)
    assert record["metric"] == "fd_classifier8"
    distances = {name: line["fd_classifier8"] for name, line in record["lines"].items()}
    assert distances["held_out"] < distances["reconstructions"]  # the toy VAE is untrained
    assert distances["held_out"] < distances["decoded_noise"]
    assert {name: line["n_samples"] for name, line in record["lines"].items()} == {
        "held_out": 200,
        "reconstructions": 200,
        "decoded_noise": SCORING.num_samples,
    }
    assert "class_accuracy_classifier8" not in record["lines"]["decoded_noise"]
    # At 256 x 256 pixels the VAE takes a quarter of a gigabyte for each image that it sees at a time.
    assert (sum(through_vae), max(through_vae)) == (200 + 200 + SCORING.num_samples, 50)
    reference = read_reference(files)
    assert reference.features.shape == (4800, 8)
    np.testing.assert_allclose(reference.moments.mean, reference.features.mean(axis=0), rtol=1e-4, atol=1e-6)
