"""Features and moments of 5,000 images in memory, beside clean-fid's folder of PNGs with its own loader.

The extractor of both is the embedded study's classifier with random weights, so that the way to the network is
measured; with Inception the network takes nearly all of the time on both sides.
"""

import json
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from safetensors.torch import load_file, save_file

from benchmarks.row import Outcome, Row, Setting, Side, at_least, equal_within, timed
from dit_scaling.metrics.arrays import Array
from dit_scaling.metrics.classifier import Classifier, ClassifierFeatures
from dit_scaling.metrics.extraction import chunks, see
from dit_scaling.metrics.frechet import frechet_distance

SHAPE = {"channels": 3, "image_size": 32, "classes": 10, "feature_dim": 64}
IMAGES = 5000
COMPARED = 500  # images behind the moments that a distance is measured to
LOADERS = 2  # processes of clean-fid's loader: as many as cores


def draw_images(count: int) -> NDArray[np.uint8]:
    """Smooth noise, (N, 32, 32, 3)."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 200, (count, 8, 8, 3), dtype=np.uint8)
    return coarse.repeat(4, axis=1).repeat(4, axis=2) + rng.integers(0, 56, (1, 32, 32, 3), dtype=np.uint8)


def write_classifier(setting: Setting) -> Path:
    """A classifier's file, as the extractor stage leaves it."""
    torch.manual_seed(0)
    path = setting.folder / "classifier.safetensors"
    save_file(Classifier(**SHAPE).state_dict(), path, metadata={"dit_scaling": json.dumps(SHAPE)})
    return path


def in_memory(setting: Setting, count: int) -> Side:
    """`see`, as the stage of the metrics calls it on each part."""
    images, network = draw_images(count), ClassifierFeatures(write_classifier(setting), torch.device("cpu"))
    found = list[Outcome]()

    def run() -> None:
        moments = see(network, chunks(images)).moments
        found[:] = [{"mean": moments.mean, "covariance": moments.covariance}]

    return timed(run, lambda: found[0])


def through_a_folder(setting: Setting, count: int) -> Side:
    """PNGs, clean-fid's loader without resizing, numpy's mean and covariance."""
    from cleanfid.fid import get_folder_features

    images, folder = draw_images(count), setting.folder / "pngs"
    network = Classifier(**SHAPE)
    network.load_state_dict(load_file(write_classifier(setting)))
    network.eval()
    found: list[tuple[Array, Array]] = []

    def run() -> None:
        folder.mkdir(exist_ok=True)
        for number, image in enumerate(images):
            Image.fromarray(image).save(folder / f"{number:05d}.png")
        features = get_folder_features(
            str(folder),
            model=lambda pixels: network.features(pixels / 127.5 - 1),
            num_workers=LOADERS,
            device=torch.device("cpu"),
            custom_fn_resize=unchanged,
            verbose=False,
        )
        found[:] = [(np.mean(features, axis=0), np.cov(features, rowvar=False))]

    return timed(run, lambda: {"mean": found[0][0], "covariance": found[0][1]})


def score_images(setting: Setting, count: int) -> Side:
    """Features, moments and the Frechet distance to those of other images."""
    images, network = draw_images(count), ClassifierFeatures(write_classifier(setting), torch.device("cpu"))
    known = see(network, chunks(255 - draw_images(COMPARED))).moments
    found = list[float]()

    def run() -> None:
        moments = see(network, chunks(images)).moments
        found.append(frechet_distance(moments.mean, moments.covariance, known.mean, known.covariance))

    return timed(run, lambda: {"distance": found[0]})


def unchanged(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The image, which has the network's size already; by name, so that a loader's process finds it."""
    return image


ROWS = (
    Row(
        name="features-classifier",
        what=f"features and moments of {IMAGES:,} images in memory, the embedded study's classifier",
        peer="writing PNGs, clean-fid's folder loader with the same network",
        make_ours=lambda setting: in_memory(setting, setting.choose(IMAGES, 100)),
        make_peer=lambda setting: through_a_folder(setting, setting.choose(IMAGES, 100)),
        agree=equal_within(1e-4),
        target=at_least(1.5),
    ),
)
