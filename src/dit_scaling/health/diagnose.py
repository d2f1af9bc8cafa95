"""Diagnose one checkpoint: a page that shows what it does, and a sentence that names the likeliest cause."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from dit_scaling.common.errors import UserError
from dit_scaling.config.stages import SampleSettings
from dit_scaling.diffusion.base import Process
from dit_scaling.diffusion.process import OBJECTIVES, create_diffusion
from dit_scaling.diffusion.samplers import SAMPLERS
from dit_scaling.health.check import Check, at_most, within
from dit_scaling.health.check_page import Page, Section, tabulate, write_page
from dit_scaling.health.closeness import share_like_data
from dit_scaling.health.denoising import (
    error_untrained,
    judged_timesteps,
    predict_x0,
    resampling_ratio,
    structureless_error,
    target_errors,
)
from dit_scaling.health.gates.run_checks import check_divergence, check_samples, resampling_check
from dit_scaling.health.pictures import Images, Picture, decodable, draw_samples, draw_trajectory, plausible
from dit_scaling.health.preflight.sampler_checks import check_sampler
from dit_scaling.latents.autoencoder import decode, encode_moments
from dit_scaling.latents.reader import LatentReader
from dit_scaling.models import Network
from dit_scaling.models.checkpoints import has_null_class, load_checkpoint, load_model
from dit_scaling.models.stored import Weights

if TYPE_CHECKING:
    from diffusers import AutoencoderKL

LATENTS = 64
SHOWN = 8
TRAJECTORIES = 4
STRONG_GUIDANCE = 4.0
JUDGED = 2  # place of the judged timestep where a trained network has learned much and variance alone explains little


@dataclass(frozen=True)
class Case:
    """The files of a diagnosis, and how they are read."""

    checkpoint: Path
    """EMA weights, in any file that ``load_model`` reads."""
    raw: Path | None
    """The raw weights of the same step, None where there are none."""
    vae: "AutoencoderKL"
    """Of its latents."""
    manifest: Path
    """Latents like those that it was trained on."""
    weights: Weights = "ema"
    """Which of a training checkpoint's."""
    num_classes: int | None = None
    """Without the null class, where the checkpoint leaves it open."""
    process: Mapping[str, str] = field(default_factory=dict)
    """What is known of the process beside the checkpoint, as of `load_checkpoint`."""


@dataclass(frozen=True)
class Subject:
    """What is diagnosed, and with what."""

    diffusion: Process
    """The process that the checkpoint says it reverses."""
    ema: Network
    raw: Network | None
    """The weights that ``ema`` averages, where they are at hand."""
    vae: "AutoencoderKL"
    reader: LatentReader


@dataclass(frozen=True)
class Diagnosis:
    """``cause`` is one sentence; ``found`` is "broken", "undertrained" or "no fault found"."""

    found: str
    cause: str
    checks: tuple[Check, ...]


def diagnose(case: Case, steps: int, page: Path) -> Diagnosis:
    """Measure a checkpoint, write ``page`` (HTML), and name the likeliest cause of bad samples.

    Args:
        case: the checkpoint and what belongs to it.
        steps: of the sampler.
        page: the page to write.

    Raises:
        UserError: a file is missing, checkpoint, latents and autoencoder do not fit together, or the model has no null
            class, with which some of the pictures are guided.
    """
    vae, checkpoint = case.vae, case.checkpoint
    ema, header = load_checkpoint(checkpoint, case.weights, case.num_classes, case.process)
    if not has_null_class(ema):
        raise UserError(f"{checkpoint} has no null class, and so cannot be guided, as a diagnosis does.")
    diffusion = create_diffusion(header.diffusion)
    raw = load_model(case.raw) if case.raw else None
    subject = Subject(diffusion, ema, raw, vae, LatentReader(case.manifest, "train"))
    settings = sample_settings(subject, steps)
    x0, labels = read_latents(subject.reader)
    samples = draw_samples(diffusion, ema, settings, LATENTS)
    channels = vae.config.in_channels
    noise = torch.randn(x0.shape, generator=torch.Generator().manual_seed(0))
    made, data, nothing = (decode(vae, some, SHOWN, channels) for some in (decodable(samples), x0, noise))
    ema_errors = target_errors(diffusion, ema, x0, labels)
    raw_errors = target_errors(diffusion, subject.raw, x0, labels) if subject.raw else None
    faults = (
        *check_latents(x0, data, vae),
        *(check for check in check_sampler(diffusion, settings) if not check.passed),
        *check_weights(diffusion, ema_errors, raw_errors, float(x0.var())),
        resampling_check(
            resampling_ratio(diffusion, ema, x0, labels, settings.sampler, steps), SAMPLERS[settings.sampler].stochastic
        ),
        check_divergence(float(plausible(samples).float().mean())),
    )
    like_data = check_samples(share_like_data(made, data, nothing))
    diagnosis = name_cause(faults, like_data)
    sections = (
        _show_samples(subject, settings, made, data, nothing, channels),
        _show_trajectory(subject, settings, channels),
        _show_predictions(subject, x0, labels, ema_errors, raw_errors, channels),
        _show_latents(x0, samples),
        _show_timesteps(diffusion, settings),
    )
    write_page(page, Page(f"Diagnosis of {checkpoint}", diagnosis.found, diagnosis.cause, diagnosis.checks, sections))
    return diagnosis


def name_cause(faults: Sequence[Check], like_data: Check) -> Diagnosis:
    """The first failed check, causes standing before their consequences; without one, the samples decide."""
    checks = (*faults, like_data)
    failed = [check for check in faults if not check.passed]
    if failed:
        first = failed[0]
        return Diagnosis(
            "broken", f"{first.name} is {first.value}, expected {first.expected}: {first.meaning}.", checks
        )
    near = f"the share of samples nearer to data than to decoded noise is {like_data.value}"
    if not like_data.passed:
        return Diagnosis(
            "undertrained",
            f"Nothing is broken that these checks can see, but {near}: train longer or a larger model.",
            checks,
        )
    return Diagnosis("no fault found", f"Nothing is broken that these checks can see, and {near}.", checks)


def sample_settings(subject: Subject, steps: int, guidance_scale: float = 1.0) -> SampleSettings:
    """The first sampler of the checkpoint's objective, the paper's for ddpm, in ``steps`` steps."""
    return SampleSettings(
        num_samples=LATENTS,
        parts=1,
        sampler=OBJECTIVES[subject.diffusion.settings.objective].samplers[0],
        steps=steps,
        guidance_scale=guidance_scale,
        guidance_channels=3,
        labels="balanced",
        seed=0,
        num_classes=subject.ema.num_classes,
        image_channels=subject.vae.config.in_channels,
        checkpoint="",
        diffusion=subject.diffusion.settings,
    )


def read_latents(reader: LatentReader) -> tuple[Tensor, Tensor]:
    """Scaled posterior means (N, C, h, w) of images spread over the split, and their labels (N,)."""
    chosen = np.unique(np.linspace(0, len(reader) - 1, LATENTS).astype(np.int64))
    mean, _ = torch.from_numpy(reader.moments(chosen)[:, 0]).float().chunk(2, dim=1)
    return mean * reader.manifest.scale, torch.from_numpy(reader.labels[chosen].astype(np.int64))


def check_latents(x0: Tensor, images: Images, vae: "AutoencoderKL") -> list[Check]:
    """Scale of the latents, and the way through the autoencoder and back."""
    mean, _ = np.split(encode_moments(vae, images), 2, axis=1)
    again = torch.from_numpy(mean) * vae.config.scaling_factor
    return [
        within(
            "standard deviation of the latents",
            float(x0.std()),
            0.5,
            2.0,
            "the latents' scale factor was applied twice or not at all",
        ),
        at_most(
            "VAE round trip of the latents",
            float((again - x0).square().mean() / x0.var()),
            0.5,
            "the autoencoder is not the one that made these latents, or is fed another range of pixels (squared error "
            "over the latents' variance)",
        ),
    ]


def check_weights(
    diffusion: Process, ema: dict[float, float], raw: dict[float, float] | None, variance: float
) -> list[Check]:
    """Does the network predict noise at all, and the average as well as the weights?"""
    judged, noisiest = judged_timesteps(diffusion)[JUDGED], judged_timesteps(diffusion)[-1]
    target = OBJECTIVES[diffusion.settings.objective].target
    nothing, structureless = (
        error_untrained(diffusion, noisiest, variance),
        structureless_error(diffusion, noisiest, variance),
    )
    checks = [
        at_most(
            f"EMA's {target} error at timestep {noisiest:g}",
            ema[noisiest],
            (nothing + structureless) / 2,
            f"the network predicts no {target}: weights that were never updated, an average that never moved, or its "
            "channels exchanged with those of the variance",
        ),
        at_most(
            f"EMA's {target} error at timestep {judged:g}",
            ema[judged],
            structureless_error(diffusion, judged, variance),
            "the network predicts no better than one that knows the latents' variance alone: hardly trained, trained "
            "on other latents, or fed other labels or timesteps than in training",
        ),
    ]
    if raw is not None:
        ratio = float(np.mean(list(ema.values())) / np.mean(list(raw.values())))
        # Ahead of the others: where the raw weights do better, the average is the cause.
        checks.insert(
            0,
            at_most(
                "EMA predicts like the weights",
                ratio,
                1.15,
                "the EMA is no average of the trained weights: never updated, begun at zero, or too slow for this run",
            ),
        )
    return checks


def _show_samples(
    subject: Subject, settings: SampleSettings, made: Images, data: Images, nothing: Images, channels: int
) -> Section:
    def sample(model: Network, scale: float) -> Images:
        latents = draw_samples(subject.diffusion, model, settings.model_copy(update={"guidance_scale": scale}), SHOWN)
        return decode(subject.vae, decodable(latents), SHOWN, channels)

    pictures = [Picture("EMA weights", made[:SHOWN], SHOWN)]
    if subject.raw is not None:
        pictures.append(Picture("raw weights", sample(subject.raw, 1.0), SHOWN))
    pictures += [
        Picture(f"EMA weights, guidance {STRONG_GUIDANCE:g}", sample(subject.ema, STRONG_GUIDANCE), SHOWN),
        Picture("latents of the data, decoded", data[:SHOWN], SHOWN),
        Picture("decoded noise", nothing[:SHOWN], SHOWN),
    ]
    return Section("Samples", "From the same noise and labels, without guidance and with it.", tuple(pictures))


def _show_trajectory(subject: Subject, settings: SampleSettings, channels: int) -> Section:
    timesteps, predicted = draw_trajectory(subject.diffusion, subject.ema, settings, TRAJECTORIES)
    images = [decode(subject.vae, decodable(row), TRAJECTORIES, channels) for row in predicted.transpose(0, 1)]
    picture = Picture(f"timesteps {', '.join(f'{t:g}' for t in timesteps)}", np.concatenate(images), len(timesteps))
    return Section(
        "Denoising trajectory", "The image predicted on the way from noise, a row for each sample.", (picture,)
    )


def _show_predictions(
    subject: Subject,
    x0: Tensor,
    labels: Tensor,
    ema: dict[float, float],
    raw: dict[float, float] | None,
    channels: int,
) -> Section:
    diffusion, timesteps = subject.diffusion, judged_timesteps(subject.diffusion)
    shown = [predict_x0(diffusion, subject.ema, x0[:SHOWN], labels[:SHOWN], t) for t in timesteps]
    picture = Picture(
        f"timesteps {', '.join(f'{t:g}' for t in timesteps)}, a row for each",
        np.concatenate([decode(subject.vae, decodable(some), SHOWN, channels) for some in shown]),
        SHOWN,
    )
    columns = {"EMA weights": list(ema.values()), "raw weights": list(raw.values()) if raw else None}
    known = {name: column for name, column in columns.items() if column}
    known["predicts nothing"] = [error_untrained(diffusion, t, float(x0.var())) for t in timesteps]
    known["variance alone"] = [structureless_error(diffusion, t, float(x0.var())) for t in timesteps]
    return Section(
        "One-step predictions",
        "Images predicted in one step from noised latents, and the mean squared error of the predicted "
        f"{OBJECTIVES[diffusion.settings.objective].target}, what one has that predicts nothing, and what the variance "
        "of the latents alone allows.",
        (picture,),
        tabulate(("timestep", *known), list(known.values()), [f"{t:g}" for t in timesteps]),
    )


def _show_latents(x0: Tensor, samples: Tensor) -> Section:
    moments = [some.transpose(0, 1).flatten(1) for some in (x0, samples)]  # (C, N*h*w) each
    columns = [[float(v) for v in statistic] for some in moments for statistic in (some.mean(1), some.std(1))]
    heads = ("channel", "data: mean", "data: deviation", "samples: mean", "samples: deviation")
    return Section(
        "Latents",
        "Mean and standard deviation of each channel after scaling: about 0 and 1.",
        numbers=tabulate(heads, columns, [str(channel) for channel in range(x0.shape[1])]),
    )


def _show_timesteps(diffusion: Process, settings: SampleSettings) -> Section:
    fed = diffusion.respaced(settings.steps, settings.sampler).timesteps.tolist()
    text = (
        f"The sampler feeds the network {len(fed)} of the timesteps it was trained with: "
        f"{', '.join(f'{t:g}' for t in (*fed[:4], *fed[-3:]))} (the first four and the last three)."
    )
    return Section("Timestep map", text)
