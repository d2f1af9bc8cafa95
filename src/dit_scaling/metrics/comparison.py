"""What a metric looks at, and what it is made of: its function, what that needs, and what it costs."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from dit_scaling.config.stages import Scoring
from dit_scaling.metrics.arrays import Array
from dit_scaling.metrics.blocks import choose_blocks
from dit_scaling.metrics.moments import Moments
from dit_scaling.metrics.neighbours import squared_radii, squared_to_nearest

SEARCHED = 5
"""Neighbours of each real image that are searched for once; the metrics' defaults need no more."""

Need = Literal["reference images", "spatial features", "logits", "classes", "images to extrapolate"]
"""What not every comparison has; moments and features of the samples, and moments of the reference, are in each.
Reference images are as many as have the neighbours that are asked for."""


@dataclass(frozen=True, eq=False)
class ImageSet:
    """The features of one set of images by one extractor."""

    moments: Moments
    """Of all images."""
    spatial: Moments | None
    """Of the features behind sFID; None where the extractor has none."""
    features: NDArray[np.float32]
    """(N, D) of all images, mapped from a file: no memory of its own."""
    classes: NDArray[np.int64] | None
    """(N,) predicted labels; None where the extractor is no classifier of the study's labels."""
    labels: NDArray[np.int64] | None
    """(N,) labels that the images are of or were made for; None where they are of no class."""
    logit_weights: NDArray[np.float32] | None
    """(classes, D) of Inception's output layer; None for other extractors."""


@dataclass(frozen=True, eq=False)
class Reference:
    """The real images as the metrics see them."""

    extractor: str
    moments: Moments
    spatial: Moments | None
    """Behind sFID; None where the extractor or the given statistics have none."""
    features: NDArray[np.float32]
    """(R, D) of some of them; R is 0 where only statistics are given."""
    sha256: str
    """Of the given file, or of the moments computed here."""

    def squared_radii(self, k: int) -> Array:
        """(R,) squared distance of each of the real images to its k-th nearest other one; k < R.

        The search, of R^2 distances, is shared by the metrics, and by all sets of images beside this reference.
        """
        return self._to_nearest[:, k - 1] if k <= SEARCHED else squared_radii(self.features, k)

    @cached_property
    def _to_nearest(self) -> Array:
        return squared_to_nearest(self.features, SEARCHED)


@dataclass(frozen=True, eq=False)
class Comparison:
    """A set of images beside the reference, seen by one extractor."""

    scoring: Scoring
    samples: ImageSet
    reference: Reference

    def has(self, need: Need) -> bool:
        """Whether a metric finds here what it needs."""
        return {
            "reference images": len(self.reference.features) > self.scoring.neighbours,
            "spatial features": self.samples.spatial is not None and self.reference.spatial is not None,
            "logits": self.samples.logit_weights is not None,
            "classes": self.samples.classes is not None and self.samples.labels is not None,
            "images to extrapolate": choose_blocks(*self.samples.features.shape) is not None,
        }[need]


@dataclass(frozen=True)
class Sizes:
    """What the cost of a metric depends on."""

    images: int
    real: int
    """Real images whose features are kept."""
    dim: int
    scoring: Scoring


@dataclass(frozen=True)
class Measure:
    """How one or several metrics are measured at once."""

    run: Callable[[Comparison], Mapping[str, float]]
    """The value of each metric by its key, and what stands beside it by ``KEY_ASIDE``."""
    needs: frozenset[Need]
    cost: Callable[[Sizes], float]
    """Multiply-adds in float64, or passes over numbers that take as long."""
