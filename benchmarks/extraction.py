"""From JPEGs of 256 x 256 to latents of image and mirror, beside one image at a time and one npy file per sample.

Both sides open the autoencoder, whose weights are random, and crop as ADM does. The peer is the way of fast-DiT's
extract_features.py, with its features and labels in files of their own.
"""

import io
import json
import tarfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from benchmarks.row import Outcome, Row, Setting, Side, at_least, equal_within, timed
from dit_scaling.config.image_settings import ImageFolder
from dit_scaling.config.stages import DataSettings, LatentsSettings, VaeSettings
from dit_scaling.config.vae_settings import Latents, PretrainedVae
from dit_scaling.data.sources import open_source
from dit_scaling.data.split import split_indices
from dit_scaling.latents.autoencoder import weights_sha256
from dit_scaling.latents.encode import Encoding, encode_shard
from dit_scaling.latents.manifest import ShardJob

if TYPE_CHECKING:
    from diffusers import AutoencoderKL

IMAGE_SIZE = 256
HELD_OUT = 2  # as few as a study may have; they are not encoded
ENCODE_BATCH = 32  # the default of resources.encode_batch
WIDTHS = {"full-width": (128, 256, 512, 512), "eighth-width": (16, 32, 64, 64)}
"""Channels of an autoencoder's blocks; the full ones are Stable Diffusion's."""


def write_images(folder: Path, count: int, side: int) -> None:
    """Coloured clouds as JPEGs a little larger than the crop, in a folder of two classes."""
    for index in range(count):
        rng = np.random.default_rng(index)
        clouds = Image.fromarray(rng.integers(0, 256, (9, 8, 3), dtype=np.uint8))
        path = folder / "images" / f"class-{index % 2}" / f"{index:05d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        clouds.resize((side, side * 9 // 8), Image.Resampling.BICUBIC).save(path, quality=90)


def random_vae(channels: tuple[int, ...]) -> "AutoencoderKL":
    """An autoencoder of Stable Diffusion's shape and some width, with random weights; the same ones at every call."""
    from diffusers import AutoencoderKL

    torch.manual_seed(0)
    return AutoencoderKL(
        block_out_channels=channels,
        layers_per_block=2,
        latent_channels=4,
        norm_num_groups=min(32, channels[0] // 2),
        down_block_types=("DownEncoderBlock2D",) * len(channels),
        up_block_types=("UpDecoderBlock2D",) * len(channels),
    )


def write_vae(folder: Path, channels: tuple[int, ...]) -> Path:
    """Such an autoencoder and its record, as the vae stage leaves them."""
    vae = random_vae(channels)
    vae.save_pretrained(folder / "autoencoder")
    record = {
        "source": "trained",
        "folder": "autoencoder",
        "latent_channels": 4,
        "downsampling": 2 ** (len(channels) - 1),
        "weights_sha256": weights_sha256(vae),
    }
    path = folder / "vae.json"
    path.write_text(json.dumps(record))
    return path


def prepare(
    setting: Setting, channels: tuple[int, ...], count: int, side: int = IMAGE_SIZE
) -> tuple[LatentsSettings, Path]:
    """Settings of the latents' stage and the autoencoder's record, on images that are there."""
    record = setting.folder / "vae.json"
    if not record.exists():
        write_images(setting.folder, count + HELD_OUT, side)
        write_vae(setting.folder, channels)
    images = ImageFolder(
        source="image_folder",
        path=str(setting.folder / "images"),
        image_size=side,
        classes=2,
        held_out=HELD_OUT,
    )
    data = DataSettings(data=images, seed=0, fingerprint="benchmark")
    vae = PretrainedVae(source="pretrained", path=str(setting.folder / "autoencoder"))
    stages = VaeSettings(vae=vae, fingerprint="benchmark", data=data)
    return LatentsSettings(latents=Latents(shards=1), vae=stages), record


def encode_to_shard(setting: Setting, channels: tuple[int, ...], count: int, side: int = IMAGE_SIZE) -> Side:
    """The job of the latents' stage."""
    settings, record = prepare(setting, channels, count, side)
    shard, facts = setting.folder / "train-00000.tar", setting.folder / "train-00000.json"

    def run() -> None:
        how = Encoding(torch.device("cpu"), ENCODE_BATCH, log_seconds=3600.0)
        encode_shard(ShardJob(settings, "train", 0, record, shard, facts), how)

    def outcome() -> Outcome:
        found: dict[str, NDArray[Any]] = {}
        with tarfile.open(shard) as tar:
            for name in tar.getnames():
                stream = tar.extractfile(name)
                if stream is not None and name.endswith(".latent.npy"):
                    found[name.partition(".")[0]] = np.load(io.BytesIO(stream.read()))
        return found

    return timed(run, outcome)


def encode_one_by_one(setting: Setting, channels: tuple[int, ...], count: int) -> Side:
    """Image by image, mirror by mirror, file by file."""
    settings, _ = prepare(setting, channels, count)
    data = settings.vae.data
    source, folder = open_source(data.data), setting.folder / "samples"
    indices, _ = split_indices(len(source), data.data.held_out, data.seed)
    folder.mkdir(exist_ok=True)

    @torch.no_grad()
    def run() -> None:
        from diffusers import AutoencoderKL

        vae = AutoencoderKL.from_pretrained(setting.folder / "autoencoder").eval()
        for index in indices.tolist():
            pixels = torch.from_numpy(source.image(index)).permute(2, 0, 1)[None].float() / 127.5 - 1
            views = [vae.encode(view).latent_dist for view in (pixels, pixels.flip(3))]
            moments = torch.cat([torch.cat([view.mean, view.logvar], dim=1) for view in views])
            np.save(folder / f"{index:08d}.npy", moments.half().numpy())
            np.save(folder / f"{index:08d}.label.npy", source.labels[index])

    def outcome() -> Outcome:
        return {f"{index:08d}": np.load(folder / f"{index:08d}.npy") for index in indices.tolist()}

    return timed(run, outcome)


def row(name: str, width: str, channels: tuple[int, ...], count: int, target: float) -> Row:
    """An autoencoder of some width."""
    return Row(
        name=f"extraction-{name}",
        what=f"{count} JPEGs of {IMAGE_SIZE} x {IMAGE_SIZE} and their mirrors to a shard, {width}",
        peer="AutoencoderKL on one image at a time, one npy file per sample",
        make_ours=lambda setting: encode_to_shard(setting, channels, setting.choose(count, 2)),
        make_peer=lambda setting: encode_one_by_one(setting, channels, setting.choose(count, 2)),
        agree=equal_within(1e-2),
        target=at_least(target),
    )


ROWS = (
    row("full-width", "Stable Diffusion's autoencoder", WIDTHS["full-width"], 4, 1.15),
    row("eighth-width", "one of an eighth of its width", WIDTHS["eighth-width"], 32, 4.0),
)
