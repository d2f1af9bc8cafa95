"""Importing latents that others have published or extracted, into a folder of shards that studies read."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import chain, islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dit_scaling.common.errors import UserError
from dit_scaling.common.files import atomic_folder, digest, remove_leftovers_of, sha256_file, write_json
from dit_scaling.common.progress import track
from dit_scaling.common.provenance import write_provenance
from dit_scaling.common.words import count
from dit_scaling.data.assets import IMPORTED
from dit_scaling.latents.imported import NO_SPREAD, Imported, ImportedLatents, complete, read_imported
from dit_scaling.latents.layouts.foreign_latents import Foreign, ForeignSample, Holds
from dit_scaling.latents.layouts.layout_table import layout_of
from dit_scaling.latents.manifest import ChannelSums, Origin, Shard, read_manifest
from dit_scaling.latents.shards import LatentSample, to_float16, write_shard

PART = 20_000
"""Latents of a shard."""
USUAL = (0.3, 3.0)
"""Standard deviation of latents that were scaled for a diffusion model."""
MOST_LOG_VARIANCE = 20.0  # of diffusers' posteriors
MANIFEST = "manifest.json"
"""What a study has beside its shards."""
NO_DRAWS = "one latent of the image, without log-variance"
"""In the place of a layout's words on shards of this package."""


class _Converter:
    """Makes stored values posterior moments, and adds up what the record says of them."""

    def __init__(self, holds: Holds, multiplied_by: float, first: ForeignSample) -> None:
        self.holds, self.multiplied_by = holds, multiplied_by
        self._first, self._shape = first.where, first.values.shape
        views, channels = self._shape[:2]
        if 0 in self._shape or views > 2:
            raise UserError(
                f"{first.where} is of shape {self._shape}, which no latents of an image and its mirror have."
            )
        if holds != "latent" and channels % 2:
            raise UserError(f"{first.where} has {channels} channels: no halves for {holds} (--holds).")
        self.channels = channels if holds == "latent" else channels // 2
        self.sums = ChannelSums(self.channels, scale=1.0)
        self.labels: list[int] = []
        self.log_variance = self.mirrored = False
        """Whether any latent so far has a spread, or a mirror that is not the image again."""

    def sample(self, index: int, sample: ForeignSample) -> LatentSample:
        """One latent for a shard, counted.

        Raises:
            UserError: it has another shape than the first, is not finite, does not fit float16, or its spread is none.
        """
        if sample.values.shape != self._shape:
            raise UserError(
                f"{sample.where} is of shape {sample.values.shape}, and {self._first} of {self._shape}: not one set."
            )
        rounded = to_float16(self._moments(sample), sample.where, "it holds {fault}. Get it again, or leave it out.")
        self.sums.add(complete(rounded[None], self.channels)[0])
        self.log_variance |= bool((rounded[:, self.channels :] != NO_SPREAD).any())
        self.mirrored |= bool((rounded[0] != rounded[-1]).any())
        self.labels.append(sample.label)
        return LatentSample(index, rounded, sample.label, sample.image)

    def _moments(self, sample: ForeignSample) -> NDArray[np.float64]:
        """(V, C or 2C, h, w), with the scale divided out."""
        values = sample.values.astype(np.float64)
        if self.holds == "latent":
            return values / self.multiplied_by
        mean, spread = np.split(values, 2, axis=1)
        if self.holds == "mean-std":
            if (spread < 0).any():
                raise UserError(
                    f"{sample.where} holds standard deviations below 0. If they are log-variances: --holds mean-logvar."
                )
            with np.errstate(divide="ignore"):
                spread = 2 * np.log(spread)
        elif (spread > MOST_LOG_VARIANCE).any():
            raise UserError(
                f"{sample.where} holds log-variances above {MOST_LOG_VARIANCE:g}, which no posterior has. If its "
                "channels are of one latent: --holds latent; if they are mean and deviation: --holds mean-std."
            )
        spread = np.maximum(spread - 2 * np.log(self.multiplied_by), NO_SPREAD)
        return np.concatenate([mean / self.multiplied_by, spread], axis=1)

    def statistics(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Mean and standard deviation of draws, (C,) each."""
        mean, second = self.sums.first / self.sums.numbers, self.sums.second / self.sums.numbers
        return mean, np.sqrt(np.maximum(second - mean**2, 0))

    def require_usual_scale(self) -> None:
        """See that latents which are said to be scaled for a diffusion model are.

        Raises:
            UserError: a channel's standard deviation is not near 1.
        """
        stds = self.multiplied_by * self.statistics()[1]
        if not ((stds >= USUAL[0]) & (stds <= USUAL[1])).all():
            told = ", ".join(f"{std:.3g}" for std in stds)
            raise UserError(
                f"{self._first} and others have standard deviations of {told}, channel by channel. Latents of this "
                f"layout are multiplied by {self.multiplied_by:g}, and then have about 1. Say with --scale what these "
                "were multiplied by: 1 for nothing."
            )


def import_latents(
    source: Path,
    folder: Path,
    layout: str | None = None,
    holds: Holds | None = None,
    multiplied_by: float | None = None,
    log_seconds: float = 10.0,
) -> Imported:
    """Write latents of another layout as shards, with their record and provenance; all of it or nothing.

    Args:
        source: folder of the latents.
        folder: new folder for the shards.
        layout: name of one of `LAYOUTS`; that which the folder has where None.
        holds: what the channels are, where it is not what the layout says.
        multiplied_by: what the latents were multiplied by, where it is not what the layout says.
        log_seconds: seconds between two lines of progress.

    Raises:
        UserError: ``folder`` is there already, ``source`` is in no known layout or does not say enough, or latents or
            labels are missing, double, truncated, not finite, too large for float16, or of several shapes.
    """
    if folder.exists():
        raise UserError(f"{folder} is there already. Name a new folder, or delete it.")
    remove_leftovers_of(folder.resolve())
    row = layout_of(source, layout)
    foreign, origin = _with_record(source, row.open(source))
    chosen, factor = holds or foreign.holds, foreign.multiplied_by if multiplied_by is None else multiplied_by
    if chosen is None or factor is None:
        raise UserError(
            f"{source}: tars do not say what their latents are. Add --scale S, what they were multiplied by (0.18215 "
            "for SD's latents as DiT sees them, 1 for latents as a VAE gives them), and --holds latent, mean-std or "
            "mean-logvar."
        )
    if not foreign.count:
        raise UserError(f"{source} holds no latents.")
    tracked = track(foreign.samples, foreign.count, "latent", log_seconds)
    first = next(tracked)
    if foreign.ours and origin is None and holds is None and len(first.values) == 1:
        raise UserError(
            f"{source} holds imported latents, and no {IMPORTED} that says what they are. Put it beside them, or say "
            "with --holds whether their channels are of one latent (latent) or of mean and log-variance (mean-logvar)."
        )
    converter = _Converter(chosen, factor, first)
    numbered = (converter.sample(index, sample) for index, sample in enumerate(chain([first], tracked)))
    with atomic_folder(folder) as temporary:
        shards: list[Shard] = []
        for number, samples in enumerate(_parts(numbered)):
            path = temporary / f"part-{number:05d}.tar"
            write_shard(path, samples)
            count = len(converter.labels) - sum(shard.count for shard in shards)
            shards.append(Shard(file=path.name, sha256=sha256_file(path), count=count))
            if number == 0 and multiplied_by is None and factor != 1.0:
                converter.require_usual_scale()
        record = _record(origin or _origin(row.name, foreign), foreign, converter, first.values.shape, shards)
        write_json(temporary / IMPORTED, record.stored())
        ImportedLatents(temporary / IMPORTED)  # keeps the indices, so that no job has to make them
        settings = {"source": str(source.resolve()), "layout": row.name, "holds": chosen, "multiplied_by": factor}
        write_provenance(
            temporary / "provenance.json", settings_digest=digest(settings), settings=settings, inputs=(), device="cpu"
        )
    return record


def _parts(samples: Iterator[LatentSample]) -> Iterator[Iterator[LatentSample]]:
    """Runs of `PART` samples, each to be used up before the next."""
    for sample in samples:
        yield chain([sample], islice(samples, PART - 1))


def _with_record(source: Path, foreign: Foreign) -> tuple[Foreign, Origin | None]:
    """Latents with what is known of them where they went through this package before; None of others.

    Raises:
        UserError: the record beside them is broken, or about more or fewer latents.
    """
    if not foreign.ours:
        return foreign, None
    if not (source / IMPORTED).is_file():
        manifest = source / MANIFEST
        return foreign, read_manifest(manifest).imported if manifest.is_file() else None
    facts = read_imported(source / IMPORTED)
    if facts.count != foreign.count:
        raise UserError(
            f"{source}: its tars hold {count(foreign.count, 'latent')}, but {IMPORTED} says {facts.count:,}. Get the "
            "folder again, whole."
        )
    holds: Holds = "latent" if facts.latent_shape[1] == facts.channels else "mean-logvar"
    return replace(foreign, holds=holds, named=facts.named, repeats=facts.repeats), facts.origin


def _origin(layout: str, foreign: Foreign) -> Origin:
    """What a layout says of its latents."""
    return Origin(layout=layout, log_variance=foreign.holds != "latent", mirrored=True, each=foreign.each)


def _record(
    origin: Origin, foreign: Foreign, converter: _Converter, shape: tuple[int, ...], shards: list[Shard]
) -> Imported:
    views, channels, height, width = shape
    mean, std = converter.statistics()
    seen: dict[str, bool | str] = {"log_variance": converter.holds != "latent", "mirrored": views == 2}
    if foreign.ours:  # their place is there also where there was none to fill it
        seen = {"log_variance": converter.log_variance, "mirrored": converter.mirrored}
        if origin.log_variance and not converter.log_variance:
            seen["each"] = NO_DRAWS
    return Imported(
        origin=origin.model_copy(update=seen),
        latent_shape=(views, channels, height, width),
        channels=converter.channels,
        multiplied_by=converter.multiplied_by,
        named=foreign.named,
        repeats=foreign.repeats,
        count=len(converter.labels),
        label_histogram=tuple(np.bincount(converter.labels).tolist()),
        channel_mean=tuple(mean.tolist()),
        channel_std=tuple(std.tolist()),
        shards=tuple(shards),
    )
