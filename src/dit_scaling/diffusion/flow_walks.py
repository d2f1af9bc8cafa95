"""Walks of flow matching from noise, time 0, to data, time 1, along the predicted velocity; no torch import.

For the linear path x_t = t x_0 + (1 - t) eps the velocity v is x_0 - eps, so x_0 = x + (1 - t) v and eps = x - t v
(SiT, arXiv 2401.08740, whose times these are).
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import TYPE_CHECKING

from dit_scaling.common.errors import UserError
from dit_scaling.diffusion.walk import Step, Way

if TYPE_CHECKING:
    from torch import Tensor

    from dit_scaling.diffusion.denoiser import Prediction, StepNoise
    from dit_scaling.diffusion.process import AnyProcess


def even_times(_process: AnyProcess, num_steps: int) -> tuple[float, ...]:
    """(n - 1)/n, ..., 1/n, 0: where steps of equal length start, the least noisy first.

    Raises:
        UserError: ``num_steps`` is less than 2.
    """
    if num_steps < 2:
        raise UserError(f"cannot sample in {num_steps} steps: choose 2 or more.")
    return tuple(1 - step / num_steps for step in range(1, num_steps + 1))


def euler(way: Way, predict: Prediction, x: Tensor, y: Tensor, _step_noise: StepNoise) -> Iterator[Step]:
    """First order: x + h v."""
    for now, then in _intervals(way):
        v = velocity(predict, x, now, y)
        pred_x0 = x + (1 - now) * v
        x = x + (then - now) * v
        yield Step(now, pred_x0, x)


def heun(way: Way, predict: Prediction, x: Tensor, y: Tensor, _step_noise: StepNoise) -> Iterator[Step]:
    """Second order: the mean of the velocities at both ends of a step; the last step is Euler's.

    So the network is never fed time 1, where nothing is left to predict: 2n - 1 evaluations in n steps.
    """
    for now, then in _intervals(way):
        v = velocity(predict, x, now, y)
        pred_x0 = x + (1 - now) * v
        ahead = x + (then - now) * v
        x = ahead if then == 1 else x + (then - now) / 2 * (v + velocity(predict, ahead, then, y))
        yield Step(now, pred_x0, x)


def euler_maruyama(way: Way, predict: Prediction, x: Tensor, y: Tensor, step_noise: StepNoise) -> Iterator[Step]:
    """SiT's reverse SDE, dx = (v + w s) dt + sqrt(2 w) dW, with w = 1 - t, their default, and the score s = -eps / w.

    The last step adds no noise and leads to the x_0 predicted there.
    """
    for now, then in _intervals(way):
        v = velocity(predict, x, now, y)
        pred_x0 = x + (1 - now) * v
        if then == 1:
            x = pred_x0
        else:
            drift = v - (x - now * v)
            x = x + (then - now) * drift + (2 * (1 - now) * (then - now)) ** 0.5 * step_noise()
        yield Step(now, pred_x0, x)


def _intervals(way: Way) -> Iterator[tuple[float, float]]:
    """Start and end of each step, from the noisiest on."""
    return pairwise((*reversed(way.timesteps.tolist()), 1.0))


def velocity(predict: Prediction, x: Tensor, time: float, y: Tensor) -> Tensor:
    """The first half of the network's channels; the other half, of networks as DiT's, is unused."""
    return predict(x, x.new_full(y.shape, time), y)[:, : x.shape[1]]
