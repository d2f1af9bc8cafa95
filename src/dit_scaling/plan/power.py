"""Whether a study's budget can tell the claims' pairs apart, before it is spent."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd
from scipy import stats

from dit_scaling.claims.comparisons import Pair, patch_pairs, size_pairs
from dit_scaling.claims.correlations import MIN_VARIANTS
from dit_scaling.claims.noise import MIN_DF, Estimate, estimate
from dit_scaling.common.words import count
from dit_scaling.config.study import Study
from dit_scaling.paper.published import reproduction_spread, table4
from dit_scaling.plan.expectation import equal_steps, gap_share

ENOUGH = 0.8
ONE_SEED = "With one seed nothing is supported or contradicted, as no scatter is measured: it takes two."
SAMPLING_SD, SAMPLING_COUNT = 0.01, 50_000
"""Standard deviation of ln FID-50K from the samples alone: draws of one model vary by about 2% either way (Karras et
al. 2022, arXiv 2206.00364), taken as two deviations. It falls with the square root of the number of samples."""


@dataclass(frozen=True)
class PairPower:
    """A pair of variants, the ratio of their FIDs to expect, and the chance that it is told apart."""

    favoured: str
    other: str
    ratio: float
    power: float


def noise_of_run(samples: int) -> float:
    """Standard deviation of ln FID of one training run scored on so many samples."""
    return math.hypot(reproduction_spread().sd, SAMPLING_SD * math.sqrt(SAMPLING_COUNT / samples))


def pair_power(effect: float, sd: float, df: float, level: float) -> float:
    """Chance of one-sided p < ``level`` for a mean difference ``effect`` < 0 of standard error ``sd``: noncentral t."""
    return float(stats.nct.sf(stats.t.isf(level, df), df, -effect / sd))


def degrees_of_freedom(variants: int, seeds: int) -> float:
    """Those of a pair by the rules of ``dit_scaling.claims.noise``, where both variants scatter alike."""
    return 2 * (seeds - 1) if variants * (seeds - 1) >= MIN_DF else reproduction_spread().df


def power_of_pairs(study: Study, pairs: Sequence[Pair]) -> list[PairPower]:
    """Power of each pair at the study's steps, seeds and samples.

    The pairs' differences at 400K steps are published; the share of them that is there at the study's steps is that
    of the accelerated runs (``expectation.gap_share``). The noise is the published spread, on the degrees of freedom
    that the claims will have if all variants scatter so. Holm's first step counts, in either direction: half the level
    is divided by the number of pairs.
    """
    seeds = len(study.training.seeds)
    df = degrees_of_freedom(len(study.variants), seeds)
    sd = noise_of_run(study.sampling.num_samples) * math.sqrt(2 / seeds)
    share = gap_share(equal_steps(study))
    found = []
    for a, b in pairs:
        effect = share * (a.ln_metric - b.ln_metric)
        power = pair_power(effect, sd, df, study.claims.alpha / 2 / len(pairs))
        found.append(PairPower(a.variant, b.variant, math.exp(effect), power))
    return found


def published_estimates(study: Study) -> list[Estimate]:
    """The study's variants with their published FID at 400K steps; those that are not published are left out."""
    table: pd.DataFrame = table4()
    table = table[table["variant"].isin(study.variants)]
    return estimate(table, "fid50k")[0] if len(table) else []


def describe_claims(study: Study) -> list[str]:
    """One sentence per claim on what the budget can show."""
    estimates = published_estimates(study)
    return [
        _sentence("Claim 1 (larger sizes are better)", power_of_pairs(study, size_pairs(estimates))),
        _sentence("Claim 2 (smaller patches are better)", power_of_pairs(study, patch_pairs(estimates))),
        _gflops_sentence(study, estimates),
    ]


def _gflops_sentence(study: Study, estimates: Sequence[Estimate]) -> str:
    claim = "Claim 3 (Gflops rather than parameters)"
    pairs = patch_pairs(estimates)
    few = len(estimates) < MIN_VARIANTS
    second = f"that parameters do not help at equal Gflops takes {MIN_VARIANTS} variants"
    if not pairs:
        return f"{claim}: cannot be tested, as no size is run at two patches{f', and {second}' if few else ''}."
    return _sentence(claim, power_of_pairs(study, pairs))[:-1] + (
        f"; the claim stays inconclusive, as {second}." if few else "."
    )


def _sentence(claim: str, pairs: Sequence[PairPower]) -> str:
    if not pairs:
        return f"{claim}: cannot be tested, as the study has no such pair of published variants."
    resolved = [pair for pair in pairs if pair.power >= ENOUGH]
    weakest = min(pairs, key=lambda pair: pair.power)
    return (
        f"{claim}: {len(resolved)} of {count(len(pairs), 'pair')} would be told apart with a "
        f"chance of {ENOUGH:.0%} or more; the weakest is {weakest.favoured} against {weakest.other}, FID expected "
        f"{weakest.ratio:.2f} times as high, chance {weakest.power:.0%}."
    )
