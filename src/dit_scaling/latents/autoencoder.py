"""The autoencoder between images and latents: opening one, encoding to posterior moments, decoding to pixels."""

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from dit_scaling.common.devices import arithmetic, matrix_products
from dit_scaling.common.errors import UserError
from dit_scaling.common.files import read_json
from dit_scaling.common.words import count
from dit_scaling.latents.vae_folder import config_problem, read_vae_config

if TYPE_CHECKING:
    from diffusers import AutoencoderKL


def load_vae(folder: Path, latent_channels: int, downsampling: int) -> "AutoencoderKL":
    """Load a diffusers AutoencoderKL, frozen and in eval mode, from a local folder; no network is used.

    Args:
        folder: with config.json and weights.
        latent_channels: channels its latents must have.
        downsampling: pixels per latent, along each side, that it must have.

    Raises:
        UserError: it is missing, is no AutoencoderKL, lacks weights, shifts its latents, has a config that this version
            does not know, or other channels or another factor.
    """
    vae = _usable(_load_folder(folder))
    factor = 2 ** (len(vae.config.block_out_channels) - 1)
    if vae.config.latent_channels != latent_channels:
        raise UserError(f"vae.latent_channels: {latent_channels}, but {folder} has {vae.config.latent_channels}.")
    if factor != downsampling:
        raise UserError(f"vae.downsampling: {downsampling}, but {folder} reduces each side by {factor}.")
    return vae


def load_any_vae(path: str) -> "AutoencoderKL":
    """The AutoencoderKL of a study's vae.json, a local folder or a hub id, frozen and in eval mode.

    Raises:
        UserError: it cannot be had, is no AutoencoderKL, lacks weights, or shifts its latents.
    """
    if path.endswith(".json"):
        return open_vae(Path(path))
    if Path(path).is_dir():
        return _usable(_load_folder(Path(path)))
    vae = _load_from_hub(path)
    problem = config_problem(vae.config)
    if problem is not None:
        raise UserError(f"{path}: {problem}.")
    return _usable(vae)


def _usable(vae: "AutoencoderKL") -> "AutoencoderKL":
    return vae.eval().requires_grad_(False)


def open_vae(vae_json: Path) -> "AutoencoderKL":
    """The autoencoder of a study, from the record that the vae stage wrote.

    Raises:
        UserError: the record is missing or broken, or the weights are no longer those it describes.
    """
    record = read_json(vae_json)
    try:
        path, sha256 = str(record["folder"]), str(record["weights_sha256"])
        latent_channels, downsampling = int(record["latent_channels"]), int(record["downsampling"])
        local = record["source"] == "trained"
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{vae_json} is no record of an autoencoder ({error!r}). Rerun the vae stage.") from None
    vae = load_vae(vae_json.parent / path if local else Path(path), latent_channels, downsampling)
    if weights_sha256(vae) != sha256:
        raise UserError(f"{vae_json}: the weights in {path} are not those it describes. Rerun the vae stage.")
    return vae


def weights_sha256(vae: torch.nn.Module) -> str:
    """Hex sha256 over names, shapes and values of all weights, whatever file format they came in."""
    sha256 = hashlib.sha256()
    for name, tensor in sorted(vae.state_dict().items()):
        sha256.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        sha256.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return sha256.hexdigest()


def to_unit_range(images: NDArray[np.uint8], channels: int) -> torch.Tensor:
    """uint8 (N, H, W, C) to float32 (N, channels, H, W) in [-1, 1]; grey images are repeated to ``channels``.

    Raises:
        UserError: coloured images and an autoencoder for grey ones.
    """
    pixels = torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2))).float() / 127.5 - 1
    if pixels.shape[1] not in (1, channels):
        raise UserError(
            f"data.channels: {pixels.shape[1]}, but the autoencoder takes images of {count(channels, 'channel')}."
        )
    return pixels.expand(-1, channels, -1, -1)


QUANTISER = "uint8 of clamp(127.5 x + 128, 0, 255)"


def to_uint8(pixels: torch.Tensor) -> NDArray[np.uint8]:
    """(N, C, H, W) in [-1, 1] to uint8 (N, H, W, C) by clamp(127.5 x + 128, 0, 255), the DiT sampler's rounding."""
    scaled = (127.5 * pixels + 128.0).clamp(0, 255).to(torch.uint8)
    array: NDArray[np.uint8] = scaled.permute(0, 2, 3, 1).contiguous().cpu().numpy()
    return array


CPU_PIXELS = 2**17
"""Pixels of images encoded at once on a CPU: two of 256 x 256. The activations of more leave its cache."""


def for_encoding(vae: "AutoencoderKL", device: torch.device) -> "AutoencoderKL":
    """The autoencoder on ``device``; on a CPU with its weights channels-last, with which convolutions are faster."""
    layout = torch.channels_last if device.type == "cpu" else torch.contiguous_format
    return vae.to(device, memory_format=layout)


@torch.no_grad()
def encode_moments(vae: "AutoencoderKL", images: NDArray[np.uint8], precision: str = "tf32") -> NDArray[np.float32]:
    """Posterior moments of images, not scaled.

    By default in TF32 on GPUs, whose numbers are as precise as those in float16, which is what shards hold.

    Args:
        vae: the autoencoder, on any device.
        images: uint8 (N, H, W, C).
        precision: ``tf32``, or ``bfloat16`` or ``float16`` by autocast.

    Returns:
        float32 (N, 2C, h, w): the mean's C channels, then the log-variance's (clamped to [-30, 20] by diffusers).

    Raises:
        UserError: coloured images and an autoencoder for grey ones.
    """
    at_once = max(1, CPU_PIXELS // (images.shape[1] * images.shape[2])) if vae.device.type == "cpu" else len(images)
    found = []
    for part in to_unit_range(images, vae.config.in_channels).split(at_once):
        with arithmetic(precision, vae.device):
            posterior = vae.encode(part.to(vae.device)).latent_dist
        found.append(torch.cat([posterior.mean, posterior.logvar], dim=1).float().cpu())
    moments: NDArray[np.float32] = torch.cat(found).numpy()
    return moments


@torch.no_grad()
def decode(vae: "AutoencoderKL", latents: torch.Tensor, batch: int, channels: int | None = None) -> NDArray[np.uint8]:
    """Decode latents to images, on GPUs in TF32, which images of 8 bits allow.

    Args:
        vae: the autoencoder, on any device.
        latents: float (N, C, h, w), scaled as the diffusion model sees them.
        batch: so many at a time.
        channels: of the images; 1 takes the mean over an RGB autoencoder's three. The autoencoder's own where None.

    Returns:
        uint8 (N, H, W, channels).

    Raises:
        UserError: a pixel is NaN or infinite.
    """
    scale = vae.config.scaling_factor
    decoded = []
    for part in torch.split(latents, batch):
        with matrix_products("tf32"):
            pixels = vae.decode(part.to(vae.device) / scale).sample
        if not torch.isfinite(pixels).all():
            name = getattr(vae.config, "_name_or_path", None) or "here"
            raise UserError(f"The autoencoder from {name} decodes to NaN or infinity. Check its weights and its scale.")
        decoded.append(to_uint8(pixels.mean(dim=1, keepdim=True) if channels == 1 else pixels))
    return np.concatenate(decoded)


def _load_folder(folder: Path) -> "AutoencoderKL":
    read_vae_config(folder)
    problem = f"{folder} cannot be loaded as an AutoencoderKL"
    return _from_pretrained(str(folder), local_files_only=True, problem=problem)


def _load_from_hub(hub_id: str) -> "AutoencoderKL":
    problem = (
        f"vae.path: '{hub_id}' is no folder here and could not be fetched from the hub. Give a local folder with "
        "config.json and weights"
    )
    return _from_pretrained(hub_id, local_files_only=False, problem=problem)


def _from_pretrained(path: str, *, local_files_only: bool, problem: str) -> "AutoencoderKL":
    from diffusers import AutoencoderKL  # Costs several seconds: only where it is used.

    try:
        vae, loading = AutoencoderKL.from_pretrained(
            path, local_files_only=local_files_only, low_cpu_mem_usage=False, output_loading_info=True
        )
    # The hub, safetensors, torch and diffusers each raise their own kinds for what is bad input here.
    except Exception as error:
        raise UserError(f"{problem} ({_first_line(error)}).") from None
    if loading["missing_keys"] or loading["mismatched_keys"]:
        missing = [*loading["missing_keys"], *loading["mismatched_keys"]]
        raise UserError(f"{path} lacks {count(len(missing), 'weight')} of its autoencoder, {missing[0]} among them.")
    return vae


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:200] if lines else type(error).__name__
