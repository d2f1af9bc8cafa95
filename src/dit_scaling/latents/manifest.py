"""The manifest: what the shards of a study are, merged from the facts that each encoding job left."""

import os
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import AfterValidator, Field, NonNegativeInt, PositiveInt, ValidationError, model_validator

from dit_scaling.common.errors import UserError
from dit_scaling.common.files import digest, read_json, sha256_file, write_json
from dit_scaling.common.section import Before, PositiveFloat, Section
from dit_scaling.config.stages import LatentsSettings

SplitName = Literal["train", "held_out"]
Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
Finite = Annotated[float, Field(allow_inf_nan=False)]
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
LatentShape = tuple[Literal[2], PositiveInt, PositiveInt, PositiveInt]
"""(2, 2C, h, w): image and mirror; mean, then log-variance."""


def _inside(name: str) -> str:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\\" in name or not path.name:
        raise ValueError(f"{name!r} leads out of the manifest's folder")
    return name


@dataclass(frozen=True)
class ShardJob:
    """One shard: the images whose latents it has, and the files that its job reads and writes."""

    settings: LatentsSettings
    split: SplitName
    number: int
    """0-based; the split's images, in the order in which they are read, are cut into equal runs."""
    vae_json: Path
    """Record of the autoencoder."""
    output: Path
    """The shard (tar), see `shards`."""
    facts: Path
    """JSON of what the manifest needs to know of it."""


class Origin(Section):
    """What is known of latents that were not encoded here."""

    layout: str
    """Name of the layout in which they came."""
    log_variance: bool
    """Whether they came with the posterior's spread; else what is stored is drawn as it is at every step."""
    mirrored: bool
    """Whether the mirror of each image came too; else the image stands in the mirror's place, which no job may draw."""
    each: str
    """What one of them is, in words."""


class ShardFacts(Section):
    """What one encoding job knows of its shard."""

    file: str
    """The shard, relative to the facts' folder."""
    split: SplitName
    shard: NonNegativeInt
    count: PositiveInt
    sha256: Sha256
    label_histogram: tuple[NonNegativeInt, ...]
    latent_shape: LatentShape
    numbers: PositiveInt
    """Latent numbers per channel behind the sums."""
    first: tuple[Finite, ...]
    """Sum of the scaled posterior means, per channel."""
    second: tuple[NonNegative, ...]
    """Sum of the scaled second moments, mean^2 + variance, per channel."""
    scale: PositiveFloat
    vae_sha256: Sha256
    settings_digest: str
    imported: Annotated[Origin | None, Before(None)] = None
    """None where they were encoded here."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        channels = self.latent_shape[1] // 2
        if not len(self.first) == len(self.second) == channels:
            raise ValueError(f"sums are not of {channels} channels")
        if sum(self.label_histogram) != self.count:
            raise ValueError("labels do not add up to the count")
        return self


class Shard(Section):
    file: Annotated[str, AfterValidator(_inside)]
    """Path relative to the manifest's folder, which it cannot leave."""
    sha256: Sha256
    count: PositiveInt


class Split(Section):
    """The shards of one split, in order, and statistics over images and mirrors."""

    shards: Annotated[tuple[Shard, ...], Field(min_length=1)]
    count: PositiveInt
    label_histogram: tuple[NonNegativeInt, ...]
    channel_mean: tuple[Finite, ...]
    """Mean of scaled posterior draws, per channel."""
    channel_std: tuple[NonNegative, ...]
    """Standard deviation of scaled posterior draws, per channel."""


class Manifest(Section):
    """All latents of a study."""

    splits: dict[SplitName, Split]
    latent_shape: LatentShape
    """Of each image: (2, 2C, h, w): image and mirror; mean, then log-variance."""
    dtype: Literal["float16"]
    scale: PositiveFloat
    """Training and sampling use scale * draw; the shards are not scaled."""
    vae_sha256: Sha256
    settings_digest: str
    content: str
    """Digest over the shards' sha256 and the scale: equal content trains equal models."""
    imported: Annotated[Origin | None, Before(None)] = None
    """None where the latents were encoded here."""


class ChannelSums:
    """Per-channel first and second moments of scaled posterior draws, in closed form, added up in float64."""

    def __init__(self, channels: int, scale: float) -> None:
        self._channels, self.scale = channels, scale
        self.first: NDArray[np.float64] = np.zeros(channels)
        self.second: NDArray[np.float64] = np.zeros(channels)
        self.numbers = 0
        self.latent_shape: tuple[Literal[2], int, int, int] = (2, 2 * channels, 0, 0)

    def add(self, moments: NDArray[np.float16]) -> None:
        """Count one image and its mirror, (2, 2C, h, w)."""
        mean, logvar = np.split(moments.astype(np.float64), 2, axis=1)
        self.first += self.scale * mean.sum(axis=(0, 2, 3))
        self.second += self.scale**2 * (mean**2 + np.exp(logvar)).sum(axis=(0, 2, 3))
        height, width = moments.shape[2:]
        self.numbers += 2 * height * width
        self.latent_shape = (2, 2 * self._channels, height, width)


def write_facts(job: ShardJob, histogram: NDArray[np.int64], sums: ChannelSums, imported: Origin | None = None) -> None:
    """Write the facts of a shard that is there.

    Args:
        job: which shard.
        histogram: images of each class in it.
        sums: of all its latents, by the scale of the autoencoder.
        imported: what is known of latents that were not encoded here.
    """
    facts = ShardFacts(
        file=Path(os.path.relpath(job.output, job.facts.parent)).as_posix(),
        split=job.split,
        shard=job.number,
        count=int(histogram.sum()),
        sha256=sha256_file(job.output),
        label_histogram=tuple(histogram.tolist()),
        latent_shape=sums.latent_shape,
        numbers=sums.numbers,
        first=tuple(sums.first.tolist()),
        second=tuple(sums.second.tolist()),
        scale=sums.scale,
        vae_sha256=_autoencoder_sha256(job.vae_json),
        settings_digest=job.settings.digest,
        imported=imported,
    )
    write_json(job.facts, facts.stored())


def write_manifest(settings: LatentsSettings, facts: Sequence[Path], vae_json: Path, output: Path) -> None:
    """Merge the facts of all shards into one manifest.

    Args:
        settings: of this stage.
        facts: facts of every shard of both splits, in any order.
        vae_json: record of the autoencoder they must have been encoded with.
        output: the manifest; the shards must lie in its folder or below.

    Raises:
        UserError: facts are missing, double, broken, of other settings, or of another autoencoder.
    """
    vae_sha256 = _autoencoder_sha256(vae_json)
    by_split: dict[SplitName, list[tuple[Path, ShardFacts]]] = defaultdict(list)
    for path in facts:
        shard = _parse_facts(path)
        if shard.settings_digest != settings.digest:
            raise UserError(f"{path} is of other settings than this study's. Rerun the latents stage.")
        if shard.vae_sha256 != vae_sha256:
            raise UserError(f"{path} was encoded with another autoencoder than {vae_json}. Rerun the latents stage.")
        by_split[shard.split].append((path, shard))
    expected: dict[SplitName, int] = {"train": settings.latents.shards, "held_out": settings.latents.held_out_shards}
    for split, number in expected.items():
        by_split[split].sort(key=lambda item: item[1].shard)
        found = [shard.shard for _, shard in by_split[split]]
        if found != list(range(number)):
            raise UserError(f"{output}: {number} {split} shards belong to the study, but these are given: {found}.")
    splits = {split: _merge([shard for _, shard in items], _shards(items, output)) for split, items in by_split.items()}
    one = by_split["train"][0][1]
    manifest = Manifest(
        splits=splits,
        latent_shape=one.latent_shape,
        dtype="float16",
        scale=one.scale,
        vae_sha256=one.vae_sha256,
        settings_digest=settings.digest,
        content=content_digest(splits, one.scale),
        imported=one.imported,
    )
    write_json(output, manifest.stored())


def read_manifest(path: Path) -> Manifest:
    """Read a manifest.

    Raises:
        UserError: it is missing, broken, contradicts itself, or names files outside its folder.
    """
    text = _read_text(path)
    try:
        manifest = Manifest.model_validate_json(text)
    except ValidationError as error:
        raise UserError(f"{path} is no manifest of latents: {_complaint(error)}. Rerun the latents stage.") from None
    if manifest.content != content_digest(manifest.splits, manifest.scale):
        raise UserError(f"{path} contradicts itself: shards or scale were edited. Rerun the latents stage.")
    for name, split in manifest.splits.items():
        if not split.count == sum(shard.count for shard in split.shards) == sum(split.label_histogram):
            raise UserError(f"{path}: the counts of split {name} do not add up. Rerun the latents stage.")
    return manifest


def origin_in(manifest: Mapping[str, Any]) -> Origin | None:
    """What the JSON of a manifest says of latents that were not encoded here; None of others, and of no manifest.

    Raises:
        UserError: it is broken.
    """
    found = manifest.get("imported")
    try:
        return None if found is None else Origin.model_validate(found)
    except ValidationError as error:
        raise UserError(f"imported in the latents' manifest: {_complaint(error)}. Rerun the latents stage.") from None


def content_digest(splits: dict[SplitName, Split], scale: float) -> str:
    """16 hex digits for the bytes of all shards, their order and the scale."""
    shards = {name: [shard.sha256 for shard in split.shards] for name, split in splits.items()}
    return digest({"shards": shards, "scale": scale})


def _autoencoder_sha256(vae_json: Path) -> str:
    record = read_json(vae_json)
    if not isinstance(record, dict) or "weights_sha256" not in record:
        raise UserError(f"{vae_json} is no record of an autoencoder. Rerun the vae stage.")
    return str(record["weights_sha256"])


def _merge(records: Sequence[ShardFacts], shards: tuple[Shard, ...]) -> Split:
    numbers = sum(record.numbers for record in records)
    mean = np.sum([record.first for record in records], axis=0) / numbers
    second = np.sum([record.second for record in records], axis=0) / numbers
    return Split(
        shards=shards,
        count=sum(record.count for record in records),
        label_histogram=tuple(np.sum([record.label_histogram for record in records], axis=0).tolist()),
        channel_mean=tuple(mean.tolist()),
        channel_std=tuple(np.sqrt(np.maximum(second - mean**2, 0)).tolist()),
    )


def _shards(items: Sequence[tuple[Path, ShardFacts]], output: Path) -> tuple[Shard, ...]:
    shards = []
    for facts, record in items:
        file = PurePosixPath(os.path.relpath(facts.parent / record.file, output.parent)).as_posix()
        try:
            shards.append(Shard(file=file, sha256=record.sha256, count=record.count))
        except ValidationError as error:
            raise UserError(f"{output}: {_complaint(error)}. Write shards and manifest to one folder.") from None
    return tuple(shards)


def _parse_facts(path: Path) -> ShardFacts:
    try:
        return ShardFacts.model_validate_json(_read_text(path))
    except ValidationError as error:
        raise UserError(f"{path} holds no facts of a shard: {_complaint(error)}. Rerun the latents stage.") from None


def _read_text(path: Path) -> str:
    """The file's JSON text, after `read_json` has made sure that it is some."""
    read_json(path)
    return path.read_text()


def _complaint(error: ValidationError) -> str:
    first = error.errors()[0]
    return ": ".join(part for part in (".".join(map(str, first["loc"])), first["msg"]) if part)
