"""What bfloat16 changes in images of the embedded study: run after `make study`, as .ci/run does."""

from pathlib import Path

import numpy as np
import pytest
import torch

from dit_scaling.common.files import read_json
from dit_scaling.config.stages import SampleSettings
from dit_scaling.metrics import frechet_distance
from dit_scaling.metrics.extraction import see
from dit_scaling.metrics.extractors import open_extractor
from dit_scaling.metrics.moments import load_moments
from dit_scaling.sampling.images import read_samples
from dit_scaling.sampling.parts import PartFiles, sample_part
from pipeline import ROOT

STUDY = ROOT / "results" / "embedded"
REFERENCE = STUDY / "reference" / "classifier"
CPU = torch.device("cpu")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not (STUDY / "report.html").exists(), reason="make study has not run here"),
]


@pytest.mark.parametrize("variant", ["DiT-Nano-2", "DiT-Micro-4", "DiT-Mini-4", "DiT-Micro-2"])
def test_bfloat16_changes_the_distance_by_less_than_the_sampling_noise(variant: str, tmp_path: Path) -> None:
    export = STUDY / variant / "seed-0" / "step-10000"
    evaluation = export / "guidance-1.0"
    exact = SampleSettings.model_validate(read_json(evaluation / "samples" / "part-00000.provenance.json")["settings"])
    assert (exact.precision, exact.parts) == ("float32", 1)
    images = tmp_path / "part.npz"
    files = PartFiles(
        export / "ema.safetensors", STUDY / "vae" / "vae.json", images, tmp_path / "first.npz", tmp_path / "grid.png"
    )
    sample_part(exact.model_copy(update={"precision": "bfloat16"}), 0, files, 125, CPU, 60.0)

    coarse = read_samples(images).images
    assert not np.array_equal(coarse, read_samples(evaluation / "samples" / "part-00000.npz").images)
    found = see(open_extractor(REFERENCE / "extractor.json", CPU), np.array_split(coarse, 4)).moments
    real = load_moments(REFERENCE / "moments.npz")
    metrics = read_json(evaluation / "metrics.json")
    distance = frechet_distance(found.mean, found.covariance, real.mean, real.covariance)
    assert abs(distance - metrics["fd_classifier64"]) < metrics["fd_classifier64_se"]
