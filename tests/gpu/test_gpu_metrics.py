"""Features are float32 whatever else a process has set, and so are the distances between them."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from bounds import Below
from dit_scaling.metrics import frechet_distance
from dit_scaling.metrics.classifier import Classifier, ClassifierFeatures

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


@pytest.fixture
def classifier(tmp_path: Path) -> Path:
    """Weights of an untrained feature network."""
    shape = {"channels": 1, "image_size": 32, "classes": 10, "feature_dim": 64}
    torch.manual_seed(0)
    path = tmp_path / "classifier.safetensors"
    save_file(Classifier(**shape).state_dict(), path, metadata={"dit_scaling": json.dumps(shape)})
    return path


@pytest.mark.usefixtures("everything_coarse")
def test_features_and_distances_are_float32(classifier: Path, device: torch.device, below: Below) -> None:
    images = np.random.default_rng(0).integers(0, 256, (256, 32, 32, 1), dtype=np.uint8)
    exact = ClassifierFeatures(classifier, torch.device("cpu"))(images).values
    found = ClassifierFeatures(classifier, device)(images).values
    assert found.dtype == np.float32
    below("features of the classifier", float(np.linalg.norm(found - exact) / np.linalg.norm(exact)), 1e-5)
    halves = [
        frechet_distance(one.mean(0), np.cov(one, rowvar=False), other.mean(0), np.cov(other, rowvar=False))
        for one, other in ((found[:128], found[128:]), (exact[:128], exact[128:]))
    ]
    below("Frechet distance of two halves", abs(halves[0] / halves[1] - 1), 1e-4)
