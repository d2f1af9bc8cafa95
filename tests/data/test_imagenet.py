"""What the number of images says about ImageNet."""

import json
import logging
from pathlib import Path

import pytest
from typer.testing import CliRunner

from dit_scaling.cli import app
from dit_scaling.config.image_settings import Mnist
from dit_scaling.config.stages import DataSettings
from dit_scaling.data import imagenet
from dit_scaling.data.facts import write_data_facts
from dit_scaling.data.imagenet import compare_count

ROOT = Path(__file__).parents[2]


def test_training_with_validation_images_is_a_leak_by_any_number_of_classes() -> None:
    for classes in (1000, 10):
        finding = compare_count(1_331_167, classes)
        assert finding is not None
        assert finding.leak
        assert "1,281,167" in finding.sentence
        assert "validation images leak into training" in finding.sentence


def test_the_training_set_is_named() -> None:
    finding = compare_count(1_281_167, 1000)
    assert finding is not None
    assert not finding.leak
    assert finding.sentence == "1,281,167 images are ImageNet-1K's training set, whole"


@pytest.mark.parametrize(
    ("images", "words"),
    [
        (1_281_000, "167 fewer than ImageNet-1K's training set (1,281,167)"),
        (1_331_168, "50,001 more than"),
        (50_000, "as many as its validation set"),
    ],
)
def test_other_counts_with_its_classes_are_compared(images: int, words: str) -> None:
    finding = compare_count(images, 1000)
    assert finding is not None
    assert not finding.leak
    assert words in finding.sentence


@pytest.mark.parametrize(("images", "classes"), [(5000, 10), (1_281_167, 999), (0, 1001)])
def test_other_classes_are_not_compared(images: int, classes: int) -> None:
    assert compare_count(images, classes) is None


def test_the_leak_is_in_the_facts_the_log_and_the_check(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    settings = DataSettings(data=Mnist(source="mnist", held_out=500), seed=0, fingerprint="")
    config = str(ROOT / "config" / "config.yaml")
    with caplog.at_level(logging.WARNING):
        write_data_facts(settings, tmp_path / "data.json")
    assert "beside_imagenet" not in json.loads((tmp_path / "data.json").read_text())
    assert not caplog.records
    assert "Warning" not in CliRunner().invoke(app, ["check", config]).output
    # The 5,000 digits as if they were the sum of the two sets.
    monkeypatch.setattr(imagenet, "TRAINING", 4000)
    monkeypatch.setattr(imagenet, "VALIDATION", 1000)
    with caplog.at_level(logging.WARNING):
        write_data_facts(settings, tmp_path / "data.json")
    assert "validation images leak into training" in json.loads((tmp_path / "data.json").read_text())["beside_imagenet"]
    assert "validation images leak into training" in caplog.text
    assert "Warning: 5,000 images are" in CliRunner().invoke(app, ["check", config]).output
