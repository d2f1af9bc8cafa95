"""What keeps the figures of scored samples from being put beside others'."""

from collections.abc import Iterator, Sequence

import numpy as np

from dit_scaling.common.words import count
from dit_scaling.data.assets import KNOWN
from dit_scaling.metrics.comparison import Comparison
from dit_scaling.metrics.features import Extractor
from dit_scaling.metrics.given_reference import GivenReference
from dit_scaling.metrics.inception_score import SPLITS, inception_score_of_features
from dit_scaling.metrics.loose_images import LOSSY, LooseImages

PUBLISHED_SAMPLES = 50_000
ADM_REFERENCE = "VIRTUAL_imagenet256_labeled.npz"
ENOUGH_REAL = 10_000
"""Real images behind precision, recall, density and coverage in ADM's suite."""
DEVIATIONS = 5.0
"""Standard errors by which the Inception score of mixed samples has to be above that in their own order."""


def hindrances(samples: LooseImages, reference: GivenReference, networks: Sequence[Extractor]) -> list[str]:
    """One sentence for each reason not to compare these figures with others; none where there is none."""
    return [*_of_samples(samples), *_of_images(samples, reference), *_of_moments(samples, reference, networks)]


def _of_samples(samples: LooseImages) -> Iterator[str]:
    if samples.count != PUBLISHED_SAMPLES:
        yield (
            f"{samples.count:,} samples: published figures are of {PUBLISHED_SAMPLES:,}, and a Frechet distance grows "
            "as samples get fewer. Compare only with figures of equally many, or by the distance at infinitely many."
        )
    if samples.lossy:
        kinds = ", ".join(name for name in samples.formats if name in LOSSY)
        yield (
            f"Stored as {kinds}: {count(samples.lossy, 'sample')}. Compression moves a FID by as much as models "
            "differ. Write samples as PNG or npz."
        )
    if samples.copies:
        yield (
            f"Exact copies of others: {count(samples.copies, 'sample')}, as where several jobs draw from one seed. "
            "Draw them anew."
        )
    if samples.transparent:
        yield (
            f"With transparent pixels: {count(samples.transparent, 'sample')}, whose hidden colours are scored as they "
            "are stored. Lay the samples over the background that they are shown on."
        )


def _of_images(samples: LooseImages, reference: GivenReference) -> Iterator[str]:
    images = reference.images
    if images is None:
        return
    other = {size: count for size, count in images.sizes.items() if size not in samples.sizes}
    if other:
        (height, width), (own_height, own_width) = next(iter(other)), next(iter(samples.sizes))
        own = f"{own_width} x {own_height}"
        done = f"were cropped and resized to {own} as ADM does" if own_height == own_width else "were left as they are"
        yield (
            f"{sum(other.values()):,} of the reference's images are of another size than the samples, {own} (one has "
            f"{width} x {height} pixels): they {done}. Figures by another resize differ."
        )
    if images.lossy and not samples.lossy:
        yield f"{images.lossy:,} of the reference's images are JPEG or the like; the samples are not."
    few = reference.from_images and images.count < PUBLISHED_SAMPLES
    if few:
        names = ", ".join(sorted(reference.from_images))
        yield f"The reference's moments ({names}) are of {images.count:,} images: few of these raise distances too."
    if images.count < ENOUGH_REAL:
        yield (
            f"Precision, recall, density, coverage and KID use {images.count:,} real images; ADM's suite has "
            f"{ENOUGH_REAL:,}, and all but KID depend on how many there are."
        )


def _of_moments(samples: LooseImages, reference: GivenReference, networks: Sequence[Extractor]) -> Iterator[str]:
    if reference.unnamed is not None:
        yield (
            f"The reference does not say of which features its moments are: they are taken for those of "
            f"'{reference.unnamed}', by their number alone. If they are of others, name these: --features clean for "
            "clean-fid's own."
        )
    resizes = {network.name: network.resize for network in networks}
    sides = {size for height_width in samples.sizes for size in height_width}
    for name, found in reference.by_name.items():
        moments = found.moments
        if moments.resize is not None and moments.resize != resizes[name]:
            yield f"{name}: the reference was resized by '{moments.resize}', the samples by '{resizes[name]}'."
        if moments.image_size is not None and sides != {moments.image_size}:
            size = " x ".join(map(str, next(iter(samples.sizes))[::-1]))
            yield (
                f"{name}: the reference's images have {moments.image_size} x {moments.image_size} pixels, the "
                f"samples {size}."
            )
        if name not in ("inception", "clean", "dinov2"):
            yield f"{name}: a study's own network: its distances are no FID, and compare within that study."
    if reference.sha256 != KNOWN[ADM_REFERENCE].sha256:
        yield (
            f"The reference is not ADM's {ADM_REFERENCE}, by which figures for ImageNet at 256 x 256 are published: "
            "compare only with figures against this same reference."
        )


def of_order(comparison: Comparison) -> Iterator[str]:
    """Whether samples come in the order of their classes, of which each split of the Inception score then has few."""
    features, weights = comparison.samples.features, comparison.samples.logit_weights
    if weights is None:
        return
    order = np.random.default_rng(comparison.scoring.seed).permutation(len(features))
    own, mixed = (inception_score_of_features(features, weights, SPLITS, rows) for rows in (None, order))
    if mixed.mean - own.mean > DEVIATIONS * float(np.hypot(own.std, mixed.std)) / (SPLITS - 1) ** 0.5:
        yield (
            f"The samples do not come in random order but sorted, as by class: each of the {SPLITS} splits of the "
            f"Inception score has few classes. Of the same samples, mixed, it is {mixed.mean:.4g}."
        )
