"""The chance that each claim ends supported: simulated studies, judged as the report judges the real one."""

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from typing import Any

import numpy as np

from dit_scaling.claims.correlations import MIN_VARIANTS
from dit_scaling.claims.judge import judge
from dit_scaling.claims.noise import Runs, estimate_runs
from dit_scaling.claims.verdicts import SUPPORT, Evidence
from dit_scaling.common.words import count
from dit_scaling.config.study import Study
from dit_scaling.paper.published import reproduction_spread
from dit_scaling.plan.effects import FLOAT, Expected, expected_of
from dit_scaling.plan.power import ONE_SEED
from dit_scaling.variants import UNET

STUDIES = 200
"""Simulated; a share of 90% is known to 2.1 points (one standard error)."""
MOST_SEEDS = 16
MOST_SAMPLES = 50_000
WANTED = 0.9
CLAIMS = ("1", "2", "3")
ON_CONDITION = "would be supported"

Shares = dict[str, dict[str, float]]
"""Per claim, the share of simulated studies that end with each verdict."""


@dataclass(frozen=True)
class Chance:
    """A claim's shares of verdicts by the study as it is, and the fewest seeds, or samples, that make ``WANTED``.

    Beside the verdicts ``ON_CONDITION`` is a share, of those that would be supported if an assumed scatter held.
    ``seeds`` is None where ``MOST_SEEDS`` are not enough, ``samples`` where ``MOST_SAMPLES`` are not.
    """

    claim: str
    verdicts: dict[str, float]
    seeds: int | None
    samples: int | None

    @property
    def supported(self) -> float:
        """Share of studies in which the claim is supported without a limit."""
        return self.verdicts.get("supported", 0.0)

    @property
    def limited(self) -> float:
        """Share of studies in which it is supported in part, or on average."""
        return sum(share for verdict, share in self.verdicts.items() if verdict in SUPPORT) - self.supported


def chances(study: Study, expected: Expected, studies: int = STUDIES) -> list[Chance]:
    """Chances of claims 1 to 3 at the study's seeds and samples.

    Runs scatter normally and alike around ``expected``. The same draws serve every number of seeds and samples, so that
    more of them are seldom worse by chance.
    """
    seeds, samples = len(study.training.seeds), study.sampling.num_samples
    draws = np.random.default_rng(0).normal(size=(studies, len(expected.models), max(seeds, MOST_SEEDS)))

    @cache
    def shares(seeds: int, samples: int) -> Shares:
        scattered = expected.ln_distance[:, None] + expected.noise(samples) * draws[:, :, :seeds]
        return _shares(study, expected, scattered)

    def chance(claim: str) -> Chance:
        def share(seeds: int, samples: int) -> float:
            return shares(seeds, samples)[claim].get("supported", 0.0)

        return Chance(
            claim,
            shares(seeds, samples)[claim],
            fewest(range(1, MOST_SEEDS + 1), lambda count: share(count, samples)),
            fewest(_more(samples), lambda count: share(seeds, count)),
        )

    return [chance(claim) for claim in CLAIMS]


def why_no_chances(study: Study) -> str | None:
    """Why a study has no verdicts to simulate."""
    if study.laws is not None:
        return "a study with `laws` samples nothing and has none"
    if all(study.variant(name).family == UNET for name in study.variants):
        return "claims 1 to 3 are about transformers, and the study has none"
    return None


def chances_record(study: Study, images: int) -> dict[str, Any]:
    """Chances as plain values, or ``{"refused": reason}``."""
    reason = why_no_chances(study)
    if reason:
        return {"refused": reason}
    expected = expected_of(study, images)
    return {
        "studies": STUDIES,
        "source": expected.source,
        "wanted": WANTED,
        "claims": [asdict(chance) for chance in chances(study, expected)],
    }


def describe_chances(study: Study, images: int) -> list[str]:
    """A line per claim, with its Monte Carlo error, under a line that says what is simulated."""
    reason = why_no_chances(study)
    if reason:
        return [f"Chance of each verdict: {reason}."]
    expected = expected_of(study, images)
    seeds = len(study.training.seeds)
    lines = [
        f"Chance of each verdict: {STUDIES} simulated studies of {count(seeds, 'seed')} and "
        f"{study.sampling.num_samples:,} samples, judged as the report judges. {expected.source[0].upper()}"
        f"{expected.source[1:]}.",
    ]
    if seeds == 1:
        lines.append(ONE_SEED)
    few = len(expected.models) < MIN_VARIANTS
    for chance in chances(study, expected):
        lines.append(_describe(chance, seeds, study.sampling.num_samples))
        if chance.claim == "3" and few:
            lines[-1] += f" It takes {MIN_VARIANTS} variants."
    return lines


def _shares(study: Study, expected: Expected, logs: FLOAT) -> Shares:
    """Shares of verdicts over studies of ln distances ``logs``, shape (studies, variants, seeds)."""
    found: dict[str, Counter[str]] = {claim: Counter() for claim in CLAIMS}
    spread = reproduction_spread()
    excluded = frozenset(study.claims.bottlenecks)
    family = expected.models[0].family
    for values in logs:
        runs = [Runs(model, row) for model, row in zip(expected.models, values, strict=True)]
        estimates, noise = estimate_runs(runs, spread)
        evidence = Evidence(tuple(estimates), noise, "distance", study.claims.alpha, excluded, frozenset())
        for claim in judge(evidence, family):
            if claim.claim in found:
                found[claim.claim][claim.verdict] += 1
                found[claim.claim][ON_CONDITION] += claim.would_be == "supported"
    return {claim: {verdict: n / len(logs) for verdict, n in counts.items()} for claim, counts in found.items()}


def fewest(counts: Sequence[int], share: Callable[[int], float]) -> int | None:
    """The first of ascending ``counts`` whose share is ``WANTED`` or more, by halving; None where the last is not."""
    if not counts or share(counts[-1]) < WANTED:
        return None
    low, high = 0, len(counts) - 1
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if share(counts[middle]) >= WANTED else (middle + 1, high)
    return counts[low]


def describe_share(share: float) -> str:
    """A share of ``STUDIES`` with its Monte Carlo error."""
    counted = (share * STUDIES + 1) / (STUDIES + 2)  # Laplace's, as all or none of 200 is not certain
    return f"{share:.1%} (+-{100 * math.sqrt(counted * (1 - counted) / STUDIES):.1f} points)"


def _more(samples: int) -> list[int]:
    """The number of samples and its doubles, up to ``MOST_SAMPLES``."""
    counts = [samples]
    while counts[-1] < MOST_SAMPLES:
        counts.append(min(2 * counts[-1], MOST_SAMPLES))
    return counts


def _describe(chance: Chance, seeds: int, samples: int) -> str:
    name = f"Claim {chance.claim}"
    if chance.verdicts.get("not testable"):
        return f"{name}: not testable with these variants."
    # With one seed the share is 0 by rule, not by counting.
    text = f"{name}: supported {describe_share(chance.supported) if seeds > 1 else f'{chance.supported:.1%}'}"
    if chance.verdicts[ON_CONDITION]:
        text += f", {ON_CONDITION} on the assumed scatter {chance.verdicts[ON_CONDITION]:.1%}"
    if chance.limited:
        text += f", in part or on average {chance.limited:.1%}"
    against = chance.verdicts.get("contradicted", 0.0)
    text += f", contradicted {against:.1%}" if against else ""
    if chance.supported >= WANTED:
        return f"{text}; {WANTED:.0%} is reached with {chance.seeds} seeds."
    more = "not within" if chance.seeds is None else "with"
    text += f"; {WANTED:.0%} {more} {chance.seeds or MOST_SEEDS} seeds"
    if chance.samples:
        text += f", or with {chance.samples:,} samples"
    elif samples < MOST_SAMPLES:
        text += f", and not with {MOST_SAMPLES:,} samples"
    return f"{text}."
