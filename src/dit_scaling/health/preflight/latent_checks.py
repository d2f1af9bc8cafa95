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
from dit_scaling.health.check import Check, at_least, at_most, within
from dit_scaling.health.preflight.vae_checks import moments_directly
from dit_scaling.latents.autoencoder import decode
from dit_scaling.latents.manifest import Origin
from dit_scaling.latents.reader import LatentReader

if TYPE_CHECKING:
    from diffusers import AutoencoderKL

PAIRS = 32
TOLERANCE = 0.1  # of the latents' standard deviation; float16 and TensorFloat-32 stay below a hundredth
DRAWN = 1.25  # deviations of the posterior by which a draw may lie from its mean, on average over a latent
WIDTH = 1.0  # of the log-variance: a factor of 1.6 in the deviation; an encoder in bfloat16 stays below a tenth


@dataclass(frozen=True)
class Pairs:
    """Some stored latents, and the source images that bear their names."""

    labels: NDArray[np.int64]
    """(N,), as stored."""
    means: Tensor
    """(N, 2, C, h, w) posterior means of image and mirror, as stored: not scaled."""
    log_variances: Tensor
    """(N, 2, C, h, w), as stored."""
    images: NDArray[np.uint8]
    """(N, H, W, C), from the source."""
    source_labels: NDArray[np.int64]
    """(N,), from the source."""
    imported: Origin | None
    """None where the latents were encoded here."""


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
    means, log_variances = torch.from_numpy(reader.moments(chosen)).float().chunk(2, dim=2)
    return Pairs(
        labels=reader.labels[chosen],
        means=means,
        log_variances=log_variances,
        images=read_images(source, indices),
        source_labels=source.labels[indices],
        imported=reader.manifest.imported,
    )


def decode_means(vae: "AutoencoderKL", means: Tensor, channels: int) -> NDArray[np.uint8]:
    """Images (N, H, W, channels) of stored means (N, C, h, w), decoded as samples are."""
    return decode(vae, means * vae.config.scaling_factor, PAIRS, channels)


def check_pairs(vae: "AutoencoderKL", pairs: Pairs) -> list[Check]:
    """Stored latents against their source images encoded afresh, and decoded against the images themselves."""
    of_image, of_mirror = moments_directly(vae, pairs.images), moments_directly(vae, pairs.images[:, :, ::-1])
    image, mirror = of_image.chunk(2, dim=1)[0], of_mirror.chunk(2, dim=1)[0]
    spread = image.std()

    def error(stored: Tensor, encoded: Tensor) -> Tensor:
        return (stored - encoded).square().mean(dim=(1, 2, 3)).sqrt() / spread

    first, second = pairs.means.unbind(1)
    errors = torch.stack([error(first, image), error(first, mirror)])
    checks, tolerance = [], TOLERANCE
    if pairs.imported is not None:
        nearer = (errors[0] <= errors[1])[:, None, None, None]
        means, log_variances = torch.where(nearer, of_image, of_mirror).chunk(2, dim=1)
        checks += _check_imported(pairs, pairs.imported, means, log_variances)
        if not pairs.imported.log_variance:  # a draw of the posterior may stand where others store the mean
            tolerance += DRAWN * float(log_variances.exp().mean(dim=(1, 2, 3)).max().sqrt() / spread)
    checks += [
        at_least(
            "labels belong to latents",
            float((pairs.labels == pairs.source_labels).mean()),
            1.0,
            "labels were shuffled or shifted against the latents when they were stored: the model would learn classes "
            "that are none",
        ),
        at_most(
            "latents belong to images",
            float(errors.min(dim=0).values.max()),
            tolerance,
            "stored latents are not what the VAE makes of the images of that name (error in standard deviations): "
            "another VAE, another crop, another input range, or images swapped",
        ),
    ]
    if pairs.imported is None or pairs.imported.mirrored:
        checks.append(
            at_most(
                "mirrored moments",
                float(torch.maximum(errors[0], error(second, mirror)).max()),
                tolerance,
                "the mirror's moments are not those of the mirrored image, or are stored in the image's place (error "
                "in standard deviations)",
            )
        )
    return [*checks, _check_decoded(decode_means(vae, first, pairs.images.shape[-1]), pairs.images)]


def _check_imported(pairs: Pairs, origin: Origin, means: Tensor, log_variances: Tensor) -> list[Check]:
    """The scale of imported latents, and the width of their posteriors, against images encoded afresh (N, C, h, w)."""
    power, width = float(means.square().mean()), float(log_variances.exp().mean())
    drawn = 1.0 if origin.log_variance else (1 + width / power) ** 0.5
    checks = [
        within(
            "scale of imported latents",
            float(pairs.means[:, 0].square().mean() / power) ** 0.5,
            0.97,
            1.03 * drawn,
            "latents were multiplied by the VAE's scale where they came from and it was not divided out, or it was "
            "divided out of latents without it: import them again with another --scale (norm, as a share of that of "
            "images encoded afresh)",
        )
    ]
    if origin.log_variance:
        apart = (pairs.log_variances[:, 0] - log_variances).square().mean().sqrt()
        checks.append(
            at_most(
                "posterior of imported latents",
                float(apart),
                WIDTH,
                "standard deviations were read as log-variances, or the other way round: import the latents again with "
                "another --holds (difference of log-variances from those of images encoded afresh)",
            )
        )
    return checks


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
