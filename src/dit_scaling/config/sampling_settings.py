"""Config section ``sampling``: which images are drawn from each model."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from dit_scaling.common.registry import NameIn
from dit_scaling.common.section import Before, Count, Numbered, Section, Seed
from dit_scaling.diffusion.process import ObjectiveName
from dit_scaling.diffusion.samplers import PAPER_SAMPLER, SAMPLERS

SamplerName = Annotated[str, NameIn(SAMPLERS)]

# Its text is its name in paths: zero has no sign.
GuidanceScale = Annotated[float, Field(ge=0, allow_inf_nan=False), AfterValidator(abs)]


class Sampling(Section):
    """Images drawn from each exported EMA model."""

    num_samples: Count = 50_000
    parts: Numbered = 8
    """Jobs, and npz files, that the samples of one model are split into."""
    sampler: SamplerName = PAPER_SAMPLER
    """ddpm: ancestral, with the learned variance (the paper). Deterministic ones for quick looks with few steps: ddim,
    and dpm-solver, which needs fewer. For training.objective flow: euler, heun, and the stochastic euler-maruyama."""
    samplers: Annotated[dict[ObjectiveName, SamplerName], Before({})] = Field(default={})
    """For variants of another objective than training.objective their sampler, for example {flow: heun}."""
    steps: Annotated[int, Field(ge=2)] = 250
    """Timesteps visited, of objective ddpm at most diffusion.num_timesteps; heun evaluates the network twice at each
    but the last."""
    guidance_scales: Annotated[tuple[GuidanceScale, ...], Field(min_length=1)] = (1.0,)
    """1.0 is no guidance. The verdicts are about the first; others are evaluated beside it."""
    guidance_channels: Count | None = 3
    """Guidance acts on the first so many latent channels (the paper: 3), on all of them where null."""
    precision: Literal["float32", "tf32", "bfloat16"] = "float32"
    """tf32: TF32 products and convolutions on GPUs, several times faster there. bfloat16: the network under autocast,
    its outputs and the sampler's own arithmetic in float32. The VAE decodes in TF32 always, features are float32."""
    compile: Annotated[bool, Before(False)] = False
    """Compile the network (torch.compile) where there is a C++ compiler; a minute or two a job before it pays."""
    labels: Literal["balanced", "random"] = "balanced"
    seed: Seed = 0
    keep_samples: bool = True
    """Whether the npz parts stay after scoring. The first 20 images of each part, and a picture of 100, always do."""

    def folder(self, guidance_scale: float | str) -> str:
        """Folder of the images of one guidance scale, below that of the step; other samplers' lie apart from the
        paper's."""
        return f"{'' if self.sampler == PAPER_SAMPLER else f'{self.sampler}/'}guidance-{guidance_scale}"
