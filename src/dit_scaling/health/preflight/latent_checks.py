"""Are the stored latents those of the source images, with their labels and mirrors?"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps
from torch import Tensor

from dit_scaling.common.errors import UserError
from dit_scaling.config.image_settings import ImageFiles, ImageFolder, ImageSettings
from dit_scaling.config.stages import DataSettings
from dit_scaling.data.sources import ImageSource, read_images
from dit_scaling.data.split import split_indices
from dit_scaling.data.survey import survey
from dit_scaling.health.check import Check, at_least, at_most
from dit_scaling.health.preflight.vae_checks import encode_directly
from dit_scaling.latents.autoencoder import decode
from dit_scaling.latents.reader import LatentReader

if TYPE_CHECKING:
    from diffusers import AutoencoderKL

PAIRS = 32
TOLERANCE = 0.1  # of the latents' standard deviation; float16 and TensorFloat-32 stay below a hundredth


@dataclass(frozen=True)
class Pairs:
    """Some stored latents, and the source images that bear their names."""

    labels: NDArray[np.int64]
    """(N,), as stored."""
    means: Tensor
    """(N, 2, C, h, w) posterior means of image and mirror, as stored: not scaled."""
    images: NDArray[np.uint8]
    """(N, H, W, C), from the source."""
    source_labels: NDArray[np.int64]
    """(N,), from the source."""


def read_pairs(reader: LatentReader, source: ImageSource) -> Pairs:
    """Up to `PAIRS` latents, spread evenly over the shards.

    Raises:
        UserError: the source has no image of a stored name.
    """
    chosen = np.unique(np.linspace(0, len(reader) - 1, PAIRS).astype(np.int64))
    names, places = reader.sources, {name: index for index, name in enumerate(source.keys)}
    unknown = [names[index] for index in chosen if names[index] not in places]
    if unknown:
        raise UserError(f"the source has no image {unknown[0]}, but the latents do. Rerun the latents stage.")
    indices = np.array([places[names[index]] for index in chosen])
    moments = torch.from_numpy(reader.moments(chosen)).float()
    return Pairs(
        labels=reader.labels[chosen],
        means=moments.chunk(2, dim=2)[0],
        images=read_images(source, indices),
        source_labels=source.labels[indices],
    )


def decode_means(vae: "AutoencoderKL", means: Tensor, channels: int) -> NDArray[np.uint8]:
    """Images (N, H, W, channels) of stored means (N, C, h, w), decoded as samples are."""
    return decode(vae, means * vae.config.scaling_factor, PAIRS, channels)


def check_pairs(vae: "AutoencoderKL", pairs: Pairs) -> list[Check]:
    """Stored latents against their source images encoded afresh, and decoded against the images themselves."""
    image, mirror = encode_directly(vae, pairs.images), encode_directly(vae, pairs.images[:, :, ::-1])
    spread = image.std()

    def error(stored: Tensor, fresh: Tensor) -> Tensor:
        return (stored - fresh).square().mean(dim=(1, 2, 3)).sqrt() / spread

    first, second = pairs.means.unbind(1)
    foreign = torch.minimum(error(first, image), error(first, mirror)).max()
    turned = torch.maximum(error(first, image), error(second, mirror)).max()
    same = float((pairs.labels == pairs.source_labels).mean())
    return [
        at_least(
            "labels belong to latents",
            same,
            1.0,
            "labels were shuffled or shifted against the latents when they were stored: the model would learn classes "
            "that are none",
        ),
        at_most(
            "latents belong to images",
            float(foreign),
            TOLERANCE,
            "stored latents are not what the VAE makes of the images of that name (error in standard deviations): "
            "another VAE, another crop, another input range, or images swapped",
        ),
        at_most(
            "mirrored moments",
            float(turned),
            TOLERANCE,
            "the mirror's moments are not those of the mirrored image, or are stored in the image's place (error in "
            "standard deviations)",
        ),
        _check_decoded(decode_means(vae, first, pairs.images.shape[-1]), pairs.images),
    ]


def check_histogram(reader: LatentReader, source: ImageSource, data: DataSettings) -> Check:
    """Labels of all stored latents against those of the training images."""
    train, _ = split_indices(len(source), data.data.held_out, data.seed)
    expected = np.bincount(source.labels[train], minlength=data.data.classes)
    found = np.bincount(reader.labels, minlength=data.data.classes)
    return Check(
        "label histogram",
        f"{len(found)} classes of {found.min()} to {found.max()} latents",
        f"{len(expected)} classes of {expected.min()} to {expected.max()} images, none empty",
        bool(np.array_equal(found, expected) and found.min() > 0),
        "images are missing, doubled or under another label, or a class has none to learn from",
    )


def check_files(source: ImageSource, data: ImageSettings) -> list[Check]:
    """What a look at the files of images finds; fails where some cannot be read."""
    if not isinstance(data, ImageFiles):
        return []
    seen = survey(source, data)
    counts = ", ".join(f"{fact.count:,} {trait}" for trait, fact in seen.traits.items()) or "nothing unusual"
    meaning = "image files are damaged, no images, or of a depth that does not tell which value is white"
    value = f"{counts} in {seen.looked_at:,} of {seen.images:,}"
    return [Check("image files", value, "none unreadable", "unreadable" not in seen.traits, meaning)]


def check_colours(source: ImageSource, data: ImageSettings) -> list[Check]:
    """Mean colour of some images of a folder against that of their files, read by Pillow alone."""
    if not isinstance(data, ImageFolder) or data.channels == 1:
        return []
    chosen = np.unique(np.linspace(0, len(source) - 1, PAIRS).astype(np.int64))
    worst = 0.0
    for index in chosen:
        with Image.open(Path(data.path) / source.keys[index]) as file:
            if file.mode.startswith("I"):  # more than 8 bits, which Pillow would cut to white
                continue
            whole = ImageOps.exif_transpose(file) if data.exif_transpose else file
            if data.background is not None:
                whole = Image.alpha_composite(Image.new("RGBA", whole.size, data.background), whole.convert("RGBA"))
            fitted = ImageOps.fit(whole.convert("RGB"), (data.image_size, data.image_size))
        colour = np.asarray(fitted).mean(axis=(0, 1))
        worst = max(worst, float(np.abs(source.image(int(index)).mean(axis=(0, 1)) - colour).max()))
    meaning = (
        "images are read with blue and red exchanged, or cropped elsewhere than at the centre (largest difference of "
        "mean red, green or blue from the file's, in levels of 255)"
    )
    return [at_most("image colours", worst, 8.0, meaning)]


def _check_decoded(decoded: NDArray[np.uint8], images: NDArray[np.uint8]) -> Check:
    ours, theirs = (torch.from_numpy(array.reshape(len(images), -1).astype(np.float32)) for array in (decoded, images))
    distances = torch.cdist(ours, theirs)
    own = (distances.diagonal() <= distances.min(dim=1).values).float().mean()
    return at_least(
        "latents decode to their images",
        float(own),
        0.5,
        "decoded latents do not look like their own images (share nearest to its own; one in 32 by chance): a scale "
        "that is not undone, or a VAE that lost what tells images apart",
    )
