"""The FID's Inception-v3, from clean-fid's TorchScript file: pooled features, ADM's spatial features, logits.

Two ways of resizing make two metrics: inside the network as TensorFlow 1 did (clean-fid's ``legacy_tensorflow``; the
FID of ADM's suite), or by Pillow before it (clean-fid's ``clean``; clean-FID).
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from dit_scaling.common.errors import UserError
from dit_scaling.metrics.features import Features, exact_arithmetic, load_weights, to_pixels, to_rgb

INCEPTION_FILE = "inception-2015-12-05.pt"
POOL_DIM = 2048
SIDE = 299

# Children of the network's ``layers``, in the order in which its forward calls them.
BEFORE_MIXED_6 = (
    *("conv", "conv_1", "conv_2", "pool0", "conv_3", "conv_4", "pool1"),
    *("mixed", "mixed_1", "mixed_2", "mixed_3", "mixed_4", "mixed_5"),
)
FROM_MIXED_6 = ("mixed_6", "mixed_7", "mixed_8", "mixed_9", "mixed_10", "pool2")
SPATIAL_CHANNELS = 7


class InceptionFeatures:
    """ADM's suite: pooled features (FID, KID, precision, recall), spatial ones (sFID), output weights (IS)."""

    name = "inception"
    dim = POOL_DIM
    description = "Inception-v3 pool layer (2048-d), TensorFlow's weights"
    resize = f"bilinear to {SIDE} inside the network (legacy_tensorflow)"

    def __init__(self, weights: Path, device: torch.device) -> None:
        network, self.weights_sha256 = open_inception(weights, device, resize_inside=True)
        self._network, self._device = network, device
        self.logit_weights = network.base.output.weight.detach().cpu().numpy()

    @exact_arithmetic()
    @torch.inference_mode()
    def __call__(self, images: NDArray[np.uint8]) -> Features:
        pixels = to_pixels(to_rgb(images), self._device)
        layers = self._network.layers
        half = run_layers(layers, BEFORE_MIXED_6, _normalise(pixels))  # (N, 768, 17, 17), behind both
        pooled = run_layers(layers, FROM_MIXED_6, half).flatten(1)
        return Features(pooled.float().cpu().numpy(), spatial=spatial_features(layers, half).cpu().numpy())


class CleanFeatures:
    """clean-fid's own mode: pooled features of images that Pillow resized, bicubic and not rounded."""

    name = "clean"
    dim = POOL_DIM
    description = "Inception-v3 pool layer (2048-d), TensorFlow's weights, clean-fid's resizing"
    resize = f"bicubic to {SIDE} by Pillow, in float32 (clean)"
    logit_weights: NDArray[np.float32] | None = None

    def __init__(self, weights: Path, device: torch.device) -> None:
        from cleanfid.resize import build_resizer

        self._network, self.weights_sha256 = open_inception(weights, device, resize_inside=False)
        self._resizer = build_resizer("clean")
        self._device = device

    @exact_arithmetic()
    @torch.inference_mode()
    def __call__(self, images: NDArray[np.uint8]) -> Features:
        resized = np.stack([self._resizer(image) for image in to_rgb(images)])
        return Features(self._network(to_pixels(resized, self._device)).float().cpu().numpy())


def open_inception(weights: Path, device: torch.device, *, resize_inside: bool) -> tuple[Any, str]:
    """clean-fid's network on the given file, and the file's sha256.

    Raises:
        UserError: the file is missing, has another name than clean-fid's, or holds another network.
    """
    from cleanfid.inception_torchscript import InceptionV3W

    if weights.name != INCEPTION_FILE:
        raise UserError(f"weights: {weights} must be clean-fid's file {INCEPTION_FILE}, under that name.")

    def load(path: Path) -> Any:
        network = InceptionV3W(str(path.parent), download=False, resize_inside=resize_inside).to(device).eval()
        _check_layers(network, device)
        return network

    return load_weights(weights, load)


@torch.inference_mode()
def _check_layers(network: Any, device: torch.device) -> None:
    """Whether calling the children in sequence gives what the network's own forward gives, resizing included."""
    pixels = torch.rand((2, 3, 64, 48), generator=torch.Generator().manual_seed(0)).to(device) * 255
    whole = network.base(pixels, return_features=True)
    children = run_layers(network.layers, FROM_MIXED_6, run_layers(network.layers, BEFORE_MIXED_6, _normalise(pixels)))
    if not torch.allclose(children.reshape(whole.shape), whole, rtol=1e-2, atol=1e-3):
        raise ValueError("its layers called one by one give other features than the whole network")


def spatial_features(layers: Any, half: Tensor) -> Tensor:
    """ADM's spatial features (N, 2023): 7 channels of mixed_6/conv, 17 x 17, flattened as height, width, channel.

    Hooks are refused on script modules, so the children are called in sequence.

    Args:
        layers: the network's ``layers``.
        half: (N, 768, 17, 17) before mixed_6.
    """
    maps: Tensor = layers.mixed_6.conv(half)
    return maps[:, :SPATIAL_CHANNELS].permute(0, 2, 3, 1).flatten(1).float()


def run_layers(layers: Any, names: tuple[str, ...], x: Tensor) -> Tensor:
    """The children of ``layers`` with these names, one after the other."""
    for name in names:
        x = getattr(layers, name)(x)
    return x


def _normalise(pixels: Tensor) -> Tensor:
    return (resize_as_tensorflow(pixels) - 128) / 128


def resize_as_tensorflow(pixels: Tensor) -> Tensor:
    """Resize (N, C, H, W) to 299 x 299 as the network does inside and TensorFlow 1 did: row i from i * H / 299.

    affine_grid counts from pixel centres; the offsets take those half pixels back.
    """
    count, channels, height, width = pixels.shape
    theta = pixels.new_tensor([[1, 0, 1 / width - 1 / SIDE], [0, 1, 1 / height - 1 / SIDE]]).expand(count, 2, 3)
    grid = F.affine_grid(theta, [count, channels, SIDE, SIDE], align_corners=False)
    return F.grid_sample(pixels, grid, mode="bilinear", padding_mode="border", align_corners=False)
