"""All metrics of a study as one table, and the verdicts on it."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from dit_scaling.claims import AgreementReport, ClaimsReport, compare_metrics, evaluate_claims
from dit_scaling.common.csv_file import write_csv
from dit_scaling.common.errors import UserError
from dit_scaling.common.files import atomic_path, read_json, sha256_file, write_json
from dit_scaling.config.evaluation import Evaluation
from dit_scaling.config.stages import AggregateSettings
from dit_scaling.config.study import Study
from dit_scaling.losses.paired import above_best
from dit_scaling.variants import count_gflops, count_tokens, training_gflops

GIVEN = {"device": "none, weights were given"}
"""What the table says of the training device of weights that the study did not train."""


@dataclass(frozen=True)
class AggregateInputs:
    """What the stage reads."""

    records: list[Path]
    """metrics.json of each evaluation, in the order of its settings."""
    logs: list[Path]
    """metrics.jsonl of the last step of each trained variant and seed, in the config's order."""
    training: list[Path]
    """provenance.json of the same steps."""
    manifest: Path | None
    """manifest.json of the latents as they are now; None where nothing is trained."""
    levels: Path
    """levels.json of the reference."""
    losses: Sequence[Path] = ()
    """losses.json of the same runs; empty where held-out losses were not measured."""


@dataclass(frozen=True)
class AggregateFiles:
    """What the stage declares."""

    parquet: Path
    csv: Path
    curves: Path
    claims: Path
    agreement: Path
    claims_table: Path
    sampling_steps: Path | None = None
    """The table of evaluations in further numbers of sampling steps; None where the study has none."""


def aggregate(settings: AggregateSettings, inputs: AggregateInputs, files: AggregateFiles) -> None:
    """Write the table of metrics (Parquet and CSV), the training curves (CSV) and the verdicts (JSON and CSV).

    Beside them, how far other metrics agree with the headline: a CSV, and a sentence with the verdicts. Evaluations in
    further numbers of sampling steps have a table of their own, with the same columns, which no verdict reads.

    Args:
        settings: the study, and which evaluation each record belongs to.
        inputs: records of the evaluations and of the trainings.
        files: what to write.

    Raises:
        UserError: a record lacks its metrics or was scored on other features than the reference, or a variant was
            trained on other latents than those of the manifest.
    """
    study, reference = settings.study, read_json(inputs.levels)
    try:
        metric = reference["metric"]
        float(reference["levels"]["decoded_noise"][metric])
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{inputs.levels} is no record of reference levels ({error!r}). Rerun rule levels.") from None
    runs = [(variant, seed) for variant in study.trained for seed in study.training.seeds]
    curves = pd.concat(
        [
            _read_log(log).assign(variant=variant, seed=seed)
            for (variant, seed), log in zip(runs, inputs.logs, strict=True)
        ]
        or [_curves([]).assign(variant="", seed=0)]
    )
    origins = {run: _origin(path, inputs.manifest) for run, path in zip(runs, inputs.training, strict=True)}
    rows = [
        _describe(study, row) | _read_record(path, metric) | origins.get((row.variant, row.seed), GIVEN)
        for row, path in zip(settings.evaluations, inputs.records, strict=True)
    ]
    seconds = curves[["variant", "seed", "step", "seconds"]].rename(columns={"seconds": "train_seconds"})
    # The log has a line every few steps; an export between two lines takes the time of the line before it.
    table = pd.merge_asof(
        pd.DataFrame(rows).reset_index().sort_values("step"),
        seconds.sort_values("step"),
        on="step",
        by=["variant", "seed"],
    )
    table = table.sort_values("index").drop(columns="index")
    table = add_losses(table, dict(zip(runs, inputs.losses, strict=True)) if inputs.losses else {})
    further = np.array([row.further_steps is not None for row in settings.evaluations])
    others, table = table[further], table[~further]

    report, agreement = judge(study, table, reference)
    with atomic_path(files.parquet) as temporary:
        table.to_parquet(temporary, index=False)
    write_csv(table, files.csv)
    if files.sampling_steps is not None:
        write_csv(others, files.sampling_steps)
    write_csv(curves, files.curves)
    write_csv(agreement.table(), files.agreement)
    write_json(files.claims, report.to_dict() | {"agreement": agreement.sentence})
    write_csv(tabulate_verdicts(report), files.claims_table)


def judge(study: Study, table: pd.DataFrame, reference: dict[str, Any]) -> tuple[ClaimsReport, AgreementReport]:
    """The verdicts on the first guidance scale, with decoded noise as the ceiling, and what other metrics say."""
    metric = reference["metric"]
    headline = table[table["guidance_scale"] == study.sampling.guidance_scales[0]]
    report = evaluate_claims(
        headline,
        metric,
        decoded_noise=reference["levels"]["decoded_noise"][metric],
        bottlenecks=study.claims.bottlenecks,
        alpha=study.claims.alpha,
        families=[(claim.better, claim.than) for claim in study.claims.families],
    )
    return report, compare_metrics(headline, report)


def tabulate_verdicts(report: ClaimsReport) -> pd.DataFrame:
    """A row per claim: verdict and its limits, statement, reason, effect on ln metric and its confidence interval."""
    rows = []
    for claim in report.claims:
        interval = asdict(claim.confidence) if claim.confidence else dict.fromkeys(("level", "low", "high", "p"))
        shown = ("claim", "verdict", "qualification", "would_be", "condition", "statement", "reason", "effect")
        about = {key: getattr(claim, key) for key in shown}
        rows.append(about | interval)
    return pd.DataFrame(rows)


def add_losses(table: pd.DataFrame, records: Mapping[tuple[str, int], Path]) -> pd.DataFrame:
    """``table`` with the columns of ``dit_scaling.losses.columns``, by variant and seed; NaN where not measured.

    Raises:
        UserError: a record is none.
    """
    rows = [
        {"variant": variant, "seed": seed, "step": int(step), **columns}
        for (variant, seed), path in records.items()
        for step, columns in _read_losses(path).items()
    ]
    if not rows:
        return table
    losses = pd.DataFrame(rows)
    above = above_best({run: path.with_suffix(".npz") for run, path in records.items()})
    if not above.empty:
        losses = losses.merge(above, on=["variant", "seed", "step"], how="left")
    return table.merge(losses, on=["variant", "seed", "step"], how="left")


def _read_losses(path: Path) -> dict[str, dict[str, float]]:
    try:
        return {str(int(step)): dict(columns) for step, columns in read_json(path)["steps"].items()}
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise UserError(f"{path} is no record of losses ({error!r}). Run: snakemake --forcerun losses") from None


def _describe(study: Study, row: Evaluation) -> dict[str, Any]:
    """What is known of an evaluation before it is scored."""
    variant, channels = study.variant(row.variant), study.vae.latent_channels
    gflops = count_gflops(variant, study.latent_size, channels)
    images = row.step * study.training.batch_size
    return {
        "variant": variant.name,
        "size": variant.size,
        "patch": variant.patch,
        "tokens": count_tokens(variant, study.latent_size),
        "params_m": study.parameters(row.variant) / 1e6,
        "gflops": gflops,
        "seed": row.seed,
        "step": row.step,
        "sampler": row.sampler,
        "guidance_scale": row.guidance_scale,
        "sampling_steps": row.further_steps or study.sampling.own_steps,
        "images_seen": images,
        "train_gflops": training_gflops(gflops, images),
    }


def _origin(provenance: Path, manifest: Path | None) -> dict[str, Any]:
    """Where a run's weights come from, once it is sure that these are the latents it was trained on."""
    record = read_json(provenance)
    try:
        inputs, versions = dict(record["inputs"]), dict(record["versions"])
        origin = {
            "device": str(record["device"]),
            "training_digest": record["settings_digest"],
            "latents_sha256": sha256_file(manifest) if manifest else None,
            "git_commit": record["git_commit"],
            "version": versions["dit-scaling"],
            "torch_version": versions["torch"],
        }
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{provenance} is no provenance record ({error!r}). Run: snakemake --forcerun train") from None
    hashes = {Path(name).name: sha256 for name, sha256 in inputs.items()}
    if manifest is None or hashes.get(manifest.name) != origin["latents_sha256"]:
        raise UserError(
            f"{provenance}: trained on other latents than those of {manifest}. The images or the VAE changed in "
            "place; run: snakemake --forcerun train"
        )
    return origin


def _read_record(path: Path, metric: str) -> dict[str, Any]:
    record = read_json(path)
    if not isinstance(record, dict) or metric not in record:
        raise UserError(f"{path} has no {metric}: it was scored on other features. Run: snakemake --forcerun score")
    return record


def _read_log(path: Path) -> pd.DataFrame:
    """Lines of a training log; a run shorter than the log's window has none."""
    try:
        return _curves([json.loads(line) for line in path.read_text().splitlines()])
    except (OSError, TypeError, ValueError) as error:
        raise UserError(f"{path} is no training log ({error}). Run: snakemake --forcerun train") from None


def _curves(lines: list[dict[str, float]]) -> pd.DataFrame:
    columns = {"step": "int64", **dict.fromkeys(("loss", "mse", "vb", "gradient_norm", "seconds"), "float64")}
    return pd.DataFrame(lines, columns=list(columns)).astype(columns)
