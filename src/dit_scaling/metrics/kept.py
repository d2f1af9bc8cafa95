"""The features that are kept of a set of images, so that a metric of tomorrow needs no extractor: the files of them."""

import zipfile
import zlib
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dit_scaling.common.errors import UserError
from dit_scaling.common.files import atomic_path, read_json, sha256_file, write_json
from dit_scaling.metrics.comparison import ImageSet, Reference
from dit_scaling.metrics.moments import Moments, RunningMoments, has_spatial_moments, load_moments, save_moments

KEPT = ("moments.npz", "features.npy", "labels.npz")
"""What lies beside the record ``features.json`` of a set of images."""
KEPT_FEATURES = 10_000  # real images whose features precision, recall and KID use, as many as in ADM's reference batch
LEVELS = ("held_out", "reconstructions", "decoded_noise")
"""The sets of images whose distances are the reference levels: two floors and a ceiling."""
REMEDY = "run: snakemake --forcerun features"


@dataclass(frozen=True)
class Protocol:
    """What a number means nothing without: network, weights, resize."""

    extractor: str
    """Its name, which stands in the columns of its metrics."""
    description: str
    resize: str
    weights_sha256: str


@dataclass(frozen=True)
class KeptFiles:
    """The features of one set of images by one extractor: moments of all, features of all or of some, labels."""

    moments: Path
    features: Path
    """(N, D) float32."""
    labels: Path
    """Labels and predicted classes of the images, and the output layer of Inception, where there are any."""
    record: Path
    """`Protocol` and number of images; written last."""

    @classmethod
    def beside(cls, record: Path) -> "KeptFiles":
        """The files of one set, which lie beside their record ``features.json``."""
        moments, features, labels = (record.with_name(name) for name in KEPT)
        return cls(moments, features, labels, record)


@dataclass(frozen=True)
class ReferenceFiles:
    """Where a reference is kept: moments of all real images, features of some."""

    moments: Path
    features: Path


@dataclass(frozen=True, eq=False)
class Seen:
    """What an extractor saw in a set of images."""

    moments: RunningMoments
    spatial: RunningMoments | None
    features: NDArray[np.float32]
    classes: NDArray[np.int64] | None


def write_kept(
    files: KeptFiles,
    seen: Seen,
    protocol: Protocol,
    labels: NDArray[np.int64] | None,
    logit_weights: NDArray[np.float32] | None,
    **facts: Any,
) -> None:
    """Write all files of a set, each atomically, the record last; ``facts`` go into it."""
    save_moments(files.moments, seen.moments.named(protocol.extractor), seen.spatial)
    save_features(files.features, seen.features)
    arrays: dict[str, Any] = {"labels": labels, "classes": seen.classes, "logit_weights": logit_weights}
    with atomic_path(files.labels) as temporary, temporary.open("wb") as stream:
        np.savez(stream, **{key: array for key, array in arrays.items() if array is not None})
    write_json(files.record, {**asdict(protocol), "n_samples": seen.moments.count, **facts})


def read_kept(files: KeptFiles) -> tuple[ImageSet, Protocol, dict[str, Any]]:
    """Read a set of features back, with its protocol and the whole record.

    Raises:
        UserError: a file is missing or not what it should be.
    """
    record = read_json(files.record)
    try:
        protocol = Protocol(**{key: str(record[key]) for key in Protocol.__dataclass_fields__})
        count = int(record["n_samples"])
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{files.record} is no record of features ({error!r}); {REMEDY}") from None
    moments = load_moments(files.moments, of_samples=True)
    spatial = load_moments(files.moments, spatial=True, of_samples=True) if has_spatial_moments(files.moments) else None
    features = load_features(files.features, moments, REMEDY, mapped=True)
    arrays = _read_labels(files.labels, count)
    if moments.features != protocol.extractor or moments.count != count or len(features) != count:
        raise UserError(f"{files.record}: the files beside it are of other features or images; {REMEDY}")
    return ImageSet(moments, spatial, features, **arrays), protocol, record


def _read_labels(path: Path, count: int) -> dict[str, NDArray[Any] | None]:
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as archive:
            arrays = {key: archive.get(key) for key in ("labels", "classes", "logit_weights")}
    except (OSError, ValueError, EOFError, TypeError, zlib.error, zipfile.BadZipFile) as error:
        raise UserError(f"{path} cannot be read ({error}); {REMEDY}") from None
    for key in ("labels", "classes"):
        array = arrays[key]
        if array is not None and array.shape != (count,):
            raise UserError(f"{path}: {key} are not those of {count} images; {REMEDY}")
    return arrays


def save_features(path: Path, features: NDArray[np.float32]) -> None:
    """Write (N, D) features as npy, atomically."""
    with atomic_path(path) as temporary, temporary.open("wb") as stream:
        np.save(stream, features)


def load_features(path: Path, moments: Moments, remedy: str, *, mapped: bool) -> NDArray[np.float32]:
    """Features (N, D) as float32, mapped from the file or in memory; ``remedy`` ends the messages.

    Raises:
        UserError: the file is missing, broken, or of another width than the moments.
    """
    try:
        features = np.load(path, mmap_mode="r" if mapped else None, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise UserError(f"{path} cannot be read ({error}); {remedy}") from None
    if not isinstance(features, np.ndarray) or features.shape[1:] != moments.mean.shape:
        raise UserError(f"{path} holds other features than {moments.features}; {remedy}")
    return features


def read_reference(files: ReferenceFiles) -> Reference:
    """Read a reference.

    Raises:
        UserError: a file is missing or not what it should be.
    """
    moments = load_moments(files.moments)
    if moments.features is None:
        raise UserError(f"{files.moments} does not name its features; rerun rule reference.")
    spatial = load_moments(files.moments, spatial=True) if has_spatial_moments(files.moments) else None
    features = load_features(files.features, moments, "rerun rule reference.", mapped=False)
    return Reference(moments.features, moments, spatial, features, moments.origin or sha256_file(files.moments))
