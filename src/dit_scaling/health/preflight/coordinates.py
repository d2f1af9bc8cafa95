"""muP's coordinate check: what a few steps make of a network's outputs does not depend on its width."""

import torch

from dit_scaling.config.recipe import Recipe
from dit_scaling.config.stages import PreflightSettings
from dit_scaling.diffusion.process import AnyProcess, create_diffusion
from dit_scaling.health.check import Check, within
from dit_scaling.models import DiT
from dit_scaling.models.mup import scale_initialisation
from dit_scaling.training.batches import Batch
from dit_scaling.training.step import TrainingStep
from dit_scaling.variants import Variant

BASE = 32
WIDTHS = (32, 64, 128, 256)
HEAD_WIDTH = 16
STEPS, SAMPLES, RATE = 4, 16, 5.0e-4
LIMIT = 0.25  # a power of the width; without muP it is 0.8


def check_coordinates(settings: PreflightSettings) -> list[Check]:
    """How the size of the outputs after a few steps grows with the width, by the study's parametrisation."""
    shape = (settings.in_channels, settings.input_size, settings.input_size)
    sizes = [output_size(width, settings.recipe.parametrisation, settings.diffusion, shape) for width in WIDTHS]
    return [
        within(
            "growth of outputs with the width",
            growth(sizes),
            -LIMIT,
            LIMIT,
            "rates or initial weights are not muP's: the size of outputs after some steps follows a power of the "
            "width, so that no one rate is right for all widths (the power, over widths "
            f"{', '.join(map(str, WIDTHS))}: {', '.join(f'{size:.3g}' for size in sizes)})",
        )
    ]


def growth(sizes: list[float]) -> float:
    """The power of the width that sizes at ``WIDTHS`` follow: the slope of a line through their logarithms."""
    x = torch.tensor(WIDTHS, dtype=torch.float64).log()
    y = torch.tensor(sizes, dtype=torch.float64).log()
    return float(((x - x.mean()) * (y - y.mean())).sum() / (x - x.mean()).square().sum())


def output_size(width: int, parametrisation: str, process: AnyProcess, shape: tuple[int, int, int]) -> float:
    """Root mean square of a DiT's predictions after ``STEPS`` steps on one batch of noise for latents."""
    generator = torch.Generator().manual_seed(0)
    diffusion = create_diffusion(process)
    patch = 2 if shape[1] % 2 == 0 else 1
    variant = Variant(size="Probe", patch=patch, depth=2, hidden_size=width, num_heads=width // HEAD_WIDTH)
    torch.manual_seed(0)
    model = DiT(variant, shape[1], 1, shape[0])
    if parametrisation == "mup":
        scale_initialisation(model, BASE)
    batch = Batch(
        x0=torch.randn((SAMPLES, *shape), generator=generator),
        t=diffusion.draw_times(SAMPLES, generator),
        y=torch.zeros(SAMPLES, dtype=torch.long),
        noise=torch.randn((SAMPLES, *shape), generator=generator),
    )
    recipe = Recipe.model_validate(
        {"learning_rate": RATE, "batch_size": SAMPLES, "parametrisation": parametrisation, "mup_base_width": BASE}
    )
    step = TrainingStep(model, recipe, diffusion)
    for number in range(STEPS):
        step(number, [batch])
    with torch.no_grad():
        output = model(batch.noise, batch.t, batch.y)[:, : shape[0]]
    return float(output.square().mean().sqrt())
