"""The reference that samples of any origin are scored against: moments, images, both, or a study's folder."""

import hashlib
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dit_scaling.common.errors import UserError
from dit_scaling.common.files import read_json, sha256_file
from dit_scaling.metrics.arrays import some_rows
from dit_scaling.metrics.comparison import Reference
from dit_scaling.metrics.extraction import BATCH
from dit_scaling.metrics.features import Extractor
from dit_scaling.metrics.kept import KEPT_FEATURES, ReferenceFiles, Seen, read_reference
from dit_scaling.metrics.loose_images import LooseImages, open_images
from dit_scaling.metrics.moments import Moments, RunningMoments, has_spatial_moments, load_moments

MOMENTS_KEYS = frozenset({"mu.npy", "sigma.npy"})
See = Callable[
    [Sequence[Extractor], Iterator[NDArray[np.uint8]], LooseImages, NDArray[np.int64] | None], Mapping[str, Seen]
]
"""Networks, batches of what images, and numbers of those whose features are kept, to what each network saw."""


@dataclass(frozen=True)
class GivenReference:
    """What a reference was found to be, by name of the extractor, and what is to be known of it."""

    by_name: Mapping[str, Reference]
    lacking: Mapping[str, str] = field(default_factory=dict)
    """Extractor to why there is no reference for it."""
    images: LooseImages | None = None
    """The images that were seen, where there were any."""
    from_images: frozenset[str] = frozenset()
    """Extractors whose moments were taken from these images."""
    unnamed: str | None = None
    """The extractor whose features the moments are taken to be of, where the file names none."""
    sha256: str | None = None
    """Of the file; None for a folder."""


def study_extractor(reference: Path) -> Path | None:
    """The record of the extractor in a study's reference folder; None where ``reference`` is no such folder."""
    record = reference / "extractor.json"
    return record if record.is_file() and (reference / "moments.npz").is_file() else None


def check_given(path: Path) -> None:
    """See that a reference is there and of a readable kind, before samples are looked at for hours.

    Raises:
        UserError: it is not.
    """
    if study_extractor(path) is not None:
        read_reference(ReferenceFiles(path / "moments.npz", path / "features.npy"))
    elif _holds_moments(path):
        load_moments(path)
    else:
        open_images(path)


def without_reference(path: Path, networks: Sequence[Extractor]) -> Mapping[str, str]:
    """The networks of whose features ``path`` is not, and why: nothing needs to be shown to these.

    Raises:
        UserError: nothing readable is there.
    """
    if study_extractor(path) is None and (_has(path, {"arr_0.npy"}) or not _holds_moments(path)):
        return {}  # it has images, which all networks can look at
    return read_given(path, networks, lambda *_: {}, None).lacking


def read_given(path: Path, networks: Sequence[Extractor], see: See, side: int | None) -> GivenReference:
    """The reference of each network that ``path`` allows.

    Args:
        path: npz of moments (ours, ADM's with its images, clean-fid's), npz, folder or tar of images, or a study's
            folder of a reference.
        networks: the extractors.
        see: shows images to networks.
        side: of the samples in pixels; images of another size are cropped to it.

    Raises:
        UserError: nothing readable is there.
    """
    if study_extractor(path) is not None:
        found = read_reference(ReferenceFiles(path / "moments.npz", path / "features.npy"))
        # Networks of two studies may have one name.
        weights = dict(read_json(path / "extractor.json")).get("weights_sha256")
        other = f"the reference in {path} is of features '{found.extractor}' with the weights {str(weights)[:12]}"
        lacking = {
            network.name: other
            for network in networks
            if (network.name, network.weights_sha256) != (found.extractor, weights)
        }
        by_name = {found.extractor: found} if len(lacking) < len(networks) else {}
        return GivenReference(by_name, lacking, sha256=found.sha256)
    if not _holds_moments(path):
        images = open_images(path)
        seen = see(networks, images.batches(BATCH, side), images, _kept(images))
        names = frozenset(seen)
        return GivenReference({name: _of_seen(name, seen[name]) for name in seen}, images=images, from_images=names)
    return _of_moments(path, networks, see, side)


def _of_moments(path: Path, networks: Sequence[Extractor], see: See, side: int | None) -> GivenReference:
    moments, sha256 = load_moments(path), sha256_file(path)
    spatial = load_moments(path, spatial=True) if has_spatial_moments(path) else None
    fitting = [network for network in networks if len(moments.mean) == network.dim]
    if moments.features is not None:
        fitting = [network for network in fitting if network.name == moments.features]
    owner = fitting[0].name if fitting else None
    images = open_images(path) if _has(path, {"arr_0.npy"}) else None
    seen = see(networks, images.batches(BATCH, side), images, _kept(images)) if images else {}
    found, lacking = {}, {}
    for network in networks:
        name = network.name
        features = seen[name].features if name in seen else np.empty((0, network.dim), np.float32)
        if name == owner:
            found[name] = Reference(name, moments, spatial, features, sha256)
        elif name in seen:
            found[name] = _of_seen(name, seen[name])
        else:
            whose = f"features '{moments.features}'" if moments.features else f"{len(moments.mean)} features"
            lacking[name] = f"{path} holds moments of {whose} and no images (arr_0)"
    unnamed = owner if moments.features is None else None
    return GivenReference(found, lacking, images, frozenset(seen) - {owner}, unnamed, sha256)


def _kept(images: LooseImages) -> NDArray[np.int64]:
    """Numbers of the images whose features are kept; folders have those of a class together."""
    return some_rows(images.count, KEPT_FEATURES)


def _holds_moments(path: Path) -> bool:
    return _has(path, MOMENTS_KEYS)


def _has(path: Path, names: frozenset[str] | set[str]) -> bool:
    if not path.is_file() or not zipfile.is_zipfile(path):
        return False
    try:
        with zipfile.ZipFile(path) as archive:
            return names <= set(archive.namelist())
    except (OSError, zipfile.BadZipFile) as error:
        raise UserError(f"{path} cannot be read ({error}). Make or download it again.") from None


def of_running(running: RunningMoments, name: str) -> Moments:
    """Moments of a stream that has ended.

    Raises:
        UserError: there were fewer than 2 images.
    """
    if running.count < 2:
        raise UserError(
            f"There is only {running.count} image: a distance needs two at least, and thousands to mean much."
        )
    return running.named(name)


def _of_seen(name: str, seen: Seen) -> Reference:
    moments = of_running(seen.moments, name)
    spatial = of_running(seen.spatial, name) if seen.spatial else None
    content = hashlib.sha256(moments.mean.tobytes() + moments.covariance.tobytes()).hexdigest()
    return Reference(name, moments, spatial, seen.features, content)
