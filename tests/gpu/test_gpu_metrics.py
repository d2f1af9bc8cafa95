"""Features are float32 whatever else a process has set, and so are the distances between them."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from bounds import Below
from dit_scaling.metrics.distances import frechet_distance
from dit_scaling.metrics.extractors import open_extractor
from jobs import RESULTS, SmallStudy

pytestmark = pytest.mark.gpu


@pytest.fixture
def everything_coarse(device: torch.device) -> Iterator[None]:
    """A process in which somebody has asked for TF32 and bf16 everywhere."""
    products, convolutions = torch.backends.cuda.matmul, torch.backends.cudnn
    before = products.allow_tf32, convolutions.allow_tf32
    products.allow_tf32 = convolutions.allow_tf32 = True
    with torch.autocast(device.type, torch.bfloat16):
        yield
    products.allow_tf32, convolutions.allow_tf32 = before


@pytest.mark.usefixtures("everything_coarse")
def test_features_and_distances_are_float32(small_study: SmallStudy, device: torch.device, below: Below) -> None:
    record = small_study.folder / Path(RESULTS, "reference", "classifier", "extractor.json")
    images = np.random.default_rng(0).integers(0, 256, (64, 16, 16, 1), dtype=np.uint8)
    with torch.autocast(device.type, enabled=False):
        exact = open_extractor(record, torch.device("cpu"))(images).values
    found = open_extractor(record, device)(images).values
    assert found.dtype == np.float32
    below("features of the classifier", float(np.linalg.norm(found - exact) / np.linalg.norm(exact)), 1e-5)
    halves = [
        frechet_distance(one.mean(0), np.cov(one, rowvar=False), other.mean(0), np.cov(other, rowvar=False))
        for one, other in ((found[:32], found[32:]), (exact[:32], exact[32:]))
    ]
    below("Frechet distance of two halves", abs(halves[0] / halves[1] - 1), 1e-4)
