"""From a table of metrics to the report on all claims."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import pandas as pd

from dit_scaling.claims.comparisons import EQUAL_GFLOPS_RATIO, holm
from dit_scaling.claims.contrasts import difference
from dit_scaling.claims.judge import judge, judged_family
from dit_scaling.claims.metrics_table import at_common_step, check_protocol, check_table, find_metric, untold
from dit_scaling.claims.noise import Estimate, Noise, estimate
from dit_scaling.claims.table_costs import costs_note
from dit_scaling.claims.verdicts import ClaimsReport, Evidence, Exclusion
from dit_scaling.common.errors import UserError
from dit_scaling.paper.published import Spread
from dit_scaling.variants import UNET, network_of


def evaluate_claims(
    table: pd.DataFrame,
    metric: str | None = None,
    *,
    decoded_noise: float | None = None,
    bottlenecks: Mapping[str, str] | None = None,
    alpha: float = 0.05,
    spread: Spread | None = None,
    families: Sequence[tuple[str, str]] = (),
) -> ClaimsReport:
    """Judge the four claims of arXiv 2212.09748 on a table of metrics; the rules stand in ``claims.verdicts``.

    Claims between families, declared in advance, come after them (``claims.between_families``).

    Args:
        table: one row per trained model, with the columns of ``read_metrics_table``. Claims 1 to 3 are judged on the
            family of ``judged_family``; of several steps, at the last that all variants have.
        metric: a column with a distance, positive, lower is better; by default ``find_metric`` chooses.
        decoded_noise: the same metric on images decoded from Gaussian noise. A variant not shown to be below it
            (one-sided test, Holm-corrected over variants) made no images and is no evidence.
        bottlenecks: variant name -> reason, declared before the results were seen; no evidence either.
        alpha: level of each claim's tests, in (0, 1).
        spread: between reproductions of one variant, where seeds do not tell it; by default the published one.
        families: pairs of which the first is claimed to have the lower metric at equal Gflops at every size.

    Raises:
        UserError: the table is refused (``check_table``, ``check_protocol``, ``estimate``) or mixes families, a
            bottleneck names no variant of it, ``decoded_noise`` or ``alpha`` is out of range, or a claim of
            ``families`` names one family twice.
    """
    if not 0 < alpha < 1:
        raise UserError(f"alpha is {alpha}: give the level of the tests, between 0 and 1, for example 0.05.")
    if decoded_noise is not None and not (math.isfinite(decoded_noise) and decoded_noise > 0):
        raise UserError(f"decoded_noise is {decoded_noise}: give the metric of decoded noise, a positive number.")
    alike = next((better for better, than in families if better == than), None)
    if alike is not None:
        raise UserError(f"Claim {alike} over {alike}: a family is not better than itself. Name two families.")
    metric = find_metric(table, metric)
    rows, step_note = at_common_step(check_table(table, metric))
    check_protocol(rows)
    estimates, noise = estimate(rows, metric, spread)
    declared = dict(bottlenecks or {})
    unknown = sorted(set(declared) - {e.variant for e in estimates})
    if unknown:
        raise UserError(
            f"Bottleneck {', '.join(unknown)} is no variant of the table. Correct the name or leave it out."
        )
    imageless = _imageless(estimates, noise, decoded_noise, alpha)
    family = judged_family(estimates, families)
    evidence = Evidence(tuple(estimates), noise, metric, alpha, frozenset(declared), frozenset(imageless))
    return ClaimsReport(
        claims=judge(evidence, family, families),
        metric=metric,
        alpha=alpha,
        noise=noise.source,
        assumptions=_assumptions(estimates, noise, decoded_noise, (step_note, untold(rows), costs_note(rows))),
        exclusions=_exclusions(estimates, declared, imageless, family),
    )


def _imageless(estimates: Sequence[Estimate], noise: Noise, decoded_noise: float | None, alpha: float) -> list[str]:
    """Variants whose metric is not shown to be below that of decoded noise, which scatters like one run itself."""
    if decoded_noise is None:
        return []
    ceiling = replace(
        estimates[0],
        variant="decoded noise",
        ln_metric=math.log(decoded_noise),
        variance=noise.variance,
        df=noise.df,
        assumed=noise.variance,
    )
    corrected = holm([difference(e, ceiling, noise).p_for for e in estimates])
    return [e.variant for e, p in zip(estimates, corrected, strict=True) if p >= alpha]


def _assumptions(
    estimates: Sequence[Estimate], noise: Noise, decoded_noise: float | None, of_table: Sequence[str | None]
) -> tuple[str, ...]:
    notes = [
        f"noise of ln metric: {noise.source}",
        "runs are independent, and ln metric scatters normally",
        f"Gflops count as equal within a factor of {EQUAL_GFLOPS_RATIO}",
    ]
    if noise.condition:
        notes.insert(1, f"not measured, so no verdict rests on it: {noise.condition}")
    if decoded_noise is None:
        notes.append("decoded noise was not measured: that every variant made images at all is taken on trust")
    if all(e.runs == 1 for e in estimates):
        notes.append("one run per variant")
    return (*notes, *filter(None, of_table))


def _exclusions(
    estimates: Sequence[Estimate], declared: Mapping[str, str], imageless: Sequence[str], family: str
) -> tuple[Exclusion, ...]:
    exclusions = [Exclusion(name, f"declared a bottleneck: {reason}") for name, reason in sorted(declared.items())]
    exclusions += [
        Exclusion(name, "made no images: not told apart from decoded noise")
        for name in imageless
        if name not in declared
    ]
    exclusions += [
        Exclusion(e.variant, f"of another family than {family}, on which they are judged")
        for e in estimates
        if e.family != family and network_of(e.family) != UNET
    ]
    return tuple(exclusions)
