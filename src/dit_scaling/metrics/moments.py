"""Mean and covariance of features in one streaming pass, and the files that keep them."""

import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dit_scaling.common.errors import UserError
from dit_scaling.common.files import atomic_path
from dit_scaling.metrics.arrays import Array, feature_matrix

OPTIONAL = ("count", "features", "origin", "image_size", "resize", "told")
ROUNDING = 1e-6  # of covariances kept in float32, beside their largest number


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

    @classmethod
    def from_moments(cls, moments: Moments) -> Self:
        """Resume from saved moments, for instance to merge the partial results of shards.

        Raises:
            ValueError: the moments don't say of how many images they are.
        """
        if moments.count is None:
            raise ValueError("These moments don't say of how many images they are: they cannot be continued or merged.")
        running = cls(len(moments.mean))
        running._combine(moments.count, moments.mean, moments.covariance * (moments.count - 1))
        return running

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


def save_moments(
    path: Path,
    moments: RunningMoments | Moments,
    features: str,
    spatial: RunningMoments | Moments | None = None,
    origin: str | None = None,
    image_size: int | None = None,
    resize: str | None = None,
    told: str | None = None,
) -> None:
    """Write moments as npz, atomically, under the keys of ADM's references where they have one.

    ``mu`` (D,), ``sigma`` (D, D), the name of the ``features``, and where they are known ``count``, the moments of the
    ``spatial`` features as ``mu_s`` and ``sigma_s``, the sha256 of the file they come from as ``origin``, and the
    ``image_size``, ``resize`` and ``told`` of `Moments`.

    Raises:
        ValueError: fewer than 2 images.
    """
    arrays: dict[str, Any] = {"mu": moments.mean, "sigma": moments.covariance, "features": features}
    if moments.count is not None:
        arrays["count"] = moments.count
    if spatial is not None:
        arrays |= {"mu_s": spatial.mean, "sigma_s": spatial.covariance}
    known = {"origin": origin, "image_size": image_size, "resize": resize, "told": told}
    arrays |= {key: value for key, value in known.items() if value is not None}
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
    arrays = _read_arrays(path, required=(mu_key, sigma_key), optional=OPTIONAL)
    mean = _finite(path, mu_key, arrays[mu_key])
    covariance = _finite(path, sigma_key, arrays[sigma_key])
    if mean.ndim != 1 or covariance.shape != (len(mean), len(mean)):
        raise UserError(
            f"{path}: {mu_key} has the shape {mean.shape} and {sigma_key} {covariance.shape}; "
            "they must be (D,) and (D, D)."
        )
    if covariance.any() or not of_samples:
        _require_covariance(path, sigma_key, covariance)
    return Moments(
        mean=mean,
        covariance=covariance,
        count=_count(path, arrays["count"]) if "count" in arrays else None,
        features=str(arrays["features"]) if "features" in arrays else None,
        origin=str(arrays["origin"]) if "origin" in arrays else None,
        image_size=_count(path, arrays["image_size"], "image_size") if "image_size" in arrays else None,
        resize=str(arrays["resize"]) if "resize" in arrays else None,
        told=str(arrays["told"]) if "told" in arrays else None,
    )


def _read_arrays(path: Path, required: tuple[str, ...], optional: tuple[str, ...]) -> dict[str, NDArray[Any]]:
    """Read the named arrays only: ADM's references also hold 10,000 images. Raises UserError as `load_moments` does."""
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as archive:
            missing = [key for key in required if key not in archive]
            if missing:
                raise UserError(
                    f"{path} has no key {missing[0]!r} (it has: {', '.join(archive)}). "
                    "Moments need mu and sigma; those behind sFID need mu_s and sigma_s."
                )
            twice = [key for key in (*required, *optional) if archive.files.count(key) > 1]
            if twice:
                raise UserError(f"{path} holds {twice[0]} twice. Make or download it again.")
            return {key: archive[key] for key in (*required, *optional) if key in archive}
    except FileNotFoundError:
        raise UserError(f"{path} does not exist. Run the stage that makes it, or check the path.") from None
    # A plain array is no context manager: TypeError.
    except (OSError, ValueError, EOFError, TypeError, zlib.error, zipfile.BadZipFile) as error:
        raise UserError(f"{path} cannot be read as an npz of moments ({error}). Make or download it again.") from None


def _finite(path: Path, key: str, values: NDArray[Any]) -> Array:
    """``values`` in float64. Raises UserError if they are not finite, or no numbers with a fraction."""
    if np.issubdtype(values.dtype, np.integer) or np.issubdtype(values.dtype, np.complexfloating):
        kind = "complex" if np.issubdtype(values.dtype, np.complexfloating) else "whole"
        raise UserError(
            f"{path}: {key} holds {kind} numbers, but moments of features are real numbers with a fraction. Make it "
            "again, from features in floating point."
        )
    if not np.issubdtype(values.dtype, np.floating) or not np.isfinite(values).all():
        raise UserError(f"{path}: {key} holds NaN, infinity or no numbers at all. Make or download it again.")
    return values.astype(np.float64)


def _require_covariance(path: Path, key: str, values: Array) -> None:
    """Raises UserError unless ``values`` (D, D) are symmetric and positive semidefinite, both but for rounding."""
    largest = float(np.abs(values).max(initial=0))
    if largest == 0:
        raise UserError(f"{path}: {key} is zero: features that never differ are those of one image, or of none.")
    if not np.allclose(values, values.T, rtol=0, atol=ROUNDING * largest):
        raise UserError(
            f"{path}: {key} is not symmetric, as a covariance is: perhaps it is a triangle of one. Make it again."
        )
    try:
        # Eigenvalues of rounded covariances lie a little below zero; the trace bounds the largest.
        np.linalg.cholesky(values + ROUNDING * max(float(np.trace(values)), 0.0) * np.eye(len(values)))
    except np.linalg.LinAlgError:
        raise UserError(
            f"{path}: {key} has a negative variance in some direction (is not positive semidefinite), and so is no "
            "covariance. Make it again."
        ) from None


def _count(path: Path, value: NDArray[Any], key: str = "count") -> int:
    """Number of images, or of pixels. Raises UserError unless it can have given a covariance."""
    if value.shape != () or not np.issubdtype(value.dtype, np.integer) or value < 2:
        raise UserError(f"{path}: {key} must be one whole number, at least 2. Make it again.")
    return int(value)
