"""What of a study's results can be deleted, by `keep` and `sampling.keep_samples`; nothing goes before it was shown.

Only files that nothing else needs are named: the verdict, the report and everything before them stay up to date, and
Snakemake makes a deleted file again only for a job that has to run anew.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, TypeVar

from dit_scaling.common.errors import UserError
from dit_scaling.common.files import canonical_json, leftovers, read_json
from dit_scaling.common.provenance import settings_digest
from dit_scaling.common.seals import forget
from dit_scaling.common.section import Section
from dit_scaling.config.sampling_settings import folder_of_further
from dit_scaling.config.stages import LossSettings, Stages, TrainSettings
from dit_scaling.config.study import Study
from dit_scaling.data.assets import open_stages
from dit_scaling.metrics.catalogue import metric_keys
from dit_scaling.results.run_control import is_running
from dit_scaling.training.lock import in_use

Settings = TypeVar("Settings", bound=Section)


@dataclass(frozen=True)
class Heap:
    """Files that can go for one reason."""

    reason: str
    files: tuple[Path, ...]

    @property
    def size(self) -> int:
        """Bytes that deleting them frees, where all links to a file are among them."""
        stats = {(status := path.stat()).st_ino: status.st_size for path in self.files}
        return sum(stats.values())


class Reader(NamedTuple):
    """A result that is made from a file."""

    result: Path
    record: Path
    """Of the settings that it was made with,"""
    digest: str
    """and of those of now."""


def cleanable(study: Study, results: Path, other_runs: bool = False) -> list[Heap]:
    """What can be deleted from the folder ``results`` of a study.

    States of a run are named only if its last step is published, or in a study for laws measured, or if it is none of
    the study's runs as its config, images and given files are now and ``other_runs`` asks for such; never while a
    process works on the run. Weights and samples are named only if all that reads them is made with the settings of
    now, half-written files only if nothing works on the study.

    Raises:
        UserError: ``other_runs``, or weights or samples are not all to be kept, and the images or a given file are not
            here.
    """
    finished = _measured_runs(study, results) if study.laws else _finished_runs(study, results)
    drops = not study.laws and (study.keep.checkpoints != "all" or not study.sampling.keep_samples)
    stages = open_stages(study, results) if drops or other_runs else None
    wanted = _wanted_runs(study, stages) if stages and other_runs else set()
    states: list[Path] = []
    checkpoints: list[Path] = []
    others: list[Path] = []
    for folder in sorted(path.parent for path in results.glob("states/*/settings.json")):
        if in_use(folder):
            continue
        settings = _settings(folder / "settings.json")
        published = finished.get(settings)
        if published is None:
            if settings not in wanted:
                others += [path for path in folder.rglob("*") if path.is_file()]
            continue
        if not study.keep.states:
            states += folder.glob("state-*")
        # In a study for laws all weights lie in `states`, and a budget more measures those of the others again.
        if stages and not study.laws:
            for place in (folder, published.parent):
                checkpoints += _unwanted_checkpoints(study, stages, published.parent, place)
    heaps = [
        Heap("states of finished runs (keep.states)", tuple(sorted(states))),
        Heap("weights (keep.checkpoints)", tuple(sorted(checkpoints))),
        Heap(
            "samples whose features are kept (sampling.keep_samples)",
            tuple(_unwanted_samples(study, stages, results)) if stages else (),
        ),
        Heap("half-written files of jobs that were killed", () if is_running(results) else _halves(results)),
    ]
    if other_runs:
        heaps.append(Heap("runs of other settings, finished or not", tuple(sorted(others))))
    return [heap for heap in heaps if heap.files]


def delete(heaps: list[Heap]) -> None:
    """Delete the files, and the folders that this leaves empty.

    Raises:
        UserError: a file cannot be deleted.
    """
    try:
        for path in (path for heap in heaps for path in heap.files):
            path.unlink()
            forget(path)
            for folder in path.parents:
                if any(folder.iterdir()):
                    break
                folder.rmdir()
    except OSError as error:
        raise UserError(f"{error.filename} cannot be deleted: {error.strerror}.") from None


def _halves(results: Path) -> tuple[Path, ...]:
    """Files that killed jobs left half-written, and those in folders that they left so."""
    found = {path for left in leftovers(results) for path in (left, *left.rglob("*"))}
    return tuple(sorted(path for path in found if path.is_file()))


def _finished_runs(study: Study, results: Path) -> dict[str, Path]:
    """Digest of the training settings to the published folder of the last step."""
    last = f"step-{study.training.steps}"
    runs = [(study.variant(name).slug, f"seed-{seed}") for name in study.variants for seed in study.training.seeds]
    folders = (results / slug / seed / last for slug, seed in runs)
    published = [folder for folder in folders if (folder / "ema.safetensors").exists()]
    return {_settings(folder / "provenance.json"): folder for folder in published}


def _measured_runs(study: Study, results: Path) -> dict[str, Path]:
    """Digest of the training settings to the record of the run's losses, which a study for laws publishes alone."""
    measured = {}
    for name in study.trained:
        for seed in study.training.seeds:
            folder = results / study.variant(name).slug / f"seed-{seed}"
            settings = _read_settings(folder / "losses.provenance.json", LossSettings)
            if settings and study.exports(name)[-1] in settings.steps and (folder / "losses.json").exists():
                measured[settings.training] = folder / "losses.json"
    return measured


def _wanted_runs(study: Study, stages: Stages) -> set[str]:
    """Digests of the training settings of every run that the study has now: what is under way resumes from a state."""
    seeds = study.training.seeds
    return {stages.train(study.variant(name).slug, seed).digest for name in study.trained for seed in seeds}


def _unwanted_checkpoints(study: Study, stages: Stages, run: Path, place: Path) -> Iterator[Path]:
    """Weights in ``place`` that are not to be kept, and that all that reads them in the results ``run`` has read."""
    keep, last = study.keep.checkpoints, f"step-{study.training.steps}"
    for path in place.glob("step-*/*.safetensors"):
        step, ema = path.parent.name, path.name == "ema.safetensors"
        kept = keep == "all" or (ema and (keep == "ema" or step == last))
        if not kept and _is_read(path, _readers(study, stages, run / step, ema)):
            yield path


def _readers(study: Study, stages: Stages, folder: Path, ema: bool) -> Iterator[Reader]:
    """What is made from the weights of a step: its gate, its run's losses and, of EMA, its evaluations."""
    training, sampling, run = study.training, study.sampling, folder.parent
    slug, seed, step = run.parent.name, int(run.name.removeprefix("seed-")), int(folder.name.removeprefix("step-"))
    if training.gates != "off" and step in training.stops:
        yield Reader(folder / "gate.json", folder / "gate.json", stages.gate(slug, seed, step).digest)
    if step not in training.exports:
        return
    yield Reader(run / "losses.json", run / "losses.provenance.json", stages.losses(slug, seed).digest)
    for scale, further in sampling.ways(last=step == training.steps) if ema else ():
        place = folder / sampling.folder(scale, folder_of_further(further))
        digest = stages.score(slug, seed, step, scale, metric_keys(), further).digest
        yield Reader(place / "metrics.json", place / "provenance.json", digest)


def _unwanted_samples(study: Study, stages: Stages, results: Path) -> Iterator[Path]:
    """Parts of samples that were there when all that reads them was written."""
    sampling, seeds = study.sampling, study.training.seeds
    if sampling.keep_samples:
        return
    searched = (seeds[0], sampling.guidance_scales[0], study.training.steps, None)
    for row in study.evaluations:
        folder, slug = results / study.folder_of(row), study.variant(row.variant).slug
        way = slug, row.seed, row.step, row.guidance_scale
        readers = [
            Reader(
                folder / f"features/{extractor.kind}/features.json",
                folder / f"features/{extractor.kind}/provenance.json",
                stages.features(*way, extractor.kind, row.further_steps).digest,
            )
            for extractor in study.metrics.extractors
        ]
        if (row.seed, row.guidance_scale, row.step, row.further_steps) == searched:
            digest = stages.memorisation(*way).digest
            record = folder / "memorisation.provenance.json"
            readers.append(Reader(folder / "memorisation.json", record, digest))
        yield from (part for part in sorted(folder.glob("samples/part-*.npz")) if _is_read(part, readers))


def _is_read(file: Path, readers: Iterable[Reader]) -> bool:
    """Whether all readers were written with the settings of now, and after what they read."""
    written = file.stat().st_mtime_ns
    return all(
        reader.result.exists()
        and written <= reader.result.stat().st_mtime_ns
        and settings_digest(reader.record) == reader.digest
        for reader in readers
    )


def _settings(record: Path) -> str:
    """Digest of the training settings that a JSON record holds; where it is broken its path, which no other equals."""
    settings = _read_settings(record, TrainSettings)
    return settings.digest if settings else str(record)


def _read_settings(record: Path, kind: type[Settings]) -> Settings | None:
    """The settings that a JSON record holds; None where it is missing or broken."""
    try:
        return kind.parse(canonical_json(read_json(record)["settings"]))
    except (UserError, KeyError, TypeError, ValueError):
        return None
