"""What a gate looks at: the training log, the weights, their predictions, and a few samples."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from dit_scaling.config.plausibility import ema_share_left
from dit_scaling.config.stages import TrainSettings
from dit_scaling.data import imagenet
from dit_scaling.diffusion.process import PAPER_PROCESS
from dit_scaling.health.check import Check, at_least, at_most, within
from dit_scaling.health.weights import Drift
from dit_scaling.paper.published import landmarks

SETTLED = 200  # steps after which a healthy loss is below what the variance alone explains, or falls towards it
FALLING = 0.95  # share of the target's error in the second quarter of the steps, or of one that predicts nothing
SLOW = 0.55  # share of the first tenth's error that the second half has; see `check_progress`
FORGOTTEN = 0.01  # share of the initial weights in the EMA under which it has to be as good as the raw weights


@dataclass(frozen=True)
class Predictions:
    """Errors of the predicted target by timestep, and of the sampler beside its own one-step prediction."""

    raw: Mapping[float, float]
    ema: Mapping[float, float]
    resampling: float


def check_log(lines: Sequence[Mapping[str, float]], by_variance: float, untrained: float = 1.0) -> list[Check]:
    """Loss and gradient norm of the latest steps, against what is known in advance and against their own past.

    Args:
        lines: of metrics.jsonl, each the mean of a window of steps.
        by_variance: error of the target that the variance of the scaled latents alone allows.
        untrained: error of a network that predicts nothing; 1 where the target is the noise.
    """
    if not lines:
        return []
    last, past = lines[-max(1, len(lines) // 10) :], lines
    error = statistics.mean(line["mse"] for line in last)
    best = min(line["loss"] for line in past)
    loss = statistics.mean(line["loss"] for line in last)
    norm = statistics.mean(line["gradient_norm"] for line in last)
    typical = statistics.median(line["gradient_norm"] for line in past)
    checks = [
        at_most(
            "loss against its past",
            loss / best,
            1.5,
            "training diverges: the learning rate is too high, or the arithmetic overflows",
        ),
        at_most(
            "gradient norm against its past",
            norm / typical,
            10.0,
            "training diverges: the learning rate is too high, or a batch holds values that are no latents",
        ),
    ]
    if lines[-1]["step"] >= SETTLED:
        before = statistics.mean(line["mse"] for line in past[len(past) // 4 : len(past) // 2])
        checks.append(
            at_most(
                "loss against the latents' variance",
                error,
                max(by_variance, FALLING * min(before, untrained)),
                "the network predicts no better than one that knows the latents' variance alone, and does not learn: "
                "the learning rate is far too high or too low, or inputs and targets do not belong together",
            )
        )
    return checks


def published_losses(settings: TrainSettings) -> pd.DataFrame:
    """Losses of healthy runs on latents like these: variant, steps, loss; none but for ImageNet's at 256x256."""
    known = landmarks()
    alike = (settings.input_size, settings.in_channels, settings.num_classes) == (32, 4, imagenet.CLASSES)
    return known if alike and settings.diffusion == PAPER_PROCESS else known.head(0)


def check_landmarks(settings: TrainSettings, lines: Sequence[Mapping[str, float]]) -> list[Check]:
    """The latest loss against that of healthy runs, where the latents are ImageNet's at 256x256."""
    known = published_losses(settings)
    if known.empty or not lines or lines[-1]["step"] < known.steps.min():
        return []
    return [
        within(
            "loss against published runs",
            statistics.mean(line["loss"] for line in lines[-max(1, len(lines) // 10) :]),
            0.75 * known.loss.min(),
            1.3 * known.loss.max(),
            "the latents are not on the paper's scale (scale factor applied twice, or not at all), or training does "
            f"not work: healthy runs are at {known.loss.min():g} to {known.loss.max():g} from step "
            f"{known.steps.min():,} on",
        )
    ]


def check_ema(settings: TrainSettings, step: int, drift: Drift, predictions: Predictions) -> list[Check]:
    """The average against its start, the raw weights, and their predictions."""
    left = ema_share_left(step, settings.recipe.ema_decay, settings.recipe.ema_ramp)
    checks = [
        at_least(
            "EMA moved from its start",
            drift.ema,
            min(0.5, (1 - left) / 4) if left < 1 else 1e-6,
            "the EMA is hardly ever updated: its network still has the zero final layer and predicts no noise, so that "
            "every sample is noise while the loss is healthy (distance from the start, as a share of the raw weights')",
        ),
        at_least(
            "EMA on the scale of the weights",
            drift.scale,
            0.5 if left < FORGOTTEN else 0.25,
            "the EMA began at zero, or began anew, in place of a copy of the weights",
        ),
    ]
    if left < FORGOTTEN:
        raw, ema = statistics.mean(predictions.raw.values()), statistics.mean(predictions.ema.values())
        checks.append(
            at_most(
                "EMA predicts like the weights",
                ema / raw,
                1.3,
                "the EMA is not an average of the weights that were trained: they predict, it does not",
            )
        )
    return checks


def resampling_check(ratio: float, stochastic: bool) -> Check:
    """The error of a sampler, ``stochastic`` or not, beside that of a single prediction, see `resampling_ratio`."""
    return within(
        "sampling against one-step prediction",
        ratio,
        1.2 if stochastic else 0.9,
        3.0,
        "the network predicts well, but the sampler makes something else of it: other timesteps than in training, "
        "clipped latents, or a wrong variance (error after sampling from a noised latent, over that of one "
        f"prediction; exact {'sampling gives 2' if stochastic else 'solving of the ODE gives 1 to 2'})",
    )


def check_divergence(plausible: float) -> Check:
    """Whether the sampled latents are latents at all; what is left of others cannot be decoded."""
    return at_least(
        "sampled latents are finite",
        plausible,
        1.0,
        "sampling diverges: the weights have exploded, by a learning rate that is too high or an overflow, or the "
        "sampler is not one of the trained process (share of numbers that are finite and no thousand standard "
        "deviations away)",
    )


def check_progress(lines: Sequence[Mapping[str, float]]) -> Check:
    """Not a fault by itself: the loss of a run whose budget is too short still falls fast.

    On the digits, at rates from 2e-3 to 8e-3, runs of 10,000 steps were at 0.64 or more and, stopped after a tenth of
    these, at 0.48 or less.

    Args:
        lines: of metrics.jsonl, ten or more.
    """
    early, late = lines[: len(lines) // 10], lines[len(lines) // 2 :]
    first, last = (statistics.mean(line["mse"] for line in some) for some in (early, late))
    return at_least(
        "learning has slowed down",
        last / first,
        SLOW,
        "the budget ends while the run still learns fast (error of the second half of its steps, over that of the "
        "first tenth)",
    )


def check_samples(like_data: float) -> Check:
    """Not a fault by itself: a run that has not trained for long fails it too."""
    return at_least(
        "samples like data",
        like_data,
        0.8,
        "samples are not told apart from decoded noise (share of samples nearer to data than to decoded noise)",
    )
