"""The FID to expect after so many steps, as a band between published curves.

Published curves of plain DiT before 400K steps are few, so the band is wide and says so. Between two points of a run,
FID falls about as steps^-a. A study's variant starts from its FID at 400K steps in Table 4 and goes back with

- the smallest published exponent (DiT-XL/2 from 400K to 2,352K steps) for the lower edge, and
- the exponent of the accelerated run of its size (SiT + REPA from 50K to 400K steps, B in place of S) for the upper.

The accelerated run itself, where it was measured at so few steps, is no worse than a plain one: it bounds from below.
Both edges are widened by the spread of published reproductions.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from dit_scaling.config.study import Study
from dit_scaling.data.imagenet import TRAINING
from dit_scaling.paper.published import convergence, reproduction_spread, table4, xl2_long

PUBLISHED_STEPS = 400_000
PUBLISHED_BATCH = 256
FEWEST_STEPS = 25_000  # half of the earliest published ones; nearer to the start nothing is known
SOURCES = (
    "DiT (arXiv 2212.09748) Table 4 and its XL/2 run of 7M steps; SiT + REPA (arXiv 2410.06940) Tables 3 and 7; "
    "spread of published reproductions"
)


@dataclass(frozen=True)
class Band:
    """FID-50K between ``low`` and ``high``; ``published`` is that at 400K steps."""

    low: float
    high: float
    published: float


def why_no_band(study: Study, images: int) -> str | None:
    """Why published curves say nothing about a study; None where they do."""
    data = study.data
    if study.laws is not None:
        return "a study with `laws` samples nothing"
    if (data.image_size, data.channels, data.classes) != (256, 3, 1000) or images < TRAINING // 2:
        return "published curves are of ImageNet's 1,000 classes at 256x256"
    if (study.vae.latent_channels, study.latent_size) != (4, 32):
        return "published curves are of latents of 4x32x32"
    if not FEWEST_STEPS <= equal_steps(study) <= PUBLISHED_STEPS:
        return f"published curves of several variants lie between {FEWEST_STEPS:,} and {PUBLISHED_STEPS:,} steps of 256"
    if study.metrics.extractor.kind != "inception":
        return "published curves are of the FID, and this study measures another distance"
    return None


def equal_steps(study: Study) -> float:
    """Steps at the published batch of 256 that see as many images."""
    return study.training.steps * study.training.batch_size / PUBLISHED_BATCH


def expected_bands(study: Study) -> dict[str, Band]:
    """The band of every variant of Table 4 in the study."""
    published = table4().set_index("variant")["fid50k"]
    steps = equal_steps(study)
    return {name: _band(name, float(published[name]), steps) for name in study.variants if name in published.index}


def gap_share(steps: float) -> float:
    """How much of the difference of ln FID at 400K steps is there after ``steps``, by the accelerated runs' sizes.

    ln FID(B) - ln FID(XL) over its value at 400K; between and below the measured steps straight in ln steps, to 0.
    """
    curves = _accelerated()
    gaps = {step: math.log(curves["B"][step] / curves["XL"][step]) for step in sorted(curves["XL"])}
    known = np.log(list(gaps))
    share = np.interp(math.log(steps), known, np.array(list(gaps.values())) / gaps[PUBLISHED_STEPS])
    return float(share * min(1.0, steps / min(gaps)))


def _band(name: str, published: float, steps: float) -> Band:
    size = name.split("-")[1].split("/")[0]
    ratio, spread = PUBLISHED_STEPS / steps, math.exp(reproduction_spread().sd)
    long = xl2_long()
    late = long[(long["cfg_scale"] == 1.0) & (long["steps"] < 7_000_000)].iloc[0]
    at_400k = float(table4().set_index("variant")["fid50k"]["DiT-XL/2"])
    slow = _exponent(PUBLISHED_STEPS, at_400k, float(late["steps"]), float(late["fid50k"]))
    curve = _accelerated().get(size, _accelerated()["B"])
    fast = _exponent(min(curve), curve[min(curve)], PUBLISHED_STEPS, curve[PUBLISHED_STEPS])
    edges = sorted((published * ratio**slow, published * ratio**fast))
    low = edges[0]
    if size in _accelerated() and name.endswith("/2") and min(curve) <= steps <= PUBLISHED_STEPS:
        bound = float(np.exp(np.interp(math.log(steps), np.log(list(curve)), np.log(list(curve.values())))))
        low = max(low, bound)
    return Band(low / spread, max(edges[1], low) * spread, published)


def _exponent(steps: float, fid: float, later: float, later_fid: float) -> float:
    return math.log(fid / later_fid) / math.log(later / steps)


def _accelerated() -> Mapping[str, dict[int, float]]:
    """FID by step of the SiT + REPA runs, by size, steps ascending."""
    runs: pd.DataFrame = convergence()
    runs = runs[runs["model"].str.endswith("+REPA")].sort_values("steps")
    sizes = runs["model"].str.removeprefix("SiT-").str.split("/").str[0]
    return {
        str(size): dict(zip(rows["steps"].astype(int), rows["fid50k"].astype(float), strict=True))
        for size, rows in runs.groupby(sizes)
    }
