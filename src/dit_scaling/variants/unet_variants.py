"""The U-Nets that the paper compares with, by name: sizes, closed-form parameter counts and multiply-adds.

Proportions are those of latent diffusion's class-conditional ImageNet model LDM-4 (arXiv 2112.10752); residual blocks,
self-attention and conditioning are ADM's (arXiv 2105.05233): scale and shift by the sum of timestep and class
embeddings. Needs neither torch nor any other library.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

UNET = "UNet"  # the family's name

Cost = tuple[int, int]
"""Weights and multiply-adds of one layer in one forward pass of one latent."""


@dataclass(frozen=True, kw_only=True)
class UNetSize:
    """Levels of residual blocks, each at half the resolution of the level before."""

    channels: int
    """Width at full resolution."""
    multipliers: tuple[int, ...] = (1, 2, 3, 5)
    """Width of each level in units of ``channels``."""
    blocks: int = 2
    """Residual blocks of each level on the way down; one more on the way up."""
    head_width: int = 32
    """Channels of one attention head; every level but the first attends, and so does the middle."""

    @property
    def groups(self) -> int:
        """Groups of the group norms: 32, but none of fewer than four channels."""
        return min(32, self.channels // 4)


@dataclass(frozen=True, kw_only=True)
class UNetVariant(UNetSize):
    """One U-Net of a study: ``UNet-B`` is size B. It has no patches."""

    size: str
    family: str = UNET

    @property
    def name(self) -> str:
        return f"{self.family}-{self.size}"

    @property
    def slug(self) -> str:
        """The name as part of a path."""
        return self.name

    @property
    def patch(self) -> None:
        return None


# On the paper's 4x32x32 latents 6.58, 25.95, 75.85 and 118.33 Gflops, near those of DiT-S/2, B/2, L/2 and XL/2.
UNET_SIZES: Mapping[str, UNetSize] = {
    "S": UNetSize(channels=112, head_width=16),
    "B": UNetSize(channels=224),
    "L": UNetSize(channels=384),
    "XL": UNetSize(channels=480),
}


def unet_problems(unet: UNetSize, input_size: int) -> list[str]:
    """What keeps a U-Net from being built on latents of ``input_size``; empty where nothing does."""
    problems = []
    factor = 2 ** (len(unet.multipliers) - 1)
    if input_size % factor:
        problems.append(f"latents of size {input_size} cannot be halved {len(unet.multipliers) - 1} times")
    if unet.multipliers[0] != 1:
        problems.append("multipliers must start with 1")
    if unet.channels % 4 or unet.channels % unet.groups:
        problems.append(f"channels {unet.channels} must be a multiple of 4, and of 32 from 128 on (group norms)")
    attending = [unet.channels * multiplier for multiplier in unet.multipliers[1:] or unet.multipliers]
    if any(width % unet.head_width for width in attending):
        problems.append(
            f"head_width {unet.head_width} does not divide the widths {attending} of the levels that attend"
        )
    return problems


def count_unet_parameters(unet: UNetSize, num_classes: int, in_channels: int) -> int:
    """Number of weights, with a row for the null class in the label table."""
    embedding = 4 * unet.channels
    smallest = 2 ** (len(unet.multipliers) - 1)
    return (num_classes + 1) * embedding + sum(weights for weights, _ in _layers(unet, smallest, in_channels))


def count_unet_multiply_adds(unet: UNetSize, input_size: int, in_channels: int) -> int:
    """Multiply-adds of one forward pass of one latent of ``input_size`` x ``input_size``."""
    return sum(multiply_adds for _, multiply_adds in _layers(unet, input_size, in_channels))


def _layers(unet: UNetSize, input_size: int, in_channels: int) -> Iterator[Cost]:
    """Every layer but the label table, in the order of the forward pass."""
    widths = [unet.channels * multiplier for multiplier in unet.multipliers]
    sides = [input_size // 2**level for level in range(len(widths))]
    embedding = 4 * unet.channels
    yield _convolution(1, unet.channels, embedding, 1)
    yield _convolution(1, embedding, embedding, 1)
    yield _convolution(3, in_channels, unet.channels, sides[0])

    def block(inputs: int, level: int) -> Iterator[Cost]:
        yield from _residual(inputs, widths[level], embedding, sides[level])
        if level > 0:
            yield from _attention(widths[level], sides[level])

    last = len(widths) - 1
    skips, width = [unet.channels], unet.channels
    for level in range(len(widths)):
        for _ in range(unet.blocks):
            yield from block(width, level)
            width = widths[level]
            skips.append(width)
        if level < last:
            yield _convolution(3, width, width, sides[level + 1])
            skips.append(width)

    yield from _residual(width, width, embedding, sides[last])
    yield from _attention(width, sides[last])
    yield from _residual(width, width, embedding, sides[last])

    for level in reversed(range(len(widths))):
        for _ in range(unet.blocks + 1):
            yield from block(width + skips.pop(), level)
            width = widths[level]
        if level > 0:
            yield _convolution(3, width, width, sides[level - 1])
    yield _norm(width)
    yield _convolution(3, width, 2 * in_channels, sides[0])


def _residual(inputs: int, outputs: int, embedding: int, side: int) -> Iterator[Cost]:
    """Two convolutions, scale and shift from the embedding, and a projection of the skip where the width changes."""
    yield _norm(inputs)
    yield _convolution(3, inputs, outputs, side)
    yield _convolution(1, embedding, 2 * outputs, 1)
    yield _norm(outputs)
    yield _convolution(3, outputs, outputs, side)
    if inputs != outputs:
        yield _convolution(1, inputs, outputs, side)


def _attention(width: int, side: int) -> Iterator[Cost]:
    """Query, key, value and output, then the products among all pixels."""
    yield _norm(width)
    for _ in range(4):
        yield _convolution(1, width, width, side)
    yield 0, 2 * side**4 * width


def _convolution(kernel: int, inputs: int, outputs: int, side: int) -> Cost:
    """A convolution that keeps the ``side`` of its outputs; with kernel and side 1 a linear layer."""
    weights = kernel**2 * inputs * outputs
    return weights + outputs, weights * side**2


def _norm(width: int) -> Cost:
    return 2 * width, 0
