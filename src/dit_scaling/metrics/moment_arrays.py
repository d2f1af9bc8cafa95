"""The arrays in a file of moments, read and compared with what a mean and a covariance are."""

import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dit_scaling.common.errors import UserError
from dit_scaling.common.foreign import name_foreign_file
from dit_scaling.metrics.arrays import Array

ROUNDING = 1e-6  # of covariances kept in float32, beside their largest number


def read_arrays(path: Path, required: tuple[str, ...], optional: tuple[str, ...]) -> dict[str, NDArray[Any]]:
    """Read the named arrays only: ADM's references also hold 10,000 images. Raises UserError as `load_moments`."""
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
        if foreign := name_foreign_file(path):
            raise UserError(f"{path} is no npz but {foreign}.") from None
        # numpy's own words advise to run the file.
        reason = "it is no npz of plain numbers" if "allow_pickle" in str(error) else error
        raise UserError(f"{path} cannot be read as an npz of moments ({reason}). Make or download it again.") from None


def text_of(value: NDArray[Any]) -> str:
    """A name as an npz holds it: text or bytes, alone or in an array of one."""
    name = value.reshape(-1)[0] if value.size == 1 else value
    return name.decode() if isinstance(name, bytes) else str(name)


def finite(path: Path, key: str, values: NDArray[Any]) -> Array:
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


def require_covariance(path: Path, key: str, values: Array) -> None:
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


def count_of(path: Path, value: NDArray[Any], key: str = "count") -> int:
    """Number of images, or of pixels. Raises UserError unless it can have given a covariance."""
    if value.shape != () or not np.issubdtype(value.dtype, np.integer) or value < 2:
        raise UserError(f"{path}: {key} must be one whole number, at least 2. Make it again.")
    return int(value)
