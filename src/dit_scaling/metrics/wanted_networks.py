"""The feature networks that someone asks for by name: opened, or named with what would help."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from dit_scaling.common.errors import UserError
from dit_scaling.data.assets import KNOWN
from dit_scaling.data.fetch import fetch as fetch_asset
from dit_scaling.metrics.dinov2 import Dinov2Features
from dit_scaling.metrics.extractors import open_extractor
from dit_scaling.metrics.features import Extractor
from dit_scaling.metrics.inception import INCEPTION_FILE, CleanFeatures, InceptionFeatures

log = logging.getLogger(__name__)

WEIGHTS: Mapping[str, tuple[str, Callable[[Path, torch.device], Extractor]]] = {
    "inception": (INCEPTION_FILE, InceptionFeatures),
    "clean": (INCEPTION_FILE, CleanFeatures),
    "dinov2": ("dinov2_vitl14_pretrain.pth", Dinov2Features),
}
"""Kind to the name of its weights, one of `KNOWN`, and what opens them."""


@dataclass(frozen=True)
class Absent:
    """A metric, or features with all their metrics, that could not be measured."""

    name: str
    reason: str
    remedy: str


def open_networks(
    features: Sequence[str], cache: Path, device: torch.device, *, fetch: bool
) -> tuple[list[Extractor], list[Absent]]:
    """The networks that can be opened, and those that cannot as their weights are not here.

    Args:
        features: kinds of `WEIGHTS`, or paths of a study's ``extractor.json``.
        cache: where weights are, or are fetched to.
        device: to compute on.
        fetch: whether what is missing is fetched.

    Raises:
        UserError: a name is neither, weights are damaged, two networks have one name, or none at all can be had.
    """
    found: list[Extractor] = []
    absent: list[Absent] = []
    for name in dict.fromkeys(features):
        if name in WEIGHTS:
            file, open_weights = WEIGHTS[name]
            if reason := _lacking(file, cache, fetch):
                remedy = f"fetch {KNOWN[file].url} where there is a network, and put it into {cache} under its name"
                absent.append(Absent(name, reason, remedy))
                continue
            found.append(open_weights(cache / file, device))
        elif Path(name).is_file():
            found.append(open_extractor(Path(name), device))
        else:
            raise UserError(f"features: '{name}' is neither of {', '.join(WEIGHTS)} nor an extractor.json of a study.")
    twice = next((network.name for network in found if [one.name for one in found].count(network.name) > 1), None)
    if twice:
        raise UserError(f"features: two networks are called '{twice}', as are their metrics. Score with one at a time.")
    if not found:
        listed = "; ".join(f"{one.name}: {one.reason}; {one.remedy}" for one in absent)
        raise UserError(f"No network can be had to look at images with. {listed}.")
    return found, absent


def _lacking(file: str, cache: Path, fetch: bool) -> str:
    """Why weights are not here; empty where they are."""
    if (cache / file).is_file():
        return ""
    if not fetch:
        return f"{cache / file} does not exist"
    try:
        fetch_asset(KNOWN[file], cache)
    except UserError as error:
        log.warning("%s", error)
        return f"{cache / file} does not exist and cannot be fetched"
    return ""
