"""Feature extractors under one contract: uint8 images in, float32 features out, a name on both.

The name stands in every metric made from the features. Only Inception features make a FID.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file

from dit_scaling.config.stages import ExtractorSettings
from dit_scaling.config.study import InceptionExtractor
from dit_scaling.errors import UserError
from dit_scaling.files import read_json, write_json
from dit_scaling.metrics.classifier import Classifier, to_input, train_classifier

CLASSIFIER_FILE = "classifier.safetensors"
INCEPTION_FILE = "inception-2015-12-05.pt"


@dataclass(frozen=True)
class Features:
    """Features of a batch of images."""

    values: NDArray[np.float32]
    """(N, D)."""
    classes: NDArray[np.int64] | None
    """(N,) predicted labels, where the extractor is a classifier of the study's labels."""


class Extractor(Protocol):
    """What every extractor has."""

    name: str
    """Column suffix: the Frechet distance on these features is ``fd_NAME`` (``fid`` for Inception)."""
    dim: int
    description: str
    """Network, layer and resizing, for people."""

    def __call__(self, images: NDArray[np.uint8]) -> Features:
        """Features of images (N, H, W, C) in 0..255."""
        ...


class ClassifierFeatures:
    """Penultimate layer of the study's own classifier."""

    def __init__(self, weights: Path, device: torch.device) -> None:
        try:
            with safe_open(weights, "pt") as file:
                header = json.loads(file.metadata()["dit_scaling"])
            tensors = load_file(weights)
        except (OSError, SafetensorError, KeyError, TypeError) as error:
            raise UserError(
                f"{weights} is not a feature network of this tool ({error}); rerun rule extractor."
            ) from None
        self._model = Classifier(**header).to(device).eval()
        self._model.load_state_dict(tensors)
        self._device = device
        self.dim = int(header["feature_dim"])
        self.name = f"classifier{self.dim}"
        self.description = f"penultimate layer ({self.dim}-d) of a classifier trained on the study's training images"

    @torch.inference_mode()
    def __call__(self, images: NDArray[np.uint8]) -> Features:
        features = self._model.features(to_input(images, self._device))
        return Features(features.cpu().numpy(), self._model.head(features).argmax(1).cpu().numpy())


class InceptionFeatures:
    """Pool layer of clean-fid's TorchScript Inception, resized inside the network (its legacy_tensorflow mode)."""

    name = "inception"
    dim = 2048
    description = "Inception-v3 pool layer (2048-d), TensorFlow's weights and resizing, through clean-fid"

    def __init__(self, folder: Path, device: torch.device) -> None:
        from cleanfid.inception_torchscript import InceptionV3W

        if not (folder / INCEPTION_FILE).is_file():
            raise UserError(
                f"metrics.extractor.weights: {folder} holds no {INCEPTION_FILE}. Where there is a network, "
                f"python -c \"from cleanfid.downloads_helper import check_download_inception as get; get('{folder}')\" "
                "fetches it."
            )
        self._model = InceptionV3W(str(folder), download=False, resize_inside=True).to(device).eval()
        self._device = device

    @torch.inference_mode()
    def __call__(self, images: NDArray[np.uint8]) -> Features:
        pixels = torch.from_numpy(np.ascontiguousarray(images)).to(self._device).permute(0, 3, 1, 2).float()
        return Features(self._model(pixels.expand(-1, 3, -1, -1)).float().cpu().numpy(), None)


def make_extractor(settings: ExtractorSettings, record: Path, device: torch.device) -> None:
    """The extractor stage: train the study's classifier, or check that the given network opens.

    ``record`` is written last; a classifier's weights lie beside it.

    Raises:
        UserError: the given weights are missing.
    """
    if isinstance(settings.extractor, InceptionExtractor):
        facts: dict[str, object] = {"weights": settings.extractor.weights}
        InceptionFeatures(Path(settings.extractor.weights), device)
    else:
        facts = {**train_classifier(settings, record.with_name(CLASSIFIER_FILE), device), "weights": CLASSIFIER_FILE}
    write_json(record, {"kind": settings.extractor.kind, "settings_digest": settings.digest, **facts})


def open_extractor(record: Path, device: torch.device) -> Extractor:
    """The extractor that ``make_extractor`` recorded.

    Raises:
        UserError: its weights are missing or not what they should be.
    """
    facts = read_json(record)
    if facts["kind"] == "inception":
        return InceptionFeatures(Path(facts["weights"]), device)
    return ClassifierFeatures(record.parent / facts["weights"], device)
