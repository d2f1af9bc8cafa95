"""The columns that losses add to a study's table, and how they are computed from those of single images."""

import itertools
import math

from dit_scaling.losses.image_losses import Array, ImageLosses
from dit_scaling.losses.loss_names import BAND_COLUMNS, BANDS, HEADLINE


def mean_and_error(values: Array) -> tuple[float, float]:
    """Mean over images and its standard error, both of (N,) values; N >= 2.

    The error is rather too large, as the timesteps of different images are spread more evenly than by chance.
    """
    return float(values.mean()), float(values.std(ddof=1) / math.sqrt(len(values)))


def held_out_columns(losses: ImageLosses) -> dict[str, float]:
    """Losses on held-out images: headline, hybrid loss and bound with standard errors, and bands that have draws."""
    columns: dict[str, float] = {}
    bounds = (("held_out_bound", losses.bound),) if losses.bounded else ()
    for name, values in ((HEADLINE, losses.mse), ("held_out_hybrid", losses.hybrid), *bounds):
        columns[name], columns[f"{name}_se"] = mean_and_error(values)
    bands = zip(BAND_COLUMNS, itertools.pairwise(BANDS), strict=True)
    of_bands = {name: losses.band(low, high) for name, (low, high) in bands}
    return columns | {name: value for name, value in of_bands.items() if value is not None}


def beside_columns(name: str, losses: ImageLosses) -> dict[str, float]:
    """The squared error alone, of other images or weights, under another name."""
    mean, error = mean_and_error(losses.mse)
    return {name: mean, f"{name}_se": error}
