"""The sizes that ship. A new one is a row here; a study of its own sizes names them in its config instead.

U-Nets have the proportions of latent diffusion's class-conditional ImageNet model LDM-4 (arXiv 2112.10752); residual
blocks, self-attention and conditioning are ADM's (arXiv 2105.05233): scale and shift by the sum of timestep and class
embeddings.
"""

from typing import Annotated

from pydantic import Field

from dit_scaling.common.section import Count, Section


class Size(Section):
    """Depth, width and number of attention heads of one size of transformers (Table 1 of the paper)."""

    depth: Count
    hidden_size: Count
    num_heads: Count


class UNetSize(Section):
    """One size of U-Nets: levels of residual blocks, each at half the resolution of the level before.

    The defaults are the proportions of latent diffusion's LDM-4.
    """

    channels: Count
    """Width at full resolution."""
    multipliers: Annotated[tuple[Count, ...], Field(min_length=1)] = (1, 2, 3, 5)
    """Width of each level in units of channels; each level has half the resolution of the one before."""
    blocks: Count = 2
    """Residual blocks of each level on the way down; one more on the way up."""
    head_width: Count = 32
    """Channels of one attention head; every level but the first attends, and so does the middle."""

    @property
    def groups(self) -> int:
        """Groups of the group norms: 32, but none of fewer than four channels."""
        return min(32, self.channels // 4)


# Table 1 has S, B, L and XL.
SIZES = {
    "S": Size(depth=12, hidden_size=384, num_heads=6),
    "B": Size(depth=12, hidden_size=768, num_heads=12),
    "L": Size(depth=24, hidden_size=1024, num_heads=16),
    "XL": Size(depth=28, hidden_size=1152, num_heads=16),
}

# On the paper's 4x32x32 latents 6.58, 25.95, 75.85 and 118.33 Gflops, near those of DiT-S/2, B/2, L/2 and XL/2.
UNET_SIZES = {
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
