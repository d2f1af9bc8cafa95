"""A transformer with the blocks of today's language models in place of DiT's, in one file and a class of one's own.

RMSNorm (arXiv 1910.07467), rotary positions in two dimensions (arXiv 2104.09864), SwiGLU (arXiv 2002.05202), and norms
of queries and keys (arXiv 2302.05442); conditioned as DiT, by adaLN-Zero. A study names it

    class_sizes:
      examples.modern:Modern:
        Nano: { depth: 2, hidden_size: 32, num_heads: 2 }
    variants: [DiT-Nano/2, examples.modern:Modern-Nano/2]

Shapes: N latents, C channels, input size I, patch p, T = (I/p)^2 tokens of hidden size D.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

FREQUENCY_DIM = 256
PERIOD = 10_000.0


class Modern(nn.Module):
    """(x, t, y) to (N, 2C, I, I), as DiT; the label ``num_classes`` is the null class."""

    def __init__(
        self,
        *,
        input_size: int,
        num_classes: int,
        in_channels: int,
        patch: int,
        depth: int,
        hidden_size: int,
        num_heads: int,
    ) -> None:
        super().__init__()
        self.patch, self.grid = patch, input_size // patch
        if input_size % patch or hidden_size % (4 * num_heads):
            raise ValueError(f"patch {patch} must divide {input_size}, and 4 x {num_heads} heads divide {hidden_size}")
        patch_dim = patch**2 * in_channels
        self.embed = nn.Linear(patch_dim, hidden_size)
        self.time = nn.Sequential(nn.Linear(FREQUENCY_DIM, hidden_size), nn.SiLU(), nn.Linear(hidden_size, hidden_size))
        self.label = nn.Embedding(num_classes + 1, hidden_size)
        self.blocks = nn.ModuleList(Block(hidden_size, num_heads) for _ in range(depth))
        self.last = nn.Linear(hidden_size, 2 * hidden_size)
        self.head = nn.Linear(hidden_size, 2 * patch_dim)
        for name, weight in self.named_parameters():
            if name.startswith(("last", "head")) or ".modulation." in name:
                nn.init.zeros_(weight)  # adaLN-Zero: every block is the identity, and the output zero
        self.register_buffer("angles", rotary_angles(self.grid, hidden_size // num_heads), persistent=False)

    def forward(self, x: Tensor, t: Tensor, y: Tensor) -> Tensor:
        """(N, C, I, I) latents, (N,) times and (N,) labels to (N, 2C, I, I)."""
        n, channels, grid, patch = len(x), x.shape[1], self.grid, self.patch
        patches = x.view(n, channels, grid, patch, grid, patch).permute(0, 2, 4, 1, 3, 5)  # (N, G, G, C, p, p)
        tokens = self.embed(patches.reshape(n, grid * grid, -1))  # (N, T, D)
        condition = F.silu(self.time(sinusoids(t).to(x.dtype)) + self.label(y))  # (N, D)
        for block in self.blocks:
            tokens = block(tokens, condition, self.angles)
        shift, scale = self.last(condition)[:, None].chunk(2, dim=-1)
        pixels = self.head(rms_norm(tokens) * (1 + scale) + shift).view(n, grid, grid, 2 * channels, patch, patch)
        out: Tensor = pixels.permute(0, 3, 1, 4, 2, 5).reshape(n, 2 * channels, *x.shape[2:])
        return out

    @staticmethod
    def multiply_adds(
        *, input_size: int, in_channels: int, patch: int, depth: int, hidden_size: int, **_heads: int
    ) -> int:
        """Of one forward pass of one latent; preflight compares it with torch's count."""
        d, tokens, patch_dim = hidden_size, (input_size // patch) ** 2, patch**2 * in_channels
        block = tokens * (4 * d * d + 3 * d * mlp_width(d)) + 2 * tokens**2 * d + 6 * d * d
        return tokens * 3 * patch_dim * d + FREQUENCY_DIM * d + d * d + depth * block + 2 * d * d


class Block(nn.Module):
    """Attention and a gated MLP, each modulated and gated by the condition."""

    def __init__(self, hidden_size: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.qkv = nn.Linear(hidden_size, 3 * hidden_size, bias=False)
        self.out = nn.Linear(hidden_size, hidden_size, bias=False)
        self.up = nn.Linear(hidden_size, 2 * mlp_width(hidden_size), bias=False)
        self.down = nn.Linear(mlp_width(hidden_size), hidden_size, bias=False)
        self.modulation = nn.Linear(hidden_size, 6 * hidden_size)
        self.query_scale = nn.Parameter(torch.ones(hidden_size // num_heads))
        self.key_scale = nn.Parameter(torch.ones(hidden_size // num_heads))

    def forward(self, x: Tensor, condition: Tensor, angles: Tensor) -> Tensor:
        """(N, T, D) tokens and (N, D) activated condition to (N, T, D)."""
        shift_a, scale_a, gate_a, shift_m, scale_m, gate_m = self.modulation(condition)[:, None].chunk(6, dim=-1)
        x = x + gate_a * self.attend(rms_norm(x) * (1 + scale_a) + shift_a, angles)
        gate, value = self.up(rms_norm(x) * (1 + scale_m) + shift_m).chunk(2, dim=-1)
        out: Tensor = x + gate_m * self.down(F.silu(gate) * value)
        return out

    def attend(self, x: Tensor, angles: Tensor) -> Tensor:
        """(N, T, D) to (N, T, D)."""
        n, tokens, _ = x.shape
        q, k, v = self.qkv(x).view(n, tokens, 3, self.num_heads, -1).permute(2, 0, 3, 1, 4)  # (N, heads, T, d) each
        q, k = rotate(rms_norm(q) * self.query_scale, angles), rotate(rms_norm(k) * self.key_scale, angles)
        out: Tensor = self.out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))
        return out


def mlp_width(hidden_size: int) -> int:
    """Of the gated MLP: 8/3 of the width, so that its three matrices weigh as much as DiT's two of 4."""
    return 8 * hidden_size // 3


def rms_norm(x: Tensor) -> Tensor:
    """x over its root mean square, along the last dimension."""
    return F.rms_norm(x, x.shape[-1:], eps=1e-6)


def sinusoids(t: Tensor) -> Tensor:
    """cos(t w_i), then sin(t w_i), with w_i = 10000^(-i/128): (N,) to (N, 256)."""
    half = FREQUENCY_DIM // 2
    exponents = torch.arange(half, dtype=torch.float32, device=t.device) * (-math.log(PERIOD) / half)
    angles = t.float()[:, None] * exponents.exp()
    return torch.cat([angles.cos(), angles.sin()], dim=1)


def rotary_angles(grid: int, head_dim: int) -> Tensor:
    """Angles (T, head_dim/2) by row for the first half of the pairs, by column for the other."""
    frequencies = PERIOD ** (-torch.arange(head_dim // 4, dtype=torch.float32) * 4 / head_dim)
    line = torch.arange(grid, dtype=torch.float32)[:, None] * frequencies  # (G, head_dim/4)
    rows, columns = line[:, None].expand(grid, grid, -1), line[None].expand(grid, grid, -1)
    return torch.cat([rows, columns], dim=-1).flatten(0, 1)


def rotate(x: Tensor, angles: Tensor) -> Tensor:
    """Each pair of numbers of (N, heads, T, d) turned by its angle."""
    a, b = x.chunk(2, dim=-1)
    cos, sin = angles.cos().to(x.dtype), angles.sin().to(x.dtype)
    return torch.cat([a * cos - b * sin, a * sin + b * cos], dim=-1)
