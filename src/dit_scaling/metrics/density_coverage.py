"""Density and coverage, Naeem et al. (2020, arXiv 2002.09797): like precision and recall, but not moved by outliers."""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from dit_scaling.metrics.arrays import Array, stored_pair
from dit_scaling.metrics.comparison import Comparison, Measure, Sizes
from dit_scaling.metrics.neighbours import PER_PAIR, squared_distances, squared_radii

NEIGHBOURS = 5
"""The authors' k (section 3.2), with which coverage expects 1 - 1/2^5 of two large sets that are alike."""


class DensityCoverage(NamedTuple):
    """Density is 1 on average where both sets are alike, and more where samples crowd; coverage lies in 0..1."""

    density: float
    coverage: float


def density_coverage(
    reference_features: ArrayLike, sample_features: ArrayLike, k: int = NEIGHBOURS, reference_radii: Array | None = None
) -> DensityCoverage:
    """Equations 4 and 5: balls around the real images only, which reach to their k-th nearest real neighbour.

    Density counts for each sample the balls that it lies in, on average over samples and divided by k; coverage is the
    share of balls that hold a sample. For two sets drawn from one distribution density expects 1, and coverage
    1 - (R - 1)...(R - k) / ((S + R - 1)...(S + R - k)), whatever the distribution (the paper's lemmas 1 and 2).

    Args:
        reference_features: (R, D) of real images, R > k; may be mapped from a file.
        sample_features: (S, D) of generated images, S >= 1; may be mapped from a file.
        k: number of neighbours, >= 1, the point itself not counted.
        reference_radii: (R,) ``squared_radii`` of the references at ``k``, where they are known.

    Raises:
        ValueError: shapes that don't fit, no samples, or no more than k real images.
        UserError: a feature is NaN or infinite.
    """
    reference, sample = stored_pair(reference_features, sample_features, ("reference_features", "sample_features"))
    if not 1 <= k < len(reference) or len(sample) == 0:
        raise ValueError(
            f"k={k} neighbours: k must be at least 1 and less than the number of references, which are "
            f"{len(reference)}, and there must be samples, which are {len(sample)}."
        )
    radii = squared_radii(reference, k) if reference_radii is None else reference_radii
    covered, held = np.zeros(len(reference), dtype=bool), 0
    for _, columns, squared in squared_distances(sample, reference):
        inside = squared <= radii[columns]
        held += int(np.count_nonzero(inside))
        covered[columns] |= inside.any(axis=0)
    return DensityCoverage(density=held / (k * len(sample)), coverage=float(covered.mean()))


def _measure(comparison: Comparison) -> dict[str, float]:
    real = comparison.reference
    k = min(NEIGHBOURS, len(real.features) - 1)
    found = density_coverage(real.features, comparison.samples.features, k, real.squared_radii(k))
    return {"density": found.density, "coverage": found.coverage}


def _cost(sizes: Sizes) -> float:
    """Distances to the reference; those within it are searched once, and count for precision and recall."""
    return float(sizes.real) * sizes.images * (sizes.dim + PER_PAIR)


DENSITY_COVERAGE = Measure(_measure, frozenset({"reference images"}), _cost)
