"""Files that a study needs and does not make: where they come from, and the sha256 they must have.

In a config such a file is a local path, or a name: a hub id for a VAE, one of `KNOWN` for the others. A name stands for
the file of that name in the study's cache, ``resources.cache``.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from dit_scaling.common.errors import UserError
from dit_scaling.config.metrics_settings import GivenNetwork
from dit_scaling.config.stages import Stages
from dit_scaling.config.study import Study
from dit_scaling.data.class_order import require_order
from dit_scaling.data.fingerprint import cached_fingerprint, cached_sha256, folder_fingerprint
from dit_scaling.data.hub_record import pinned

KEPT = ".cache"
"""Folder in a study's results that remembers digests of large inputs."""
IMPORTED = "imported.json"
"""Record in a folder of imported latents."""
TRANSFORMER_FILE = "diffusion_pytorch_model.safetensors"
PIPELINE_WEIGHTS = (f"transformer/{TRANSFORMER_FILE}", TRANSFORMER_FILE)
"""Where the weights lie in the folder of a diffusers pipeline, or of its transformer."""
HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
HUB_FILES = ("config.json", "diffusion_pytorch_model.safetensors")
SD_VAE_CONFIG = "92d3dfb746fca211a2c9e019e285f8597412211728dce3c5bcf4eda0f2d62e7e"
HUB_PINS: Mapping[str, tuple[str, tuple[str | None, str | None]]] = {
    "stabilityai/sd-vae-ft-mse": (
        "31f26fdeee1355a5c34592e401dd41e45d25a493",
        (SD_VAE_CONFIG, "a1d993488569e928462932c8c38a0760b874d166399b14414135bd9c42df5815"),
    ),
    "stabilityai/sd-vae-ft-ema": (
        "f04b2c4b98319346dad8c65879f680b1997b204a",
        (SD_VAE_CONFIG, "32db726da04f06c1b6b14c0043ce115cc87a501482945c5add89a40d838fcb46"),
    ),
}
"""Hub id to revision and the sha256 of `HUB_FILES`."""


@dataclass(frozen=True)
class Asset:
    """One file to fetch."""

    name: str
    """Path below the cache, with forward slashes."""
    url: str
    """https://..., or on the hub hf://REPOSITORY@REVISION/FILE, of a data set hf://datasets/REPOSITORY@REVISION/FILE."""
    sha256: str | None
    """None where no public source tells it: then it is recorded at the first fetch and compared ever after."""

    @property
    def known_from(self) -> str:
        """Whether the sha256 is pinned here or recorded in the cache."""
        return "recorded" if self.sha256 is None else "pinned"


KNOWN = {
    asset.name: asset
    for asset in (
        Asset(
            "inception-2015-12-05.pt",
            "https://nvlabs-fi-cdn.nvidia.com/stylegan2-ada-pytorch/pretrained/metrics/inception-2015-12-05.pt",
            "f58cb9b6ec323ed63459aa4fb441fe750cfe39fafad6da5cb504a16f19e958f4",
        ),
        Asset(
            "dinov2_vitl14_pretrain.pth",
            "https://dl.fbaipublicfiles.com/dinov2/dinov2_vitl14/dinov2_vitl14_pretrain.pth",
            "d5383ea8f4877b2472eb973e0fd72d557c7da5d3611bd527ceeb1d7162cbf428",
        ),
        Asset(
            "VIRTUAL_imagenet256_labeled.npz",
            "https://openaipublic.blob.core.windows.net/diffusion/jul-2021/ref_batches/imagenet/256/VIRTUAL_imagenet256_labeled.npz",
            "b32732719497e42660a9affb4a966068cba0855ac449b82015e34ec376d20758",
        ),
        Asset(
            "DiT-XL-2-256x256.pt",
            "https://dl.fbaipublicfiles.com/DiT/models/DiT-XL-2-256x256.pt",
            "9ec1876e4c03471bca126663a30e2d1b20610b6d2f87850a39a36f25cc685521",
        ),
        Asset("DiT-XL-2-512x512.pt", "https://dl.fbaipublicfiles.com/DiT/models/DiT-XL-2-512x512.pt", None),
    )
}


def locate_vae(path: str, cache: Path) -> Path:
    """Folder of a given VAE: as it stands, or where a hub id is kept in the cache.

    Raises:
        UserError: there is no such folder, and it is no hub id.
    """
    if Path(path).is_dir():
        return Path(path)
    if HUB_ID.fullmatch(path):
        return cache / path
    raise UserError(f"vae.path: {path} is neither a folder here nor a hub id such as stabilityai/sd-vae-ft-mse.")


def locate_file(name: str, cache: Path, key: str) -> Path:
    """A given file: as it stands, or where one of `KNOWN` is kept in the cache; of an exported pipeline its weights.

    Raises:
        UserError: there is no such file, and it is not one of `KNOWN`; names the config's ``key``.
    """
    if (given := _given_file(name)) is not None:
        return given
    if name in KNOWN:
        return cache / name
    raise UserError(f"{key}: {name} does not exist. Give the path of a file, or a name to fetch: {', '.join(KNOWN)}.")


def needed_assets(study: Study) -> tuple[Asset, ...]:
    """What the study takes from its cache, whether it is there already or not."""
    needed = list(_hub_assets(study.vae.path)) if study.vae.source == "pretrained" else []
    names = [*study.checkpoints.values(), *(file for network in _networks(study).values() for file in network.files)]
    needed += [KNOWN[name] for name in names if name in KNOWN and not Path(name).is_file()]
    return tuple(dict.fromkeys(needed))


def open_stages(study: Study, results: Path) -> Stages:
    """The settings of every stage of ``study`` on its images and its given files, as they are now.

    Raises:
        UserError: a folder or file of these is missing or unreadable, or numbered classes are sorted as text where
            weights or references are given.
    """
    cache = Path(study.resources.cache)
    require_order(study)
    if study.vae.source == "pretrained":
        locate_vae(study.vae.path, cache)
    for variant, name in study.checkpoints.items():
        locate_file(name, cache, f"checkpoints.{variant}")
    for kind, name in _references(study).items():
        locate_file(name, cache, f"metrics: {kind}: reference")
    return stages_as_given(study, cached_fingerprint(study.data, results / KEPT / "data-fingerprint.json"), results)


def stages_as_given(study: Study, data_fingerprint: str, results: Path) -> Stages:
    """The settings of every stage on images of that fingerprint and on given files as they are now.

    What is here counts by its content, however its path is spelled; what is not, by its name: that of a fetched file
    names its content.

    Raises:
        UserError: a folder or file is unreadable.
    """
    kept = results / KEPT
    vae = Path(study.vae.path) if study.vae.source == "pretrained" else None
    return Stages(
        study.model_copy(update={"data": pinned(study.data)}),
        data_fingerprint,
        folder_fingerprint(vae) if vae and vae.is_dir() else "",
        {variant: _content(name, kept) for variant, name in study.checkpoints.items()},
        {kind: _content(name, kept) for kind, name in _references(study).items()},
        _content(str(imported_record(study)), kept) if study.latents.source else "",
    )


def imported_record(study: Study) -> Path:
    """The record of a study's imported latents."""
    return Path(study.latents.source or "", IMPORTED)


def _content(name: str, kept: Path) -> str:
    """What stands for a given file: its sha256, which ``kept`` remembers, or its name where it is not here."""
    given = _given_file(name)
    return name if given is None else cached_sha256(given, kept)


def _given_file(name: str) -> Path | None:
    """The file of that name, or the weights in a pipeline's folder; None where there is none."""
    candidates = (Path(name), *(Path(name) / inside for inside in PIPELINE_WEIGHTS))
    return next((path for path in candidates if path.is_file()), None)


def _networks(study: Study) -> dict[str, GivenNetwork]:
    """Kind to given network, of the extractors that are none of the study's own."""
    return {network.kind: network for network in study.metrics.extractors if isinstance(network, GivenNetwork)}


def _references(study: Study) -> dict[str, str]:
    """Kind of extractor to the reference that the config gives for it, where it does."""
    return {kind: network.reference for kind, network in _networks(study).items() if network.reference}


def _hub_assets(path: str) -> Iterator[Asset]:
    if Path(path).is_dir() or not HUB_ID.fullmatch(path):
        return
    revision, pins = HUB_PINS.get(path, ("main", (None, None)))
    for file, sha256 in zip(HUB_FILES, pins, strict=True):
        yield Asset(f"{path}/{file}", f"hf://{path}@{revision}/{file}", sha256)


class HubFile(NamedTuple):
    """A file on the hub."""

    of_dataset: bool
    """Of a data set, not of a model."""
    repository: str
    revision: str
    path: str

    @property
    def page(self) -> str:
        """Its repository's place below the hub's address."""
        return f"datasets/{self.repository}" if self.of_dataset else self.repository


def hub_file(url: str) -> HubFile | None:
    """What a hub's address names; None for one that is not the hub's."""
    match = re.fullmatch(rf"hf://(datasets/)?({HUB_ID.pattern})@([^/]+)/(.+)", url)
    return HubFile(match[1] is not None, match[2], match[3], match[4]) if match else None
