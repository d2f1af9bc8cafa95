"""The settings each stage's result depends on, and nothing else.

A stage's settings hold the digest of the settings of the stages before it, so a change anywhere upstream
changes the text that Snakemake compares. Whatever is not in here (threads, batch sizes of inference, log
intervals, milestones of training) can be edited without a rerun.
"""

from typing import Annotated, Self

from pydantic import Field

from dit_scaling.config import study as config
from dit_scaling.config.study import Count, Section
from dit_scaling.errors import UserError
from dit_scaling.files import canonical_json, digest
from dit_scaling.variants import Variant


class StageSettings(Section):
    """Base of all stages: canonical text for Snakemake's ``params``, a digest for the stages after it."""

    def canonical(self) -> str:
        """JSON with sorted keys: equal settings give equal text."""
        return canonical_json(self.model_dump(mode="json"))

    @property
    def digest(self) -> str:
        """16 hex digits that stand for these settings and all those before them."""
        return digest(self.model_dump(mode="json"))

    @classmethod
    def parse(cls, text: str) -> Self:
        """The settings back from `canonical()`."""
        return cls.model_validate_json(text)


class DataSettings(StageSettings):
    """Which images, and which of them are held out."""

    data: Annotated[config.Mnist | config.ImageFolder, Field(discriminator="source")]
    seed: int
    fingerprint: str
    """Digest of the source's listing, so that added or replaced images count as a change."""


class VaeSettings(StageSettings):
    vae: Annotated[config.TrainedVae | config.PretrainedVae, Field(discriminator="source")]
    fingerprint: str
    """Digest of a given VAE's folder; empty for one that is trained here or named by a hub id."""
    data: DataSettings


class LatentsSettings(StageSettings):
    latents: config.Latents
    vae: VaeSettings


class TrainSettings(StageSettings):
    """What changes the weights at a given step. Milestones and the last step do not."""

    variant: str
    layers: Count
    width: Count
    heads: Count
    seed: int
    input_size: Count
    in_channels: Count
    num_classes: Count
    batch_size: Count
    learning_rate: float
    weight_decay: float
    betas: tuple[float, float]
    warmup_steps: int
    gradient_clip: float | None
    ema_decay: float
    ema_ramp: bool
    label_dropout: float
    mirror: bool
    precision: str
    compile: bool
    latents: str
    """Digest of the latents' settings."""

    def build_variant(self) -> Variant:
        """The variant of these settings."""
        family, rest = self.variant.split("-", 1)
        size, patch = rest.split("/")
        return Variant(family, size, int(patch), self.layers, self.width, self.heads)


class SampleSettings(StageSettings):
    num_samples: Count
    parts: Count
    steps: Count
    guidance_scale: float
    guidance_channels: int | None
    labels: str
    seed: int
    num_classes: Count
    image_channels: Count
    checkpoint: str
    """Digest of the training settings and the step."""


class ExtractorSettings(StageSettings):
    extractor: Annotated[config.ClassifierExtractor | config.InceptionExtractor, Field(discriminator="kind")]
    data: DataSettings


class ScoreSettings(StageSettings):
    """How any set of images is scored; `samples` is empty for the reference lines."""

    kid_subsets: Count
    kid_subset_size: Count
    neighbours: Count
    bootstrap: Count
    num_samples: Count
    seed: int
    extractor: str
    latents: str
    samples: str


class Evaluation(Section):
    """Which weights, sampled how, a record of metrics belongs to."""

    variant: str
    seed: int
    step: Count
    guidance_scale: float


class AggregateSettings(StageSettings):
    """The table's rows, in the order of the records, and how they are judged."""

    evaluations: tuple[Evaluation, ...]
    study: config.Study


class ReportSettings(StageSettings):
    study: config.Study


class Stages:
    """The settings of every stage of one study; rules ask here and nowhere else."""

    def __init__(self, study: config.Study, data_fingerprint: str, vae_fingerprint: str = "") -> None:
        self._study = study
        self._data_fingerprint = data_fingerprint
        self._vae_fingerprint = vae_fingerprint

    def data(self) -> DataSettings:
        return DataSettings(data=self._study.data, seed=self._study.seed, fingerprint=self._data_fingerprint)

    def vae(self) -> VaeSettings:
        return VaeSettings(vae=self._study.vae, fingerprint=self._vae_fingerprint, data=self.data())

    def latents(self) -> LatentsSettings:
        return LatentsSettings(latents=self._study.latents, vae=self.vae())

    def extractor(self) -> ExtractorSettings:
        return ExtractorSettings(extractor=self._study.metrics.extractor, data=self.data())

    def train(self, slug: str, seed: int) -> TrainSettings:
        """Settings of one training run.

        Raises:
            UserError: the study has no variant of that file name.
        """
        study = self._study
        if slug not in {study.variant(name).slug for name in study.variants}:
            raise UserError(f"'{slug}' is not a variant of study {study.study}: {', '.join(study.variants)}.")
        variant = study.variant_by_slug(slug)
        recipe = study.training.model_dump(include=set(TrainSettings.model_fields))
        return TrainSettings(
            variant=variant.name,
            layers=variant.layers,
            width=variant.width,
            heads=variant.heads,
            seed=seed,
            input_size=study.latent_size,
            in_channels=study.vae.latent_channels,
            num_classes=study.data.classes,
            latents=self.latents().digest,
            **recipe,
        )

    def sample(self, slug: str, seed: int, step: int, guidance_scale: float) -> SampleSettings:
        sampling = self._study.sampling.model_dump(exclude={"guidance_scales"})
        return SampleSettings(
            **sampling,
            guidance_scale=guidance_scale,
            num_classes=self._study.data.classes,
            image_channels=self._study.data.channels,
            checkpoint=digest([self.train(slug, seed).digest, step]),
        )

    def reference(self) -> ScoreSettings:
        return self._score(samples="")

    def fid(self, slug: str, seed: int, step: int, guidance_scale: float) -> ScoreSettings:
        return self._score(samples=self.sample(slug, seed, step, guidance_scale).digest)

    def _score(self, samples: str) -> ScoreSettings:
        return ScoreSettings(
            **self._study.metrics.model_dump(exclude={"extractor"}),
            num_samples=self._study.sampling.num_samples,
            seed=self._study.seed,
            extractor=self.extractor().digest,
            latents=self.latents().digest,
            samples=samples,
        )

    def evaluations(self) -> tuple[Evaluation, ...]:
        """Every evaluation of the study, in the order of its config."""
        training, sampling = self._study.training, self._study.sampling
        return tuple(
            Evaluation(variant=variant, seed=seed, step=step, guidance_scale=scale)
            for variant in self._study.variants
            for seed in training.seeds
            for step in training.exports
            for scale in sampling.guidance_scales
        )

    def aggregate(self) -> AggregateSettings:
        return AggregateSettings(evaluations=self.evaluations(), study=self._without_resources())

    def report(self) -> ReportSettings:
        return ReportSettings(study=self._without_resources())

    def _without_resources(self) -> config.Study:
        """The study with default resources, which change no result."""
        return self._study.model_copy(update={"resources": config.Resources()})
