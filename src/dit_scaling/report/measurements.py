"""What figures and report draw: one estimate per variant and step with its interval, and the reference levels."""

import math
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pandas as pd

from dit_scaling.claims.contrasts import contrast
from dit_scaling.claims.fits import PowerLawFit, fit_power_law
from dit_scaling.claims.metrics_table import at_common_step, check_protocol, check_table
from dit_scaling.claims.noise import estimate
from dit_scaling.common.errors import UserError
from dit_scaling.common.files import read_json
from dit_scaling.metrics.catalogue import parse_column
from dit_scaling.report.style import describe_metric
from dit_scaling.variants import UNET, family_of, network_of

CONFIDENCE = 0.95

LEVELS: tuple[tuple[str, str, Literal["floor", "ceiling"]], ...] = (
    ("held_out", "held-out images", "floor"),
    ("reconstructions", "VAE reconstructions", "floor"),
    ("decoded_noise", "decoded noise", "ceiling"),
)


@dataclass(frozen=True)
class ReferenceLevel:
    """A distance between which those of the variants are read: a floor, or the ceiling."""

    name: str
    label: str
    kind: Literal["floor", "ceiling"]
    value: float
    samples: int | None


@dataclass(frozen=True)
class Measurements:
    """The headline metric of a study: one guidance scale, one extractor, one number of samples.

    ``points`` has one row per variant and step: variant, series (``DiT-XL``), size, patch and tokens (missing for
    U-Nets), params_m, gflops, step, train_gflops, runs (seeds), value (geometric mean over seeds), low and high
    (``CONFIDENCE`` interval by ``noise``), and fitted: whether claims 1 to 3 rest on the variant, so that power laws do
    too. ``final`` are the points of the last step that all variants have. ``rows`` are the checked records behind them,
    one per seed.
    """

    metric: str
    """Its column."""
    features: str
    """Name of the features that it was measured on."""
    label: str
    extractor: str
    reference: str
    """What is known of the images that distances are to."""
    guidance_scale: float
    noise: str
    rows: pd.DataFrame
    points: pd.DataFrame
    final: pd.DataFrame
    levels: tuple[ReferenceLevel, ...]


def read_measurements(table: Path, levels: Path, claims: Path) -> Measurements:
    """Read the table of metrics, the reference levels, and which variants the claims leave out.

    Raises:
        UserError: a file is missing or broken, a column is missing or empty, or the rows of the first guidance scale
            differ in protocol (``check_protocol``), which no figure may join.
    """
    reference, records, left_out = read_json(levels), read_table(table), _read_left_out(claims)
    try:
        metric, extractor = str(reference["metric"]), str(reference["extractor"])
        measured = dict(reference["levels"])
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{levels} lacks {error}. Run: snakemake --forcerun levels.") from None
    column = parse_column(metric)
    if column is None:
        raise UserError(f"{levels} names {metric}, which is no metric. Run: snakemake --forcerun levels.")
    for name in ("step", "seed", "guidance_scale", "train_gflops", "tokens"):
        if name not in records.columns:
            raise UserError(f"{table} has no column '{name}'. Run: snakemake --forcerun aggregate.")
    if records.empty:
        raise UserError(f"{table} has no rows. Run: snakemake --forcerun aggregate.")
    guidance_scale = float(records["guidance_scale"].iloc[0])
    rows = check_table(_headline(records[records["guidance_scale"] == guidance_scale]), metric, str(table))
    check_protocol(rows, str(table))
    samples = int(rows["n_samples"].iloc[0]) if "n_samples" in rows.columns else None
    final, _ = at_common_step(rows)
    return Measurements(
        metric=metric,
        features=column.features,
        label=describe_metric(metric, samples),
        extractor=extractor,
        reference=str(reference.get("reference", "not described")),
        guidance_scale=guidance_scale,
        noise=estimate(final, metric)[1].source,
        rows=rows,
        points=pd.concat(
            [estimate_points(group, metric, left_out) for _, group in rows.groupby("step")], ignore_index=True
        ),
        final=estimate_points(final, metric, left_out),
        levels=tuple(_read_levels(measured, metric)),
    )


def read_table(path: Path) -> pd.DataFrame:
    """A Parquet file as it is.

    Raises:
        UserError: the file is missing or no Parquet.
    """
    try:
        return pd.read_parquet(path)
    except FileNotFoundError:
        raise UserError(f"{path} does not exist. Run: snakemake --until aggregate.") from None
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read as Parquet ({error}). Run: snakemake --forcerun aggregate.") from None


def estimate_points(rows: pd.DataFrame, metric: str, left_out: Collection[str] = ()) -> pd.DataFrame:
    """One row per variant of one step, as in ``Measurements.points``; U-Nets and ``left_out`` are not fitted.

    exp(x +- t sqrt(v)) with x the mean of ln metric, v its variance and t Student's quantile, by the same noise as the
    verdicts (``dit_scaling.claims.contrasts``).
    """
    estimates, noise = estimate(rows, metric)
    reach = [contrast([(e, 1.0)], noise).reach(1 - CONFIDENCE) for e in estimates]
    intervals = pd.DataFrame(
        {
            "variant": [e.variant for e in estimates],
            "runs": [e.runs for e in estimates],
            "value": [math.exp(e.ln_metric) for e in estimates],
            "low": [math.exp(e.ln_metric - r) for e, r in zip(estimates, reach, strict=True)],
            "high": [math.exp(e.ln_metric + r) for e, r in zip(estimates, reach, strict=True)],
        }
    )
    about = ["variant", "size", "patch", "tokens", "params_m", "gflops", "step", "train_gflops"]
    described = rows.drop_duplicates("variant")[about].astype({"patch": "Int64", "tokens": "Int64"})
    described.insert(1, "series", described["variant"].str.split("/").str[0])
    points = described.merge(intervals, on="variant")
    left = points["variant"].isin(list(left_out)) | (points["variant"].map(family_of).map(network_of) == UNET)
    return points.assign(fitted=~left)


def fit_points(points: pd.DataFrame, x: str) -> PowerLawFit | None:
    """A power law of the value against ``x`` through the fitted points, where three or more lie at different x."""
    fitted = points[points["fitted"]]
    return fit_power_law(fitted[x], fitted["value"]) if len(fitted) >= 3 and fitted[x].nunique() > 1 else None


def _headline(records: pd.DataFrame) -> pd.DataFrame:
    """The rows of the first number of sampling steps, where every variant was sampled with it."""
    if "sampling_steps" not in records.columns:
        return records
    first = records[records["sampling_steps"] == records["sampling_steps"].iloc[0]]
    return first if first["variant"].nunique() == records["variant"].nunique() else records


def _read_left_out(claims: Path) -> list[str]:
    """Variants that are no evidence: declared bottlenecks, and those that made no images."""
    try:
        return [str(item["variant"]) for item in read_json(claims)["exclusions"]]
    except (KeyError, TypeError) as error:
        raise UserError(f"{claims} is no report on claims ({error!r}). Run: snakemake --forcerun aggregate.") from None


def _read_levels(measured: dict[str, dict[str, float]], metric: str) -> list[ReferenceLevel]:
    found = []
    for name, label, kind in LEVELS:
        record = measured.get(name, {})
        value = record.get(metric)
        if value is not None and value > 0:
            count = record.get("n_samples")
            samples = None if count is None else int(count)
            said = "" if samples is None else f" (N = {samples:,})"
            found.append(ReferenceLevel(name, label + said, kind, float(value), samples))
    return found
