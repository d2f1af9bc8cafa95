"""Mean and covariance of features in one streaming pass, and the files that keep them."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from dit_scaling.common.errors import UserError
from dit_scaling.common.files import atomic_path
from dit_scaling.metrics.arrays import Array, feature_matrix
from dit_scaling.metrics.moment_arrays import count_of, finite, read_arrays, require_covariance, text_of

OPTIONAL = ("count", "features", "origin", "image_size", "resize", "told")


@dataclass(frozen=True, eq=False)
class Moments:
    """First two moments of a set of features, as a file holds them.

    Attributes:
        mean: (D,) float64.
        covariance: (D, D) float64, unbiased (divided by count - 1).
        count: number of images; None where the file doesn't say (ADM's and clean-fid's don't).
        features: name of the features; None where the file doesn't say.
        origin: sha256 of the file they were taken from; None where they were computed here.
        image_size: side of the images in pixels; None where the file doesn't say.
        resize: how the images came to the network's size, as `Extractor.resize`; None where the file doesn't say.
        told: what the file that they were taken from tells of itself; None where they were computed here.
    """

    mean: Array
    covariance: Array
    count: int | None
    features: str | None
    origin: str | None = None
    image_size: int | None = None
    resize: str | None = None
    told: str | None = None

    def describe(self) -> str:
        """What is known of the images and features, and what is not, for people."""
        if self.told is not None:
            return self.told
        count = "an unknown number of images" if self.count is None else f"{self.count:,} images"
        size = "of unknown size" if self.image_size is None else f"of {self.image_size} x {self.image_size} pixels"
        features = "features that it doesn't name" if self.features is None else f"features '{self.features}'"
        resize = "an unknown resize" if self.resize is None else f"resize '{self.resize}'"
        return f"{count} {size}, {features}, {resize}"


class RunningMoments:
    """Mean and covariance of a stream of features, in float64 and in memory of D x D numbers whatever its length.

    Pairwise update of Chan, Golub & LeVeque (1979): each batch is centred on its own mean before it is squared, so a
    mean that is large beside the spread costs no digits.
    """

    def __init__(self, dim: int) -> None:
        """Start with no images and ``dim`` >= 1 features."""
        if dim < 1:
            raise ValueError(f"Moments need at least one dimension, not {dim}.")
        self._count = 0
        self._mean: Array = np.zeros(dim)
        self._scatter: Array = np.zeros((dim, dim))

    @property
    def count(self) -> int:
        """Number of images so far."""
        return self._count

    @property
    def mean(self) -> Array:
        """(D,) mean. Raises ValueError before the first image."""
        if self._count < 1:
            raise ValueError("The mean needs at least 1 image; there is none.")
        return self._mean.copy()

    @property
    def covariance(self) -> Array:
        """(D, D) unbiased covariance. Raises ValueError before the second image."""
        if self._count < 2:
            raise ValueError(f"The covariance needs at least 2 images; there are {self._count}.")
        return self._scatter / (self._count - 1)

    def named(self, features: str, image_size: int | None = None, resize: str | None = None) -> Moments:
        """What they are by now, of these features. Raises ValueError before the second image."""
        mean, covariance = self.mean, self.covariance
        return Moments(mean, covariance, self.count, features, image_size=image_size, resize=resize)

    def update(self, features: ArrayLike) -> None:
        """Add a batch of features (N, D); N may be 0 and may change from batch to batch.

        Raises:
            ValueError: not a matrix with D columns.
            UserError: a feature is NaN or infinite; names the row counted from the start of the stream. The
                moments are left as they were.
        """
        batch = feature_matrix(features, first_row=self._count)
        if batch.shape[1] != len(self._mean):
            raise ValueError(f"features have {batch.shape[1]} dimensions, these moments have {len(self._mean)}.")
        if len(batch) == 0:
            return
        mean = batch.mean(axis=0)
        centred = batch - mean
        self._combine(len(batch), mean, centred.T @ centred)

    def merge(self, other: "RunningMoments") -> None:
        """Add the images of ``other``, as if its stream had followed this one.

        Raises:
            ValueError: the dimensions differ.
        """
        if len(other._mean) != len(self._mean):
            raise ValueError(
                f"Moments of {len(other._mean)} dimensions cannot be merged into {len(self._mean)} dimensions."
            )
        if other._count > 0:
            self._combine(other._count, other._mean, other._scatter)

    def _combine(self, count: int, mean: Array, scatter: Array) -> None:
        """Equation 2.1 of Chan, Golub & LeVeque (1979), for vectors."""
        total = self._count + count
        delta = mean - self._mean
        self._mean = self._mean + delta * (count / total)
        self._scatter = self._scatter + scatter + np.outer(delta, delta) * (self._count * count / total)
        self._count = total


def save_moments(path: Path, moments: Moments, spatial: RunningMoments | Moments | None = None) -> None:
    """Write moments as npz, atomically, under the keys of ADM's references where they have one.

    ``mu`` (D,), ``sigma`` (D, D), the moments of ``spatial`` features as ``mu_s`` and ``sigma_s``, and what else is
    known of `Moments`, under its names.

    Raises:
        ValueError: fewer than 2 images.
    """
    arrays: dict[str, Any] = {"mu": moments.mean, "sigma": moments.covariance}
    if spatial is not None:
        arrays |= {"mu_s": spatial.mean, "sigma_s": spatial.covariance}
    arrays |= {key: value for key in OPTIONAL if (value := getattr(moments, key)) is not None}
    with atomic_path(path) as temporary, temporary.open("wb") as stream:
        np.savez(stream, **arrays)


def has_spatial_moments(path: Path) -> bool:
    """Whether a file of moments that `load_moments` could read also holds those behind sFID."""
    with np.load(path, allow_pickle=False) as archive:
        return {"mu_s", "sigma_s"} <= set(archive)


def load_moments(path: Path, *, spatial: bool = False, of_samples: bool = False) -> Moments:
    """Read moments from an npz: ours, clean-fid's, or a reference of ADM's evaluation suite as it is.

    Args:
        path: npz with ``mu`` and ``sigma``; ``count`` and ``features`` are read where they are, other keys ignored.
        spatial: read ``mu_s`` and ``sigma_s`` instead, ADM's moments of the spatial features behind sFID.
        of_samples: a covariance of zero is no fault, but that of a model whose samples are all alike.

    Raises:
        UserError: the file is missing or no npz, a key is missing, twice there, misshapen, not finite or not of real
            numbers with a fraction, or ``sigma`` is no covariance: not symmetric, zero, or with a negative variance.
    """
    mu_key, sigma_key = ("mu_s", "sigma_s") if spatial else ("mu", "sigma")
    arrays = read_arrays(path, required=(mu_key, sigma_key), optional=OPTIONAL)
    mean = finite(path, mu_key, arrays[mu_key])
    covariance = finite(path, sigma_key, arrays[sigma_key])
    if mean.ndim != 1 or covariance.shape != (len(mean), len(mean)):
        raise UserError(
            f"{path}: {mu_key} has the shape {mean.shape} and {sigma_key} {covariance.shape}; "
            "they must be (D,) and (D, D)."
        )
    if covariance.any() or not of_samples:
        require_covariance(path, sigma_key, covariance)
    return Moments(
        mean=mean,
        covariance=covariance,
        count=count_of(path, arrays["count"]) if "count" in arrays else None,
        features=text_of(arrays["features"]) if "features" in arrays else None,
        origin=text_of(arrays["origin"]) if "origin" in arrays else None,
        image_size=count_of(path, arrays["image_size"], "image_size") if "image_size" in arrays else None,
        resize=text_of(arrays["resize"]) if "resize" in arrays else None,
        told=text_of(arrays["told"]) if "told" in arrays else None,
    )
