"""Every job of a study that costs: its arithmetic, and the digest of the settings its result depends on."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise

from dit_scaling.common.stage_words import Stage
from dit_scaling.config import Stages
from dit_scaling.config.metrics_settings import ClassifierExtractor
from dit_scaling.config.study import Study
from dit_scaling.config.vae_settings import TrainedVae
from dit_scaling.diffusion.samplers import SAMPLERS
from dit_scaling.losses.loss_names import BATCH, EMA_SETS, SETS
from dit_scaling.metrics.catalogue import metric_keys
from dit_scaling.metrics.kept import KEPT_FEATURES
from dit_scaling.plan.network_costs import Autoencoder, feature_cost
from dit_scaling.plan.rates import written_by
from dit_scaling.plan.space import STATE_COPIES, latent_bytes, micro_batch
from dit_scaling.plan.statistics_costs import statistics_seconds
from dit_scaling.variants import TRAINING_PASSES, count_gflops
from dit_scaling.variants.training_memory import FLOAT32

COPYING = 5e9
"""Bytes a second of a state that is copied to the host's memory, while its run stands still: 7.7e9 within the memory of
a machine of two cores (torch 2.15.0), and less over the bus of a GPU."""
WRITING = 0.32e9
"""Bytes a second of a state that is written and hashed (3.1 s a GB measured); only the last one is waited for."""

IMPORTING = 0.14e9
"""Bytes a second of imported latents that a core counts, writes into a shard and hashes (0.13e9 to 0.15e9 measured)."""


@dataclass(frozen=True)
class Saving:
    """How a training job saves its states."""

    size: float
    """Bytes of a state."""
    at_steps: int
    """Times it is saved whatever the clock says."""
    minutes: float
    """Between two times by the clock."""

    def seconds(self, training: float) -> float:
        """In which a job that trains for so many seconds stands still."""
        times = self.at_steps + training / (60 * self.minutes)
        return times * self.size / COPYING + self.size / WRITING


@dataclass(frozen=True)
class Job:
    """A piece of work that runs or is spared as a whole."""

    stage: Stage
    name: str
    variant: str
    """Empty for what all variants share."""
    digest: str
    records: tuple[str, ...]
    """JSON files, below the study's results, that hold the digest of the settings it ran with."""
    multiply_adds: float
    """In all, forward and backward, of transformers and U-Nets."""
    encoding: float = 0.0
    """Further multiply-adds, of images to latents."""
    decoding: float = 0.0
    """Further ones, of latents to images."""
    written: float = 0.0
    """Tokens x width x blocks of all passes (``rates``)."""
    images: float = 0.0
    """Seen in training."""
    begin: int = 0
    """Step that a training resumes from,"""
    end: int = 0
    """and the one that it reaches."""
    passes: float = 0.0
    """Of a network over a batch, where each costs something however little it computes; of all devices together."""
    parts: int = 1
    """Devices that can share it, or cores where it needs no device."""
    plain: float = 0.0
    """Further multiply-adds, always in float32: features, and training a VAE or a network of features."""
    core_seconds: float = 0.0
    """Of CPU cores, without a device: the metrics, and the copying of imported latents."""
    cores: int = 1
    """That share them."""
    saving: Saving | None = None
    """Of a training."""
    run: str = ""
    """Digest of the settings by which a training finds the states that it goes on from."""
    measures: "Job | None" = None
    """The losses that a training measures too, before it ends."""
    reads: tuple[str, ...] = ()
    """Files below the study's results that it reads, where these may be deleted while what they led to is kept,"""
    makes: tuple[str, ...] = ()
    """and those of them that it writes."""

    def resumed_from(self, step: int) -> "Job":
        """This training where a state of ``step`` is the newest up to its end: the steps from there on."""
        left = (self.end - step) / (self.end - self.begin)
        costs = {name: left * getattr(self, name) for name in ("multiply_adds", "written", "images", "passes")}
        return replace(self, **costs)


def list_jobs(study: Study, stages: Stages, images: int) -> list[Job]:
    """The study's jobs in the order of the data.

    Args:
        study: the study.
        stages: settings of its stages.
        images: number of images, training and held-out together.
    """
    shared = _shared(study, stages, images)
    if study.laws is not None:  # which samples nothing
        return [*(job for job in shared if job.stage in ("vae", "latents")), *_measured_runs(study, stages)]
    return [*shared, *_trainings(study, stages), *_losses(study, stages), *_evaluations(study, stages, images)]


def _shared(study: Study, stages: Stages, images: int) -> Iterator[Job]:
    vae, size = Autoencoder.of_study(study), study.data.image_size
    encode, decode = vae.encoding(size), vae.decoding(size)
    training = 0.0
    if isinstance(study.vae, TrainedVae):
        steps = study.vae.steps * study.vae.batch_size * TRAINING_PASSES * (encode + decode)
        training = steps + images * encode + study.data.held_out * (encode + decode)
    yield Job("vae", "VAE", "", stages.vae().digest, ("vae/provenance.json",), 0.0, plain=training)
    if study.trained:
        imported = study.latents.source is not None
        yield Job(
            "latents",
            "latents",
            "",
            stages.latents().digest,
            ("latents/provenance.json",),
            0.0,
            encoding=0.0 if imported else 2 * images * encode,
            core_seconds=images * latent_bytes(study) / IMPORTING if imported else 0.0,
            parts=study.latents.shards,
        )
    for extractor in study.metrics.extractors:
        kind, features = extractor.kind, feature_cost(study, extractor)
        learning = 0.0
        if isinstance(extractor, ClassifierExtractor):
            learning = extractor.steps * extractor.batch_size * TRAINING_PASSES * features
        record = f"reference/{kind}/extractor-provenance.json"
        yield Job("reference", f"{kind} extractor", "", stages.extractor(kind).digest, (record,), 0.0, plain=learning)
        held_out, samples = study.data.held_out, study.sampling.num_samples
        decoded = (held_out + samples) * decode
        given = study.metrics.given(kind)
        known = KEPT_FEATURES if given is not None and given.reference else images
        seen = (known + 2 * held_out + samples) * features
        record = f"reference/{kind}/provenance.json"
        yield Job(
            "reference", kind, "", stages.reference(kind).digest, (record,), 0.0, held_out * encode, decoded, plain=seen
        )
        sets = (held_out, held_out, samples)
        yield Job(
            "reference",
            f"{kind} levels",
            "",
            stages.levels(kind, metric_keys()).digest,
            (f"reference/{kind}/levels-provenance.json",),
            0.0,
            core_seconds=sum(statistics_seconds(study, extractor, count, images) for count in sets),
            cores=study.resources.threads,
        )


def _trainings(study: Study, stages: Stages) -> Iterator[Job]:
    """One job per export; each trains the steps since the one before."""
    for name in study.trained:
        slug = study.variant(name).slug
        for seed in study.training.seeds:
            digest = stages.train(slug, seed).digest
            for begin, end in pairwise((0, *study.exports(name))):
                place = f"{slug}/seed-{seed}/step-{end}"
                job = _training(study, name, seed, digest, (begin, end), f"{place}/provenance.json")
                yield replace(job, makes=_weights(place))


def _weights(place: str) -> tuple[str, str]:
    return f"{place}/ema.safetensors", f"{place}/raw.safetensors"


def _measured_runs(study: Study, stages: Stages) -> Iterator[Job]:
    """One job per run of a study for laws: to its largest budget, saved and measured at each."""
    for name in study.trained:
        slug, stops = study.variant(name).slug, (0, *study.exports(name))
        for seed in study.training.seeds:
            measures = _losses_of(study, stages, name, seed)
            digest, record = stages.train(slug, seed).digest, measures.records[0]
            whole = _training(study, name, seed, digest, (0, stops[-1]), record)
            saves = sum(_saves(study, begin, end) for begin, end in pairwise(stops))
            saving = replace(whole.saving, at_steps=saves) if whole.saving else None
            yield replace(whole, digest=measures.digest, saving=saving, measures=measures)


def _training(study: Study, name: str, seed: int, digest: str, part: tuple[int, int], record: str) -> Job:
    """Training of one run from a step to another, under its digest."""
    variant, (begin, end), batch = study.variant(name), part, study.training.batch_size
    forward = 1e9 * count_gflops(variant, study.latent_size, study.vae.latent_channels)
    ranks, steps = study.resources.gpus_per_node, end - begin
    size = STATE_COPIES * FLOAT32 * study.parameters(name)
    return Job(
        "train",
        f"{name} seed {seed} to step {end:,}",
        name,
        digest,
        (record,),
        TRAINING_PASSES * forward * batch * steps,
        written=TRAINING_PASSES * written_by(variant, study.latent_size) * batch * steps,
        images=batch * steps,
        begin=begin,
        end=end,
        passes=_passes(study, name, ranks) * steps,
        parts=ranks,
        saving=Saving(size, _saves(study, begin, end), study.resources.save_minutes),
        run=digest,
    )


def _passes(study: Study, name: str, ranks: int) -> float:
    """Passes of a training step: each of so many ranks computes its share, in parts where the config says so."""
    turns = -(-study.training.batch_size // (ranks * micro_batch(study, study.variant(name), ranks, None)))
    return TRAINING_PASSES * turns * ranks


def on_ranks(study: Study, training: Job, ranks: int) -> Job:
    """A whole training on so many devices."""
    steps = training.end - training.begin
    return replace(training, parts=ranks, passes=_passes(study, training.variant, ranks) * steps)


def _saves(study: Study, begin: int, end: int) -> int:
    """Times that training from a step to another saves its state, whatever the clock says."""
    return 1 + (end - begin - 1) // study.resources.save_steps


def _losses(study: Study, stages: Stages) -> Iterator[Job]:
    """One job per run: all of its exports."""
    for name in study.trained:
        for seed in study.training.seeds:
            yield _losses_of(study, stages, name, seed)


def _losses_of(study: Study, stages: Stages, name: str, seed: int) -> Job:
    """EMA weights of all exports of a run on held-out and on training images; raw ones too, but for laws."""
    variant, metrics = study.variant(name), study.metrics
    images = min(metrics.loss_images, study.data.held_out)
    forward = 1e9 * count_gflops(variant, study.latent_size, study.vae.latent_channels)
    sets = EMA_SETS if study.laws is not None else SETS
    run, exports = f"{variant.slug}/seed-{seed}", study.exports(name)
    passes = sets * len(exports) * (metrics.loss_draws + 1)
    return Job(
        "losses",
        f"{name} seed {seed}, held-out loss",
        name,
        stages.losses(variant.slug, seed).digest,
        (f"{run}/losses.provenance.json",),
        images * passes * forward,
        written=images * passes * written_by(variant, study.latent_size),
        passes=passes * images / BATCH,
        reads=tuple(file for step in exports for file in _weights(f"{run}/step-{step}")),
    )


def _evaluations(study: Study, stages: Stages, images: int) -> Iterator[Job]:
    decode = Autoencoder.of_study(study).decoding(study.data.image_size)
    extractors, count = study.metrics.extractors, study.sampling.num_samples
    for row in study.evaluations:
        variant = study.variant(row.variant)
        forward = 1e9 * count_gflops(variant, study.latent_size, study.vae.latent_channels)
        evaluations = SAMPLERS[row.sampler].evaluations(row.further_steps or study.sampling.own_steps)
        passes = evaluations * (1 if row.guidance_scale == 1.0 else 2)
        place, name = study.folder_of(row), f"{row.variant} seed {row.seed} step {row.step:,}"
        name += "" if row.guidance_scale == 1.0 else f" guidance {row.guidance_scale:g}"
        name += "" if row.further_steps is None else f" in {row.further_steps:,} sampling steps"
        settings = variant.slug, row.seed, row.step, row.guidance_scale
        parts = tuple(f"{place}/samples/part-{part:05d}" for part in range(study.sampling.parts))
        samples = tuple(f"{part}.npz" for part in parts)
        yield Job(
            "sample",
            name,
            row.variant,
            stages.sample(*settings, row.further_steps).digest,
            tuple(f"{part}.provenance.json" for part in parts),
            count * passes * forward,
            decoding=count * decode,
            written=count * passes * written_by(variant, study.latent_size),
            passes=evaluations * count / study.resources.sample_batch,
            parts=len(parts),
            reads=(_weights(f"{variant.slug}/seed-{row.seed}/step-{row.step}")[0],),
            makes=samples,
        )
        for extractor in extractors:
            yield Job(
                "features",
                f"{name}, {extractor.kind}",
                row.variant,
                stages.features(*settings, extractor.kind, row.further_steps).digest,
                (f"{place}/features/{extractor.kind}/provenance.json",),
                0.0,
                plain=count * feature_cost(study, extractor),
                reads=samples,
            )
        yield Job(
            "score",
            name,
            row.variant,
            stages.score(*settings, metric_keys(), row.further_steps).digest,
            (f"{place}/provenance.json",),
            0.0,
            core_seconds=sum(statistics_seconds(study, extractor, count, images) for extractor in extractors),
            cores=study.resources.threads,
        )
