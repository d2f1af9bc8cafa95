"""Multiply-adds of the networks around the transformer, in closed form."""

from dataclasses import dataclass
from typing import Self

from dit_scaling.config.metrics_settings import AnyExtractor, ClassifierExtractor
from dit_scaling.config.study import Study
from dit_scaling.config.vae_settings import PretrainedVae, TrainedVae

INCEPTION = 5.71e9
"""Of Inception-v3 on one image of 299x299, without its auxiliary head: torchvision's table of models (inception_v3)."""

VIT_L14 = 24 * (12 * 257 * 1024**2 + 2 * 257**2 * 1024) + 256 * 588 * 1024
"""Of DINOv2's ViT-L/14 on one image of 224x224: 24 blocks of width 1024 on 257 tokens, patches of 14x14x3 = 588."""


@dataclass(frozen=True)
class Autoencoder:
    """The shape of a diffusers AutoencoderKL with so many ``layers`` a block."""

    channels: int
    """Of the images it takes."""
    blocks: tuple[int, ...]
    latent_channels: int
    layers: int
    attention: bool

    @classmethod
    def of_study(cls, study: Study) -> Self:
        """The study's own; a given one is taken to have the shape of sd-vae-ft-mse, widened or cut to its factor."""
        vae: TrainedVae | PretrainedVae = study.vae
        if isinstance(vae, TrainedVae):
            return cls(study.data.channels, vae.block_channels, vae.latent_channels, 1, False)
        levels = vae.downsampling.bit_length()
        blocks = (128, 256, 512, 512)
        return cls(3, (*blocks, *(512,) * levels)[:levels], vae.latent_channels, 2, True)

    def encoding(self, size: int) -> float:
        """Multiply-adds of the posterior of one image of ``size`` x ``size``."""
        total, before = _convolution(size, self.channels, self.blocks[0]), self.blocks[0]
        for level, width in enumerate(self.blocks):
            total += _residuals(size, before, width, self.layers)
            before = width
            if level < len(self.blocks) - 1:
                size //= 2
                total += _convolution(size, width, width)
        total += self._middle(size)
        moments = 2 * self.latent_channels
        return total + _convolution(size, before, moments) + size**2 * moments**2

    def decoding(self, size: int) -> float:
        """Multiply-adds of one image of ``size`` x ``size`` from its latent."""
        size //= 2 ** (len(self.blocks) - 1)
        before = self.blocks[-1]
        total = size**2 * self.latent_channels**2 + _convolution(size, self.latent_channels, before)
        total += self._middle(size)
        for level, width in enumerate(reversed(self.blocks)):
            total += _residuals(size, before, width, self.layers + 1)
            before = width
            if level < len(self.blocks) - 1:
                size *= 2
                total += _convolution(size, width, width)
        return total + _convolution(size, before, self.channels)

    def _middle(self, size: int) -> float:
        width, tokens = self.blocks[-1], size**2
        attention = 4 * tokens * width**2 + 2 * tokens**2 * width if self.attention else 0
        return _residuals(size, width, width, 2) + attention


SD_VAE = Autoencoder(3, (128, 256, 512, 512), 4, 2, True)
"""The shape of sd-vae-ft-mse."""


def feature_cost(study: Study, extractor: AnyExtractor) -> float:
    """Multiply-adds of the features of one image."""
    if extractor.kind == "dinov2":
        return VIT_L14
    if not isinstance(extractor, ClassifierExtractor):
        return INCEPTION
    size, side = study.data.image_size, min(4, study.data.image_size // 8)
    convolutions = [(size // 2, study.data.channels, 16), (size // 4, 16, 32), (size // 8, 32, 64)]
    return sum(_convolution(*shape) for shape in convolutions) + 64 * side**2 * extractor.feature_dim


def _convolution(size: int, before: int, after: int) -> float:
    """3x3, onto ``size`` x ``size`` places."""
    return 9 * size**2 * before * after


def _residuals(size: int, before: int, after: int, count: int) -> float:
    """Blocks of two convolutions; the first has a 1x1 one on its way around where the width changes."""
    first = _convolution(size, before, after) + (size**2 * before * after if before != after else 0)
    return first + count * _convolution(size, after, after) + (count - 1) * _convolution(size, after, after)
