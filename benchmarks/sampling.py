"""Ancestral sampling without the VAE, beside diffusers' DiTPipeline with its DDPMScheduler.

250 steps cost fifty times these five: every step of a chain does the same. The pipeline drops the learned variance and
takes the posterior's, so the networks here predict exactly that one (-1); both sides then draw the same latents from
the same random numbers. The pipeline's null class is 1000, whatever the model, so all models here have 1000 classes.
"""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.models import build, diffusers_model, embedded_study, embedded_variants, paper_model
from benchmarks.row import Row, Setting, Side, at_least, equal_within, nothing_in_common, timed
from dit_scaling.diffusion.process import PAPER_PROCESS, create_diffusion
from dit_scaling.diffusion.samplers import SamplingOptions
from dit_scaling.models import DiT

STEPS = 5
GUIDANCE = 4.0  # the pipeline's own
GUIDED_COST = 2.15


class KeepsLatents(nn.Module):
    """Stands for the pipeline's VAE, and keeps what it is asked to decode."""

    config = SimpleNamespace(scaling_factor=1.0)
    device, dtype = torch.device("cpu"), torch.float32

    def __init__(self) -> None:
        super().__init__()
        self.latents = torch.empty(0)

    def decode(self, latents: Tensor) -> SimpleNamespace:
        """An image of one pixel."""
        self.latents = latents
        return SimpleNamespace(sample=latents.new_zeros(1, 3, 1, 1))


def with_least_variance(model: DiT) -> DiT:
    """Make the network predict the posterior's variance at every step: -1 for every variance channel."""
    head = model.final_layer.linear
    with torch.no_grad():
        head.weight.view(-1, 2, model.in_channels, model.variant.hidden_size)[:, 1] = 0
        head.bias.view(-1, 2, model.in_channels)[:, 1] = -1
    return model


def our_samples(model: DiT, count: int, guidance: float) -> Side:
    """`GaussianDiffusion.sample`, which guides all channels as the pipeline does."""
    diffusion, kept = create_diffusion(PAPER_PROCESS), list[Tensor]()
    how = SamplingOptions(steps=STEPS, guidance_scale=guidance, guidance_channels=None)
    shape, labels = (count, model.in_channels, model.input_size, model.input_size), torch.arange(count)
    both = (2 * count if guidance > 1 else count, *shape[1:])  # the pipeline draws noise for its null half too

    def run() -> None:
        torch.manual_seed(0)
        noise = torch.randn(shape)
        kept[:] = [diffusion.sample(model, noise, labels, how, lambda: torch.randn(both)[:count])]

    return timed(run, lambda: {"latents": kept[0].numpy()})


def pipeline_samples(model: DiT, count: int, guidance: float) -> Side:
    """`DiTPipeline.__call__`, as diffusers has it."""
    from diffusers import DDPMScheduler, DiTPipeline

    scheduler = DDPMScheduler(
        beta_start=1e-4, beta_end=0.02, beta_schedule="linear", clip_sample=False, timestep_spacing="linspace"
    )
    vae: Any = KeepsLatents()
    pipeline = DiTPipeline(diffusers_model(model), vae, scheduler)
    pipeline.set_progress_bar_config(disable=True)

    def run() -> None:
        torch.manual_seed(0)
        pipeline(list(range(count)), guidance, num_inference_steps=STEPS, output_type="pt")

    return timed(run, lambda: {"latents": vae.latents.numpy()})


def paper(name: str) -> Callable[[], DiT]:
    """A variant of the paper."""
    return lambda: with_least_variance(paper_model(name))


def embedded(position: int) -> Callable[[], DiT]:
    """The embedded study's smallest (0) or largest (1) variant, with 1000 classes."""

    def make() -> DiT:
        study = embedded_study()
        variant = embedded_variants(study)[position]
        return with_least_variance(build(variant, study.latent_size, 1000, study.vae.latent_channels))

    return make


def rows_of(name: str, make: Callable[[], DiT], count: int, target: float, threads: int) -> tuple[Row, ...]:
    """A network without and with guidance beside the pipeline, and with guidance beside itself without."""

    def ours(guidance: float) -> Callable[[Setting], Side]:
        return lambda setting: our_samples(make(), setting.choose(count, min(count, 2)), guidance)

    def peer(guidance: float) -> Callable[[Setting], Side]:
        return lambda setting: pipeline_samples(make(), setting.choose(count, min(count, 2)), guidance)

    def beside_pipeline(suffix: str, guidance: float, how: str) -> Row:
        return Row(
            name=f"sampling-{name}{suffix}",
            what=f"{STEPS} steps of ancestral sampling, {name}, {count} at a time, {how}",
            peer="diffusers' DiTPipeline",
            make_ours=ours(guidance),
            make_peer=peer(guidance),
            agree=equal_within(1e-3),
            target=at_least(target),
            threads=threads,
        )

    return (
        beside_pipeline("", 1.0, "no guidance"),
        beside_pipeline("-guided", GUIDANCE, "guided"),
        Row(
            name=f"sampling-{name}-guided-cost",
            what=f"{STEPS} steps of ancestral sampling, {name}, {count} at a time, guided",
            peer=f"the same without guidance; at most {GUIDED_COST} times its time",
            make_ours=ours(GUIDANCE),
            make_peer=ours(1.0),
            agree=nothing_in_common,
            target=at_least(1 / GUIDED_COST),
            threads=threads,
        ),
    )


ROWS = (
    *rows_of("DiT-S-2", paper("DiT-S/2"), 4, 1.1, threads=2),
    *rows_of("DiT-S-8", paper("DiT-S/8"), 32, 1.1, threads=2),
    *rows_of("embedded-smallest", embedded(0), 32, 1.5, threads=1),
    *rows_of("embedded-largest", embedded(1), 32, 1.5, threads=1),
)
