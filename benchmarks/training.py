"""A training step in float32: forward, loss, backward, AdamW and EMA.

Beside diffusers' transformer with its scheduler's noise and the loss of its training scripts (the squared error alone,
less work than our hybrid loss), fused AdamW and its foreach EMA; beside a matrix product of as many operations; and, at
the embedded sizes, beside the same model in plain eager PyTorch. Both sides train on one batch that stays. Ours and
diffusers' are compiled where a C++ compiler is found; ours at the embedded sizes also as the study trains, eagerly.
"""

import torch
import torch.nn.functional as F

from benchmarks.models import diffusers_model, embedded_model, paper_model
from benchmarks.row import Outcome, Row, Setting, Side, at_least, equal_within, nothing_in_common, timed
from dit_scaling.config.recipe import Recipe
from dit_scaling.diffusion.process import PAPER_PROCESS, create_diffusion
from dit_scaling.models import DiT, count_gflops
from dit_scaling.models.compiling import compiler_found
from dit_scaling.training.batches import Batch
from dit_scaling.training.step import TrainingStep

BATCH = 8
BATCH_OF_GEMM = 32  # nearer to the paper's 256, whose optimiser is a smaller share of a step
GEMM_SIDE = 2048
CPU = torch.device("cpu")
EAGER = Recipe()
DIFFUSION = create_diffusion(PAPER_PROCESS)
RECIPE = Recipe(compile=compiler_found())


def draw_batch(model: DiT, size: int) -> Batch:
    """Random latents; no timestep is 0, whose loss has a term of its own."""
    rng = torch.Generator().manual_seed(1)
    shape = (size, model.in_channels, model.input_size, model.input_size)
    return Batch(
        x0=torch.randn(shape, generator=rng),
        t=torch.randint(1, DIFFUSION.num_timesteps, (size,), generator=rng),
        y=torch.randint(model.num_classes, (size,), generator=rng),
        noise=torch.randn(shape, generator=rng),
    )


def our_step(model: DiT, size: int, recipe: Recipe = RECIPE) -> Side:
    """The step of `dit_scaling.training`; the first error as outcome."""
    batch, errors = draw_batch(model, size), list[float]()
    step = TrainingStep(model.train(), recipe, DIFFUSION)

    def run() -> None:
        errors.append(step(len(errors), [batch])[1].item())

    return timed(run, lambda: {"squared error before the first step": errors[0]})


def diffusers_step(model: DiT, size: int, device: torch.device = CPU, precision: str = "float32") -> Side:
    """diffusers at its best settings. In evaluation mode, where it drops no labels; it has no other dropout."""
    from diffusers import DDPMScheduler
    from diffusers.training_utils import EMAModel

    drawn, network, errors = draw_batch(model, size), diffusers_model(model).to(device), list[torch.Tensor]()
    batch = Batch(*(part.to(device) for part in (drawn.x0, drawn.t, drawn.y, drawn.noise)))
    scheduler = DDPMScheduler(beta_start=1e-4, beta_end=0.02, beta_schedule="linear")
    optimiser = torch.optim.AdamW(
        network.parameters(), RECIPE.learning_rate, weight_decay=RECIPE.weight_decay, fused=True
    )
    ema = EMAModel(network.parameters(), RECIPE.ema_decay, foreach=True)
    if RECIPE.compile:
        network.compile(dynamic=False)

    def run() -> None:
        noisy = scheduler.add_noise(batch.x0, batch.noise, batch.t)
        with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16"):
            output = network(noisy, timestep=batch.t, class_labels=batch.y, return_dict=False)[0]
            loss = F.mse_loss(output[:, : model.in_channels].float(), batch.noise)
        torch.autograd.backward(loss)
        optimiser.step()
        optimiser.zero_grad()
        ema.step(network.parameters())
        errors.append(loss.detach())

    return timed(run, lambda: {"squared error before the first step": errors[0].item()})


def plain_step(model: DiT, size: int) -> Side:
    """The same model as one writes it first: AdamW with its defaults, EMA parameter by parameter."""
    batch, errors = draw_batch(model, size), list[float]()
    optimiser = torch.optim.AdamW(model.parameters(), RECIPE.learning_rate, weight_decay=RECIPE.weight_decay)
    average = [parameter.detach().clone() for parameter in model.parameters()]

    def run() -> None:
        losses = DIFFUSION.training_losses(model, batch.x0, batch.t, batch.y, batch.noise)
        optimiser.zero_grad()
        torch.autograd.backward(losses["loss"].mean())
        optimiser.step()
        with torch.no_grad():
            for kept, parameter in zip(average, model.parameters(), strict=True):
                kept.mul_(RECIPE.ema_decay).add_(parameter, alpha=1 - RECIPE.ema_decay)
        errors.append(losses["mse"].mean().item())

    def outcome() -> Outcome:
        return {"squared error before the first step": errors[0]}

    return timed(run, outcome)


def matrix_product(operations: float) -> Side:
    """A product of square matrices, as long as ``operations`` take at its rate."""
    a, b, out = (torch.randn(GEMM_SIDE, GEMM_SIDE) for _ in range(3))
    product = timed(lambda: torch.mm(a, b, out=out))
    return Side(lambda: product.seconds() * operations / (2 * GEMM_SIDE**3), dict)


def step_row(name: str, target: float) -> Row:
    """A variant of the paper beside diffusers."""
    return Row(
        name=f"training-{name.replace('/', '-')}",
        what=f"training step of {name}, batch {BATCH}",
        peer="diffusers' DiT, fused AdamW, foreach EMA",
        make_ours=lambda setting: our_step(paper_model(name), setting.choose(BATCH, 2)),
        make_peer=lambda setting: diffusers_step(paper_model(name), setting.choose(BATCH, 2)),
        agree=equal_within(1e-4),
        target=at_least(target),
    )


def gemm_row(name: str) -> Row:
    """A variant of the paper beside the rate of a matrix product."""

    def size(setting: Setting) -> int:
        return setting.choose(BATCH_OF_GEMM, 2)

    return Row(
        name=f"training-{name.replace('/', '-')}-of-gemm",
        what=f"training step of {name}, batch {BATCH_OF_GEMM}",
        peer=f"as many operations in products of side {GEMM_SIDE}",
        make_ours=lambda setting: our_step(paper_model(name), size(setting)),
        make_peer=lambda setting: matrix_product(6e9 * count_gflops(name) * size(setting)),
        agree=nothing_in_common,
        target=at_least(0.8),
    )


def embedded_row(which: str, position: int, recipe: Recipe) -> Row:
    """A variant of the embedded study beside plain PyTorch, thread against thread; `pair.py` has both threads."""
    return Row(
        name=f"training-embedded-{which}{'-compiled' if recipe.compile else ''}",
        what=f"training step of the embedded study's {which} variant, its batch"
        + (", with training.compile" if recipe.compile else ""),
        peer="the same model in eager PyTorch, AdamW's defaults, EMA per parameter",
        make_ours=lambda _setting: our_step(*embedded_model(position), recipe),
        make_peer=lambda _setting: plain_step(*embedded_model(position)),
        agree=equal_within(1e-4),
        target=at_least(1.0),
        threads=1,
    )


ROWS = (
    step_row("DiT-S/2", 1.2),
    step_row("DiT-S/8", 2.0),
    step_row("DiT-B/4", 1.2),
    gemm_row("DiT-S/2"),
    gemm_row("DiT-B/4"),
    embedded_row("smallest", 0, EAGER),
    embedded_row("largest", 1, EAGER),
    *(row for row in (embedded_row("smallest", 0, RECIPE), embedded_row("largest", 1, RECIPE)) if RECIPE.compile),
)
