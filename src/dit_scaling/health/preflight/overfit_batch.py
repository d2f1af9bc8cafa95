"""Can training and sampling together give a handful of images back?"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dit_scaling.common.files import sha256_file, write_json
from dit_scaling.config.stages import SampleSettings, TrainSettings
from dit_scaling.diffusion.base import Process
from dit_scaling.diffusion.samplers import SAMPLERS
from dit_scaling.health.check import Check, at_least, at_most
from dit_scaling.health.preflight.batch_checks import Draws
from dit_scaling.latents.manifest import Manifest, Shard, Split, content_digest
from dit_scaling.latents.reader import LatentReader
from dit_scaling.latents.shards import LatentSample, write_shard
from dit_scaling.models.checkpoints import load_model
from dit_scaling.sampling.parts import sample_latents
from dit_scaling.sampling.sample_noise import SampleNoise
from dit_scaling.training.initial import initial_model
from dit_scaling.training.loop import train_to
from dit_scaling.training.runtime import Runtime

IMAGES = 4
STOPS = (250, 500, 1000)  # steps after which it is looked at; most networks need less than the last
BATCH = 32
SAMPLE_STEPS = 50
LARGE = 1000.0  # factor on queries and keys, whose products then pass 65,504, the largest number of float16
SHARP = -20.0  # log-variance of the posterior here: every draw is its mean


@dataclass(frozen=True)
class Overfitted:
    """A few latents, one per label, and what a network that saw nothing else makes of these labels: (K, C, h, w)."""

    latents: Tensor
    samples: Tensor
    labels: NDArray[np.int64]


def overfit_batch(
    diffusion: Process,
    reader: LatentReader,
    training: TrainSettings,
    sampling: SampleSettings,
    folder: Path,
    runtime: Runtime,
) -> Overfitted:
    """Train on one image of each of a few labels, export, load the EMA weights and sample the labels.

    Until the labels come back, at most to the last of ``STOPS``. All by the stages' own functions, so that whatever
    training and sampling disagree on shows.
    """
    labels, first = np.unique(reader.labels, return_index=True)
    labels, chosen = labels[:IMAGES], first[:IMAGES]
    moments = reader.moments(chosen)
    mean, log_variance = np.split(moments, 2, axis=2)  # views
    log_variance[:] = SHARP
    mean[:, 1] = mean[:, 0]
    manifest = _write_latents(folder, moments, labels, reader)
    settings = training.with_recipe(batch_size=BATCH, ema_decay=0.99, ema_ramp=True, class_dropout_prob=0.0)
    steps = SAMPLERS[sampling.sampler].feasible_steps(diffusion.settings, SAMPLE_STEPS)
    plain = sampling.model_copy(update={"guidance_scale": 1.0, "steps": steps})
    shape = (training.in_channels, training.input_size, training.input_size)
    means = torch.from_numpy(moments[:, 0]).float().chunk(2, dim=1)[0] * reader.manifest.scale

    def sample_after(step: int) -> Overfitted:
        export = train_to(settings, manifest, step, folder / "states", runtime).export_path(step, "ema.safetensors")
        model = load_model(export).to(runtime.device)
        noise = SampleNoise(sampling.seed, np.arange(len(labels)), shape, runtime.device)
        samples = sample_latents(diffusion, model, plain, noise, torch.from_numpy(labels).to(runtime.device)).cpu()
        return Overfitted(means, samples, labels)

    for stop in STOPS:
        batch = sample_after(stop)
        if check_overfitted(batch).passed:
            break
    return batch


def check_overfitted(batch: Overfitted) -> Check:
    """Distance of each sample from its latent, against the latents' own size."""
    error = (batch.samples - batch.latents).square().mean(dim=(1, 2, 3)).sqrt()
    size = batch.latents.square().mean(dim=(1, 2, 3)).sqrt()
    return at_most(
        "an overfitted batch comes back",
        float((error / size).max()),
        0.6,
        "a network trained on a few images only does not give them back: training and sampling disagree on timesteps, "
        "channels, scale, labels or weights (largest error as a share of the latent's size)",
    )


def check_precision(diffusion: Process, draws: Draws, settings: TrainSettings, device: torch.device) -> list[Check]:
    """Loss and gradient of one step in bfloat16 autocast against float32, of a network moved off its zeros.

    Then its output with attention as large as long runs can make it.
    """
    model = initial_model(settings).to(device)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_((0.05 * torch.randn(weight.shape, generator=generator)).to(device))
    x0, t, y, noise = (column[:BATCH].to(device) for column in (draws.x0, draws.t, draws.y, draws.noise))
    losses, gradients = [], []
    for enabled in (False, True):
        model.zero_grad()
        with torch.autocast(device.type, torch.bfloat16, enabled=enabled):
            loss = diffusion.training_losses(model, x0, t.cpu(), y.clamp(0, settings.num_classes), noise)
        losses.append(loss["loss"].mean())
        losses[-1].backward()
        gradients.append(torch.cat([weight.grad.flatten() for weight in model.parameters() if weight.grad is not None]))
    exact, rounded = (loss.item() for loss in losses)
    with torch.no_grad(), torch.autocast(device.type, torch.bfloat16):
        for name, weight in model.named_parameters():
            weight.mul_(LARGE if ".qkv." in name else 1.0)
        output = model(x0, t.to(device), y.clamp(0, settings.num_classes))
    meaning = "mixed precision changes what is computed, not only its rounding: set training.precision to float32"
    return [
        at_most("loss in bfloat16", abs(rounded / exact - 1), 0.02, meaning),
        at_least(
            "gradient in bfloat16", float(torch.cosine_similarity(gradients[0], gradients[1], dim=0)), 0.99, meaning
        ),
        at_least(
            "large attention is finite",
            float(output.isfinite().float().mean()),
            1.0,
            "attention overflows: it is computed in float16, whose largest number is 65,504, and not in bfloat16 or "
            "float32; the loss becomes NaN once the products of queries and keys have grown",
        ),
    ]


def _write_latents(folder: Path, moments: NDArray[np.float16], labels: NDArray[np.int64], of: LatentReader) -> Path:
    """One shard of these moments (K, 2, 2C, h, w), and its manifest."""

    def samples() -> Iterator[LatentSample]:
        for index, (moment, label) in enumerate(zip(moments, labels.tolist(), strict=True)):
            yield LatentSample(index, moment, label, str(index))

    shard = folder / "train-00000.tar"
    write_shard(shard, samples())
    split = Split(
        shards=(Shard(file=shard.name, sha256=sha256_file(shard), count=len(labels)),),
        count=len(labels),
        label_histogram=tuple(np.bincount(labels).tolist()),
        channel_mean=(0.0,) * (moments.shape[2] // 2),
        channel_std=(1.0,) * (moments.shape[2] // 2),
    )
    fields = of.manifest.model_dump() | {"splits": {"train": split}, "settings_digest": "preflight"}
    fields["content"] = content_digest({"train": split}, of.manifest.scale)
    path = folder / "manifest.json"
    write_json(path, Manifest.model_validate(fields).model_dump(mode="json"))
    return path
