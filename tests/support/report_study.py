"""A small finished study on disk, without training: what the report's tests read."""

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from dit_scaling.common.files import sha256_file, write_json
from dit_scaling.config import parse_study
from dit_scaling.config.stages import AggregateSettings, ReportSettings, Stages
from dit_scaling.config.study import Study
from dit_scaling.metrics import catalogue
from dit_scaling.metrics.catalogue import HEADLINE
from dit_scaling.metrics.catalogue import metric as metric_of
from dit_scaling.report.inputs import ReportInputs
from dit_scaling.results.aggregate import AggregateFiles, AggregateInputs, aggregate
from dit_scaling.sampling.images import Samples, write_samples
from dit_scaling.variants import count_gflops

CONFIG: dict[str, Any] = {
    "study": "synthetic",
    "data": {"source": "mnist", "held_out": 500},
    "vae": {
        "source": "trained",
        "block_channels": [8, 16, 32],
        "latent_channels": 2,
        "steps": 100,
        "batch_size": 16,
        "learning_rate": 2e-3,
    },
    "sizes": {
        "Nano": {"depth": 2, "hidden_size": 32, "num_heads": 2},
        "Micro": {"depth": 3, "hidden_size": 48, "num_heads": 3},
        "Mini": {"depth": 4, "hidden_size": 64, "num_heads": 4},
    },
    "variants": ["DiT-Nano/2", "DiT-Nano/1", "DiT-Micro/2", "DiT-Micro/1", "DiT-Mini/2", "DiT-Mini/1"],
    "training": {
        "steps": 5000,
        "milestones": [2500],
        "batch_size": 16,
        "learning_rate": 4e-3,
        "warmup_steps": 100,
        "ema_decay": 0.998,
        "ema_ramp": True,
        "horizontal_flip": False,
    },
    "sampling": {"num_samples": 1000, "parts": 1, "steps": 50, "guidance_scales": [1.0, 1.5]},
    "metrics": {"extractor": {"kind": "classifier", "steps": 600}, "kid_subset_size": 500},
    "deviations": {"batch size": "a test of reasons"},
}

DESCRIPTIONS = {
    "classifier64": "penultimate layer (64-d) of a classifier trained on the study's training images",
    "inception": "Inception-v3 pool layer (2048-d), TensorFlow's weights and resizing, through clean-fid",
}

RECONSTRUCTIONS_ACCURACY = 0.9  # with ten classes, half of the samples show theirs at an accuracy of 0.5


ORIGIN = {
    "device": "AMD EPYC",
    "settings_digest": "b" * 16,
    "git_commit": "abc1234",
    "versions": {"dit-scaling": "0.1.0", "torch": "2.9.0"},
}


@dataclass(frozen=True)
class StudyFiles:
    """Where everything lies, as the rules name it."""

    study: Study
    settings: ReportSettings
    inputs: ReportInputs
    curves: Path
    metric: str


def make_study(
    root: Path,
    *,
    seeds: tuple[int, ...] = (0,),
    features: str = "classifier64",
    image_size: int = 32,
    channels: int = 1,
    bottlenecks: dict[str, str] | None = None,
    variants: list[str] | None = None,
    class_names: list[str] | None = None,
    further_steps: tuple[int, ...] = (),
) -> StudyFiles:
    """Write records in the manner of each stage and let the aggregate stage join them."""
    config = json.loads(json.dumps(CONFIG))
    config["training"]["seeds"] = list(seeds)
    config["claims"] = {"bottlenecks": bottlenecks or {}}
    config["variants"] = variants or config["variants"]
    config["sampling"]["steps"] = [config["sampling"]["steps"], *further_steps]
    study = parse_study(config)
    stages = Stages(study, "0" * 16)
    metric = HEADLINE.column_on(features)
    rng = np.random.default_rng(0)

    levels = _write_levels(root, metric, features)
    others = np.random.default_rng(1)
    records = [
        _write_record(root, study, row, features, others if row.further_steps else rng) for row in study.evaluations
    ]
    runs = [(name, seed) for name in study.variants for seed in study.training.seeds]
    logs = [_write_log(root, study, name, seed, rng) for name, seed in runs]
    names = ("metrics.parquet", "metrics.csv", "training.csv", "claims.json", "agreement.csv", "claims.csv")
    sampling_steps = root / "sampling-steps.csv" if further_steps else None
    files = AggregateFiles(*(root / name for name in names), sampling_steps=sampling_steps)
    manifest, training = _write_training(root, study, runs)
    losses = [_write_losses(root, study, name, seed) for name, seed in runs]
    settings = AggregateSettings.parse(stages.aggregate().canonical())
    aggregate(settings, AggregateInputs(records, logs, training, manifest, levels, losses), files)

    samples, memorisation = [], []
    for name in study.variants:
        path = root / study.variant(name).slug / "samples" / "part-00000.npz"
        images = rng.integers(0, 256, (20, image_size, image_size, channels), dtype=np.uint8)
        write_samples(path, Samples(images, np.arange(20) % 10, np.arange(20)))
        samples.append(path)
        memorisation.append(
            _write_memorisation(root / study.variant(name).slug / "memorisation.json", len(memorisation))
        )
        Image.fromarray(images[0, :32, :32].squeeze()).save(memorisation[-1].with_suffix(".png"))

    names = class_names or [str(digit) for digit in range(10)]
    write_json(
        root / "data.json",
        {
            "images": 5000,
            "image_size": 32,
            "channels": 1,
            "class_names": names,
            "counts": {"train": [450] * 10, "held_out": [50] * 10},
            "fingerprint": "f" * 16,
        },
    )
    write_json(
        root / "vae.json",
        {"source": "trained", "scaling_factor": 0.91, "parameters": 51234, "held_out": {"mse": 0.0144, "psnr": 24.4}},
    )
    write_json(root / "manifest.json", {"scale": 0.91, "splits": {"train": {"count": 4500}}, "content": "c" * 16})
    check = {"name": "VAE input range", "value": "[-1, 1]", "expected": "[-1, 1]", "passed": True, "meaning": "pixels"}
    moved = {
        "name": "EMA moved",
        "value": "0.6",
        "expected": "at least 0.5",
        "passed": True,
        "meaning": "frozen",
        "margin": 0.2,
    }
    write_json(root / "preflight.json", {"passed": True, "checks": [check, moved]})
    gate = {"variant": study.variants[0], "seed": 0, "step": 100, "status": "on track", "reason": "no fault"}
    write_json(root / "gate.json", {**gate, "checks": [check, moved], "page": "gate.html"})
    write_json(root / "extractor.json", {"kind": "classifier", "held_out_accuracy": 0.986, "feature_dim": 64})
    write_json(
        root / "provenance.json",
        {
            "settings_digest": "d" * 16,
            "git_commit": "abc1234",
            "python": "3.11.2",
            "versions": {"torch": "2.9.0"},
            "inputs": {"metrics.json": "e" * 64},
            "device": "cpu",
        },
    )
    (root / "times").mkdir()
    (root / "times" / "vae.tsv").write_text("s\tmax_rss\n61.5\t640\n")
    Image.fromarray(rng.integers(0, 256, (64, 320), dtype=np.uint8)).save(root / "reconstructions.png")
    return StudyFiles(
        study,
        ReportSettings.parse(stages.report().canonical()),
        ReportInputs(
            table=files.parquet,
            curves=files.curves,
            claims=files.claims,
            agreement=files.agreement,
            levels=levels,
            data=root / "data.json",
            vae=root / "vae.json",
            reconstructions=root / "reconstructions.png",
            manifest=root / "manifest.json",
            preflight=root / "preflight.json",
            gates=[root / "gate.json"],
            extractor=root / "extractor.json",
            provenance=root / "provenance.json",
            times=root / "times",
            figures=root / "figures",
            samples=samples,
            memorisation=memorisation,
            sampling_steps=sampling_steps,
        ),
        files.curves,
        metric,
    )


def _write_levels(root: Path, metric: str, features: str) -> Path:
    values = {"held_out": (6.1, 500), "reconstructions": (11.2, 500), "decoded_noise": (1480.0, 1000)}
    levels = {name: {metric: value, "n_samples": count} for name, (value, count) in values.items()}
    if features != "inception":
        levels["reconstructions"][metric_of("class_accuracy").column_on(features)] = RECONSTRUCTIONS_ACCURACY
    path = root / "reference" / "levels.json"
    write_json(path, {"metric": metric, "extractor": DESCRIPTIONS[features], "levels": levels})
    return path


def _write_record(root: Path, study: Study, row: Any, features: str, rng: np.random.Generator) -> Path:
    """A distance that falls with Gflops and steps, scattered by 2%."""
    variant, channels = study.variant(row.variant), study.vae.latent_channels
    gflops = count_gflops(variant, study.latent_size, channels)
    params = study.parameters(row.variant)
    value = 90 * (gflops / 0.01) ** -0.12 * (params / 3e5) ** -0.15 * (5000 / row.step) ** 0.5 / row.guidance_scale
    value *= math.exp(0.02 * rng.standard_normal())
    path = root / variant.slug / f"seed-{row.seed}" / f"step-{row.step}" / f"{row.guidance_scale}.json"
    if row.further_steps:
        value *= (study.sampling.own_steps / row.further_steps) ** 0.5
        path = path.with_name(f"{row.further_steps}-{path.name}")
    write_json(
        path,
        {
            "n_samples": study.sampling.num_samples,
            "extractor": DESCRIPTIONS[features],
            "settings_digest": "a" * 16,
            **_measure(features, value),
        },
    )
    return path


def _measure(features: str, value: float) -> dict[str, float]:
    """Every metric of the catalogue that features of that name give, where the distance is ``value``."""
    known = {"fd": value, "kid": value / 1e4, "class_accuracy": 60 / value, "precision": 0.5, "recall": 0.25}
    known |= {"fd_se": 0.015 * value, "fd_bias": 0.01 * value, "kid_sd": value / 1e5}
    given = {True: {"reference images", "spatial features", "logits"}, False: {"reference images", "classes"}}
    record = {}
    for metric in catalogue.METRICS:
        if metric.measure.needs <= given[features == "inception"]:
            for aside in ("", *metric.asides):
                key = f"{metric.key}_{aside}" if aside else metric.key
                record[metric.column_on(features, aside)] = known.get(key, 0.75)
    return record


def _write_training(root: Path, study: Study, runs: list[tuple[str, int]]) -> tuple[Path, list[Path]]:
    manifest = root / "latents" / "manifest.json"
    write_json(manifest, {"content": "toy"})
    paths = []
    for name, seed in runs:
        paths.append(root / study.variant(name).slug / f"seed-{seed}" / "provenance.json")
        inputs = {f"results/x/{manifest.name}": sha256_file(manifest)}
        write_json(paths[-1], {"inputs": inputs, **ORIGIN})
    return manifest, paths


def _write_memorisation(path: Path, number: int) -> Path:
    """Shares that fall from variant to variant."""
    share = 0.11 - 0.01 * number
    write_json(
        path,
        {
            "samples": 1000,
            "training": 4500,
            "training_share": 1.0,
            "held_out": 500,
            "median_to_training": 31.25,
            "median_held_out_to_training": 33.5,
            "copying_test": {"z": -1.75, "closer": 0.53},
            "held_out_share": {"share": share, "expected": 0.1, "low": share - 0.015, "high": share + 0.015},
            "closest": [],
            "settings_digest": "a" * 16,
        },
    )
    return path


def _write_losses(root: Path, study: Study, name: str, seed: int) -> Path:
    """Losses that fall with compute, as the distances do."""
    gflops = count_gflops(study.variant(name), study.latent_size, study.vae.latent_channels)
    columns = {}
    for step in study.exports(name):
        loss = 0.2 * (gflops * step) ** -0.05 * (1 + 0.001 * seed)
        columns[str(step)] = {"held_out_mse": loss, "held_out_mse_se": 0.001, "training_mse": 0.99 * loss}
    path = root / study.variant(name).slug / f"losses-{seed}.json"
    write_json(path, {"steps": columns})
    return path


def _write_log(root: Path, study: Study, name: str, seed: int, rng: np.random.Generator) -> Path:
    path = root / study.variant(name).slug / f"seed-{seed}" / "metrics.jsonl"
    rate = 10 + 100 * count_gflops(study.variant(name), study.latent_size, study.vae.latent_channels)
    lines = []
    for step in range(50, study.training.steps + 1, 50):
        loss = (0.3 + step**-0.3 - 0.2 * min(rate, 11) / 11) * math.exp(0.05 * rng.standard_normal())
        record = {"step": step, "loss": loss, "mse": 0.98 * loss, "vb": 0.02 * loss}
        lines.append(json.dumps(record | {"gradient_norm": 3 * loss, "seconds": step / 1000 * rate}))
    path.write_text("\n".join(lines) + "\n")
    return path
