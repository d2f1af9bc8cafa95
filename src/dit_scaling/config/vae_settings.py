"""Config sections ``vae`` and ``latents``: how images become latents, and how these lie on disk."""

from typing import Annotated, Literal

from pydantic import Field

from dit_scaling.common.section import Before, Count, Numbered, PositiveFloat, Section


class TrainedVae(Section):
    """A diffusers AutoencoderKL trained on the study's own images, with loss L1 + L2 + kl_weight * KL."""

    source: Literal["trained"]
    block_channels: Annotated[tuple[Count, ...], Field(min_length=1)]
    """Channels per resolution; each further entry halves the resolution."""
    latent_channels: Count
    norm_groups: Count = 4
    kl_weight: Annotated[float, Field(ge=0)] = 0.003
    steps: Annotated[int, Field(ge=3)]
    batch_size: Count
    learning_rate: PositiveFloat

    @property
    def downsampling(self) -> int:
        return int(2 ** (len(self.block_channels) - 1))


class PretrainedVae(Section):
    """A given AutoencoderKL, used as it is: a local folder, or a hub id where there is a network."""

    source: Literal["pretrained"]
    path: str
    """Local folder with config.json and weights, or a hub id like stabilityai/sd-vae-ft-mse (see resources.cache)."""
    latent_channels: Count = 4
    downsampling: Count = 8


VaeChoice = Annotated[TrainedVae | PretrainedVae, Field(discriminator="source")]
"""The VAE of a study, told apart by its ``source``."""


class Latents(Section):
    """How the latents are laid out on disk, and where they come from."""

    shards: Numbered = 8
    """Webdataset shards of the training images; one job each."""
    held_out_shards: Numbered = 1
    precision: Annotated[Literal["tf32", "bfloat16", "float16"], Before("tf32")] = "tf32"
    """Arithmetic of the encoder. tf32 is that of GPUs, float32 elsewhere; the others are autocast, a third faster on an
    H200. Latents of SD's VAE in float16 differ by 0.17% of their norm, in bfloat16 by 1.4%."""
    source: Annotated[str | None, Before(None)] = None
    """Folder that `dit-scaling import-latents` wrote: its latents are used, and no image is encoded but for checks."""
