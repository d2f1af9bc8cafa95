"""A study of one's own images: a folder of class folders, in colour, of many sizes and modes, to the report."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from pipeline import TINY, edited, plan, snakemake

MODES = ("RGB", "L", "P", "CMYK", "RGBA")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Working directory with 60 images in three classes, and a config in edited.yaml."""
    rng = np.random.default_rng(0)
    for label, name in enumerate(("rose", "tulip", "daisy")):
        (tmp_path / "flowers" / name).mkdir(parents=True)
        for number in range(20):
            size = (int(rng.integers(20, 90)), int(rng.integers(20, 90)))
            pixels = rng.integers(0, 256, size=(3, 3, 3), dtype=np.uint8)
            pixels[..., label] = 255
            image = Image.fromarray(pixels).resize(size).convert(MODES[number % len(MODES)])
            image.save(tmp_path / "flowers" / name / f"{number}.{'jpg' if image.mode in ('RGB', 'CMYK') else 'png'}")
    changes = {
        "study": "flowers",
        "data": {"source": "image_folder", "path": "flowers", "image_size": 32, "classes": 3, "held_out": 20},
        "variants": ["DiT-Nano/2", "DiT-Micro/2"],
        "vae.steps": 300,
        "training.milestones": [],
        "training.horizontal_flip": True,
        "sampling.guidance_scales": [1.0, 4.0],
        "sampling.parts": 2,
    }
    edited(tmp_path, changes, TINY)
    return tmp_path


@pytest.mark.slow
def test_a_folder_of_colour_images_ends_in_a_report(folder: Path) -> None:
    run = snakemake(folder, "--cores", "2", config=folder / "edited.yaml")
    assert run.returncode == 0, run.stderr
    results = folder / "results" / "flowers"
    table = pd.read_csv(results / "metrics.csv")
    assert list(zip(table["variant"], table["guidance_scale"], strict=True)) == [
        ("DiT-Nano/2", 1.0),
        ("DiT-Nano/2", 4.0),
        ("DiT-Micro/2", 1.0),
        ("DiT-Micro/2", 4.0),
    ]
    with np.load(results / "DiT-Nano-2" / "seed-0" / "step-20" / "guidance-4.0" / "samples" / "part-00001.npz") as part:
        assert part["arr_0"].shape == (30, 32, 32, 3)
        assert part["arr_1"].tolist() == [index % 3 for index in range(30, 60)]
    page = (results / "report.html").read_text()
    assert all(name in page for name in ("rose", "tulip", "daisy"))
    assert plan(folder, config=folder / "edited.yaml") == {}


def test_more_classes_than_folders_stops_before_any_job(folder: Path) -> None:
    config = edited(folder, {"data.classes": 4}, folder / "edited.yaml")
    run = snakemake(folder, "--cores", "2", config=config)
    assert run.returncode != 0
    assert "data.classes: 4" in run.stderr
    assert "3 class folders" in run.stderr
    assert not (folder / "results").exists()
