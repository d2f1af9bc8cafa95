"""The embedded study's feature network: a small convolutional classifier of the study's own labels."""

import json
import logging
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from dit_scaling.common.errors import UserError
from dit_scaling.common.files import atomic_path, sha256_file
from dit_scaling.common.lacking_memory import memory_named
from dit_scaling.common.progress import track
from dit_scaling.config.metrics_settings import ClassifierExtractor
from dit_scaling.config.stages import ExtractorSettings
from dit_scaling.data.sources import ImageSource, open_source
from dit_scaling.data.split import split_indices
from dit_scaling.metrics.features import Features, exact_arithmetic, to_pixels

log = logging.getLogger(__name__)


class Classifier(nn.Module):
    """Three strided convolutions, then a feature layer of ``feature_dim``, then a linear head."""

    def __init__(self, channels: int, image_size: int, classes: int, feature_dim: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(channels, 16, 3, stride=2, padding=1),  # (N, 16, S/2, S/2)
            nn.BatchNorm2d(16),
            nn.ReLU(),
            nn.Conv2d(16, 32, 3, stride=2, padding=1),  # (N, 32, S/4, S/4)
            nn.BatchNorm2d(32),
            nn.ReLU(),
            nn.Conv2d(32, 64, 3, stride=2, padding=1),  # (N, 64, S/8, S/8)
            nn.BatchNorm2d(64),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(min(4, image_size // 8)),
            nn.Flatten(),
            nn.LazyLinear(feature_dim),
            nn.ReLU(),
        )
        self.head = nn.Linear(feature_dim, classes)
        with torch.no_grad():
            self.eval()(torch.zeros(1, channels, image_size, image_size))

    def features(self, x: Tensor) -> Tensor:
        """Features (N, D) of images (N, C, H, W) in [-1, 1]."""
        features: Tensor = self.body(x)
        return features

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N, classes) of images (N, C, H, W) in [-1, 1]."""
        logits: Tensor = self.head(self.features(x))
        return logits


class ClassifierFeatures:
    """Penultimate layer of the study's own classifier."""

    resize = "none"
    logit_weights: NDArray[np.float32] | None = None

    def __init__(self, weights: Path, device: torch.device) -> None:
        try:
            with safe_open(weights, "pt") as file:
                header = json.loads(file.metadata()["dit_scaling"])
            self._model = Classifier(**header)
            self._model.load_state_dict(load_file(weights))
        # RuntimeError: keys or shapes that are not those of the header.
        except (OSError, SafetensorError, KeyError, TypeError, ValueError, RuntimeError) as error:
            reason = " ".join(str(error).split())
            raise UserError(
                f"{weights} is not a feature network of this tool ({reason}); rerun rule classifier."
            ) from None
        self._model.to(device).eval()
        self._device = device
        self._image = (int(header["image_size"]), int(header["image_size"]), int(header["channels"]))
        self.channels = self._image[2]
        self.dim = int(header["feature_dim"])
        self.name = f"classifier{self.dim}"
        self.weights_sha256 = sha256_file(weights)
        self.description = f"penultimate layer ({self.dim}-d) of a classifier trained on the study's training images"

    @exact_arithmetic()
    @torch.inference_mode()
    def __call__(self, images: NDArray[np.uint8]) -> Features:
        if images.shape[1:] != self._image:
            raise UserError(
                f"images of {images.shape[1:]} (height, width, channels) for a feature network of {self._image}. In a "
                "study rerun rule classifier or sample, whichever is of other data; bring other samples to its size."
            )
        features = self._model.features(to_input(images, self._device))
        return Features(features.cpu().numpy(), self._model.head(features).argmax(1).cpu().numpy())


def to_input(images: NDArray[np.uint8], device: torch.device) -> Tensor:
    """uint8 images (N, H, W, C) as float32 (N, C, H, W) in [-1, 1]."""
    return to_pixels(images, device) / 127.5 - 1


def train_classifier(settings: ExtractorSettings, weights: Path, device: torch.device) -> dict[str, float | int]:
    """Train on the training images only, write ``weights``, and return the network's facts.

    Cross-entropy on images shifted by up to two pixels, AdamW, one-cycle learning rate. The facts are the
    network's shape and its accuracy (0..1) on the held-out images.

    Raises:
        UserError: an image is unreadable, the loss is not finite, or the memory is not enough.
    """
    config = settings.extractor
    assert isinstance(config, ClassifierExtractor)
    source = open_source(settings.data.data)
    train, held_out = split_indices(len(source), settings.data.data.held_out, settings.data.seed)
    shape = {
        "channels": settings.data.data.channels,
        "image_size": settings.data.data.image_size,
        "classes": settings.data.data.classes,
        "feature_dim": config.feature_dim,
    }
    torch.manual_seed(settings.data.seed)
    rng = np.random.default_rng(settings.data.seed)
    model = Classifier(**shape).to(device).train()
    optimiser = torch.optim.AdamW(model.parameters(), config.learning_rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, 2 * config.learning_rate, total_steps=config.steps, pct_start=max(0.3, 2 / config.steps)
    )
    memory = memory_named("training the classifier", "metrics.extractor.batch_size", config.batch_size, "images")
    with memory:
        for step in track(range(1, config.steps + 1), config.steps, "classifier"):
            indices = rng.choice(train, config.batch_size)
            images = to_input(np.stack([source.image(index) for index in indices]), device)
            shift = tuple(int(value) for value in rng.integers(-2, 3, size=2))
            logits = model(torch.roll(images, shift, dims=(2, 3)))
            loss = F.cross_entropy(logits, torch.from_numpy(source.labels[indices]).to(device))
            if not torch.isfinite(loss):
                raise UserError(
                    f"metrics.extractor.learning_rate: {config.learning_rate} is too high: not finite at step {step}."
                )
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()

    accuracy = _accuracy(model.eval(), source, held_out, device)
    log.info("classifier: held-out accuracy %.3f", accuracy)
    with atomic_path(weights) as temporary:
        save_file(model.state_dict(), temporary, metadata={"dit_scaling": json.dumps(shape)})
    return {**shape, "held_out_accuracy": accuracy}


@torch.inference_mode()
def _accuracy(model: Classifier, source: ImageSource, indices: NDArray[np.int64], device: torch.device) -> float:
    """Share of images whose label the model names."""
    right = 0
    for some in np.array_split(indices, max(1, len(indices) // 500)):
        images = np.stack([source.image(index) for index in some])
        right += int((model(to_input(images, device)).argmax(1).cpu().numpy() == source.labels[some]).sum())
    return right / len(indices)
