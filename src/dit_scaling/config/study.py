"""What a study is: every section of a config file. Each section's keys, types and limits are in a module of its own.

``config/study.schema.json`` is generated from these classes (``dit-scaling schema``); Snakemake validates
with it and editors complete from it.
"""

from typing import Annotated, Self

from pydantic import Field, model_validator

from dit_scaling.common.section import Before, Section, Seed
from dit_scaling.common.words import count
from dit_scaling.config.claims_settings import Claims, ProtocolSetting
from dit_scaling.config.complaints import ImpossibleSettingsError
from dit_scaling.config.evaluation import Evaluation
from dit_scaling.config.image_settings import ImageSettings
from dit_scaling.config.laws_settings import Budget, Laws
from dit_scaling.config.metrics_settings import Metrics
from dit_scaling.config.plausibility import doubtful_settings, impossible_settings
from dit_scaling.config.resources_settings import Keep, Resources
from dit_scaling.config.sampling_settings import Sampling, folder_of_further
from dit_scaling.config.training_settings import Training
from dit_scaling.config.vae_settings import Latents, VaeChoice
from dit_scaling.diffusion.process import PAPER_OBJECTIVE, PAPER_PROCESS, AnyProcess, DiffusionSettings, FlowSettings
from dit_scaling.variants import (
    AnyVariant,
    ClassPath,
    Option,
    Size,
    SizeName,
    UNetSize,
    VariantName,
    count_gflops,
    count_parameters,
    parse_variant,
)

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,99}$")]


class Study(Section):
    """A whole study."""

    study: Name
    """Name of the study; its results are in results/NAME."""
    seed: Seed = 0
    """Seed of the held-out split, the VAE and the feature network."""
    data: ImageSettings
    vae: VaeChoice
    latents: Latents = Latents()
    sizes: dict[SizeName, Size] = Field(default={})
    """Sizes of transformers beside those that ship (S, B, L and XL of the paper)."""
    unet_sizes: dict[SizeName, UNetSize] = Field(default={})
    """Sizes of U-Nets beside those that ship: S, B, L and XL, which cost about as much as DiTs of patch 2."""
    class_sizes: Annotated[dict[ClassPath, dict[SizeName, dict[str, Option]]], Before({})] = Field(default={})
    """Sizes of classes of one's own, by import path and name: the arguments that make each size, like
    {my_lab.nets:Net: {Tiny: {depth: 2, hidden_size: 64}}}."""
    variants: Annotated[tuple[VariantName, ...], Field(min_length=1)]
    """The models to train, as DiT-SIZE/PATCH, UNet-SIZE, or a class by import path, my_lab.nets:Net-SIZE or
    my_lab.nets:Net-SIZE/PATCH. DiT@flow-SIZE/PATCH names another objective than training.objective."""
    checkpoints: dict[VariantName, str] = Field(default={})
    """Variants whose weights are given instead of trained, each with a .pt or .safetensors with the released names: a
    local path, or DiT-XL-2-256x256.pt (see resources.cache). They count as trained for training.steps steps."""
    diffusion: Annotated[DiffusionSettings, Before(PAPER_PROCESS)] = PAPER_PROCESS
    training: Training
    sampling: Sampling
    metrics: Metrics
    claims: Claims = Claims()
    laws: Annotated[Laws | None, Before(None)] = None
    """Makes it a study for scaling laws: held-out losses at equal compute, without samples, verdicts and report."""
    deviations: dict[ProtocolSetting, Annotated[str, Field(min_length=1)]] = Field(default={})
    """Why a setting differs from the paper's, by its name in the protocol table; `dit-scaling check` asks for each."""
    resources: Resources = Resources()
    keep: Keep = Keep()

    @property
    def latent_size(self) -> int:
        """Side of the latent grid."""
        return self.data.image_size // self.vae.downsampling

    @property
    def trained(self) -> tuple[str, ...]:
        """The variants that the study trains, in the config's order."""
        return tuple(name for name in self.variants if name not in self.checkpoints)

    def exports(self, name: str) -> tuple[int, ...]:
        """The steps at which a variant is evaluated, ascending; given weights have one."""
        if self.laws is not None:
            return tuple(self.budgets(name))
        return (self.training.steps,) if name in self.checkpoints else self.training.exports

    def stops(self, name: str) -> tuple[int, ...]:
        """The steps at which training jobs of a variant end, ascending."""
        return self.exports(name) if self.laws is not None else self.training.stops

    @property
    def lengths(self) -> str:
        """Steps of its training runs in words; those of a study for laws differ."""
        ends = [self.exports(name)[-1] for name in self.trained] or [self.training.steps]
        return count(min(ends), "step") if min(ends) == max(ends) else f"{min(ends):,} to {max(ends):,} steps"

    def budgets(self, name: str) -> dict[int, Budget]:
        """The budgets of a study for laws that a variant spends, by step, ascending."""
        if self.laws is None:
            return {}
        gflops = count_gflops(self.variant(name), self.latent_size, self.vae.latent_channels)
        return self.laws.steps(name, gflops, self.training.batch_size)

    def variant(self, name: str) -> AnyVariant:
        """The variant of that name, its size from the study's tables or those shipped."""
        return parse_variant(name, self.sizes, self.unet_sizes, self.class_sizes)

    def parameters(self, name: str) -> int:
        """Trained weights of a variant, on the study's latents and classes."""
        return count_parameters(
            self.variant(name), self.data.classes, self.vae.latent_channels, input_size=self.latent_size
        )

    def objective(self, variant: AnyVariant) -> str:
        """What a variant is trained for: the study's objective where its name says no other."""
        return variant.objective or self.training.objective

    @property
    def objectives(self) -> tuple[str, ...]:
        """What the variants are trained for, in the config's order."""
        return tuple(dict.fromkeys(self.objective(self.variant(name)) for name in self.variants))

    def process(self, objective: str) -> AnyProcess:
        """What networks of an objective learn to reverse."""
        if objective == PAPER_OBJECTIVE:
            return self.diffusion
        return FlowSettings(objective="flow", times=self.training.flow_times)

    def sampler(self, objective: str) -> str:
        """How networks of an objective are sampled."""
        return self.sampling.samplers.get(objective, self.sampling.sampler)

    def evaluations_of(self, name: str, seed: int) -> tuple[Evaluation, ...]:
        """Every evaluation of one run, by step; at the last one those in further numbers of sampling steps too."""
        sampler, exports = self.sampler(self.objective(self.variant(name))), self.exports(name)
        return tuple(
            Evaluation(variant=name, seed=seed, step=step, sampler=sampler, guidance_scale=scale, further_steps=further)
            for step in exports
            for scale, further in self.sampling.ways(last=step == exports[-1])
        )

    @property
    def evaluations(self) -> tuple[Evaluation, ...]:
        """Every evaluation of the study, in the order of its config."""
        return tuple(
            row for name in self.variants for seed in self.training.seeds for row in self.evaluations_of(name, seed)
        )

    def folder_of(self, row: Evaluation) -> str:
        """Where the results of an evaluation lie, below those of the study."""
        way = self.sampling.folder(row.guidance_scale, folder_of_further(row.further_steps))
        return f"{self.variant(row.variant).slug}/seed-{row.seed}/step-{row.step}/{way}"

    @model_validator(mode="after")
    def _check(self) -> Self:
        problems = impossible_settings(self)
        if problems:
            raise ImpossibleSettingsError(problems)
        return self

    def warnings(self) -> list[str]:
        """Doubtful but possible settings, one sentence each with key, value and reason."""
        return doubtful_settings(self)
