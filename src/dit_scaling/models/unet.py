"""The class-conditional latent U-Net beside DiT: diffusers' UNet2DModel in the proportions of LDM-4."""

from torch import Tensor, nn

from dit_scaling.common.errors import UserError
from dit_scaling.variants import UNetVariant, unet_problems


class UNet(nn.Module):
    """Predicts the noise and the range variable of the variance from a noisy latent, as ``DiT`` does.

    Timestep and class embeddings are summed, and scale and shift the norms of every residual block. The label
    ``num_classes`` is the null class.

    Raises:
        UserError: channels, heads, levels and input size do not fit together.
    """

    def __init__(self, variant: UNetVariant, input_size: int, num_classes: int, in_channels: int) -> None:
        from diffusers import UNet2DModel  # Costs several seconds: only where it is used.

        super().__init__()
        problems = unet_problems(variant, input_size)
        if problems:
            raise UserError(f"{variant.name}: {'; '.join(problems)}.")
        self.variant = variant
        self.input_size = input_size
        self.num_classes = num_classes
        self.in_channels = in_channels

        attending = len(variant.multipliers) - 1
        self.network = UNet2DModel(
            sample_size=input_size,
            in_channels=in_channels,
            out_channels=2 * in_channels,
            down_block_types=("DownBlock2D", *["AttnDownBlock2D"] * attending),
            up_block_types=(*["AttnUpBlock2D"] * attending, "UpBlock2D"),
            block_out_channels=tuple(variant.channels * multiplier for multiplier in variant.multipliers),
            layers_per_block=variant.blocks,
            attention_head_dim=variant.head_width,
            norm_num_groups=variant.groups,
            attn_norm_num_groups=variant.groups,
            resnet_time_scale_shift="scale_shift",
            num_class_embeds=num_classes + 1,
        )
        nn.init.zeros_(self.network.conv_out.weight)  # as DiT: an untrained network predicts zero
        nn.init.zeros_(self.network.conv_out.bias)

    def forward(self, x: Tensor, t: Tensor, y: Tensor) -> Tensor:
        """Predict noise and variance range: arguments and result as those of ``DiT.forward``."""
        if x.shape[1:] != (self.in_channels, self.input_size, self.input_size):
            raise ValueError(
                f"latents have shape {tuple(x.shape)}; expected (N, {self.in_channels}, "
                f"{self.input_size}, {self.input_size})"
            )
        output: Tensor = self.network(x, t, class_labels=y).sample
        return output
