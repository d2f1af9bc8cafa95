"""The rate of this machine, measured by training the study's cheapest and costliest variant for a few seconds."""

import time

import torch

from dit_scaling.common.devices import choose_device, matrix_products
from dit_scaling.config.study import Study
from dit_scaling.diffusion.process import create_diffusion
from dit_scaling.models import create_model
from dit_scaling.plan.price import Devices, gflops_by_name, step_operations
from dit_scaling.plan.space import micro_batch
from dit_scaling.training.batches import Batch
from dit_scaling.training.step import TrainingStep
from dit_scaling.variants import TRAINING_PASSES, AnyVariant

SECONDS = 3.0
WARM_UP = 2


def measured_devices(study: Study, count: int) -> Devices:
    """``count`` devices like the one here: a step costs a constant, and time in proportion to its arithmetic.

    The two follow from the study's cheapest and costliest variant; from one variant alone, all is arithmetic.

    Raises:
        UserError: the config asks for CUDA, and torch sees none.
    """
    device = choose_device(study.resources.device)
    torch.set_num_threads(study.resources.threads)  # as Snakemake has its jobs do
    cost = gflops_by_name(study)
    cheap, costly = (choose(cost, key=cost.__getitem__) for choose in (min, max))
    memory = float(torch.cuda.get_device_properties(device).total_memory) if device.type == "cuda" else None
    with matrix_products(study.training.precision):
        batch = {
            name: micro_batch(study, study.variant(name), study.resources.gpus_per_node, memory)
            for name in {cheap: 0, costly: 0}
        }
        seconds = {name: step_seconds(study, study.variant(name), some, device) for name, some in batch.items()}
    operations = {name: step_operations(cost[name], batch[name]) for name in seconds}
    rate, overhead = operations[costly] / seconds[costly], 0.0
    if seconds[costly] > seconds[cheap]:
        slope = (operations[costly] - operations[cheap]) / (seconds[costly] - seconds[cheap])
        rate, overhead = max(rate, slope), max(0.0, seconds[cheap] - operations[cheap] / slope)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU process of one thread"
    steps = ", ".join(f"{name} {1e3 * some:.3g} ms a step" for name, some in seconds.items())
    source = f"measured: {steps}, of which {1e3 * overhead:.2g} ms whatever the variant"
    if device.type == "cpu" and study.resources.device == "auto":
        source += "; resources.device is auto and torch sees no GPU here: --device h200 prices one"
    return Devices(name, count, rate, rate, rate, memory, source, overhead / TRAINING_PASSES)


def step_seconds(study: Study, variant: AnyVariant, batch: int, device: torch.device) -> float:
    """Seconds of a training step, not compiled, on a batch of so many latents."""
    channels, size = study.vae.latent_channels, study.latent_size
    model = create_model(variant, size, study.data.classes, channels).to(device)
    diffusion = create_diffusion(study.diffusion)
    train_step = TrainingStep(model, study.training.model_copy(update={"compile": False}), diffusion)
    shape = (batch, channels, size, size)
    drawn = Batch(
        x0=torch.randn(shape, device=device),
        t=torch.arange(batch) % diffusion.num_timesteps,
        y=torch.zeros(batch, dtype=torch.long, device=device),
        noise=torch.randn(shape, device=device),
    )

    def step() -> None:
        train_step(0, [drawn])
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    for _ in range(WARM_UP):
        step()
    started, steps = time.monotonic(), 0
    while time.monotonic() - started < SECONDS:
        step()
        steps += 1
    return (time.monotonic() - started) / steps
