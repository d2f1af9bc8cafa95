"""What a study can say on its claims between families: simulated studies, judged as the report judges the real one.

How far two families lie apart at equal Gflops is known of DiT@flow and DiT by the paper's protocol, from the published
FIDs of SiT and DiT. Of any other two nothing is known before they are run. Then no chance is stated, but the smallest
gap, equal at all sizes, that would be seen.
"""

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

import numpy as np

from dit_scaling.claims.comparisons import EQUAL_GFLOPS_RATIO, gflops_ratio
from dit_scaling.claims.judge import judge, judged_family
from dit_scaling.claims.noise import Model, Runs, estimate_runs
from dit_scaling.claims.verdicts import SUPPORT, Evidence
from dit_scaling.config.study import Study
from dit_scaling.diffusion.process import PAPER_PROCESS
from dit_scaling.paper.field import EQUAL_STEPS, at_equal_steps
from dit_scaling.paper.published import reproduction_spread
from dit_scaling.plan.chances import STUDIES, WANTED, describe_share, fewest
from dit_scaling.plan.effects import Expected, expected_of, models_of
from dit_scaling.plan.expectation import equal_steps, why_no_band
from dit_scaling.variants import UNET

PUBLISHED = {"DiT": "DiT", "DiT@flow": "SiT"}
"""Families of a study, and what the published family is called that is the same."""
GAPS = range(1, 96)
"""How much lower the distance of the better family is tried to be, in percent."""
LOWER, WHOLE = "lower", "whole"
"""Shares of studies that find the distance lower at equal Gflops, and that support the whole claim."""

Shares = Mapping[str, float]


@dataclass(frozen=True)
class Question:
    """A claim that ``better`` has the lower distance ``than`` another family; claim 0 has no second half."""

    claim: str
    better: str
    than: str


def questions_of(study: Study) -> list[Question]:
    """Claim 0 where U-Nets stand beside transformers, and the study's claims between families."""
    claims, models = [(claim.better, claim.than) for claim in study.claims.families], models_of(study)
    asked = [Question(f"{better} over {than}", better, than) for better, than in claims]
    if len({model.family == UNET for model in models}) == 2:
        asked.insert(0, Question("0", judged_family(models, claims), UNET))
    return asked


@dataclass(frozen=True)
class FamilyChance:
    """What a study can say on one claim between families."""

    question: Question
    testable: bool = True
    shares: Shares | None = None
    """Of verdicts, with the published gaps; None where nothing is published."""
    lower_from: int | None = None
    """Percent by which the distance has to be lower at all sizes, for that to be found with a chance of ``WANTED``."""
    whole_from: int | None = None
    """The same, for the claim's second half too."""


def family_chances(study: Study, images: int) -> list[FamilyChance]:
    """One for each of `questions_of`; the scatter of runs is that of `expected_of`."""
    asked = questions_of(study)
    expected = expected_of(study, images) if asked else None
    return [_chance(study, expected, images, question) for question in asked if expected]


def describe_family_chances(study: Study, images: int) -> list[str]:
    """A line for each of `family_chances`."""
    return [_describe(chance, len(study.training.seeds)) for chance in family_chances(study, images)]


def shares_of(study: Study, expected: Expected, question: Question, logs: Mapping[str, float]) -> Shares:
    """Shares of simulated studies by verdict, and beside the verdicts ``LOWER`` and ``WHOLE``.

    Runs scatter normally and alike around ``logs``, ln distance by variant.
    """
    models, found = models_of(study), Counter[str]()
    draws = np.random.default_rng(0).normal(size=(STUDIES, len(models), len(study.training.seeds)))
    means = np.array([logs[model.variant] for model in models])
    excluded, pair = frozenset(study.claims.bottlenecks), (question.better, question.than)
    for values in means[:, None] + expected.noise(study.sampling.num_samples) * draws:
        runs = [Runs(model, row) for model, row in zip(models, values, strict=True)]
        estimates, noise = estimate_runs(runs, reproduction_spread())
        compared = tuple(e for e in estimates if e.family in pair)
        evidence = Evidence(compared, noise, "distance", study.claims.alpha, excluded, frozenset())
        zero = question.claim == "0"
        claims = judge(evidence, question.better if zero else "", () if zero else [pair])
        claim = next(claim for claim in claims if claim.claim == question.claim)
        found[claim.verdict] += 1
        found[LOWER] += (claim.halves[0].verdict if claim.halves else claim.verdict) == "supported"
        found[WHOLE] += claim.verdict == "supported"
    return {key: number / STUDIES for key, number in found.items()}


def apart(study: Study, expected: Expected, question: Question, percent: int) -> dict[str, float]:
    """ln distance by variant, where the better family's is lower by so much than what it is compared with.

    Beside that it falls with Gflops as that of the expected variants, by a line through the logarithms.
    """
    models = models_of(study)
    known = np.log([model.gflops for model in expected.models])
    slope, at_one = np.polyfit(known, expected.ln_distance, 1) if np.ptp(known) else (0.0, expected.ln_distance.mean())
    logs = {model.variant: float(at_one + slope * math.log(model.gflops)) for model in models}
    for model in models:
        partners = [logs[other.variant] for other in _partners(model, models, question)]
        if model.family == question.better and partners:
            logs[model.variant] = float(np.mean(partners)) + math.log1p(-percent / 100)
    return logs


def published_logs(study: Study, expected: Expected, question: Question, images: int) -> dict[str, float] | None:
    """ln distance by variant as published of the families that are compared; None where nothing is known of them."""
    compared = {question.better, question.than}
    unlike = study.diffusion != PAPER_PROCESS or study.training.flow_times != "uniform"
    if compared != PUBLISHED.keys() or unlike or why_no_band(study, images) or equal_steps(study) != EQUAL_STEPS:
        return None
    models, table = models_of(study), at_equal_steps().set_index("model")["fid50k"]
    logs = apart(study, expected, question, 0)
    for model in models:
        if model.family in compared and _partners(model, models, question):
            name = f"{PUBLISHED[model.family]}-{model.size}/{model.patch}"
            if name not in table.index:
                return None
            logs[model.variant] = math.log(float(table[name]))
    return logs


def _partners(model: Model, models: tuple[Model, ...], question: Question) -> list[Model]:
    """What a variant of one of the two families is compared with."""
    other = question.than if model.family == question.better else question.better
    return [some for some in models if some.family == other and gflops_ratio(model, some) <= EQUAL_GFLOPS_RATIO]


def _chance(study: Study, expected: Expected, images: int, question: Question) -> FamilyChance:
    known = published_logs(study, expected, question, images)
    at = cache(lambda percent: shares_of(study, expected, question, apart(study, expected, question, percent)))
    if at(GAPS[0]).get("not testable"):
        return FamilyChance(question, testable=False)
    if known:
        return FamilyChance(question, shares=shares_of(study, expected, question, known))
    if len(study.training.seeds) == 1:
        return FamilyChance(question)

    def smallest(found: str) -> int | None:
        return fewest(GAPS, lambda gap: at(gap).get(found, 0.0))

    whole = None if question.claim == "0" else smallest(WHOLE)
    return FamilyChance(question, lower_from=smallest(LOWER), whole_from=whole)


def _describe(chance: FamilyChance, seeds: int) -> str:
    question, shares = chance.question, chance.shares
    name = f"Claim {question.claim}"
    if not chance.testable:
        return f"{name}: not testable with these variants."
    if shares is not None:
        told = [f"supported {describe_share(shares[WHOLE])}"]
        limited = sum(shares.get(verdict, 0.0) for verdict in SUPPORT) - shares[WHOLE]
        told += [f"in part or on average {limited:.1%}"] if limited else []
        told += [f"contradicted {shares['contradicted']:.1%}"] if shares.get("contradicted") else []
        return f"{name}: {', '.join(told)}, with the gaps of SiT and DiT as published at {EQUAL_STEPS:,} steps."
    unknown = (
        f"{name}: not known in advance, as no published curve says how far {question.better} and {question.than} lie "
        "apart here"
    )
    if seeds == 1:
        return f"{unknown}. With one seed it stays inconclusive."
    if chance.lower_from is None:
        return f"{unknown}. With {seeds} seeds no gap would be found with a chance of {WANTED:.0%}."
    text = (
        f"{unknown}. With {seeds} seeds a distance lower by {chance.lower_from}% would be found with a chance of "
        f"{WANTED:.0%}"
    )
    if question.claim == "0":
        return f"{text}."
    also = (
        "not that the gap keeps half its size"
        if chance.whole_from is None
        else f"that the gap keeps half its size too from {chance.whole_from}%"
    )
    return f"{text}, and {also}, were it the same at all sizes."
