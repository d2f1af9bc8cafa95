"""The diffusion transformer with adaLN-Zero blocks: arXiv 2212.09748, section 3 and figure 3.

The whole model is on this page. Shapes use N latents in the batch, C latent channels, input size I, patch p,
grid G = I/p, T = G^2 tokens of hidden size D. Submodules are named so that the state dict has the keys of the released
checkpoints. Their ``adaLN_modulation`` is a SiLU and a linear layer; the SiLU, the same for all blocks, is done once
in ``DiT.forward``.
"""

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dit_scaling.common.errors import UserError
from dit_scaling.variants import FREQUENCY_DIM, MLP_RATIO, Variant

MAX_PERIOD = 10_000.0  # of the sinusoids of timesteps and positions
NORM_EPS = 1e-6
GELU_LINEAR = 2 * math.sqrt(2 / math.pi)  # of 2u, see gelu_tanh
GELU_CUBIC = 0.044715 * GELU_LINEAR


class DiT(nn.Module):
    """Predicts the noise and the range variable of the variance from a noisy latent.

    Labels are used as they come. For classifier-free guidance the training loop replaces a share of them by the null
    class, whose label is ``num_classes`` (the last row of the table).

    Raises:
        UserError: hidden size, heads, patch and input size do not fit together.
    """

    pos_embed: Tensor

    def __init__(self, variant: Variant, input_size: int, num_classes: int, in_channels: int) -> None:
        super().__init__()
        _check_geometry(variant, input_size)
        self.variant = variant
        self.input_size = input_size
        self.num_classes = num_classes
        self.in_channels = in_channels
        self.grid = input_size // variant.patch

        hidden_size, patch_dim = variant.hidden_size, variant.patch**2 * in_channels
        self.x_embedder = PatchEmbedder(in_channels, variant.patch, hidden_size)
        time_mlp = nn.Sequential(nn.Linear(FREQUENCY_DIM, hidden_size), nn.SiLU(), nn.Linear(hidden_size, hidden_size))
        self.t_embedder = nn.ModuleDict({"mlp": time_mlp})
        label_table = nn.Embedding.from_pretrained(torch.empty(num_classes + 1, hidden_size), freeze=False)
        self.y_embedder = nn.ModuleDict({"embedding_table": label_table})
        self.blocks = nn.ModuleList(Block(hidden_size, variant.num_heads) for _ in range(variant.depth))
        self.final_layer = FinalLayer(hidden_size, 2 * patch_dim)
        self.register_buffer("pos_embed", position_table(hidden_size, self.grid))
        if not self.pos_embed.is_meta:  # there it would do nothing, but load half of torch's compiler
            self.initialize()

    def initialize(self) -> None:
        """Draw fresh weights: every block starts as the identity, and the output as zero (section 3.2)."""
        for name, weight in self.named_parameters():
            if name.endswith("bias") or "adaLN_modulation" in name or name.startswith("final_layer"):
                nn.init.zeros_(weight)
            elif name.startswith(("t_embedder", "y_embedder")):
                nn.init.normal_(weight, std=0.02)
            else:  # the patch convolution counts as the linear layer that it is
                nn.init.xavier_uniform_(weight.flatten(1))

    def forward(self, x: Tensor, t: Tensor, y: Tensor) -> Tensor:
        """Predict noise and variance range.

        Args:
            x: (N, C, I, I) noisy latents.
            t: (N,) timesteps of the process, integers or floats.
            y: (N,) int64 labels in [0, num_classes], ``num_classes`` being the null class.

        Returns:
            (N, 2C, I, I): the noise, then the variance's place between its bounds, where -1 is the lower bound and
            1 the upper one.
        """
        if x.shape[1:] != (self.in_channels, self.input_size, self.input_size):
            raise ValueError(
                f"latents have shape {tuple(x.shape)}; expected (N, {self.in_channels}, "
                f"{self.input_size}, {self.input_size})"
            )
        tokens = self.x_embedder(x) + self.pos_embed  # (N, T, D)
        times = self.t_embedder["mlp"](timestep_sinusoids(t).to(x.dtype))  # (N, D)
        labels = self.y_embedder["embedding_table"](y)  # (N, D)
        condition = F.silu(times + labels)  # (N, D)
        for block in self.blocks:
            tokens = block(tokens, condition)  # (N, T, D)
        return self.unpatchify(self.final_layer(tokens, condition))  # (N, 2C, I, I)

    def unpatchify(self, patches: Tensor) -> Tensor:
        """(N, T, p*p*2C) to (N, 2C, I, I)."""
        patch = self.variant.patch
        pixels = patches.view(-1, self.grid, self.grid, patch, patch, 2 * self.in_channels)  # (N, G, G, p, p, 2C)
        return pixels.permute(0, 5, 1, 3, 2, 4).reshape(-1, 2 * self.in_channels, self.input_size, self.input_size)


class Block(nn.Module):
    """Attention and MLP, each shifted, scaled and gated by the condition (adaLN-Zero)."""

    def __init__(self, hidden_size: int, num_heads: int) -> None:
        super().__init__()
        self.hidden_size = hidden_size
        self.attn = Attention(hidden_size, num_heads)
        self.mlp = MLP(hidden_size)
        self.adaLN_modulation = nn.Sequential(nn.Identity(), nn.Linear(hidden_size, 6 * hidden_size))

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """(N, T, D) tokens and (N, D) activated condition to (N, T, D)."""
        modulation = self.adaLN_modulation(condition).view(-1, 6, 1, self.hidden_size)
        shift_attn, scale_attn, gate_attn, shift_mlp, scale_mlp, gate_mlp = modulation.unbind(1)  # (N, 1, D) each
        x = torch.addcmul(x, gate_attn, self.attn(modulate(x, shift_attn, scale_attn)))
        return torch.addcmul(x, gate_mlp, self.mlp(modulate(x, shift_mlp, scale_mlp)))


class Attention(nn.Module):
    """Multi-head self-attention."""

    def __init__(self, hidden_size: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.qkv = nn.Linear(hidden_size, 3 * hidden_size)
        self.proj = nn.Linear(hidden_size, hidden_size)

    def forward(self, x: Tensor) -> Tensor:
        """(N, T, D) to (N, T, D)."""
        qkv = self.qkv(x).view(*x.shape[:2], 3, self.num_heads, -1)  # (N, T, 3, heads, D/heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)  # (N, heads, T, D/heads) each
        out: Tensor = self.proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))
        return out


class MLP(nn.Module):
    """Two linear layers around a GELU in its tanh form."""

    def __init__(self, hidden_size: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(hidden_size, MLP_RATIO * hidden_size)
        self.fc2 = nn.Linear(MLP_RATIO * hidden_size, hidden_size)

    def forward(self, x: Tensor) -> Tensor:
        """(N, T, D) to (N, T, D)."""
        out: Tensor = self.fc2(gelu_tanh(self.fc1(x)))
        return out


class FinalLayer(nn.Module):
    """A modulated norm and a linear layer to the pixels of each patch."""

    def __init__(self, hidden_size: int, out_dim: int) -> None:
        super().__init__()
        self.hidden_size = hidden_size
        self.linear = nn.Linear(hidden_size, out_dim)
        self.adaLN_modulation = nn.Sequential(nn.Identity(), nn.Linear(hidden_size, 2 * hidden_size))

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """(N, T, D) tokens and (N, D) activated condition to (N, T, out_dim)."""
        shift, scale = self.adaLN_modulation(condition).view(-1, 2, 1, self.hidden_size).unbind(1)  # (N, 1, D) each
        out: Tensor = self.linear(modulate(x, shift, scale))
        return out


class PatchEmbedder(nn.Module):
    """Linear embedding of non-overlapping patches.

    Its weight has the shape of a convolution, as in the released checkpoints; on patches that do not overlap a linear
    layer does the same, and faster on small inputs.
    """

    def __init__(self, in_channels: int, patch: int, hidden_size: int) -> None:
        super().__init__()
        self.patch = patch
        self.proj = nn.Conv2d(in_channels, hidden_size, kernel_size=patch, stride=patch)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, I, I) to (N, T, D), tokens row by row."""
        n, channels, height, width = x.shape
        rows, columns = height // self.patch, width // self.patch
        patches = x.reshape(n, channels, rows, self.patch, columns, self.patch)  # (N, C, G, p, G, p)
        patches = patches.permute(0, 2, 4, 1, 3, 5).reshape(n, rows * columns, -1)  # (N, T, C*p*p)
        return F.linear(patches, self.proj.weight.flatten(1), self.proj.bias)


def modulate(x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    """LayerNorm(x) * (1 + scale) + shift: adaptive layer norm of (N, T, D) tokens by (N, 1, D) shift and scale."""
    return torch.addcmul(shift, F.layer_norm(x, x.shape[-1:], eps=NORM_EPS), 1 + scale)


def gelu_tanh(x: Tensor) -> Tensor:
    """GELU in its tanh form: x (1 + tanh u) / 2 = x sigmoid(2u), with u = sqrt(2/pi) (x + 0.044715 x^3).

    On a CPU tanh takes several times as long as sigmoid, in torch's own GELU and in what its compiler makes of it.
    """
    if torch.compiler.is_compiling():
        return x * torch.sigmoid(x * (GELU_LINEAR + GELU_CUBIC * x * x))
    if torch.is_inference_mode_enabled() and x.is_cpu and x.dtype == torch.float32:
        doubled = torch.addcmul(x.new_tensor(GELU_LINEAR), x, x, value=GELU_CUBIC).mul_(x)
        return doubled.sigmoid_().mul_(x)
    return F.gelu(x, approximate="tanh")


def timestep_sinusoids(t: Tensor) -> Tensor:
    """cos(t w_i), then sin(t w_i), with w_i = 10000^(-i/128): (N,) to (N, 256) float32."""
    half = FREQUENCY_DIM // 2
    exponents = torch.arange(half, dtype=torch.float32, device=t.device) * (-math.log(MAX_PERIOD) / half)
    angles = t.float()[:, None] * exponents.exp()  # (N, 128)
    return torch.cat([angles.cos(), angles.sin()], dim=1)


def position_table(hidden_size: int, grid: int) -> Tensor:
    """Fixed sinusoids of the position: (1, grid*grid, hidden_size) float32, tokens row by row.

    The first half of the hidden size encodes the column, the second half the row, each as sin(p w_i), then cos(p w_i),
    with w_i = 10000^(-4i/hidden_size).
    """
    frequencies = MAX_PERIOD ** (-4 * np.arange(hidden_size // 4) / hidden_size)
    angles = np.arange(grid)[:, None] * frequencies  # (G, hidden_size/4)
    line = np.concatenate([np.sin(angles), np.cos(angles)], axis=1)  # (G, hidden_size/2)
    columns, rows = np.tile(line, (grid, 1)), np.repeat(line, grid, axis=0)  # (G*G, hidden_size/2) each
    return torch.tensor(np.concatenate([columns, rows], axis=1), dtype=torch.float32)[None]


def _check_geometry(variant: Variant, input_size: int) -> None:
    if variant.hidden_size % variant.num_heads:
        raise UserError(
            f"{variant.name}: hidden_size {variant.hidden_size} is not divisible by num_heads {variant.num_heads}."
        )
    if variant.hidden_size % 4:
        raise UserError(
            f"{variant.name}: hidden_size {variant.hidden_size} is not divisible by 4, as the position table needs."
        )
    if input_size % variant.patch:
        raise UserError(
            f"{variant.name}: latents of size {input_size} cannot be cut into patches of {variant.patch}. "
            "Choose a patch that divides the latent size."
        )
