"""One estimate per variant, ln metric with its variance, and where the variance comes from.

What is known of the scatter between training runs decides the rule:

1. **own**: each variant by the spread of its own seeds, tested by Welch's t. A variant with one seed, or with seeds
   that agree exactly, has no scatter that was measured: it is taken to scatter as the noisiest other one or as
   published reproductions do, whichever is more.
2. **assumed**: with one seed each, or fewer than ``MIN_DF`` degrees of freedom over all seeds, nothing was measured.
   Every variant is taken to scatter as published reproductions of one variant do
   (``dit_scaling.paper.published``), and never less than the seeds show.

What was not measured is the ``condition`` of what would follow from it; no verdict rests on it
(``dit_scaling.claims.conditions``). Variances are not pooled over variants: real ones differ, and two or three seeds
are too few to see it (``docs/verdicts.md`` has the figures).

Standard errors of the table (bootstrap of the generated images, by the delta method se(ln m) = se(m) / m) are a floor
of the variance of a run under 1, whose scatter holds them already, and are added under 2.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dit_scaling.common.errors import UserError
from dit_scaling.paper.published import Spread, reproduction_spread
from dit_scaling.variants import family_of

MIN_DF = 4
"""Fewest degrees of freedom on which a spread of seeds decides alone: with fewer it is wrong by half too often."""

Rule = Literal["own", "assumed"]


@dataclass(frozen=True)
class Model:
    """What a variant is, its parameters in 1e6 and its Gflops in 1e9 multiply-adds.

    ``ln_tokens`` is ln of the number of tokens, or -2 ln patch where the table has no tokens: equal up to a constant.
    ``patch`` and ``ln_tokens`` are None for models without patches.
    """

    variant: str
    family: str
    size: str
    patch: int | None
    params_m: float
    gflops: float
    ln_tokens: float | None


@dataclass(frozen=True)
class Estimate(Model):
    """One variant, and the mean of its ln metric over ``runs`` seeds.

    ``variance`` is that of the mean, on ``df`` degrees of freedom, and ``assumed`` the one by published reproductions.
    ``measured`` is whether the variance comes from the variant's own seeds.
    """

    ln_metric: float
    variance: float
    df: float
    assumed: float
    runs: int
    measured: bool


@dataclass(frozen=True)
class Noise:
    """The scatter of one run, by ``rule``: typical variance of ln metric, degrees of freedom over all, and its source.

    ``spread`` is the published one; ``condition`` is what was assumed in place of a measurement, empty if nothing.
    """

    rule: Rule
    variance: float
    df: float
    source: str
    spread: Spread
    condition: str = ""


def estimate(table: pd.DataFrame, metric: str, spread: Spread | None = None) -> tuple[list[Estimate], Noise]:
    """Estimates of the variants of a checked table, ordered by Gflops, with the noise they are judged by.

    Args:
        table: as ``check_table`` returns it, at one step.
        metric: its column.
        spread: between reproductions of one variant; by default ``reproduction_spread``.

    Raises:
        UserError: standard errors are given for some variants only, or all seeds of every variant agree exactly.
    """
    ordered = table.sort_values(["gflops", "variant", metric])
    variants = [rows for _, rows in ordered.groupby("variant", sort=False)]
    models = [_describe(rows.iloc[0]) for rows in variants]
    errors = [_squared_error(rows, metric) for rows in variants]
    lacking = [model.variant for model, error in zip(models, errors, strict=True) if error is None]
    if lacking and len(lacking) < len(models):
        raise UserError(f"Column '{metric}_se' is empty for {', '.join(lacking)}. Fill it for all variants or none.")
    runs = [
        Runs(model, np.log(rows[metric].to_numpy(dtype=float)), error)
        for model, rows, error in zip(models, variants, errors, strict=True)
    ]
    if any(group.df for group in runs) and not any(group.squares for group in runs):
        raise UserError(
            f"Column '{metric}' has exactly one value for all seeds of each variant: there is no noise to judge by. "
            f"Give each seed its own measurement, or one row per variant."
        )
    untold = "; n_samples alone do not tell it" if "n_samples" in table.columns else ""
    return estimate_runs(runs, spread or reproduction_spread(), untold)


class Runs:
    """The seeds of one variant: ln metric, shape (n,), and their mean squared relative standard error, if known."""

    def __init__(self, model: Model, logs: NDArray[np.float64], squared_error: float | None = None) -> None:
        self.model, self.logs = model, logs
        self.count, self.df = len(logs), len(logs) - 1
        self.squares = 0.0 if np.ptp(logs) == 0 else float(np.sum((logs - logs.mean()) ** 2))
        self.has_error = squared_error is not None
        self.squared_error = squared_error or 0.0

    @property
    def own(self) -> float | None:
        """Variance of one run by the variant's own seeds; None where they show none."""
        return max(self.squares / self.df, self.squared_error) if self.squares > 0 else None


def estimate_runs(runs: Sequence[Runs], spread: Spread, untold: str = "") -> tuple[list[Estimate], Noise]:
    """Estimates of the variants, in the order given, with the noise they are judged by.

    Args:
        runs: of at least one variant; where any has several seeds, not all may agree exactly.
        spread: between reproductions of one variant.
        untold: what the source says of a table that tells no noise, beside that.
    """
    df, squares = sum(group.df for group in runs), sum(group.squares for group in runs)
    if df < MIN_DF:
        variances, noise = _assume(runs, squares / df if df else 0.0, df, spread, untold)
    else:
        variances, noise = _own(runs, df, spread)
    return [
        Estimate(
            **vars(group.model),
            ln_metric=float(group.logs.mean()),
            variance=variance / group.count,
            df=of_variance,
            assumed=(spread.sd**2 + group.squared_error) / group.count,
            runs=group.count,
            measured=noise.rule == "own" and group.own is not None,
        )
        for group, (variance, of_variance) in zip(runs, variances, strict=True)
    ], noise


def _own(groups: Sequence[Runs], df: int, spread: Spread) -> tuple[list[tuple[float, float]], Noise]:
    known = [own for runs in groups if (own := runs.own) is not None]
    most = max(known)
    borrowing = [runs.model.variant for runs in groups if runs.own is None]
    variances = [
        (own, float(runs.df))
        if (own := runs.own) is not None
        else (max(most, spread.sd**2 + runs.squared_error), float(spread.df))
        for runs in groups
    ]
    source = (
        f"spread over training seeds, each variant by its own ({math.sqrt(min(known)):.1%} to {math.sqrt(most):.1%}), "
        "Welch's t"
    )
    condition = ""
    if borrowing:
        names = ", ".join(borrowing)
        source += f"; {names} without a spread of seeds: the largest of these or {spread.sd:.1%}, whichever is more"
        verb = "scatters" if len(borrowing) == 1 else "scatter"
        condition = f"{names} {verb} no more than {math.sqrt(max(most, spread.sd**2)):.1%}"
    return variances, Noise("own", float(np.mean([v for v, _ in variances])), df, source, spread, condition)


def _assume(
    groups: Sequence[Runs], pooled: float, df: int, spread: Spread, untold: str
) -> tuple[list[tuple[float, float]], Noise]:
    published = (
        f"the published spread between reproductions of one variant, {spread.sd:.1%} with {spread.df} degrees of "
        f"freedom"
    )
    if df:
        source = (
            f"WIDENED: the seeds leave {df} of the {MIN_DF} degrees of freedom that their spread "
            f"({math.sqrt(pooled):.1%}) would need to decide, so it is taken as no less than {published}"
        )
    elif groups[0].has_error:
        source = f"standard errors of the table and what another training seed would change, assumed to be {published}"
    else:
        source = f"assumed, as the table has neither several seeds nor standard errors{untold}: {published}"
    variances = [(max(pooled, spread.sd**2 + runs.squared_error), float(spread.df)) for runs in groups]
    condition = f"runs scatter as published reproductions do ({spread.sd:.1%})"
    if pooled > spread.sd**2:
        condition = f"all runs scatter as the few seeds do ({math.sqrt(pooled):.1%})"
    return variances, Noise("assumed", float(np.mean([v for v, _ in variances])), spread.df, source, spread, condition)


def _squared_error(rows: pd.DataFrame, metric: str) -> float | None:
    """Mean squared relative standard error of a variant's rows; None where one is not known."""
    if f"{metric}_se" not in rows.columns:
        return None
    errors = rows[f"{metric}_se"].to_numpy(dtype=float)
    return float(np.mean((errors / rows[metric].to_numpy(dtype=float)) ** 2)) if np.isfinite(errors).all() else None


def _describe(row: "pd.Series[float]") -> Model:
    patch = None if math.isnan(row["patch"]) else int(row["patch"])
    ln_tokens = None if patch is None else -2 * math.log(patch)
    if "tokens" in row.index and not math.isnan(row["tokens"]):
        ln_tokens = math.log(row["tokens"])
    return Model(
        variant=str(row["variant"]),
        family=family_of(str(row["variant"])),
        size=str(row["size"]),
        patch=patch,
        params_m=float(row["params_m"]),
        gflops=float(row["gflops"]),
        ln_tokens=ln_tokens,
    )
