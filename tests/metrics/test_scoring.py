"""Scoring sets of images: names, streaming, extractors under one contract, and what is refused."""

import tempfile
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL
from numpy.typing import NDArray

from dit_scaling.common.errors import DiskError, UserError
from dit_scaling.common.files import read_json, sha256_file
from dit_scaling.config.image_settings import Mnist
from dit_scaling.config.metrics_settings import ClassifierExtractor
from dit_scaling.config.stages import (
    DataSettings,
    ExtractorSettings,
    FeatureSettings,
    LatentsSettings,
    LevelSettings,
    ReferenceSettings,
    ScoreSettings,
    Scoring,
    VaeSettings,
)
from dit_scaling.config.vae_settings import Latents, TrainedVae
from dit_scaling.data.sources import read_images
from dit_scaling.metrics import catalogue, extraction, fid, frechet_distance
from dit_scaling.metrics.arrays import some_rows
from dit_scaling.metrics.bootstrap import bootstrap_frechet
from dit_scaling.metrics.comparison import ImageSet, Reference
from dit_scaling.metrics.extraction import extract_features, see
from dit_scaling.metrics.extractors import make_extractor, open_extractor
from dit_scaling.metrics.features import Features
from dit_scaling.metrics.kept import LEVELS, KeptFiles, ReferenceFiles, read_kept, read_reference
from dit_scaling.metrics.moments import Moments, RunningMoments, save_moments
from dit_scaling.metrics.reference import make_reference
from dit_scaling.metrics.score import measure, measure_levels, score_samples
from dit_scaling.sampling.images import Samples, write_samples

CPU = torch.device("cpu")
SCORING = Scoring(kid_subsets=5, kid_subset_size=50, neighbours=3, bootstrap=20, seed=0)
SETTINGS = ScoreSettings(scoring=SCORING, metrics=(), references=("x",), features=("x",))
FEATURES = FeatureSettings(extractor="x", samples="x")
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


def moments_of(running: RunningMoments) -> Moments:
    return Moments(running.mean, running.covariance, running.count, "rows")


def samples_of(pictures: NDArray[np.uint8], labels: NDArray[np.int64] | None = None) -> ImageSet:
    seen = see(MeanOfRows(), np.array_split(pictures, 3))
    return ImageSet(moments_of(seen.moments), None, seen.features, seen.classes, labels, None)


def reference_of(pictures: NDArray[np.uint8]) -> Reference:
    seen = see(MeanOfRows(), [pictures])
    return Reference("rows", moments_of(seen.moments), None, seen.features, "0" * 64)


def test_batches_do_not_change_the_moments() -> None:
    pictures = images(100, 0)
    whole, streamed = see(MeanOfRows(), [pictures]), see(MeanOfRows(), np.array_split(pictures, 7))
    np.testing.assert_allclose(whole.moments.covariance, streamed.moments.covariance, rtol=1e-12)
    assert np.array_equal(whole.features, streamed.features)
    rows = pictures.mean(axis=(2, 3))
    np.testing.assert_allclose(whole.moments.mean, rows.mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(whole.moments.covariance, np.cov(rows.T), rtol=1e-5)


def test_features_of_some_images_are_kept_and_the_moments_are_of_all() -> None:
    pictures, rows = images(100, 0), some_rows(100, 30)
    whole, some = (see(MeanOfRows(), np.array_split(pictures, 7), kept) for kept in (None, rows))
    assert np.array_equal(some.features, whole.features[rows])
    assert some.moments.count == 100
    assert len(np.unique(rows)) == 30
    assert rows.max() > 60  # the first thirty are no sample


def test_a_full_folder_of_temporary_files_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with Path("/dev/full").open("wb", buffering=0) as full:
        monkeypatch.setattr(tempfile, "TemporaryFile", lambda **_: full)
        with pytest.raises(DiskError, match=rf"^{tmp_path} cannot be written: No space left"):
            see(MeanOfRows(), [images(100, 0)])


def test_every_metric_carries_the_name_of_its_features() -> None:
    labels = np.zeros(100, dtype=np.int64)
    record = measure(SCORING, samples_of(images(100, 1), labels), reference_of(images(100, 0)))
    given = [row for row in catalogue.METRICS if row.key not in ("sfid", "inception_score")]
    columns = {row.column_on("rows", aside) for row in given for aside in ("", *row.asides)}
    assert set(record) == {"n_samples", *columns}
    assert {"fd_rows", "fd_rows_se", "fd_rows_bias", "kid_rows_sd", "class_accuracy_rows", "coverage_rows"} <= columns


def test_values_are_those_of_the_public_functions() -> None:
    reference, pictures = reference_of(images(100, 0)), images(100, 1, shift=40)
    classes = samples_of(pictures).classes
    record = measure(SCORING, samples_of(pictures, classes), reference)
    moments = samples_of(pictures).moments
    expected = frechet_distance(moments.mean, moments.covariance, reference.moments.mean, reference.moments.covariance)
    assert record["fd_rows"] == expected
    assert record["fd_rows"] > 4 * 30**2
    assert record["class_accuracy_rows"] == 1.0
    assert record["n_samples"] == 100
    assert 0 < record["fd_rows_se"] < record["fd_rows"]


def test_the_error_of_all_images_is_scaled_from_those_resampled(monkeypatch: pytest.MonkeyPatch) -> None:
    """The spread falls as 1/sqrt(N), the bias as 1/N: those of 50 images of 200 count half, and a quarter."""
    reference, samples = reference_of(images(200, 0)), samples_of(images(200, 1))
    monkeypatch.setattr(fid, "RESAMPLED", 50)
    assert samples.features.shape == (200, 4)
    of_part = bootstrap_frechet(
        samples.features[some_rows(200, 50)],
        reference.moments.mean,
        reference.moments.covariance,
        resamples=20,
        seed=0,
    )
    record = measure(SCORING, samples, reference)
    assert record["fd_rows_se"] == pytest.approx(of_part.standard_error / 2)
    assert record["fd_rows_bias"] == pytest.approx(of_part.bias / 4)


def test_farther_images_score_worse_on_every_metric() -> None:
    reference = reference_of(images(200, 0))
    near, far = (measure(SCORING, samples_of(images(200, 1, shift)), reference) for shift in (3, 60))
    for row in catalogue.METRICS:
        column = row.column_on("rows")
        if column in near:
            assert (near[column] < far[column]) == (row.better == "lower"), column
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
    save_moments(files.moments, moments.named(network))
    np.save(files.features, features)
    return files


def test_features_of_all_parts_are_kept_and_scored(extractor: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    pictures = rng.integers(0, 255, size=(120, 32, 32, 1), dtype=np.uint8)
    network = open_extractor(extractor, CPU)
    reference = write_reference(tmp_path, network.name, network(pictures).values)
    parts = []
    for part, indices in enumerate(np.array_split(np.arange(100), 3)):
        parts.append(tmp_path / f"part-{part}.npz")
        write_samples(parts[-1], Samples(pictures[indices], indices % 10, indices))
    kept = tmp_path / "features" / "features.json"
    kept.parent.mkdir()
    extract_features(FEATURES, parts, extractor, kept, CPU)
    samples, protocol, facts = read_kept(KeptFiles.beside(kept))
    assert np.array_equal(samples.features, network(pictures[:100]).values)
    assert np.array_equal(samples.labels, np.arange(100) % 10)
    assert samples.classes is not None
    assert np.array_equal(samples.classes, network(pictures[:100]).classes)
    np.testing.assert_allclose(samples.moments.covariance, np.cov(samples.features.T), rtol=1e-4, atol=1e-9)
    assert (protocol.extractor, facts["settings_digest"]) == ("classifier8", FEATURES.digest)
    for part in parts:
        part.unlink()  # scoring needs no samples
    extractor.unlink()
    score_samples(SETTINGS, [kept], [reference], tmp_path / "metrics.json")
    record = read_json(tmp_path / "metrics.json")
    assert record["n_samples"] == 100
    assert record["fd_classifier8"] < 1.0
    assert "classifier" in record["extractor"]


def test_one_record_holds_every_extractor_with_its_protocol(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Named(MeanOfRows):
        def __init__(self, name: str) -> None:
            self.name, self.description, self.resize = name, f"network {name}", f"resize {name}"
            self.weights_sha256 = (name * 64)[:64]

    monkeypatch.setattr(extraction, "open_extractor", lambda record, _device: Named(record.stem))
    names, references = ("inception", "clean", "dinov2"), []
    for name in names:
        (tmp_path / name).mkdir()
        references.append(write_reference(tmp_path / name, name, MeanOfRows()(images(60, 0)).values))
    write_samples(tmp_path / "part.npz", Samples(images(60, 1), np.arange(60) % 10, np.arange(60)))
    kept = []
    for name in names:
        kept.append(tmp_path / "features" / name / "features.json")
        kept[-1].parent.mkdir(parents=True)
        extract_features(FEATURES, [tmp_path / "part.npz"], tmp_path / f"{name}.json", kept[-1], CPU)
    score_samples(SETTINGS, kept, references, tmp_path / "metrics.json")
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


def test_samples_that_are_all_alike_are_scored(extractor: Path, tmp_path: Path) -> None:
    """A model that has collapsed is the worst of the table, and no reason to have none."""
    real = np.random.default_rng(0).normal(size=(20, 8)).astype(np.float32)
    reference = write_reference(tmp_path, "classifier8", real)
    write_samples(
        tmp_path / "part.npz", Samples(np.zeros((60, 32, 32, 1), np.uint8), np.arange(60) % 10, np.arange(60))
    )
    (tmp_path / "features").mkdir()
    kept = tmp_path / "features" / "features.json"
    extract_features(FEATURES, [tmp_path / "part.npz"], extractor, kept, CPU)
    score_samples(SETTINGS, [kept], [reference], tmp_path / "m.json")
    record = read_json(tmp_path / "m.json")
    mean = np.load(kept.with_name("features.npy"))[0]
    expected = ((mean - real.mean(axis=0)) ** 2).sum() + np.trace(np.cov(real.T))
    assert record["fd_classifier8"] == pytest.approx(expected, rel=1e-4)


def test_a_reference_of_other_features_is_refused(extractor: Path, tmp_path: Path) -> None:
    reference = write_reference(tmp_path, "other", np.random.default_rng(0).normal(size=(20, 8)).astype(np.float32))
    write_samples(tmp_path / "part.npz", Samples(np.zeros((9, 32, 32, 1), np.uint8), np.arange(9), np.arange(9)))
    (tmp_path / "features").mkdir()
    kept = tmp_path / "features" / "features.json"
    extract_features(FEATURES, [tmp_path / "part.npz"], extractor, kept, CPU)
    with pytest.raises(UserError, match=r"moments\.npz.*other.*classifier8"):
        score_samples(SETTINGS, [kept], [reference], tmp_path / "m.json")
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
    files, levels = ReferenceFiles(tmp_path / "m.npz", tmp_path / "f.npy"), tmp_path / "levels.json"
    kept = [tmp_path / name / "features.json" for name in LEVELS]
    for path in kept:
        path.parent.mkdir()
    settings = ReferenceSettings(num_samples=100, extractor=CLASSIFIER, latents=latents)
    make_reference(settings, extractor, toy_vae, None, files, kept, CPU)
    measure_levels(LevelSettings(scoring=SCORING, metrics=(), reference="x"), kept, files, levels)
    record = read_json(levels)
    assert record["metric"] == "fd_classifier8"
    distances = {name: level["fd_classifier8"] for name, level in record["levels"].items()}
    assert distances["held_out"] < distances["reconstructions"]  # the toy VAE is untrained
    assert distances["held_out"] < distances["decoded_noise"]
    assert {name: level["n_samples"] for name, level in record["levels"].items()} == {
        "held_out": 200,
        "reconstructions": 200,
        "decoded_noise": 100,
    }
    assert "class_accuracy_classifier8" not in record["levels"]["decoded_noise"]
    # At 256 x 256 pixels the VAE takes a quarter of a gigabyte for each image that it sees at a time.
    assert (sum(through_vae), max(through_vae)) == (200 + 200 + 100, 50)
    reference = read_reference(files)
    assert reference.features.shape == (4800, 8)
    np.testing.assert_allclose(reference.moments.mean, reference.features.mean(axis=0), rtol=1e-4, atol=1e-6)

    # Where the moments are given, no training image is seen: of those held out, each as it is and for the VAE.
    read: list[int] = []
    monkeypatch.setattr(
        "dit_scaling.metrics.reference.read_images",
        lambda source, some: read.append(len(some)) or read_images(source, some),
    )
    given = ReferenceFiles(tmp_path / "given.npz", tmp_path / "given.npy")
    make_reference(settings, extractor, toy_vae, files.moments, given, kept, CPU)
    assert sum(read) == 200 + 200
    np.testing.assert_array_equal(read_reference(given).moments.mean, reference.moments.mean)


@pytest.mark.parametrize("damage", ["features.npy", "moments.npz", "labels.npz", "features.json"])
def test_kept_features_that_are_damaged_are_named(extractor: Path, tmp_path: Path, damage: str) -> None:
    (tmp_path / "features").mkdir()
    kept = tmp_path / "features" / "features.json"
    write_samples(tmp_path / "part.npz", Samples(np.zeros((9, 32, 32, 1), np.uint8), np.arange(9), np.arange(9)))
    extract_features(FEATURES, [tmp_path / "part.npz"], extractor, kept, CPU)
    (kept.parent / damage).write_text("{}")
    with pytest.raises(UserError, match=damage.replace(".", r"\.")):
        read_kept(KeptFiles.beside(kept))
    (kept.parent / damage).unlink()
    with pytest.raises(UserError, match=damage.replace(".", r"\.")):
        read_kept(KeptFiles.beside(kept))


def test_features_of_other_images_than_the_record_says_are_refused(extractor: Path, tmp_path: Path) -> None:
    (tmp_path / "features").mkdir()
    kept = tmp_path / "features" / "features.json"
    write_samples(tmp_path / "part.npz", Samples(np.zeros((9, 32, 32, 1), np.uint8), np.arange(9), np.arange(9)))
    extract_features(FEATURES, [tmp_path / "part.npz"], extractor, kept, CPU)
    np.save(kept.with_name("features.npy"), np.zeros((8, 8), np.float32))
    with pytest.raises(UserError, match="of other features or images"):
        read_kept(KeptFiles.beside(kept))
