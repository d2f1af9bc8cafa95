"""Closed-form parameter counts and multiply-adds of the U-Nets: see `dit_scaling.variants.sizes.UNetSize`."""

from collections.abc import Iterator

from dit_scaling.variants.sizes import UNetSize

Cost = tuple[int, int]
"""Weights and multiply-adds of one layer in one forward pass of one latent."""


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
