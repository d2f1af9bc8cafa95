"""Are the batches of training what they should be: scale, labels, null class, mirrors, noise?"""

import math
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from dit_scaling.config.stages import TrainSettings
from dit_scaling.diffusion.process import create_diffusion
from dit_scaling.health.check import Check, at_least, margin_between, within
from dit_scaling.latents.reader import LatentReader
from dit_scaling.training.batches import BatchSource
from dit_scaling.training.order import EpochOrder
from dit_scaling.training.ranks import Ranks

SAMPLES = 2048
MAX_BATCHES = 256
TELLING = 8.0  # posterior deviations between an image and its mirror by which a draw tells them apart
SIGMAS = 5.0  # how far a share may lie from its expectation


@dataclass(frozen=True)
class Draws:
    """The first samples of a training run, and what is stored of the images they are of."""

    x0: Tensor
    """(N, C, H, W), as the loss gets them."""
    t: Tensor
    y: Tensor
    noise: Tensor
    indices: Tensor
    """(N,) images that the global order puts at these places."""
    labels: Tensor
    """(N,) stored labels of these images."""
    means: Tensor
    """(N, 2, C, H, W) stored posterior means of image and mirror, not scaled."""
    stds: Tensor
    """(N, 2, C, H, W) stored posterior standard deviations."""


def read_draws(reader: LatentReader, settings: TrainSettings) -> Draws:
    """The batches of the first steps, `SAMPLES` samples or a little more, put together from the shares of two ranks."""
    count = 2 if settings.recipe.batch_size % 2 == 0 else 1
    shares = [Ranks(rank, count).share(settings.recipe.batch_size) for rank in range(count)]
    sources = [BatchSource(reader, settings, torch.device("cpu"), share) for share in shares]
    steps = range(min(MAX_BATCHES, math.ceil(SAMPLES / settings.recipe.batch_size)))
    batches = [source.batch(step) for step in steps for source in sources]
    order = EpochOrder(reader.shard_counts, settings.seed, settings.recipe.shuffle_shards)
    indices = np.concatenate([order.indices(step, settings.recipe.batch_size) for step in steps])
    means, log_variances = torch.from_numpy(reader.moments(indices)).float().chunk(2, dim=2)
    return Draws(
        x0=torch.cat([batch.x0 for batch in batches]),
        t=torch.cat([batch.t for batch in batches]),
        y=torch.cat([batch.y for batch in batches]),
        noise=torch.cat([batch.noise for batch in batches]),
        indices=torch.from_numpy(indices),
        labels=torch.from_numpy(np.asarray(reader.labels[indices], dtype=np.int64)),
        means=means,
        stds=(0.5 * log_variances).exp(),
    )


def check_draws(draws: Draws, settings: TrainSettings, scaling_factor: float) -> list[Check]:
    """Every property of the batches that the recipe states; ``scaling_factor`` is the VAE's own."""
    distinct = len(torch.unique(draws.noise.flatten(1)[:, :8], dim=0))
    return [
        at_least(
            "noise of training differs",
            distinct / len(draws.noise),
            1.0,
            "samples, steps or ranks share their noise: a seed that leaves out the step or the rank",
        ),
        _check_images(draws, settings.recipe.batch_size),
        *_check_latents(draws, settings, scaling_factor),
        *_check_labels(draws, settings),
        *_check_noise(draws, settings),
    ]


def _check_images(draws: Draws, batch_size: int) -> Check:
    """Each latent of a batch against the stored means of all images of the batch, whatever it is scaled by."""
    own = 0
    columns = (column.split(batch_size) for column in (draws.x0, draws.means, draws.indices))
    for x0, means, indices in zip(*columns, strict=True):
        likeness = F.normalize(x0.flatten(1)) @ F.normalize(means.flatten(0, 1).flatten(1)).T  # (B, 2B)
        own += int((indices[likeness.argmax(dim=1) // 2] == indices).sum())
    return at_least(
        "images of the batches",
        own / len(draws.x0),
        0.9,
        "ranks or workers read the same images, or others than the epoch's order puts there (share of latents that are "
        "likest to their own image's)",
    )


def _check_latents(draws: Draws, settings: TrainSettings, scaling_factor: float) -> list[Check]:
    view = (draws.x0[:, None] - scaling_factor * draws.means).square().sum(dim=(2, 3, 4)).argmin(dim=1)
    mean = draws.means[torch.arange(len(view)), view]
    slope = float((draws.x0 * mean).sum() / mean.square().sum())
    centre, std = draws.x0.mean(dim=(0, 2, 3)), draws.x0.std(dim=(0, 2, 3))
    apart = (draws.means[:, 0] - draws.means[:, 1]).flatten(1).norm(dim=1)
    mirrored = view[apart > TELLING * draws.stds.flatten(1).square().mean(dim=1).sqrt()].float()
    checks = [
        within(
            "latent scale",
            slope / scaling_factor,
            0.97,
            1.03,
            "latents are not multiplied by the VAE's scaling factor exactly once before training (ratio to it)",
        ),
        Check(
            "latent means",
            ", ".join(f"{value:.3g}" for value in centre.tolist()),
            "each -1.5 to 1.5",
            bool((centre.abs() <= 1.5).all()),
            "a channel of the scaled latents is far from zero: another VAE's scaling factor, or a shift left out",
            margin_between(centre.tolist(), -1.5, 1.5),
        ),
        Check(
            "latent standard deviations",
            ", ".join(f"{value:.3g}" for value in std.tolist()),
            "each 0.3 to 3",
            bool(((std >= 0.3) & (std <= 3)).all()),
            "the scaling factor is applied twice or not at all, or is another VAE's: the noise schedule is made for "
            "latents of unit variance",
            margin_between(std.tolist(), 0.3, 3.0),
        ),
    ]
    if len(mirrored):
        share = 0.5 if settings.recipe.horizontal_flip else 0.0
        checks.append(
            _share("mirrored share", float(mirrored.mean()), share, len(mirrored), "training.horizontal_flip")
        )
    return checks


def _check_labels(draws: Draws, settings: TrainSettings) -> list[Check]:
    null = draws.y == settings.num_classes
    changed = draws.y != draws.labels
    strangers = changed & ~null
    outside = strangers & ((draws.y < 0) | (draws.y > settings.num_classes))
    rate = float(changed.float().mean())
    wrong = float(strangers.float().mean())
    dropped = "none" if settings.recipe.class_dropout_prob == 0 else f"{settings.num_classes}"
    used = sorted(set(draws.y[changed].tolist()))
    # Labels that were dropped to another class make up the dropout's share, all to one class; shuffled ones do not.
    shifted = wrong > 0 and len(used) == 1
    return [
        Check(
            "null class in training",
            ", ".join(map(str, used[:5])) + ("" if len(used) <= 5 else ", ...") or "none",
            dropped,
            not shifted and not bool(outside.any()),
            "dropped labels do not become the null class, whose number is that of classes: hard-coded for another "
            "data set, or off by one; guidance would push away from a real class",
        ),
        at_least(
            "labels of the batches",
            1.0 if shifted else 1 - wrong,
            1.0,
            "labels are shuffled against the latents on the way to the network",
        ),
        _share("class dropout", rate, settings.recipe.class_dropout_prob, len(draws.y), "training.class_dropout_prob"),
    ]


def _check_noise(draws: Draws, settings: TrainSettings) -> list[Check]:
    count = draws.noise.numel()
    process = create_diffusion(settings.diffusion)
    middle = process.share_of(float(draws.t.float().mean()))
    spread = SIGMAS * math.sqrt(1 / 12 / len(draws.t))
    return [
        within(
            "variance of the noise",
            float(draws.noise.square().mean()),
            1 - SIGMAS * math.sqrt(2 / count),
            1 + SIGMAS * math.sqrt(2 / count),
            "the noise of training is not standard normal",
        ),
        within(
            "timesteps of training",
            middle,
            0.5 - spread,
            0.5 + spread,
            "timesteps are not drawn as they should be (mean, as a share of the way to noise)",
        ),
    ]


def _share(name: str, value: float, expected: float, count: int, key: str) -> Check:
    reach = SIGMAS * math.sqrt(expected * (1 - expected) / count)
    return within(
        name,
        value,
        max(0.0, expected - reach),
        min(1.0, expected + reach),
        f"{key} does not do what it says: the share in the batches is another",
    )
