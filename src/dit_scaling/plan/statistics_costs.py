"""What the metrics cost: work of CPU cores, on features that are kept."""

from dit_scaling.config.metrics_settings import AnyExtractor, ClassifierExtractor
from dit_scaling.config.stages import Scoring
from dit_scaling.config.study import Study
from dit_scaling.metrics import catalogue
from dit_scaling.metrics.comparison import Need, Sizes
from dit_scaling.metrics.kept import KEPT_FEATURES

CORE_RATE = 2e10
"""Multiply-adds a second in float64 of one core of an Intel Xeon (Sapphire Rapids), which multiplied matrices of 2,048
rows at 2.1e10, searched neighbours at 1.6e10 and weighed covariances at 1.3e10."""


def statistics_seconds(study: Study, extractor: AnyExtractor, images: int, real: int) -> float:
    """Seconds of one core for every metric of so many images.

    Args:
        study: the study.
        extractor: whose features they are.
        images: number of images.
        real: number of training images, of which a reference keeps some.
    """
    scoring = Scoring(**study.metrics.model_dump(include=set(Scoring.model_fields)), seed=study.seed)
    sizes = Sizes(images, min(real, KEPT_FEATURES), extractor.feature_dim, scoring)
    measures = {metric.measure for metric in catalogue.METRICS if metric.measure.needs <= given_by(extractor)}
    return sum(measure.cost(sizes) for measure in measures) / CORE_RATE


def given_by(extractor: AnyExtractor) -> frozenset[Need]:
    """What an extractor's features allow; references are taken to hold images, samples to be many."""
    always: frozenset[Need] = frozenset({"reference images", "images to extrapolate"})
    if isinstance(extractor, ClassifierExtractor):
        return always | {"classes"}
    if extractor.kind == "inception":
        return always | {"spatial features", "logits"}
    return always
