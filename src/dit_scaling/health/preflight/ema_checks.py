"""Does the average of the weights average them?"""

import itertools
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from dit_scaling.config.plausibility import ema_share_left
from dit_scaling.config.stages import TrainSettings
from dit_scaling.health.check import Check, at_least, at_most
from dit_scaling.training.ema import ema_decay_at, update_ema
from dit_scaling.training.loop import train_to
from dit_scaling.training.runtime import Runtime

UPDATES = 1000
RAMP_DECAY = 0.99
REAL_DECAY = 0.9  # of the real steps: strong enough to see each of them in float32
REAL_STEPS = 3


def check_formula(decay: float, ramp: bool) -> list[Check]:
    """Constant and linearly growing weights, whose averages are known in closed form."""
    average = torch.zeros(1, dtype=torch.float64)
    constant, growing = torch.ones(1, dtype=torch.float64), torch.zeros(1, dtype=torch.float64)
    for step in range(1, UPDATES + 1):
        update_ema(average, constant, ema_decay_at(step, decay, ramp))
        update_ema(growing, torch.tensor([float(step)], dtype=torch.float64), RAMP_DECAY)
    left = ema_share_left(UPDATES, decay, ramp)
    lag = RAMP_DECAY * (1 - RAMP_DECAY**UPDATES) / (1 - RAMP_DECAY)
    meaning = "the EMA's update or its decay are not those of the config"
    return [
        at_most("EMA of a constant", abs(float(average) - (1 - left)), 1e-9, meaning),
        at_most("EMA of a ramp", abs(float(growing) - (UPDATES - lag)), 1e-6, meaning),
    ]


def check_real_steps(settings: TrainSettings, manifest: Path, states: Path, runtime: Runtime) -> list[Check]:
    """A few steps of the real loop, exported and continued at each, against average = d average + (1 - d) weights."""
    settings = settings.with_recipe(ema_decay=REAL_DECAY, ema_ramp=False)
    raw, ema = [], []
    for step in range(1, REAL_STEPS + 1):
        folder = train_to(settings, manifest, step, states, runtime)
        raw.append(_load(folder.export_path(step, "raw.safetensors")))
        ema.append(_load(folder.export_path(step, "ema.safetensors")))
    moved = [float((later - earlier).norm()) for earlier, later in itertools.pairwise(ema)]
    step_size = float((raw[-1] - raw[0]).norm())
    away = [
        float((new - (REAL_DECAY * old + (1 - REAL_DECAY) * weights)).norm()) / step_size
        for old, new, weights in zip(ema[:-1], ema[1:], raw[1:], strict=True)
    ]
    return [
        at_most(
            "EMA starts from the weights",
            float((ema[0] - raw[0]).norm() / raw[0].norm()),
            0.5,
            "the EMA starts from zero in place of the initial weights, or is started anew by every job (its distance "
            "from the weights after one step, as a share of their norm)",
        ),
        at_least(
            "EMA moves",
            min(moved) / step_size,
            1e-3,
            "the EMA is never updated: its network keeps the zero final layer and predicts no noise, so that every "
            "sample is noise while the loss is healthy (its motion per step, as a share of the weights')",
        ),
        at_most(
            "EMA follows the weights",
            max(away),
            1e-3,
            "the EMA is not d times itself plus (1 - d) times the weights after every step, or is lost when training "
            "resumes from a saved state",
        ),
    ]


def _load(path: Path) -> Tensor:
    """All weights of an export as one vector, in float64."""
    return torch.cat([tensor.double().flatten() for _, tensor in sorted(load_file(path).items())])
