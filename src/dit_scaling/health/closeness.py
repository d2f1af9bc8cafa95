"""Are a few dozen samples closer to the data or to decoded noise?"""

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

SIDE = 8


def share_like_data(samples: NDArray[np.uint8], data: NDArray[np.uint8], decoded_noise: NDArray[np.uint8]) -> float:
    """Share of samples whose nearest neighbour among data and decoded noise, equally many of each, is data.

    One where the samples are images of the data, about zero where they are noise. Images are compared as thumbnails of
    8x8 pixels, which keep layout and colours, in Euclidean distance.

    Args:
        samples: (N, H, W, C).
        data: (M, H, W, C).
        decoded_noise: (M, H, W, C), decoded standard normal latents.
    """
    count = min(len(data), len(decoded_noise))
    known = torch.cat([thumbnails(data[:count]), thumbnails(decoded_noise[:count])])
    nearest = torch.cdist(thumbnails(samples), known).argmin(dim=1)
    return float((nearest < count).double().mean())


def thumbnails(images: NDArray[np.uint8]) -> torch.Tensor:
    """Area averages of images (N, H, W, C) on a grid of at most 8x8, in [0, 1], as vectors (N, D) float32."""
    pixels = torch.from_numpy(np.ascontiguousarray(images)).permute(0, 3, 1, 2).float() / 255
    return F.adaptive_avg_pool2d(pixels, SIDE).flatten(1)
