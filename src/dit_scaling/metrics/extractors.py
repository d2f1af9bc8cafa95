"""Making and opening extractors: the study's own classifier, or a given network."""

from pathlib import Path

import torch

from dit_scaling.common.errors import UserError
from dit_scaling.common.files import read_json, write_json
from dit_scaling.config.stages import ExtractorSettings
from dit_scaling.metrics.classifier import ClassifierFeatures, train_classifier
from dit_scaling.metrics.dinov2 import Dinov2Features
from dit_scaling.metrics.features import Extractor
from dit_scaling.metrics.inception import CleanFeatures, InceptionFeatures

CLASSIFIER_FILE = "classifier.safetensors"


def make_extractor(settings: ExtractorSettings, record: Path, device: torch.device, given: Path | None = None) -> None:
    """The extractor stage: train the study's classifier, or check that the ``given`` network opens.

    ``record`` is written last; a classifier's weights lie beside it.

    Raises:
        UserError: the given weights are missing or another network's.
    """
    config = settings.extractor
    facts: dict[str, object] = {"kind": config.kind, "settings_digest": settings.digest}
    if given is None:
        weights = record.with_name(CLASSIFIER_FILE)
        facts |= train_classifier(settings, weights, device)
    else:
        weights = given
        facts["weights"] = str(given)
    network = _open(config.kind, weights, device)
    write_json(record, {**facts, "weights_sha256": network.weights_sha256, "description": network.description})


def open_extractor(record: Path, device: torch.device) -> Extractor:
    """The extractor that ``make_extractor`` recorded.

    Raises:
        UserError: its weights are missing, not what they should be, or not those of the record.
    """
    facts = read_json(record)
    try:
        kind, sha256 = str(facts["kind"]), str(facts["weights_sha256"])
        weights = Path(facts["weights"]) if "weights" in facts else record.with_name(CLASSIFIER_FILE)
    except (KeyError, TypeError) as error:
        raise UserError(f"{record} is no record of a feature network ({error!r}); rerun rule extractor.") from None
    network = _open(kind, weights, device)
    if network.weights_sha256 != sha256:
        raise UserError(
            f"{weights} has changed since {record} was written. Put the old file back, or delete {record}: "
            "then everything is scored again with the new one."
        )
    return network


def _open(kind: str, weights: Path, device: torch.device) -> Extractor:
    if kind == "inception":
        return InceptionFeatures(weights, device)
    if kind == "clean":
        return CleanFeatures(weights, device)
    if kind == "dinov2":
        return Dinov2Features(weights, device)
    return ClassifierFeatures(weights, device)
