"""`dit-scaling score`: figures of any samples, what is absent, what is not comparable; distances against clean-fid."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from cleanfid.fid import frechet_distance as cleanfid_distance
from numpy.typing import NDArray
from PIL import Image
from typer.testing import CliRunner

from dit_scaling.cli import app
from dit_scaling.common.errors import UserError
from dit_scaling.common.files import read_json
from dit_scaling.config.stages import Scoring
from dit_scaling.metrics import comparability, fid, given_reference, inception_score, wanted_networks
from dit_scaling.metrics.comparability import of_order
from dit_scaling.metrics.comparison import Comparison, ImageSet
from dit_scaling.metrics.features import Features
from dit_scaling.metrics.kept import ReferenceFiles
from dit_scaling.metrics.moments import RunningMoments, save_moments
from dit_scaling.metrics.score_images import Asked, describe_score, score_images
from dit_scaling.sampling.archive import export_samples
from jobs import EVALUATION, RESULTS, SmallStudy

SIDE, DIM = 16, 8
SCORING = Scoring(kid_subsets=5, kid_subset_size=50, neighbours=3, bootstrap=10, seed=0)


class Stripes:
    """Stand-in network: means of stripes of pixel rows."""

    dim = DIM
    description = "means of stripes"
    weights_sha256 = "0" * 64

    def __init__(self, name: str) -> None:
        self.name, self.resize = name, f"resize of {name}"
        inception = name == "inception"
        self.logit_weights = np.random.default_rng(0).normal(size=(5, DIM)).astype(np.float32) if inception else None

    def __call__(self, images: NDArray[np.uint8]) -> Features:
        stripes = images.reshape(len(images), DIM, -1).mean(axis=2).astype(np.float32)
        return Features(stripes, spatial=stripes[:, :4] if self.name == "inception" else None)


@pytest.fixture(autouse=True)
def networks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights of inception and clean are in the cache, those of DINOv2 are neither there nor to be had."""
    rows = {name: (f"{name}.pt", lambda _path, _device, name=name: Stripes(name)) for name in ("inception", "clean")}
    rows["dinov2"] = wanted_networks.WEIGHTS["dinov2"]
    monkeypatch.setattr(wanted_networks, "WEIGHTS", rows)

    def no_network(asset: Any, _cache: Path) -> Path:
        raise UserError(f"{asset.url} cannot be fetched")

    monkeypatch.setattr(wanted_networks, "fetch_asset", no_network)
    (tmp_path / "cache").mkdir()
    for name in ("inception", "clean"):
        (tmp_path / "cache" / f"{name}.pt").touch()


def pictures(count: int, seed: int, bright: int = 200, side: int = SIDE) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, bright, size=(count, side, side, 3), dtype=np.uint8)


def npz(path: Path, **arrays: Any) -> Path:
    np.savez(path, **arrays)
    return path


def ask_of(folder: Path, images: Path, reference: Path) -> Asked:
    return Asked(images, reference, tuple(wanted_networks.WEIGHTS), folder / "cache", torch.device("cpu"), SCORING)


def ask(folder: Path, images: Path, reference: Path, **how: Any) -> dict[str, Any]:
    return score_images(replace(ask_of(folder, images, reference), **how))


def by_metric(record: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {figure["metric"]: figure for figure in record["figures"]}


def moments(images: NDArray[np.uint8]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    features = Stripes("clean")(images).values.astype(np.float64)
    return features.mean(axis=0), np.cov(features, rowvar=False)


def test_every_metric_of_every_network_is_measured_and_equals_clean_fid(tmp_path: Path) -> None:
    made, real = pictures(300, 0), pictures(260, 1, bright=230)
    samples, reference = npz(tmp_path / "made.npz", arr_0=made), npz(tmp_path / "real.npz", arr_0=real)
    record = ask(tmp_path, samples, reference)
    found = by_metric(record)
    several = ("precision", "recall", "density", "coverage", "kid")
    expected = {"fid", "fidinf", "sfid", "inception_score", "clean_fid", "clean_fidinf"}
    assert set(found) == expected | {f"{one}_{name}" for one in several for name in ("inception", "clean")}
    distance = float(cleanfid_distance(*moments(made), *moments(real)))
    assert found["fid"]["value"] == pytest.approx(distance, rel=1e-5)
    assert found["clean_fid"]["value"] == pytest.approx(distance, rel=1e-5)
    without = {name for name, figure in found.items() if figure["low"] is None}
    assert without == {"sfid", "density_inception", "density_clean"}
    for name in set(found) - without:
        assert found[name]["low"] <= found[name]["value"] <= found[name]["high"], name
    assert [one["name"] for one in record["absent"]] == ["dinov2"]
    assert "dinov2_vitl14_pretrain.pth" in record["absent"][0]["reason"]
    assert "https://dl.fbaipublicfiles.com" in record["absent"][0]["remedy"]


def test_the_samples_as_their_own_reference_are_perfect(tmp_path: Path) -> None:
    samples = npz(tmp_path / "made.npz", arr_0=pictures(300, 0))
    found = by_metric(ask(tmp_path, samples, samples))
    assert found["fid"]["value"] == pytest.approx(0, abs=1e-3)
    assert found["fid"]["low"] == 0
    for name in ("precision", "recall", "coverage"):
        assert found[f"{name}_inception"]["value"] == 1.0


def test_a_folder_and_a_npz_of_the_same_images_score_alike(tmp_path: Path) -> None:
    made = pictures(40, 0)
    (tmp_path / "made").mkdir()
    for number, picture in enumerate(made):
        Image.fromarray(picture).save(tmp_path / "made" / f"{number:02d}.png")
    reference = npz(tmp_path / "real.npz", arr_0=pictures(60, 1))
    both = [ask(tmp_path, images, reference) for images in (tmp_path / "made", npz(tmp_path / "made.npz", arr_0=made))]
    assert both[0]["figures"] == both[1]["figures"]


def test_moments_alone_give_distances_and_say_what_is_absent(tmp_path: Path) -> None:
    mean, covariance = moments(pictures(500, 1))
    samples, reference = npz(tmp_path / "made.npz", arr_0=pictures(40, 0)), tmp_path / "moments.npz"
    record = ask(tmp_path, samples, npz(reference, mu=mean, sigma=covariance))
    assert set(by_metric(record)) == {"fid", "inception_score"}
    absent = {one["name"]: one for one in record["absent"]}
    assert {"clean", "dinov2", "sfid", "kid_inception", "precision_inception", "fidinf"} <= set(absent)
    assert "statistics only" in absent["kid_inception"]["reason"]
    assert "40 samples" in absent["fidinf"]["reason"]
    assert "64 or more" in absent["fidinf"]["remedy"]
    assert any("does not say of which features" in one and "--features clean" in one for one in record["incomparable"])


def adm(path: Path) -> Path:
    """As ADM's references: moments of all images, spatial ones too, and some of the images."""
    mean, covariance = moments(pictures(500, 1))
    return npz(path, arr_0=pictures(60, 1), mu=mean, sigma=covariance, mu_s=mean[:4], sigma_s=covariance[:4, :4])


def test_a_reference_as_adms_gives_its_moments_to_inception_and_its_images_to_all(tmp_path: Path) -> None:
    made = pictures(80, 0)
    record = ask(tmp_path, npz(tmp_path / "made.npz", arr_0=made), adm(tmp_path / "adm.npz"))
    found = by_metric(record)
    assert found["fid"]["value"] == pytest.approx(float(cleanfid_distance(*moments(made), *moments(pictures(500, 1)))))
    clean = float(cleanfid_distance(*moments(made), *moments(pictures(60, 1))))
    assert found["clean_fid"]["value"] == pytest.approx(clean, rel=1e-5)
    assert {"sfid", "precision_inception", "kid_clean"} <= set(found)
    assert any("moments (clean) are of 60 images" in one for one in record["incomparable"])


def study_reference(folder: Path, features: str, weights: str = Stripes.weights_sha256, **facts: Any) -> Path:
    folder.mkdir()
    files = ReferenceFiles(folder / "moments.npz", folder / "features.npy")
    values, running = Stripes("clean")(pictures(60, 1)).values, RunningMoments(DIM)
    running.update(values)
    save_moments(files.moments, running.named(features, **facts))
    np.save(files.features, values)
    (folder / "extractor.json").write_text(json.dumps({"weights_sha256": weights}))
    return folder


def test_a_studys_reference_serves_its_own_features(tmp_path: Path) -> None:
    samples = npz(tmp_path / "made.npz", arr_0=pictures(80, 0))
    reference = study_reference(tmp_path / "clean", "clean", image_size=32, resize="another")
    record = ask(tmp_path, samples, reference, features=("inception", "clean"))
    assert {name for name in by_metric(record) if "fid" in name} == {"clean_fid", "clean_fidinf"}
    assert [one["name"] for one in record["absent"]] == ["inception"]
    told = " ".join(record["incomparable"])
    assert "32 x 32" in told
    assert "resized by 'another'" in told
    with pytest.raises(UserError, match=r"none of the features.*'clean'"):
        ask(tmp_path, samples, reference, features=("inception",))


@pytest.mark.parametrize(
    ("sentence", "make"),
    [
        ("20 samples: published figures are of 50,000", lambda folder: npz(folder / "s.npz", arr_0=pictures(20, 0))),
        ("Stored as JPEG: 20 samples", lambda folder: as_pictures(folder / "s", "RGB", "jpg")),
        ("With transparent pixels: 20 samples", lambda folder: as_pictures(folder / "s", "RGBA", "png")),
        (
            "Exact copies of others: 13 samples",
            lambda folder: npz(folder / "s.npz", arr_0=pictures(20, 0)[np.arange(20) % 7]),
        ),
        ("Stored as GIF: 20 samples", lambda folder: as_pictures(folder / "s", "RGB", "gif")),
        ("they were cropped and resized", lambda folder: npz(folder / "s.npz", arr_0=pictures(20, 0, side=8))),
        ("they were left as they are", lambda folder: npz(folder / "s.npz", arr_0=pictures(20, 0)[:, :, :8])),
        ("Precision, recall", lambda folder: npz(folder / "s.npz", arr_0=pictures(20, 0))),
        ("not ADM's VIRTUAL_imagenet256", lambda folder: npz(folder / "s.npz", arr_0=pictures(20, 0))),
    ],
)
def test_what_makes_figures_incomparable_is_said(sentence: str, make: Callable[[Path], Path], tmp_path: Path) -> None:
    reference = npz(tmp_path / "real.npz", arr_0=pictures(60, 1))
    record = ask(tmp_path, make(tmp_path), reference)
    assert any(sentence in one for one in record["incomparable"]), record["incomparable"]
    assert f"Not comparable: {record['incomparable'][0]}" in describe_score(record)


def test_more_samples_than_published_figures_are_of_are_no_better_than_fewer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(comparability, "PUBLISHED_SAMPLES", 15)
    record = ask(
        tmp_path, npz(tmp_path / "s.npz", arr_0=pictures(20, 0)), npz(tmp_path / "r.npz", arr_0=pictures(60, 1))
    )
    assert any("20 samples: published figures are of 15" in one for one in record["incomparable"])


def as_pictures(folder: Path, mode: str, suffix: str) -> Path:
    folder.mkdir()
    for number, picture in enumerate(pictures(20, 0)):
        image = Image.fromarray(picture).convert(mode)
        if mode == "RGBA":
            image.putalpha(128)
        image.save(folder / f"{number}.{suffix}")
    return folder


def test_no_network_at_all_is_refused_with_the_remedy(tmp_path: Path) -> None:
    samples = npz(tmp_path / "made.npz", arr_0=pictures(20, 0))
    with pytest.raises(UserError, match=r"dinov2: .*dinov2_vitl14_pretrain.pth.*fetch https://"):
        ask(tmp_path, samples, samples, features=("dinov2",))
    with pytest.raises(UserError, match=r"'vgg' is neither of inception"):
        ask(tmp_path, samples, samples, features=("vgg",))


@pytest.mark.parametrize("content", ["missing", "text", "npz of other things"])
def test_a_bad_reference_is_refused_before_any_image_is_looked_at(
    content: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Stripes, "__call__", lambda *_: pytest.fail("an image was looked at"))
    reference = tmp_path / "reference.npz"
    if content == "text":
        reference.write_text("no archive")
    elif content == "npz of other things":
        npz(reference, mu=np.zeros(3))
    with pytest.raises(UserError, match=r"reference\.npz"):
        ask(tmp_path, npz(tmp_path / "made.npz", arr_0=pictures(20, 0)), reference)


def test_a_handful_of_images_is_refused(tmp_path: Path) -> None:
    samples = npz(tmp_path / "made.npz", arr_0=pictures(9, 0))
    with pytest.raises(UserError, match="holds 9 images; 10 are needed"):
        ask(tmp_path, samples, samples)


def test_the_command_writes_the_record_and_a_line_per_metric(tmp_path: Path) -> None:
    samples = npz(tmp_path / "made.npz", arr_0=pictures(80, 0))
    arguments = ["score", samples, "--reference", samples, "-o", tmp_path / "score.json", "--features", "inception"]
    answer = CliRunner().invoke(app, [*map(str, arguments), "--cache", str(tmp_path / "cache"), "--bootstrap", "10"])
    assert answer.exit_code == 0, answer.exception
    record = json.loads((tmp_path / "score.json").read_text())
    assert record["images"]["count"] == 80
    lines = [line.split()[0] for line in answer.output.splitlines() if line.startswith("  ")]
    assert lines == [figure["metric"] for figure in record["figures"]]


def test_a_studys_own_samples_score_as_in_the_study(small_study: SmallStudy, tmp_path: Path) -> None:
    evaluation, reference = small_study.folder / EVALUATION, small_study.folder / RESULTS / "reference" / "classifier"
    export_samples(evaluation, tmp_path / "samples.npz")  # grey ones, with three channels
    arguments = ["score", tmp_path / "samples.npz", "--reference", reference, "--json", "--bootstrap", "10"]
    answer = CliRunner().invoke(app, list(map(str, arguments)))
    assert answer.exit_code == 0, answer.exception
    found = by_metric(json.loads(answer.stdout))
    record = read_json(evaluation / "metrics.json")
    assert found["fd_classifier4"]["value"] == pytest.approx(record["fd_classifier4"], rel=1e-9)
    assert set(found) < set(record)


def test_coloured_images_are_no_match_for_a_study_of_grey_ones(small_study: SmallStudy, tmp_path: Path) -> None:
    reference = small_study.folder / RESULTS / "reference" / "classifier"
    with pytest.raises(UserError, match="the images are coloured"):
        samples = npz(tmp_path / "made.npz", arr_0=pictures(20, 0))
        ask(tmp_path, samples, reference, features=(str(reference / "extractor.json"),))


def test_a_reference_in_the_order_of_its_classes_is_seen_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(given_reference, "KEPT_FEATURES", 100)
    dark, light = pictures(300, 1, bright=100), 155 + pictures(300, 2, bright=100)
    made = np.concatenate([pictures(60, 3, bright=100), 155 + pictures(60, 4, bright=100)])
    record = ask(
        tmp_path,
        npz(tmp_path / "made.npz", arr_0=made),
        npz(tmp_path / "real.npz", arr_0=np.concatenate([dark, light])),
        features=("clean",),
    )
    assert by_metric(record)["precision_clean"]["value"] > 0.8  # 0.5 where one class alone is kept


def test_the_spread_of_a_distance_is_that_of_samples_of_all_classes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fid, "RESAMPLED", 100)
    made = np.concatenate([pictures(150, 0, bright=100), 155 + pictures(150, 1, bright=100)])
    real, order = npz(tmp_path / "real.npz", arr_0=pictures(260, 1)), np.random.default_rng(0).permutation(300)
    half_widths = []
    for name, some in (("sorted", made), ("mixed", made[order])):
        found = by_metric(ask(tmp_path, npz(tmp_path / f"{name}.npz", arr_0=some), real, features=("clean",)))
        half_widths.append(found["clean_fid"]["high"] - found["clean_fid"]["value"])
    assert half_widths[0] == pytest.approx(half_widths[1], rel=0.5)


@pytest.mark.parametrize(("count", "told"), [(3, "3 images only"), (1, "1 image only")])
def test_a_handful_of_real_images_gives_no_neighbours(tmp_path: Path, count: int, told: str) -> None:
    mean, covariance = moments(pictures(500, 1))
    reference = npz(tmp_path / "few.npz", arr_0=pictures(count, 1), mu=mean, sigma=covariance)
    record = ask(tmp_path, npz(tmp_path / "made.npz", arr_0=pictures(20, 0)), reference, features=("inception",))
    absent = {one["name"]: one for one in record["absent"]}
    assert told in absent["precision_inception"]["reason"]
    assert "4 at least" in absent["kid_inception"]["remedy"]
    assert "fid" in by_metric(record)


def test_what_can_be_told_at_once_is_told_before_any_image_is_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    samples = npz(tmp_path / "made.npz", arr_0=pictures(20, 0))
    asked = ask_of(tmp_path, samples, study_reference(tmp_path / "clean", "clean"))
    monkeypatch.setattr(Stripes, "__call__", lambda *_: pytest.fail("an image was looked at"))
    with pytest.raises(UserError, match=r"none of the features.*'clean'"):
        score_images(replace(asked, features=("inception",)))
    with pytest.raises(UserError, match="is not a regular file"):
        score_images(asked, tmp_path)


def test_a_network_of_another_study_is_not_taken_for_that_of_the_reference(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    samples = npz(tmp_path / "made.npz", arr_0=pictures(20, 0))
    with pytest.raises(UserError, match=r"is of features 'clean' with the weights 111111111111"):
        ask(tmp_path, samples, study_reference(tmp_path / "clean", "clean", "1" * 64), features=("clean",))
    monkeypatch.setattr(wanted_networks, "open_extractor", lambda *_: Stripes("clean"))
    with pytest.raises(UserError, match="two networks are called 'clean'"):
        ask(tmp_path, samples, samples, features=("clean", str(samples)))


def test_samples_are_shown_to_no_network_that_has_no_reference(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shown, look = [], Stripes.__call__
    monkeypatch.setattr(Stripes, "__call__", lambda self, images: (shown.append(self.name), look(self, images))[1])
    samples = npz(tmp_path / "made.npz", arr_0=pictures(20, 0))
    ask(tmp_path, samples, study_reference(tmp_path / "clean", "clean"))
    assert set(shown) == {"clean"}


def test_samples_in_the_order_of_their_classes_are_told_by_their_inception_score() -> None:
    rng = np.random.default_rng(0)
    classes = np.repeat(np.arange(20), 25)
    features = (8 * np.eye(20)[classes] + rng.normal(size=(500, 20))).astype(np.float32)
    order = rng.permutation(500)

    def told(rows: NDArray[np.int64]) -> list[str]:
        samples = ImageSet(None, None, features[rows], None, None, np.eye(20, dtype=np.float32))  # type: ignore[arg-type]
        return list(of_order(Comparison(SCORING, samples, None)))  # type: ignore[arg-type]

    (sentence,) = told(np.arange(500))
    score = inception_score(features[order]).mean
    assert float(sentence.rpartition("it is ")[2].rstrip(".")) == pytest.approx(score, rel=0.1)
    assert told(order) == []
    assert told(np.argsort(np.arange(500) % 25)) == []  # one of each class after the other


def test_what_is_told_of_the_order_of_samples_keeps_figures_from_being_compared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dit_scaling.metrics.score_images.of_order", lambda _: ["Sorted."])
    samples = npz(tmp_path / "made.npz", arr_0=pictures(20, 0))
    assert "Sorted." in ask(tmp_path, samples, npz(tmp_path / "real.npz", arr_0=pictures(60, 1)))["incomparable"]
