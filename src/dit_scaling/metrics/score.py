"""The score stage: every metric of the catalogue, from features that are kept. No extractor, no torch, no GPU."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dit_scaling.common.errors import UserError
from dit_scaling.common.files import write_json
from dit_scaling.config.stages import LevelSettings, ScoreSettings, Scoring
from dit_scaling.metrics import catalogue
from dit_scaling.metrics.comparison import Comparison, ImageSet, Measure, Reference
from dit_scaling.metrics.kept import LEVELS, KeptFiles, Protocol, ReferenceFiles, read_kept, read_reference

log = logging.getLogger(__name__)


def measure(scoring: Scoring, samples: ImageSet, reference: Reference) -> dict[str, Any]:
    """Every metric of the catalogue that one set of images allows, each in the column of its features.

    Beside a metric's column stand ``_se`` and ``_bias`` (bootstrap over images) or ``_sd`` (over subsets or splits).
    """
    comparison = Comparison(scoring, samples, reference)
    measured: dict[Measure, Mapping[str, float]] = {}
    record: dict[str, Any] = {"n_samples": samples.moments.count}
    for metric in catalogue.METRICS:
        if not all(comparison.has(need) for need in metric.measure.needs):
            continue
        if metric.measure not in measured:
            measured[metric.measure] = metric.measure.run(comparison)
        found = measured[metric.measure]
        record[metric.column_on(reference.extractor)] = found[metric.key]
        for aside in metric.asides:
            record[metric.column_on(reference.extractor, aside)] = found[f"{metric.key}_{aside}"]
    return record


def describe_protocol(protocol: Protocol, reference: Reference) -> dict[str, str]:
    """Network, weights, resize and reference of a record's numbers, as columns of the table."""
    name = protocol.extractor
    return {
        f"extractor_{name}": protocol.description,
        f"weights_sha256_{name}": protocol.weights_sha256,
        f"resize_{name}": protocol.resize,
        f"reference_sha256_{name}": reference.sha256,
    }


def score_samples(
    settings: ScoreSettings, features: Sequence[Path], references: Sequence[ReferenceFiles], output: Path
) -> None:
    """The score stage: measure the kept ``features`` of every extractor, the headline's first; write one JSON record.

    Raises:
        UserError: a file is missing or altered, or a reference was made with another extractor.
    """
    record: dict[str, Any] = {"settings_digest": settings.digest}
    for file, files in zip(features, references, strict=True):
        samples, protocol, facts = read_kept(KeptFiles.beside(file))
        reference = read_reference(files)
        _check_extractor(reference, files, protocol)
        record |= measure(settings.scoring, samples, reference) | describe_protocol(protocol, reference)
        record.setdefault("extractor", protocol.description)
        record.setdefault("quantiser", facts.get("quantiser"))
        column = catalogue.HEADLINE.column_on(protocol.extractor)
        log.info("%s: %s %.2f", output, column, record[column])
    write_json(output, record)


def measure_levels(settings: LevelSettings, features: Sequence[Path], files: ReferenceFiles, output: Path) -> None:
    """The levels stage: the distances between which those of samples are read, as one JSON record.

    Floors: held-out real images, and the VAE's reconstructions of them. Ceiling: decoded Gaussian noise.

    Args:
        settings: of the stage.
        features: records of the kept features of ``LEVELS``, in their order.
        files: the reference.
        output: the record to write.

    Raises:
        UserError: a file is missing or altered.
    """
    facts: dict[str, Any] = {}
    levels: dict[str, dict[str, Any]] = {}
    reference = read_reference(files)
    for name, file in zip(LEVELS, features, strict=True):
        samples, protocol, _ = read_kept(KeptFiles.beside(file))
        _check_extractor(reference, files, protocol)
        metric = catalogue.HEADLINE.column_on(protocol.extractor)
        facts = {"metric": metric, "extractor": protocol.description, "reference": reference.moments.describe()}
        facts |= describe_protocol(protocol, reference)
        levels[name] = measure(settings.scoring, samples, reference)
        log.info("%s: %s %.2f on %d images", name, metric, levels[name][metric], levels[name]["n_samples"])
    write_json(output, {**facts, "settings_digest": settings.digest, "levels": levels})


def _check_extractor(reference: Reference, files: ReferenceFiles, protocol: Protocol) -> None:
    """See that the reference is of the features' extractor."""
    if reference.extractor != protocol.extractor:
        raise UserError(
            f"{files.moments} was made with {reference.extractor}, not {protocol.extractor}; rerun rule reference."
        )
