"""The rate of this machine, measured by training the study's cheapest and costliest variant for a few seconds."""

import time

import torch

from dit_scaling.config.study import Study
from dit_scaling.devices import choose_device
from dit_scaling.diffusion import GaussianDiffusion
from dit_scaling.models import create_model
from dit_scaling.protocol.plan.jobs import BACKWARD
from dit_scaling.protocol.plan.price import Devices
from dit_scaling.variants import AnyVariant, count_gflops

SECONDS = 3.0
WARM_UP = 2


def measured_devices(study: Study, count: int) -> Devices:
    """``count`` devices like the one here, at the lower of the two rates.

    Raises:
        UserError: the config asks for CUDA, and torch sees none.
    """
    device = choose_device(study.resources.device)
    cost = {
        name: count_gflops(study.variant(name), study.latent_size, study.vae.latent_channels) for name in study.variants
    }
    chosen = {min(cost, key=cost.__getitem__), max(cost, key=cost.__getitem__)}
    rates = {name: _rate(study, study.variant(name), device) for name in sorted(chosen)}
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU process of one thread"
    memory = float(torch.cuda.get_device_properties(device).total_memory) if device.type == "cuda" else None
    source = "measured: " + ", ".join(f"{name} {rate / 1e9:.3g} GFLOP/s" for name, rate in rates.items())
    return Devices(name, count, min(rates.values()), memory, source)


def _rate(study: Study, variant: AnyVariant, device: torch.device) -> float:
    """Operations per second of forward, backward and optimiser on one rank's share of a batch."""
    channels, size = study.vae.latent_channels, study.latent_size
    batch = -(-study.training.batch_size // study.resources.ranks_per_node)
    batch = min(batch, study.resources.micro_batch or batch)
    model = create_model(variant, size, study.data.classes, channels).to(device)
    optimiser = torch.optim.AdamW(model.parameters(), fused=True)
    diffusion = GaussianDiffusion()
    x0, t = torch.randn(batch, channels, size, size, device=device), torch.arange(batch) % diffusion.num_timesteps
    y = torch.zeros(batch, dtype=torch.long, device=device)

    def step() -> None:
        with torch.autocast(device.type, torch.bfloat16, enabled=study.training.precision == "bfloat16"):
            loss = diffusion.training_losses(model, x0, t, y)["loss"].mean()
        torch.autograd.backward(loss)
        optimiser.step()
        optimiser.zero_grad()
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    for _ in range(WARM_UP):
        step()
    started, steps = time.monotonic(), 0
    while time.monotonic() - started < SECONDS:
        step()
        steps += 1
    seconds = (time.monotonic() - started) / steps
    return 2 * (1 + BACKWARD) * 1e9 * count_gflops(variant, size, channels) * batch / seconds
