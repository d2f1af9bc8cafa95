"""The jobs of a very small study, each run in this process as Snakemake runs it: same script, same log, same exit."""

import logging
import runpy
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from PIL import Image

from dit_scaling.common.files import write_json
from dit_scaling.config.stages import PreflightSettings
from pipeline import ROOT

SCRIPTS = ROOT / "workflow" / "scripts"
sys.path.insert(0, str(SCRIPTS))

CONFIG: dict[str, Any] = {
    "study": "small",
    "data": {
        "source": "image_folder",
        "path": "images",
        "image_size": 16,
        "channels": 1,
        "classes": 2,
        "held_out": 10,
    },
    "vae": {
        "source": "trained",
        "block_channels": [4, 4],
        "latent_channels": 2,
        "norm_groups": 2,
        "steps": 3,
        "batch_size": 4,
        "learning_rate": 1.0e-3,
    },
    "latents": {"shards": 1},
    "sizes": {"Nano": {"depth": 1, "hidden_size": 16, "num_heads": 2}},
    "variants": ["DiT-Nano/2"],
    "training": {"steps": 4, "batch_size": 4, "learning_rate": 1.0e-3, "horizontal_flip": False, "gates": "off"},
    "sampling": {"num_samples": 12, "parts": 1, "steps": 2},
    "metrics": {
        "extractor": {"kind": "classifier", "feature_dim": 4, "steps": 3, "batch_size": 4},
        "kid_subsets": 2,
        "kid_subset_size": 5,
        "neighbours": 1,
        "bootstrap": 10,
    },
}

RESULTS = "results/small"
STEP = f"{RESULTS}/DiT-Nano-2/seed-0/step-4"
EVALUATION = f"{STEP}/guidance-1.0"

FIRST_OUTPUT = {
    "data": f"{RESULTS}/data/data.json",
    "vae": f"{RESULTS}/vae/vae.json",
    "extractor": f"{RESULTS}/reference/classifier/extractor.json",
    "encode_shard": f"{RESULTS}/latents/train-00000.tar",
    "latents": f"{RESULTS}/latents/manifest.json",
    "train_milestone": f"{STEP}/ema.safetensors",
    "held_out_loss": f"{RESULTS}/DiT-Nano-2/seed-0/losses.json",
    "sample_part": f"{EVALUATION}/samples/part-00000.npz",
    "reference": f"{RESULTS}/reference/classifier/moments.npz",
    "levels": f"{RESULTS}/reference/classifier/levels.json",
    "extract_features": f"{EVALUATION}/features/classifier/features.json",
    "score_samples": f"{EVALUATION}/metrics.json",
    "memorisation": f"{EVALUATION}/memorisation.json",
    "aggregate": f"{RESULTS}/metrics.parquet",
    "figures": f"{RESULTS}/figures/fid-gflops.svg",
    "report": f"{RESULTS}/report.html",
}
"""Script and the output that asks for its job, in the order of the DAG."""


@dataclass(frozen=True)
class SmallStudy:
    """A finished small study and the `snakemake` object of each script's job. Copy the folder before changing it."""

    folder: Path
    jobs: dict[str, Any]


def finish_small_study(folder: Path) -> SmallStudy:
    """Run all jobs of the small study in ``folder``, the working directory; of the figures, only the job is made."""
    write_inputs(folder)
    jobs = {}
    for script, target in FIRST_OUTPUT.items():
        jobs[script] = job_of(script)
        if script == "figures":
            for figure in jobs[script].output.svg:
                Path(figure).write_text("<svg/>")
            continue
        assert run_job(script, jobs[script]) == 0
        if script == "encode_shard":
            assert run_job(script, job_of(script, target.replace("train", "held_out"))) == 0
        if script == "latents":
            _pass_preflight()
    return SmallStudy(folder, jobs)


def _pass_preflight() -> None:
    """The record of a preflight that passed; three steps make no VAE that would."""
    record = f"{RESULTS}/preflight/preflight.json"
    settings = PreflightSettings.parse(job_of("preflight", record).params.settings)
    write_json(Path(record), {"passed": True, "checks": [], "settings_digest": settings.digest})
    for picture in ("pairs", "overfit_batch"):
        Path(record).with_name(f"{picture}.png").touch()


def write_inputs(folder: Path) -> None:
    """The config and forty images of two classes that differ in brightness."""
    (folder / "study.yaml").write_text(yaml.safe_dump(CONFIG, sort_keys=False))
    rng = np.random.default_rng(0)
    for label, name in enumerate(("dark", "light")):
        (folder / "images" / name).mkdir(parents=True)
        for number in range(20):
            pixels = rng.integers(100 * label, 100 * label + 100, size=(16, 16), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / "images" / name / f"{number:02d}.png")


def job_of(script: str, target: str | None = None) -> Any:
    """The `snakemake` object of the job of ``script`` that makes ``target``; the working directory is the study's."""
    from _mock import mock_snakemake

    return mock_snakemake(target or FIRST_OUTPUT[script], f"{script}.py", [Path("study.yaml")])


def run_job(script: str, job: Any = None) -> int:
    """Run ``script`` on ``job``, or on ``sys.argv`` without one; the exit code of it. Other exceptions pass."""
    given = {} if job is None else {"snakemake": job}
    with _logging_restored():
        try:
            runpy.run_path(str(SCRIPTS / f"{script}.py"), init_globals=given, run_name="__main__")
        except SystemExit as end:
            return int(end.code or 0)
    return 0


@contextmanager
def _logging_restored() -> Iterator[None]:
    """Jobs configure the root logger for a process of their own; here it goes back to pytest."""
    root = logging.getLogger()
    handlers, level, raising = root.handlers[:], root.level, logging.raiseExceptions
    try:
        yield
    finally:
        for handler in set(root.handlers) - set(handlers):
            with suppress(OSError):
                handler.close()
        root.handlers[:] = handlers
        root.setLevel(level)
        logging.raiseExceptions = raising
