"""The settings each stage's result depends on, and nothing else.

A stage's settings hold the digest of the settings of the stages before it, so a change anywhere upstream
changes the text that Snakemake compares. Whatever is not in here (threads, batch sizes of inference, log
intervals, milestones of training) can be edited without a rerun.
"""

import functools
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Concatenate, Literal, ParamSpec, Self, TypeVar

from dit_scaling.common.errors import UserError
from dit_scaling.common.files import digest
from dit_scaling.common.section import Before, Count, Section
from dit_scaling.config.evaluation import Evaluation
from dit_scaling.config.image_settings import ImageFiles, ImageSettings
from dit_scaling.config.metrics_settings import AnyExtractor
from dit_scaling.config.recipe import Recipe
from dit_scaling.config.resources_settings import Keep, Resources
from dit_scaling.config.sampling_settings import SamplerName
from dit_scaling.config.study import Study
from dit_scaling.config.vae_settings import Latents, VaeChoice
from dit_scaling.diffusion.process import PAPER_PROCESS, AnyProcess
from dit_scaling.diffusion.samplers import SAMPLERS
from dit_scaling.variants import AnyVariant, ClassVariant

GATE_SAMPLING_STEPS = 50


P = ParamSpec("P")
T = TypeVar("T")


class DataSettings(Section):
    """Which images, and which of them are held out."""

    data: ImageSettings
    seed: int
    fingerprint: str
    """Digest of the source's listing, so that added or replaced images count as a change."""


class VaeSettings(Section):
    vae: VaeChoice
    fingerprint: str
    """Digest of a given VAE's folder; empty for one that is trained here or named by a hub id."""
    data: DataSettings


class LatentsSettings(Section):
    latents: Latents
    """Its ``source`` is the sha256 of the record of imported latents, or their folder where that is not here."""
    vae: VaeSettings


class RecipeSettings(Section):
    """Settings that hold a recipe."""

    recipe: Recipe

    def with_recipe(self, **changes: Any) -> Self:
        """These settings with some training options changed.

        Raises:
            ValidationError: an option is unknown, or its value impossible.
        """
        recipe = Recipe.model_validate({**dict(self.recipe), **changes})
        return self.model_copy(update={"recipe": recipe})


class TrainSettings(RecipeSettings):
    """What changes the weights at a given step. Milestones and the last step do not."""

    variant: AnyVariant
    seed: int
    input_size: Count
    in_channels: Count
    num_classes: Count
    latents: str
    """Digest of the latents' settings."""
    diffusion: Annotated[AnyProcess, Before(PAPER_PROCESS)] = PAPER_PROCESS


class SampleSettings(Section):
    num_samples: Count
    parts: Count
    sampler: SamplerName
    steps: Count
    guidance_scale: float
    guidance_channels: int | None
    precision: Literal["float32", "tf32", "bfloat16"] = "float32"
    compile: Annotated[bool, Before(False)] = False
    labels: str
    seed: int
    num_classes: Count
    image_channels: Count
    checkpoint: str
    """Digest of the training settings and the step; of the weights' sha256 and the VAE where they are given."""
    diffusion: Annotated[AnyProcess, Before(PAPER_PROCESS)] = PAPER_PROCESS
    """Of training too, but weights that are given do not say so in their digest."""


class PreflightSettings(RecipeSettings):
    """What the checks before training are about: no variant, but those that are of classes of one's own."""

    seed: int
    input_size: Count
    in_channels: Count
    num_classes: Count
    latents: LatentsSettings
    sampling: SampleSettings
    diffusion: Annotated[AnyProcess, Before(PAPER_PROCESS)] = PAPER_PROCESS
    further: Annotated[tuple["PreflightSettings", ...], Before(())] = ()
    """Where the variants have several objectives, the same of the others."""
    own: Annotated[tuple[ClassVariant, ...], Before(())] = ()
    """Variants of this objective whose classes are checked against their contract."""


class GateSettings(Section):
    """A look at one run at one step."""

    training: TrainSettings
    sampling: SampleSettings
    step: Count
    budget: Count
    """Last step of the run: what looks early before it looks undertrained at it."""


class LossSettings(Section):
    """The loss of all exports of one run on held-out images, and on as many that it is trained on."""

    training: str
    """Digest of the training settings."""
    steps: tuple[Count, ...]
    images: Count
    draws: Count
    seed: int


class ExtractorSettings(Section):
    extractor: AnyExtractor
    data: DataSettings


class Scoring(Section):
    """How any set of images is scored."""

    kid_subsets: Count
    kid_subset_size: Count
    neighbours: Count
    bootstrap: Count
    seed: int


class ReferenceSettings(Section):
    """The real images of one extractor, and the images between whose distances others are read."""

    num_samples: Count
    """Of decoded noise, as many as there are samples."""
    extractor: ExtractorSettings
    """Its ``reference`` is the sha256 of a given file, or the name of a fetched one."""
    latents: LatentsSettings


class LevelSettings(Section):
    """The distances between which others are read."""

    scoring: Scoring
    metrics: tuple[str, ...]
    """Keys of the catalogue: a metric that is added is measured on the features that are kept."""
    reference: str


class FeatureSettings(Section):
    """The features of the samples of one checkpoint, by one extractor."""

    extractor: str
    samples: str


class ScoreSettings(Section):
    """The samples of one checkpoint against the references of all extractors, the headline's first."""

    scoring: Scoring
    metrics: tuple[str, ...]
    """Keys of the catalogue: a metric that is added is measured on the features that are kept."""
    references: tuple[str, ...]
    features: tuple[str, ...]


class MemorisationSettings(Section):
    """Which images the samples are searched for."""

    data: DataSettings
    samples: str
    """Digest of the samples' settings."""


class AggregateSettings(Section):
    """The table's rows, in the order of the records, and how they are judged."""

    evaluations: tuple[Evaluation, ...]
    study: Study


class ReportSettings(Section):
    study: Study


def _remembered(method: Callable[Concatenate["Stages", P], T]) -> Callable[Concatenate["Stages", P], T]:
    """Make what a method returns once for the same arguments: a study of hundreds of runs asks thousands of times."""

    @functools.wraps(method)
    def remembering(self: "Stages", /, *args: P.args, **kwargs: P.kwargs) -> T:
        key = (method.__name__, args, tuple(kwargs.items()))
        if key not in self._made:
            self._made[key] = method(self, *args, **kwargs)
        made: T = self._made[key]
        return made

    return remembering


class Stages:
    """The settings of every stage of one study; rules ask here and nowhere else."""

    def __init__(
        self,
        study: Study,
        data_fingerprint: str,
        vae_fingerprint: str = "",
        checkpoints: Mapping[str, str] | None = None,
        references: Mapping[str, str] | None = None,
        imported: str = "",
    ) -> None:
        """Settings of ``study``; the fingerprints stand for what is given, and so do two mappings to sha256.

        Args:
            study: the study.
            data_fingerprint: of its images.
            vae_fingerprint: of a given VAE's folder.
            checkpoints: variant to sha256 of its given weights.
            references: kind of extractor to sha256 of its given reference.
            imported: what stands for imported latents; the name of their folder where it is empty.
        """
        self._made: dict[Any, Any] = {}
        self._study = study
        self._variants = {variant.slug: variant for variant in map(study.variant, study.variants)}
        self._data_fingerprint = data_fingerprint
        self._vae_fingerprint = vae_fingerprint
        self._checkpoints = checkpoints or {}
        self._references = references or {}
        self._imported = imported

    def data(self) -> DataSettings:
        data = self._study.data
        if isinstance(data, ImageFiles):  # What is expected of the images is no setting of what is made of them.
            data = data.model_copy(update={"count": None})
        return DataSettings(data=data, seed=self._study.seed, fingerprint=self._data_fingerprint)

    @_remembered
    def vae(self) -> VaeSettings:
        return VaeSettings(vae=self._study.vae, fingerprint=self._vae_fingerprint, data=self.data())

    @_remembered
    def latents(self) -> LatentsSettings:
        latents = self._study.latents
        if latents.source is not None and self._imported:
            latents = latents.model_copy(update={"source": self._imported})
        return LatentsSettings(latents=latents, vae=self.vae())

    def extractor(self, kind: str) -> ExtractorSettings:
        chosen = next(extractor for extractor in self._study.metrics.extractors if extractor.kind == kind)
        return ExtractorSettings(extractor=chosen, data=self.data())

    @_remembered
    def train(self, slug: str, seed: int) -> TrainSettings:
        """Settings of one training run.

        Raises:
            UserError: the study has no variant of that file name.
        """
        study = self._study
        if slug not in self._variants:
            raise UserError(f"'{slug}' is not a variant of study {study.study}: {', '.join(study.variants)}.")
        return TrainSettings(
            variant=self._variants[slug],
            recipe=study.training.recipe,
            seed=seed,
            input_size=study.latent_size,
            in_channels=study.vae.latent_channels,
            num_classes=study.data.classes,
            latents=self.latents().digest,
            diffusion=study.process(study.objective(self._variants[slug])),
        )

    def preflight(self) -> PreflightSettings:
        first, *others = self._study.objectives
        return self._preflight(first, tuple(self._preflight(objective) for objective in others))

    def _preflight(self, objective: str, further: tuple[PreflightSettings, ...] = ()) -> PreflightSettings:
        study = self._study
        guided = [scale for scale in study.sampling.guidance_scales if scale != 1.0]
        return PreflightSettings(
            recipe=study.training.recipe,
            seed=study.training.seeds[0],
            input_size=study.latent_size,
            in_channels=study.vae.latent_channels,
            num_classes=study.data.classes,
            latents=self.latents(),
            sampling=self._sampling(guided[0] if guided else 1.0, checkpoint="", objective=objective),
            diffusion=study.process(objective),
            further=further,
            own=tuple(
                variant
                for variant in self._variants.values()
                if isinstance(variant, ClassVariant) and study.objective(variant) == objective
            ),
        )

    @_remembered
    def sample(
        self, slug: str, seed: int, step: int, guidance_scale: float, further: int | None = None
    ) -> SampleSettings:
        """Settings of an evaluation's samples, in the study's own or in a ``further`` number of sampling steps."""
        objective, checkpoint = self._study.objective(self._variants[slug]), self._checkpoint(slug, seed, step)
        return self._sampling(guidance_scale, checkpoint=checkpoint, objective=objective, further=further)

    def _sampling(
        self, guidance_scale: float, checkpoint: str, objective: str, further: int | None = None
    ) -> SampleSettings:
        sampling, others = self._study.sampling, {"guidance_scales", "keep_samples", "sampler", "samplers", "steps"}
        return SampleSettings(
            **sampling.model_dump(exclude=others),
            sampler=self._study.sampler(objective),
            steps=further or sampling.own_steps,
            guidance_scale=guidance_scale,
            num_classes=self._study.data.classes,
            image_channels=self._study.data.channels,
            checkpoint=checkpoint,
            diffusion=self._study.process(objective),
        )

    def _checkpoint(self, slug: str, seed: int, step: int) -> str:
        """Digest of what sampled weights and their decoding depend on."""
        given = self._checkpoints.get(self._variants[slug].name)
        return digest([given, self.vae().digest] if given else [self.train(slug, seed).digest, step])

    def gate(self, slug: str, seed: int, step: int) -> GateSettings:
        """Gates sample without guidance, which is what the network learned, and in few steps."""
        sampling = self.sample(slug, seed, step, guidance_scale=1.0)
        few = min(sampling.steps, GATE_SAMPLING_STEPS)
        steps = SAMPLERS[sampling.sampler].feasible_steps(sampling.diffusion, few)
        return GateSettings(
            training=self.train(slug, seed),
            sampling=sampling.model_copy(update={"steps": steps}),
            step=step,
            budget=self._study.training.steps,
        )

    def losses(self, slug: str, seed: int) -> LossSettings:
        """Settings of the losses of one run's exports."""
        metrics = self._study.metrics
        return LossSettings(
            training=self.train(slug, seed).digest,
            steps=self._study.exports(self._variants[slug].name),
            images=metrics.loss_images,
            draws=metrics.loss_draws,
            seed=self._study.seed,
        )

    @_remembered
    def reference(self, kind: str) -> ReferenceSettings:
        extractor = self.extractor(kind)
        if kind in self._references:
            content = extractor.extractor.model_copy(update={"reference": self._references[kind]})
            extractor = extractor.model_copy(update={"extractor": content})
        number = self._study.sampling.num_samples
        return ReferenceSettings(num_samples=number, extractor=extractor, latents=self.latents())

    def levels(self, kind: str, metrics: tuple[str, ...]) -> LevelSettings:
        """Settings of an extractor's reference levels; ``metrics`` are the keys of what is measured."""
        return LevelSettings(scoring=self._scoring(), metrics=metrics, reference=self.reference(kind).digest)

    @_remembered
    def _reference_digest(self, kind: str) -> str:
        return self.reference(kind).digest

    @_remembered
    def _extractor_digest(self, kind: str) -> str:
        return self.extractor(kind).digest

    @_remembered
    def _samples_digest(self, slug: str, seed: int, step: int, guidance_scale: float, further: int | None) -> str:
        return self.sample(slug, seed, step, guidance_scale, further).digest

    def features(
        self, slug: str, seed: int, step: int, guidance_scale: float, kind: str, further: int | None = None
    ) -> FeatureSettings:
        """Settings of the features that an extractor gives of an evaluation's samples; ``further`` as of `sample`."""
        samples = self._samples_digest(slug, seed, step, guidance_scale, further)
        return FeatureSettings(extractor=self._extractor_digest(kind), samples=samples)

    def score(
        self,
        slug: str,
        seed: int,
        step: int,
        guidance_scale: float,
        metrics: tuple[str, ...],
        further: int | None = None,
    ) -> ScoreSettings:
        """Settings of an evaluation's score.

        Args:
            slug: file name of the variant.
            seed: of its run.
            step: of training.
            guidance_scale: of the samples.
            metrics: keys of what is measured.
            further: number of sampling steps, where it is not the study's own.
        """
        kinds = [extractor.kind for extractor in self._study.metrics.extractors]
        return ScoreSettings(
            scoring=self._scoring(),
            metrics=metrics,
            references=tuple(map(self._reference_digest, kinds)),
            features=tuple(self.features(slug, seed, step, guidance_scale, kind, further).digest for kind in kinds),
        )

    def memorisation(
        self, slug: str, seed: int, step: int, guidance_scale: float, further: int | None = None
    ) -> MemorisationSettings:
        samples = self._samples_digest(slug, seed, step, guidance_scale, further)
        return MemorisationSettings(data=self.data(), samples=samples)

    @_remembered
    def _scoring(self) -> Scoring:
        numbers = self._study.metrics.model_dump(include=set(Scoring.model_fields))
        return Scoring(**numbers, seed=self._study.seed)

    def aggregate(self) -> AggregateSettings:
        return AggregateSettings(evaluations=self._study.evaluations, study=self._judged())

    def report(self) -> ReportSettings:
        return ReportSettings(study=self._judged())

    @_remembered
    def _judged(self) -> Study:
        """The study with defaults for what changes no result: resources, and what is kept."""
        sampling = self._study.sampling.model_copy(update={"keep_samples": True})
        training = self._study.training.model_copy(update={"loggers": ()})
        defaults = {"resources": Resources(), "keep": Keep(), "sampling": sampling, "training": training}
        return self._study.model_copy(update=defaults)
