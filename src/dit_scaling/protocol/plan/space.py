"""Disk and memory of a study."""

from dataclasses import dataclass

from dit_scaling.config.study import Study
from dit_scaling.sampling.images import FIRST
from dit_scaling.variants import AnyVariant, Variant, count_parameters

BLOCK = 512  # bytes, of tar files
NPY_HEADER = 128
FLOAT32, FLOAT16 = 4, 2
STATE_COPIES, STATES = 4, 2  # weights, EMA and two moments; the newest state and the one before it
TRAINING_COPIES = 6  # those, and the gradient twice: where autograd leaves it, and in one piece for AdamW
BLOCK_ACTIVATIONS = 18  # numbers of the width that a block keeps per token for its backward pass, see ``peak_memory``


@dataclass(frozen=True)
class Disk:
    """Bytes."""

    latents: int
    checkpoints: int
    """Exported weights, raw and EMA, of every milestone."""
    states: int
    samples: int

    @property
    def total(self) -> int:
        return self.latents + self.checkpoints + self.states + self.samples


def disk_of(study: Study, images: int) -> Disk:
    """Latents as webdataset tars, float32 weights, uint8 samples."""
    parameters = [
        count_parameters(study.variant(name), study.data.classes, study.vae.latent_channels) for name in study.trained
    ]
    weights = FLOAT32 * sum(parameters) * len(study.training.seeds)
    exports, scales = len(study.training.exports), len(study.sampling.guidance_scales)
    evaluations = sum(len(study.exports(name)) for name in study.variants) * len(study.training.seeds) * scales
    pixels = study.data.image_size**2 * study.data.channels
    sampling = study.sampling
    stay = sampling.num_samples if sampling.keep_samples else min(sampling.num_samples, FIRST * sampling.parts)
    return Disk(
        latents=images * _latent_bytes(study) if study.trained else 0,
        checkpoints=2 * exports * weights,
        states=STATES * STATE_COPIES * weights,
        samples=evaluations * stay * (pixels + 16),
    )


def peak_memory(study: Study, variant: AnyVariant, ranks: int) -> float | None:
    """Bytes on each device while training a transformer, None for a U-Net.

    Weights, EMA, AdamW's moments and the gradient, twice, in float32, and activations.

    An estimate. Of activations, a block keeps per token 18 numbers of its width (two norms and their modulations,
    queries, keys and values, attention's output and projection, the MLP's 4 + 4 + 1, and the residual stream),
    attention not being stored; half as many bytes in bfloat16.
    """
    if not isinstance(variant, Variant):
        return None
    parameters = count_parameters(variant, study.data.classes, study.vae.latent_channels)
    share = -(-study.training.batch_size // ranks)
    held = min(share, study.resources.micro_batch or share)
    number = FLOAT16 if study.training.precision == "bfloat16" else FLOAT32
    tokens = (study.latent_size // variant.patch) ** 2
    activations = held * tokens * variant.layers * BLOCK_ACTIVATIONS * variant.width * number
    return TRAINING_COPIES * FLOAT32 * parameters + activations


def _latent_bytes(study: Study) -> int:
    """Of one image in a shard: a header and a block for its label, a header and padded numbers for its moments."""
    numbers = 2 * 2 * study.vae.latent_channels * study.latent_size**2
    moments = -(-(NPY_HEADER + FLOAT16 * numbers) // BLOCK) * BLOCK
    return 3 * BLOCK + moments
