"""Studies side by side: settings, costs, verdicts, and each variant's difference with its uncertainty.

A difference is one of ln metric, the other study minus the first, by the noise of the runs of both together
(``claims.noise``), with Holm's correction over the variants. Runs that are the same training in both studies are judged
as if they were trained apart, which is cautious.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from dit_scaling.claims.comparisons import holm
from dit_scaling.claims.contrasts import Contrast, difference
from dit_scaling.claims.noise import Estimate, estimate
from dit_scaling.common.errors import UserError
from dit_scaling.results.finished_study import FinishedStudy

EQUAL_COMPUTE = 1.05
"""Most that the training compute of two runs may differ by, as a ratio, to count as equal."""
ABSENT = "-"


@dataclass(frozen=True)
class Difference:
    """One variant in two studies, at the steps that are compared."""

    variant: str
    first: float
    """The metric, the geometric mean over seeds."""
    other: float
    first_step: int
    other_step: int
    compute_ratio: float
    """Training compute of the other study's runs over that of the first one's."""
    change: float
    """Metric of the other over that of the first, minus 1."""
    low: float
    high: float
    """Confidence interval of ``change`` at 1 - alpha."""
    p: float
    """Two-sided, corrected over the variants."""
    beyond_noise: bool


@dataclass(frozen=True)
class Comparison:
    """A study beside the first one."""

    first: FinishedStudy
    other: FinishedStudy
    settings: tuple[tuple[str, str, str], ...]
    """Key, and its value in both, where they differ."""
    unsound: tuple[str, ...]
    """What distances are measured with that differs; where there is any, none are compared."""
    noise: str
    at_end: tuple[Difference, ...] = ()
    at_equal_compute: tuple[Difference, ...] = ()
    alone: tuple[str, ...] = ()
    """Variants that only one of the studies has."""
    namesakes: tuple[str, ...] = ()
    """Variants that both have by name, but not with the same depth, width or heads; they are not compared."""
    shared_runs: int = 0
    """Runs that are the same training in both."""


def compare_studies(first: FinishedStudy, other: FinishedStudy) -> Comparison:
    """What differs between two studies, and by how much beyond noise."""
    keys = dict.fromkeys((*first.settings, *other.settings))
    settings = tuple(
        (key, _show(first.settings.get(key, ABSENT)), _show(other.settings.get(key, ABSENT)))
        for key in keys
        if first.settings.get(key, ABSENT) != other.settings.get(key, ABSENT)
    )
    yardsticks = first.yardstick, other.yardstick
    unsound = tuple(
        what
        for what in dict.fromkeys((*yardsticks[0], *yardsticks[1]))
        if len({str(yardstick.get(what)) for yardstick in yardsticks}) > 1
    )
    names = [set(study.table["variant"]) for study in (first, other)]
    alone = tuple(sorted(names[0] ^ names[1]))
    both = [name for name in first.study.variants if name in names[0] & names[1]]
    namesakes = tuple(name for name in both if first.study.variant(name) != other.study.variant(name))
    if unsound:
        return Comparison(first, other, settings, unsound, "", alone=alone, namesakes=namesakes)
    both = [name for name in both if name not in namesakes]
    last = {name: (_last_step(first, name), _last_step(other, name)) for name in both}
    equal = {name: steps for name in both if (steps := _equal_compute(first, other, name)) is not None}
    at_end, noise = _differences(first, other, last)
    at_equal = at_end if equal == last else _differences(first, other, equal)[0]
    shared = _digests(first) & _digests(other)
    return Comparison(first, other, settings, (), noise, at_end, at_equal, alone, namesakes, len(shared))


def _differences(
    first: FinishedStudy, other: FinishedStudy, steps: dict[str, tuple[int, int]]
) -> tuple[tuple[Difference, ...], str]:
    """The differences of variants at two steps each, and where the noise comes from."""
    if not steps:
        return (), ""
    tables = []
    for index, study in enumerate((first, other)):
        kept = [_of(study, name).query("step == @step") for name, at in steps.items() for step in [at[index]]]
        table = pd.concat(kept)
        tables.append(table.assign(variant=table["variant"] + f" {index}"))
    joint = pd.concat(tables, ignore_index=True)
    errors = f"{first.metric}_se"
    if errors in joint.columns and joint[errors].isna().any():
        joint = joint.drop(columns=errors)
    estimates, noise = estimate(joint, first.metric)
    by_name = {found.variant: found for found in estimates}
    pairs = [(by_name[f"{name} 1"], by_name[f"{name} 0"]) for name in steps]
    tests = [difference(*pair, noise) for pair in pairs]
    corrected = holm([min(1.0, 2 * min(test.p_for, test.p_against)) for test in tests])
    found = [
        _describe((first, other), name, at, pair, test, float(p))
        for (name, at), pair, test, p in zip(steps.items(), pairs, tests, corrected, strict=True)
    ]
    return tuple(found), noise.source


def _describe(
    studies: tuple[FinishedStudy, FinishedStudy],
    name: str,
    steps: tuple[int, int],
    pair: tuple[Estimate, Estimate],
    test: Contrast,
    p: float,
) -> Difference:
    alpha = studies[0].study.claims.alpha
    reach = test.reach(alpha)
    compute = [_compute(study, name, step) for study, step in zip(studies, steps, strict=True)]
    return Difference(
        variant=name,
        first=math.exp(pair[1].ln_metric),
        other=math.exp(pair[0].ln_metric),
        first_step=steps[0],
        other_step=steps[1],
        compute_ratio=compute[1] / compute[0],
        change=math.expm1(test.effect),
        low=math.expm1(test.effect - reach),
        high=math.expm1(test.effect + reach),
        p=p,
        beyond_noise=p < alpha,
    )


def _equal_compute(first: FinishedStudy, other: FinishedStudy, name: str) -> tuple[int, int] | None:
    """The latest steps of a variant with equal training compute in both studies; None where there are none."""
    steps = [sorted(map(int, _of(study, name)["step"].unique()), reverse=True) for study in (first, other)]
    for a in steps[0]:
        for b in steps[1]:
            ratio = _compute(other, name, b) / _compute(first, name, a)
            if 1 / EQUAL_COMPUTE <= ratio <= EQUAL_COMPUTE:
                return a, b
    return None


def _compute(study: FinishedStudy, name: str, step: int) -> float:
    """Training compute of one run up to a step, in Gflops."""
    rows = _of(study, name)
    return float(rows.loc[rows["step"] == step, "train_gflops"].iloc[0])


def _last_step(study: FinishedStudy, name: str) -> int:
    return int(_of(study, name)["step"].max())


def _of(study: FinishedStudy, name: str) -> pd.DataFrame:
    return study.table[study.table["variant"] == name]


def _digests(study: FinishedStudy) -> set[tuple[str, str, int]]:
    """The trainings of a study: settings, variant and seed."""
    columns = ["training_digest", "variant", "seed"]
    if not set(columns) <= set(study.table.columns):
        return set()
    return {tuple(row) for row in study.table[columns].dropna().itertuples(index=False)}


def _show(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def read_all(studies: Sequence[FinishedStudy]) -> list[Comparison]:
    """Every further study beside the first.

    Raises:
        UserError: there are fewer than two, or two have the same folder.
    """
    if len({study.results.resolve() for study in studies}) < max(2, len(studies)):
        raise UserError("A comparison takes two or more different studies.")
    return [compare_studies(studies[0], other) for other in studies[1:]]
