"""Disk and memory of a study."""

import math
from dataclasses import dataclass

from dit_scaling.config.metrics_settings import AnyExtractor
from dit_scaling.config.study import Study
from dit_scaling.metrics.kept import KEPT_FEATURES
from dit_scaling.sampling.images import FIRST
from dit_scaling.variants import AnyVariant
from dit_scaling.variants.training_memory import FLOAT16, FLOAT32, TrainingMemory

BLOCK = 512  # bytes, of tar files
NPY_HEADER = 128
FLOAT64 = 8
SPATIAL_DIM = 2023  # of the features behind sFID
STATE_COPIES, STATES = 4, 2  # weights, EMA and two moments; the newest state and the one before it
PROCESS_BYTES, PROCESSES = 4e9, 8
"""Of a training process on a GPU beside its latents, an allowance; and so many of them on a node, or as many as are
configured, where that is more: a profile may start more than the config says."""


@dataclass(frozen=True)
class Disk:
    """Bytes."""

    latents: int
    checkpoints: int
    """Exported weights, raw and EMA, of every milestone and gate."""
    states: int
    samples: int
    features: int
    """Of samples and of what the reference levels are made of, with their moments."""

    @property
    def total(self) -> int:
        return self.latents + self.checkpoints + self.states + self.samples + self.features


def disk_of(study: Study, images: int) -> Disk:
    """Latents as webdataset tars, float32 weights, uint8 samples."""
    parameters = [study.parameters(name) for name in study.trained]
    seeds = len(study.training.seeds)
    weights = FLOAT32 * sum(parameters) * seeds
    stops = [len(study.stops(name)) for name in study.trained]
    exported = FLOAT32 * seeds * sum(math.prod(pair) for pair in zip(stops, parameters, strict=True))
    evaluations = 0 if study.laws else len(study.evaluations)
    pixels = study.data.image_size**2 * study.data.channels
    sampling, extractors = study.sampling, () if study.laws else study.metrics.extractors
    stay = sampling.num_samples if sampling.keep_samples else min(sampling.num_samples, FIRST * sampling.parts)
    return Disk(
        latents=images * latent_bytes(study) if study.trained else 0,
        checkpoints=2 * exported,
        states=STATES * STATE_COPIES * weights,
        samples=evaluations * stay * (pixels + 16),
        features=sum(_feature_bytes(study, extractor, evaluations, images) for extractor in extractors),
    )


def training_memory(study: Study, variant: AnyVariant, ranks: int) -> TrainingMemory:
    """What each of so many ranks keeps."""
    share = -(-study.training.batch_size // ranks)
    channels, precision = study.vae.latent_channels, study.training.precision
    return TrainingMemory(variant, study.latent_size, channels, study.data.classes, precision, share, ranks)


def micro_batch(study: Study, variant: AnyVariant, ranks: int, device: float | None) -> int:
    """Samples that a rank computes at a time on a device of so many bytes, as training itself chooses them."""
    memory = None if device is None else device / study.resources.jobs_per_gpu
    return training_memory(study, variant, ranks).micro_batch(study.resources.micro_batch, memory)


def peak_memory(study: Study, variant: AnyVariant, ranks: int, device: float | None = None) -> float | None:
    """Bytes on each device of so many bytes while training a transformer, None for a U-Net; an estimate."""
    held = micro_batch(study, variant, ranks, device)
    return training_memory(study, variant, ranks).needed(held)


def training_mb(study: Study, variant: AnyVariant, images: int) -> int:
    """Megabytes of memory of a node that one training job takes, on GPUs.

    The shards that samples are shuffled among, in the page cache; a copy of the state, which is written from there; and
    the processes themselves.
    """
    group, shards = study.training.shuffle_shards, study.latents.shards
    share = 1.0 if group is None else min(1.0, 2 * group / shards)
    copies = STATE_COPIES * FLOAT32 * study.parameters(variant.name)
    processes = max(PROCESSES, study.resources.gpus_per_node) * PROCESS_BYTES
    return math.ceil((share * images * latent_bytes(study) + copies + processes) / 1e6)


def _feature_bytes(study: Study, extractor: AnyExtractor, evaluations: int, images: int) -> int:
    """Features of every sample in float32, moments in float64; the same of the reference and of its three levels."""
    dim, samples, held_out = extractor.feature_dim, study.sampling.num_samples, study.data.held_out
    rows = (evaluations + 1) * samples + 2 * held_out + min(images, KEPT_FEATURES)
    moments = FLOAT64 * (dim**2 + (SPATIAL_DIM**2 if extractor.kind == "inception" else 0))
    return rows * FLOAT32 * dim + (evaluations + 4) * moments


def latent_bytes(study: Study) -> int:
    """Of one image in a shard: a header and a block for its label, a header and padded numbers for its moments."""
    numbers = 2 * 2 * study.vae.latent_channels * study.latent_size**2
    moments = -(-(NPY_HEADER + FLOAT16 * numbers) // BLOCK) * BLOCK
    return 3 * BLOCK + moments
