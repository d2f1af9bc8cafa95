"""All metrics of a study as one table, and the verdicts on it."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from dit_scaling.claims import evaluate_claims
from dit_scaling.config.stages import AggregateSettings, Evaluation
from dit_scaling.config.study import Study
from dit_scaling.errors import UserError
from dit_scaling.files import atomic_path, read_json, sha256_file, write_json
from dit_scaling.variants import count_gflops, count_parameters, count_tokens


@dataclass(frozen=True)
class AggregateFiles:
    """What the stage declares."""

    parquet: Path
    csv: Path
    curves: Path
    claims: Path


def aggregate(
    settings: AggregateSettings,
    records: list[Path],
    logs: list[Path],
    training: list[Path],
    manifest: Path,
    lines: Path,
    files: AggregateFiles,
) -> None:
    """Write the table of metrics (Parquet and CSV), the training curves (CSV) and the verdicts (JSON).

    Args:
        settings: the study, and which evaluation each record belongs to.
        records: metrics.json per evaluation, in the order of ``settings.evaluations``.
        logs: metrics.jsonl of the last step per variant and seed, in the config's order.
        training: provenance.json of the same steps.
        manifest: manifest.json of the latents as they are now.
        lines: lines.json of the reference.
        files: what to write.

    Raises:
        UserError: a record lacks its metrics or was scored on other features than the reference, or a variant was
            trained on other latents than those of the manifest.
    """
    study, reference = settings.study, read_json(lines)
    metric = reference["metric"]
    runs = [(variant, seed) for variant in study.variants for seed in study.training.seeds]
    curves = pd.concat(
        [_read_log(log).assign(variant=variant, seed=seed) for (variant, seed), log in zip(runs, logs, strict=True)]
    )
    devices = {run: _device(path, manifest) for run, path in zip(runs, training, strict=True)}
    rows = [
        _describe(study, row) | {"device": devices[row.variant, row.seed]} | _read_record(path, metric)
        for row, path in zip(settings.evaluations, records, strict=True)
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

    with atomic_path(files.parquet) as temporary:
        table.to_parquet(temporary, index=False)
    with atomic_path(files.csv) as temporary:
        table.to_csv(temporary, index=False)
    with atomic_path(files.curves) as temporary:
        curves.to_csv(temporary, index=False)
    write_json(files.claims, judge(study, table, reference))


def judge(study: Study, table: pd.DataFrame, reference: dict[str, Any]) -> dict[str, Any]:
    """The verdicts on the first guidance scale, with decoded noise as the ceiling."""
    metric = reference["metric"]
    headline = table[table["guidance_scale"] == study.sampling.guidance_scales[0]]
    report = evaluate_claims(
        headline,
        metric,
        decoded_noise=reference["lines"]["decoded_noise"][metric],
        bottlenecks=study.claims.bottlenecks,
        alpha=study.claims.alpha,
    )
    return report.to_dict()


def _describe(study: Study, row: Evaluation) -> dict[str, Any]:
    """What is known of an evaluation before it is scored."""
    variant, channels = study.variant(row.variant), study.vae.latent_channels
    gflops = count_gflops(variant, study.latent_size, channels)
    parameters = count_parameters(variant, study.data.classes, channels)
    images = row.step * study.training.batch_size
    return {
        "variant": variant.name,
        "size": variant.size,
        "patch": variant.patch,
        "tokens": count_tokens(variant, study.latent_size),
        "params_m": parameters / 1e6,
        "gflops": gflops,
        "seed": row.seed,
        "step": row.step,
        "guidance_scale": row.guidance_scale,
        "images_seen": images,
        # Forward and backward cost three forward passes (section 4 of the paper).
        "train_gflops": 3 * gflops * images,
    }


def _device(provenance: Path, manifest: Path) -> str:
    """The device a run was trained on, once it is sure that these are the latents it was trained on."""
    record = read_json(provenance)
    hashes = {Path(name).name: sha256 for name, sha256 in record["inputs"].items()}
    if hashes.get(manifest.name) != sha256_file(manifest):
        raise UserError(
            f"{provenance}: trained on other latents than those of {manifest}. The images or the VAE changed in "
            "place; run: snakemake --forcerun train"
        )
    return str(record["device"])


def _read_record(path: Path, metric: str) -> dict[str, Any]:
    record = read_json(path)
    if not isinstance(record, dict) or metric not in record:
        raise UserError(f"{path} has no {metric}: it was scored on other features. Run: snakemake --forcerun fid")
    return record


def _read_log(path: Path) -> pd.DataFrame:
    """Lines of a training log; a run shorter than the log's window has none."""
    columns = {"step": "int64", **dict.fromkeys(("loss", "mse", "vb", "gradient_norm", "seconds"), "float64")}
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    return pd.DataFrame(lines, columns=list(columns)).astype(columns)
