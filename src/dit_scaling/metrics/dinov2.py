"""FD-DINOv2's features: the class token of DINOv2 ViT-L/14, as dgm-eval (arXiv 2306.04675) and EDM2 define them."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from dit_scaling.metrics.features import Features, exact_arithmetic, load_weights, to_pixels, to_rgb

if TYPE_CHECKING:
    from torchvision.models import VisionTransformer

SIDE = 224
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
SHAPE = (24, 1024, 14)
"""Layers, width and patch of ViT-L/14."""
HEAD_DIM = 64
POSITION_OFFSET = 0.1  # DINOv2 adds it to the number of patches when it stretches its position table


class Dinov2Features:
    """Class token after the last norm, of images that Pillow resized to 224 (bicubic, rounded to uint8)."""

    name = "dinov2"
    dim = SHAPE[1]
    description = f"DINOv2 ViT-L/14, class token after the last norm ({SHAPE[1]}-d)"
    resize = f"bicubic to {SIDE} by Pillow, rounded to uint8"
    logit_weights: NDArray[np.float32] | None = None

    def __init__(self, weights: Path, device: torch.device) -> None:
        def load(path: Path) -> "VisionTransformer":
            state = torch.load(path, map_location="cpu", weights_only=True)
            layers = sum(key.endswith(".attn.qkv.weight") for key in state)
            shape = (layers, state["pos_embed"].shape[2], state["patch_embed.proj.weight"].shape[-1])
            if shape != SHAPE:
                raise ValueError(
                    "layers, width and patch are {}, {}, {}; ViT-L/14 has {}, {}, {}".format(*shape, *SHAPE)
                )
            return build_vit(state)

        model, self.weights_sha256 = load_weights(weights, load)
        self._model = model.to(device)
        self._device = device

    @exact_arithmetic()
    @torch.inference_mode()
    def __call__(self, images: NDArray[np.uint8]) -> Features:
        return Features(self._model(preprocess(images, self._device)).cpu().numpy())


def preprocess(images: NDArray[np.uint8], device: torch.device) -> Tensor:
    """Images (N, H, W, 1 or 3) in 0..255 to (N, 3, 224, 224), normalised by ImageNet's mean and deviation."""
    resized = [Image.fromarray(image).resize((SIDE, SIDE), Image.Resampling.BICUBIC) for image in to_rgb(images)]
    pixels = to_pixels(np.stack([np.asarray(image) for image in resized]), device) / 255
    mean, std = (pixels.new_tensor(values).reshape(1, 3, 1, 1) for values in (IMAGENET_MEAN, IMAGENET_STD))
    return (pixels - mean) / std


def build_vit(state: Mapping[str, Tensor]) -> "VisionTransformer":
    """torchvision's ViT with DINOv2's weights, for images of 224 x 224; its output is the class token (N, width).

    torchvision has no layer scale: a scale of a residual branch is one of the rows of the branch's last linear layer.

    Args:
        state: state dict of a DINOv2 without registers, under Facebook's names.

    Raises:
        KeyError, RuntimeError: a tensor is missing or misshapen.
    """
    from torchvision.models import VisionTransformer  # Costs seconds: only where it is used.

    width, patch = state["pos_embed"].shape[2], state["patch_embed.proj.weight"].shape[-1]
    layers = sum(key.endswith(".attn.qkv.weight") for key in state)
    model = VisionTransformer(
        image_size=SIDE,
        patch_size=patch,
        num_layers=layers,
        num_heads=width // HEAD_DIM,
        hidden_dim=width,
        mlp_dim=4 * width,
        norm_layer=partial(nn.LayerNorm, eps=1e-6),
    )
    model.heads = nn.Identity()
    ours = {
        "class_token": state["cls_token"],
        "encoder.pos_embedding": stretch_positions(state["pos_embed"], SIDE // patch),
        **_pair(state, "patch_embed.proj", "conv_proj"),
        **_pair(state, "norm", "encoder.ln"),
    }
    for number in range(layers):
        block, layer = f"blocks.{number}", f"encoder.layers.encoder_layer_{number}"
        ours |= _pair(state, f"{block}.norm1", f"{layer}.ln_1")
        ours |= _pair(state, f"{block}.attn.qkv", f"{layer}.self_attention.in_proj", separator="_")
        ours |= _pair(state, f"{block}.attn.proj", f"{layer}.self_attention.out_proj", scale=f"{block}.ls1.gamma")
        ours |= _pair(state, f"{block}.norm2", f"{layer}.ln_2")
        ours |= _pair(state, f"{block}.mlp.fc1", f"{layer}.mlp.0")
        ours |= _pair(state, f"{block}.mlp.fc2", f"{layer}.mlp.3", scale=f"{block}.ls2.gamma")
    model.load_state_dict(ours)
    return model.eval().requires_grad_(False)


def _pair(
    state: Mapping[str, Tensor], theirs: str, ours: str, scale: str | None = None, separator: str = "."
) -> dict[str, Tensor]:
    """Weight and bias under torchvision's name, their rows times ``scale``."""
    weight, bias = state[f"{theirs}.weight"], state[f"{theirs}.bias"]
    if scale is not None:
        weight, bias = state[scale][:, None] * weight, state[scale] * bias
    return {f"{ours}{separator}weight": weight, f"{ours}{separator}bias": bias}


def stretch_positions(table: Tensor, side: int) -> Tensor:
    """DINOv2's position table (1, 1 + M*M, width) for ``side`` x ``side`` patches: bicubic, by (side + 0.1) / M."""
    own, grid = table[:, :1], table[:, 1:]
    width, stored = table.shape[2], round(grid.shape[1] ** 0.5)
    if side == stored:
        return table
    factor = (side + POSITION_OFFSET) / stored
    square = grid.reshape(1, stored, stored, width).permute(0, 3, 1, 2)
    stretched = F.interpolate(square, scale_factor=(factor, factor), mode="bicubic", antialias=False)
    return torch.cat([own, stretched.permute(0, 2, 3, 1).reshape(1, side * side, width)], dim=1)
