"""Config section ``sampling``: which images are drawn from each model."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from dit_scaling.common.registry import NameIn
from dit_scaling.common.section import Before, Count, Numbered, Section, Seed
from dit_scaling.diffusion.process import ObjectiveName
from dit_scaling.diffusion.samplers import PAPER_SAMPLER, SAMPLERS

SamplerName = Annotated[str, NameIn(SAMPLERS)]

# Its text is its name in paths: zero has no sign.
GuidanceScale = Annotated[float, Field(ge=0, allow_inf_nan=False), AfterValidator(abs)]

FEWEST_STEPS = 2


def _one_or_several(value: Any) -> int | tuple[int, ...]:
    """Numbers of steps: a list of one is that one, so that both have the same digests.

    Raises:
        ValueError: they are none.
    """
    numbers = tuple(value) if isinstance(value, list | tuple) else (value,)
    if not numbers or any(type(number) is not int or number < FEWEST_STEPS for number in numbers):
        raise ValueError(
            f"sampling.steps: write a whole number of at least {FEWEST_STEPS}, or a list of such numbers, got {value!r}"
        )
    return numbers if len(numbers) > 1 else numbers[0]


SamplingSteps = Annotated[int, Field(ge=FEWEST_STEPS)]
OneOrSeveral = Annotated[
    SamplingSteps | Annotated[tuple[SamplingSteps, ...], Field(min_length=1)], BeforeValidator(_one_or_several)
]


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
    steps: OneOrSeveral = 250
    """Timesteps visited, of objective ddpm at most diffusion.num_timesteps; heun evaluates the network twice at each
    but the last. A list, like [250, 64, 16]: all of the study rests on the first; in the others the last step of every
    run is sampled and scored too, for the figure of what sampling costs."""
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

    @property
    def own_steps(self) -> int:
        """The number of steps that all of the study rests on."""
        return self.steps if isinstance(self.steps, int) else self.steps[0]

    @property
    def further_steps(self) -> tuple[int, ...]:
        """Other numbers of steps in which the last step of every run is sampled too."""
        return () if isinstance(self.steps, int) else self.steps[1:]

    def ways(self, last: bool) -> tuple[tuple[float, int | None], ...]:
        """In which the weights of a step are sampled: guidance scale, and a further number of steps or None.

        Args:
            last: whether it is the last step of its run.
        """
        further = self.further_steps if last else ()
        return tuple((scale, steps) for steps in (None, *further) for scale in self.guidance_scales)

    def folder(self, guidance_scale: float | str, apart: str = "") -> str:
        """Folder of the images of one guidance scale, below that of the step; other samplers' lie apart from the
        paper's.

        Args:
            guidance_scale: the scale.
            apart: ``folder_of_further`` steps.
        """
        return f"{'' if self.sampler == PAPER_SAMPLER else f'{self.sampler}/'}{apart}guidance-{guidance_scale}"


def folder_of_further(steps: int | None) -> str:
    """What samples in a further number of steps lie in, apart from the study's own; "" for None."""
    return "" if steps is None else f"steps-{steps}/"


def further_in(folder: str) -> int | None:
    """The number of steps that ``folder_of_further`` names."""
    return int(folder.removeprefix("steps-").removesuffix("/")) if folder else None
