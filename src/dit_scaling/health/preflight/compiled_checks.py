"""Does a compiled network learn as the plain one does?"""

import torch
from torch import Tensor

from dit_scaling.common.devices import matrix_products
from dit_scaling.config.stages import TrainSettings
from dit_scaling.diffusion.base import Process
from dit_scaling.health.check import Check, at_most
from dit_scaling.latents.reader import LatentReader
from dit_scaling.training.batches import BatchSource
from dit_scaling.training.initial import initial_model
from dit_scaling.training.step import TrainingStep

STEPS = 100
LAST = 50  # of them, whose losses are compared: by then a step that went elsewhere shows
BATCH = 32
BOUND = 0.01  # of the loss; bfloat16 in the place of float32 moves it by 0.002


def check_compiled(
    diffusion: Process, reader: LatentReader, probe: TrainSettings, precision: str, device: torch.device
) -> list[Check]:
    """Loss of the first hundred steps, compiled and not, from the same weights and batches.

    Args:
        diffusion: the study's process.
        reader: its latents.
        probe: the small network that preflight trains.
        precision: of the study's training.
        device: that trains.
    """
    settings = probe.with_recipe(batch_size=BATCH, precision=precision, compile=False)
    plain = _losses(diffusion, reader, settings, device)
    compiled = _losses(diffusion, reader, settings.with_recipe(compile=True), device)
    return [
        at_most(
            "compiled training learns as plain training does",
            float((compiled / plain - 1)[-LAST:].abs().mean()),
            BOUND,
            f"the compiler of torch {torch.__version__} makes another network of this one on this device: set "
            "training.compile to false, or take another torch (how far a small network's losses of steps "
            f"{STEPS - LAST + 1} to {STEPS} are from those of the plain one, on average)",
        )
    ]


def _losses(diffusion: Process, reader: LatentReader, settings: TrainSettings, device: torch.device) -> Tensor:
    """(STEPS,) loss of each step from the start."""
    batches = BatchSource(reader, settings, device)
    with matrix_products(settings.recipe.precision):
        take = TrainingStep(initial_model(settings).to(device).train(), settings.recipe, diffusion)
        return torch.stack([take(step, [batches.batch(step)])[0] for step in range(STEPS)]).cpu()
