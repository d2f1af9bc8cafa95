"""Published results as data frames, and how far published reproductions of one variant lie apart."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files

import numpy as np
import pandas as pd

REPRODUCTIONS: Mapping[str, tuple[float, ...]] = {
    "DiT-XL/2": (19.5, 18.1),
    "DiT-B/4": (68.4, 68.9, 68.3),
    "DiT-S/8": (153.6, 167.5, 139.0),
}
"""FID-50K of independent trainings of one variant, all at 400K steps of batch 256 without guidance."""


@dataclass(frozen=True)
class Spread:
    """A relative standard deviation: ``sd`` of ln metric, estimated with ``df`` degrees of freedom."""

    sd: float
    df: int


def table4() -> pd.DataFrame:
    """Table 4 of arXiv 2212.09748: FID-50K (``fid50k``), ``params_m`` and ``gflops`` of the twelve variants."""
    return _read("dit_table4.csv")


def convergence() -> pd.DataFrame:
    """FID-50K against training steps of published runs without guidance: model, steps, fid50k, source."""
    return _read("convergence.csv")


def xl2_long() -> pd.DataFrame:
    """DiT-XL/2 trained for up to 7M steps: the five metrics by guidance scale; empty cells are NaN."""
    return _read("dit_xl2_long.csv")


def landmarks() -> pd.DataFrame:
    """Training loss of healthy runs on ImageNet latents: variant, steps, loss."""
    return _read("landmarks.csv")


def reproduction_spread() -> Spread:
    """Pooled standard deviation of ln FID within the variants of ``REPRODUCTIONS``: 0.064 with 5 degrees of freedom.

    sd^2 = sum_v sum_i (ln FID_vi - mean_v)^2 / sum_v (n_v - 1). One number for all variants, although patch 8 seems
    to scatter more (S/8 0.093) and B/4 less (0.005): two or three values a variant cannot settle that, other latent
    grids have no patch 8 to borrow from, and the few degrees of freedom are paid for by Student's t wherever the
    number is used. It is too wide for small patches and, by up to a half, too narrow for patch 8.
    """
    squares = sum(float(np.sum((np.log(values) - np.mean(np.log(values))) ** 2)) for values in REPRODUCTIONS.values())
    df = sum(len(values) - 1 for values in REPRODUCTIONS.values())
    return Spread(sd=math.sqrt(squares / df), df=df)


def _read(name: str) -> pd.DataFrame:
    with (files(__package__) / "published" / name).open(encoding="utf-8") as stream:
        return pd.read_csv(stream, comment="#")
