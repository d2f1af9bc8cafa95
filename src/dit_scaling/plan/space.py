"""Disk and memory of a study."""

from dataclasses import dataclass

from dit_scaling.config.metrics_settings import AnyExtractor
from dit_scaling.config.study import Study
from dit_scaling.metrics.kept import KEPT_FEATURES
from dit_scaling.sampling.images import FIRST
from dit_scaling.variants import AnyVariant, Variant, count_parameters

BLOCK = 512  # bytes, of tar files
NPY_HEADER = 128
FLOAT64, FLOAT32, FLOAT16 = 8, 4, 2
SPATIAL_DIM = 2023  # of the features behind sFID
STATE_COPIES, STATES = 4, 2  # weights, EMA and two moments; the newest state and the one before it
TRAINING_COPIES = 6  # those, and the gradient twice: where autograd leaves it, and in one piece for AdamW
# Bytes that a block keeps for its backward pass, per token and unit of its width. In float32 of 20 numbers: two norms,
# their modulations, two residual sums, the gated outputs of attention and MLP, queries, keys and values, attention's
# output, and the MLP's 4 + 4; attention is not stored. In bfloat16 norms, sums and, on a GPU, the gated outputs are
# float32 still.
BLOCK_BYTES = {"float32": 80, "tf32": 80, "bfloat16": 52}


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
    parameters = [
        count_parameters(study.variant(name), study.data.classes, study.vae.latent_channels) for name in study.trained
    ]
    weights = FLOAT32 * sum(parameters) * len(study.training.seeds)
    stops, scales = len(study.training.stops), len(study.sampling.guidance_scales)
    evaluations = sum(len(study.exports(name)) for name in study.variants) * len(study.training.seeds) * scales
    pixels = study.data.image_size**2 * study.data.channels
    sampling = study.sampling
    stay = sampling.num_samples if sampling.keep_samples else min(sampling.num_samples, FIRST * sampling.parts)
    return Disk(
        latents=images * _latent_bytes(study) if study.trained else 0,
        checkpoints=2 * stops * weights,
        states=STATES * STATE_COPIES * weights,
        samples=evaluations * stay * (pixels + 16),
        features=sum(_feature_bytes(study, extractor, evaluations, images) for extractor in study.metrics.extractors),
    )


def peak_memory(study: Study, variant: AnyVariant, ranks: int) -> float | None:
    """Bytes on each device while training a transformer, None for a U-Net.

    Weights, EMA, AdamW's moments and the gradient, twice, in float32; once more what the parts of a step add up to
    before ranks share it; what blocks keep (``BLOCK_BYTES``), and in bfloat16 the copy of the weights that they compute
    with. An estimate, of networks that are not compiled.
    """
    if not isinstance(variant, Variant):
        return None
    parameters = count_parameters(variant, study.data.classes, study.vae.latent_channels)
    share = -(-study.training.batch_size // ranks)
    held = min(share, study.resources.micro_batch or share)
    precision = study.training.precision
    copies = TRAINING_COPIES + (ranks > 1 and held < share)
    per_parameter = FLOAT32 * copies + (FLOAT16 if precision == "bfloat16" else 0)
    tokens = (study.latent_size // variant.patch) ** 2
    activations = held * tokens * variant.depth * variant.hidden_size * BLOCK_BYTES[precision]
    return per_parameter * parameters + activations


def _feature_bytes(study: Study, extractor: AnyExtractor, evaluations: int, images: int) -> int:
    """Features of every sample in float32, moments in float64; the same of the reference and of its three levels."""
    dim, samples, held_out = extractor.feature_dim, study.sampling.num_samples, study.data.held_out
    rows = (evaluations + 1) * samples + 2 * held_out + min(images, KEPT_FEATURES)
    moments = FLOAT64 * (dim**2 + (SPATIAL_DIM**2 if extractor.kind == "inception" else 0))
    return rows * FLOAT32 * dim + (evaluations + 4) * moments


def _latent_bytes(study: Study) -> int:
    """Of one image in a shard: a header and a block for its label, a header and padded numbers for its moments."""
    numbers = 2 * 2 * study.vae.latent_channels * study.latent_size**2
    moments = -(-(NPY_HEADER + FLOAT16 * numbers) // BLOCK) * BLOCK
    return 3 * BLOCK + moments
