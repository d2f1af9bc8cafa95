"""The gate stage: one look at one run at one step, its record and its page."""

import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch

from dit_scaling.common.files import read_json_lines, write_json
from dit_scaling.config.stages import GateSettings
from dit_scaling.diffusion.base import Process
from dit_scaling.diffusion.process import OBJECTIVES, create_diffusion
from dit_scaling.diffusion.samplers import SAMPLERS
from dit_scaling.health.check import Check
from dit_scaling.health.check_page import Page, Section, tabulate, write_page
from dit_scaling.health.closeness import share_like_data
from dit_scaling.health.denoising import (
    error_untrained,
    mean_error_untrained,
    mean_structureless_error,
    resampling_ratio,
    structureless_error,
    target_errors,
)
from dit_scaling.health.gates.gate_verdict import GateVerdict, judge
from dit_scaling.health.gates.loss_curve import draw_loss
from dit_scaling.health.gates.overfitting import Fitted, check_overfitting, measure_fit
from dit_scaling.health.gates.run_checks import (
    Predictions,
    check_divergence,
    check_ema,
    check_landmarks,
    check_log,
    check_progress,
    check_samples,
    published_losses,
    resampling_check,
)
from dit_scaling.health.pictures import Images, Picture, decodable, draw_samples, plausible
from dit_scaling.health.weights import Drift, measure_drift
from dit_scaling.latents.autoencoder import decode, open_vae
from dit_scaling.latents.reader import LatentReader
from dit_scaling.models.checkpoints import load_model
from dit_scaling.training.batches import BatchSource
from dit_scaling.training.initial import initial_model

REPORT = "../../../report.html"
"""The study's report, seen from a gate's page in VARIANT/seed-N/step-N."""
SAMPLES = 64
SHOWN = 16
LINES = 12
FEWEST_LINES = 10  # a tenth of which is one

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class GateFiles:
    """What a gate reads: a checkpoint's two sets of weights and log, the latents, and the autoencoder's record."""

    raw: Path
    ema: Path
    log: Path
    manifest: Path
    vae: Path


@dataclass(frozen=True)
class Seen:
    """What a gate saw."""

    predictions: Predictions
    drift: Drift
    lines: list[dict[str, float]]
    variance: float
    """Of the scaled latents."""
    by_variance: float
    """Error of the target that this variance alone allows, averaged over the times of training."""
    untrained: float
    """The same of a network that predicts nothing."""
    plausible: float
    """Share of the sampled numbers that could be latents."""
    made: Images
    data: Images
    nothing: Images
    fitted: Fitted | None
    """Losses on training and held-out images; None where none are held out."""

    @property
    def shown_lines(self) -> list[dict[str, float]]:
        """At most LINES of the log, evenly spread, the last among them."""
        return [self.lines[round(i)] for i in np.linspace(0, len(self.lines) - 1, min(LINES, len(self.lines)))]


@dataclass(frozen=True)
class Gate:
    """What a gate found, and the samples (N, H, W, C) that it shows."""

    verdict: GateVerdict
    checks: tuple[Check, ...]
    samples: Images


def run_gate(settings: GateSettings, files: GateFiles, record: Path, page: Path, device: torch.device) -> Gate:
    """Judge one run at ``settings.step``; write ``record`` (JSON) and ``page`` (HTML).

    Raises:
        UserError: a file is missing or not what it should be. A broken run raises nothing: it is a verdict.
    """
    training = settings.training
    diffusion = create_diffusion(training.diffusion)
    seen = look(settings, diffusion, files, device)
    faults = [
        *check_log(seen.lines, seen.by_variance, seen.untrained),
        *check_landmarks(training, seen.lines),
        *check_ema(training, settings.step, seen.drift, seen.predictions),
        resampling_check(seen.predictions.resampling, SAMPLERS[settings.sampling.sampler].stochastic),
        check_divergence(seen.plausible),
    ]
    enough = [check_samples(share_like_data(seen.made, seen.data, seen.nothing))]
    if settings.step >= settings.budget and len(seen.lines) >= FEWEST_LINES:
        enough.append(check_progress(seen.lines))
    named = [check_overfitting(seen.fitted)] if seen.fitted else []
    verdict = judge(faults, enough, settings.step, settings.budget, named)
    log.info("%s seed %d step %d: %s", training.variant.name, training.seed, settings.step, verdict.status)
    checks = (*faults, *enough, *named)
    write_page(page, _describe(settings, diffusion, verdict, checks, seen))
    write_json(
        record,
        {
            "status": verdict.status,
            "reason": verdict.reason,
            "variant": training.variant.name,
            "seed": training.seed,
            "step": settings.step,
            "checks": [asdict(check) for check in checks],
            "drift": asdict(seen.drift),
            f"{OBJECTIVES[training.diffusion.objective].target} errors": {
                name: {f"{t:g}": f"{error:.4g}" for t, error in errors.items()}
                for name, errors in (("raw", seen.predictions.raw), ("ema", seen.predictions.ema))
            },
            "page": page.name,
            "settings_digest": settings.digest,
        },
    )
    return Gate(verdict, checks, seen.made[:SHOWN])


def look(settings: GateSettings, diffusion: Process, files: GateFiles, device: torch.device) -> Seen:
    """Measure predictions, drift and samples of one checkpoint."""
    training = settings.training
    raw, ema = (load_model(path).to(device) for path in (files.raw, files.ema))
    vae = open_vae(files.vae).to(device)
    # The product's own batches, of another size: clean latents with the labels they are trained with.
    whole = training.with_recipe(batch_size=SAMPLES, class_dropout_prob=0.0)
    source = BatchSource(LatentReader(files.manifest, "train"), whole, device)
    batch = source.batch(0)
    variance = float(batch.x0.var())
    latents = draw_samples(diffusion, ema, settings.sampling, SAMPLES)
    noise = torch.randn(batch.x0.shape, generator=torch.Generator().manual_seed(0)).to(device)
    made, data, nothing = (
        decode(vae, some, SHOWN, settings.sampling.image_channels) for some in (decodable(latents), batch.x0, noise)
    )
    return Seen(
        Predictions(
            raw=target_errors(diffusion, raw, batch.x0, batch.y),
            ema=target_errors(diffusion, ema, batch.x0, batch.y),
            resampling=resampling_ratio(
                diffusion, raw, batch.x0, batch.y, settings.sampling.sampler, settings.sampling.steps
            ),
        ),
        measure_drift(initial_model(training), raw, ema),
        read_json_lines(files.log),
        variance,
        mean_structureless_error(diffusion, variance),
        mean_error_untrained(diffusion, variance),
        float(plausible(latents).float().mean()),
        made,
        data,
        nothing,
        measure_fit(files.manifest, diffusion, ema, device),
    )


def _describe(
    settings: GateSettings, diffusion: Process, verdict: GateVerdict, checks: Sequence[Check], seen: Seen
) -> Page:
    """The page: samples first, then predictions, then the loss."""
    training, errors = settings.training, seen.predictions
    target = OBJECTIVES[training.diffusion.objective].target
    timesteps = [f"{t:g}" for t in errors.raw]
    nothing = [error_untrained(diffusion, t, seen.variance) for t in errors.raw]
    columns = SHOWN // 2
    return Page(
        title=f"{training.variant.name}, seed {training.seed}: gate at step {settings.step:,} of {settings.budget:,}",
        status=verdict.status,
        verdict=verdict.reason,
        checks=tuple(checks),
        report=REPORT,
        sections=(
            Section(
                "Samples",
                "The study's sampler with EMA weights, beside images of the data and decoded noise.",
                pictures=tuple(
                    Picture(title, images[:SHOWN], columns)
                    for title, images in (("samples", seen.made), ("data", seen.data), ("decoded noise", seen.nothing))
                ),
            ),
            Section(
                "One-step predictions",
                f"Mean squared error of the predicted {target} by timestep, what one has that predicts nothing, and "
                "what the variance of the latents alone allows.",
                numbers=tabulate(
                    ("timestep", "raw weights", "EMA weights", "predicts nothing", "variance alone"),
                    (
                        list(errors.raw.values()),
                        list(errors.ema.values()),
                        nothing,
                        [structureless_error(diffusion, t, seen.variance) for t in errors.raw],
                    ),
                    timesteps,
                ),
            ),
            Section(
                "Loss",
                "Means of the training log's windows, from the first to the last, beside what they are judged by."
                if seen.lines
                else "The run ended before the first line of its log.",
                numbers=tabulate(
                    ("step", "loss", f"{target} error", "gradient norm"),
                    [[line[name] for line in seen.shown_lines] for name in ("loss", "mse", "gradient_norm")],
                    [f"{line['step']:,}" for line in seen.shown_lines],
                )
                if seen.lines
                else None,
                chart=draw_loss(seen.lines, published_losses(training), seen.by_variance, target),
            ),
        ),
    )
