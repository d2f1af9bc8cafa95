"""Differences of losses on the same images, timesteps and noise, which are known much better than the losses."""

import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dit_scaling.common.errors import UserError
from dit_scaling.losses.loss_names import ABOVE
from dit_scaling.variants import objective_of

Array = NDArray[np.float64]


def above_best(records: Mapping[tuple[str, int], Path]) -> pd.DataFrame:
    """How far each run is above the best of its objective, seed and step: variant, seed, step, ``ABOVE`` and its error.

    Args:
        records: losses.npz by variant and seed; those that do not exist are left out.

    Raises:
        UserError: a file is none of the losses of images.
    """
    found: dict[tuple[str, int, int], dict[str, Array]] = {}
    for (variant, seed), path in records.items():
        for step, losses in (_read(path) if path.exists() else {}).items():
            found.setdefault((objective_of(variant), seed, step), {})[variant] = losses
    rows = []
    for (_, seed, step), variants in found.items():
        best = min(variants.values(), key=lambda losses: float(losses.mean()))
        for variant, losses in variants.items():
            mean, error = paired_difference(losses, best)
            rows.append({"variant": variant, "seed": seed, "step": step, ABOVE: mean, f"{ABOVE}_se": error})
    return pd.DataFrame(rows)


def paired_difference(first: Array, second: Array) -> tuple[float, float]:
    """Mean of ``first`` less ``second``, (N,) losses of the same images, and its standard error over images."""
    difference = first - second
    return float(difference.mean()), float(difference.std(ddof=1) / np.sqrt(len(difference)))


def _read(path: Path) -> dict[int, Array]:
    try:
        with np.load(path, allow_pickle=False) as file:
            return dict(zip(file["steps"].tolist(), file["mse"].astype(np.float64), strict=True))
    except (OSError, KeyError, TypeError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise UserError(f"{path} holds no losses of images ({error}). Run: snakemake --forcerun losses") from None
