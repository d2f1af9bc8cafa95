"""A throw-away row in each table, added where a contributor would add it; each Python of a study runs this first."""

from dataclasses import replace

import numpy as np

from dit_scaling.diffusion.samplers import SAMPLERS
from dit_scaling.diffusion.schedule import SCHEDULES
from dit_scaling.metrics import catalogue
from dit_scaling.metrics.comparison import Comparison, Measure
from dit_scaling.variants import SIZES, Size


def distance_of_means(comparison: Comparison) -> dict[str, float]:
    """How far the mean features of samples and reference lie apart."""
    difference = comparison.samples.moments.mean - comparison.reference.moments.mean
    return {"added_distance": float(np.linalg.norm(difference))}


SIZES["Added"] = Size(depth=1, hidden_size=32, num_heads=2)
SCHEDULES["added"] = replace(SCHEDULES["linear"], name="added", label="an added schedule", note="a test's")
SAMPLERS["added"] = replace(SAMPLERS["ddim"], name="added", label="an added sampler", note="a test's")
ADDED_METRIC = catalogue.Metric(
    key="added_distance",
    label="added distance",
    unit="unit of the features",
    better="lower",
    column="added_distance_{features}",
    measure=Measure(distance_of_means, frozenset(), lambda sizes: float(sizes.dim)),
)
catalogue.METRICS = (*catalogue.METRICS, ADDED_METRIC)
