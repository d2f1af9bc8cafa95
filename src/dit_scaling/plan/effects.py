"""What a study's variants may be expected to measure, and how far runs scatter around it."""

import math
from dataclasses import dataclass
from importlib.resources import files

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dit_scaling.claims.judge import judged_family
from dit_scaling.claims.noise import Model
from dit_scaling.config.image_settings import Mnist
from dit_scaling.config.study import Study
from dit_scaling.paper.published import reproduction_spread, table4
from dit_scaling.plan.expectation import PUBLISHED_STEPS, equal_steps, gap_share, why_no_band
from dit_scaling.plan.power import SAMPLING_COUNT, SAMPLING_SD
from dit_scaling.variants import count_gflops

DIGITS_SAMPLES = 4000
DIGITS_STEPS = 10_000
DIGITS_BATCH = 16
FLOAT = NDArray[np.float64]


@dataclass(frozen=True)
class Table:
    """Variants that were measured: columns variant, params_m, patch, distance, and how far their distance scatters.

    ``scatter`` is the standard deviation of its logarithm between training seeds, and ``sampling`` that between draws
    of ``count`` samples of one model.
    """

    rows: pd.DataFrame
    scatter: float
    sampling: float
    count: int

    def law(self, params_m: FLOAT, patch: FLOAT) -> FLOAT:
        """ln distance by least squares on ln params, ln patch and their product, at (n,) variants."""
        known = _terms(self.rows["params_m"].to_numpy(float), self.rows["patch"].to_numpy(float))
        fitted = np.linalg.lstsq(known, np.log(self.rows["distance"].to_numpy(float)), rcond=None)[0]
        return np.asarray(_terms(params_m, patch) @ fitted, dtype=np.float64)


@dataclass(frozen=True)
class Expected:
    """Variants that claims 1 to 3 are judged on: ln distance (n,), the scatter around it, and where that is from."""

    models: tuple[Model, ...]
    ln_distance: FLOAT
    table: Table
    source: str

    def noise(self, samples: int) -> float:
        """Standard deviation of ln distance of one training run that is scored on so many samples."""
        return math.hypot(self.table.scatter, self.table.sampling * math.sqrt(self.table.count / samples))


def published() -> Table:
    """Table 4, the scatter between published reproductions, and that between draws of samples (``plan.power``)."""
    rows = table4().rename(columns={"fid50k": "distance"})
    return Table(rows, reproduction_spread().sd, SAMPLING_SD, SAMPLING_COUNT)


def digits() -> Table:
    """The second confirming run of the embedded study: four seeds of eight variants (docs/embedded-study.md).

    A seed's scatter holds that of its 4,000 samples, which is taken out here.
    """
    with (files(__package__) / "digits.csv").open(encoding="utf-8") as stream:
        rows = pd.read_csv(stream, comment="#")
    whole, sampling = (float(np.sqrt((rows[column] ** 2).mean())) for column in ("sd", "sampling_sd"))
    return Table(rows, math.sqrt(whole**2 - sampling**2), sampling, DIGITS_SAMPLES)


def expected_of(study: Study, images: int) -> Expected:
    """Expected ln distances of the variants that claims 1 to 3 are judged on, or of all where these are U-Nets.

    The digits' own where all variants were measured on them. Else by a law of size and patch: that of the digits where
    all models are smaller than Table 4's, else that of Table 4, with its differences as far as they are open at the
    study's steps. On other data than the law's that is an assumption, and ``source`` says so.

    Args:
        study: whose variants they are.
        images: that it trains on.

    Raises:
        UserError: it has transformers of several families, none of them DiT.
    """
    everything, claimed = models_of(study), [(claim.better, claim.than) for claim in study.claims.families]
    family = judged_family(everything, claimed)
    models = tuple(model for model in everything if model.family == family) or everything
    params, patch = (np.array([getattr(m, key) or 1 for m in models], dtype=float) for key in ("params_m", "patch"))
    measured = digits()
    known = measured.rows.set_index("variant")["distance"]
    if isinstance(study.data, Mnist) and {m.variant for m in models} <= set(known.index):
        logs = np.log([float(known[m.variant]) for m in models])
        source = f"distances and scatter as the embedded study's confirming run measured at {DIGITS_STEPS:,} steps"
        as_long = study.training.steps * study.training.batch_size == DIGITS_STEPS * DIGITS_BATCH
        return Expected(models, logs, measured, source if as_long else f"assumed: {source}")
    paper = published()
    if params.max() < paper.rows["params_m"].min():
        law = "sizes and patches act, and runs scatter, as in the embedded study on digits"
        return Expected(models, measured.law(params, patch), measured, f"assumed: {law}")
    logs = paper.law(params, patch)
    share = gap_share(min(equal_steps(study), PUBLISHED_STEPS))
    logs = logs.mean() + share * (logs - logs.mean())
    source = (
        f"sizes and patches act by the law of Table 4, {share:.0%} of its differences at these steps, and runs scatter "
        f"as published reproductions do ({paper.scatter:.1%})"
    )
    return Expected(models, logs, paper, f"assumed: {source}" if why_no_band(study, images) else source)


def models_of(study: Study) -> tuple[Model, ...]:
    """All variants of a study, as the claims describe them."""
    return tuple(_describe(study, name) for name in study.variants)


def _describe(study: Study, name: str) -> Model:
    variant, channels, size = study.variant(name), study.vae.latent_channels, study.latent_size
    return Model(
        variant=name,
        family=variant.line,
        size=variant.size,
        patch=variant.patch,
        params_m=study.parameters(name) / 1e6,
        gflops=count_gflops(variant, size, channels),
        ln_tokens=None if variant.patch is None else -2 * math.log(variant.patch),
    )


def _terms(params_m: FLOAT, patch: FLOAT) -> FLOAT:
    size, inverse = np.log(params_m), np.log(patch)
    return np.column_stack([np.ones_like(size), size, inverse, size * inverse])
