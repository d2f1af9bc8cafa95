"""How often equal models are told apart: on the grid of Table 4, by scatter and number of seeds."""

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from dit_scaling.claims.comparisons import compare, patch_pairs, size_pairs
from dit_scaling.claims.metrics_table import check_table
from dit_scaling.claims.noise import estimate
from dit_scaling.paper.published import reproduction_spread, table4

GRID = check_table(table4())
STUDIES = 2000
MOST = 0.06
BY_PATCH = {8: 0.093, 4: 0.02, 2: 0.005}
"""Scatter of S/8, and about that of larger models with smaller patches."""


def simulate(scatter: NDArray[np.float64], seeds: int, rng: np.random.Generator) -> pd.DataFrame:
    """Twelve equal models; ln metric of each seed scatters by ``scatter``, shape (12,)."""
    rows = [GRID.assign(seed=seed, fid50k=np.exp(4 + scatter * rng.normal(size=12))) for seed in range(seeds)]
    return pd.concat(rows, ignore_index=True)


@pytest.mark.slow
@pytest.mark.parametrize("seeds", [1, 4])
@pytest.mark.parametrize("unequal", [False, True], ids=["equal", "unequal"])
def test_equal_models_are_seldom_told_apart(unequal: bool, seeds: int) -> None:
    scatter = np.full(12, reproduction_spread().sd)
    if unequal:
        scatter = GRID["patch"].map(BY_PATCH).to_numpy(dtype=float)
    rng = np.random.default_rng(0)
    wrong = {"sizes": 0, "patches": 0}
    for _ in range(STUDIES):
        estimates, noise = estimate(simulate(scatter, seeds, rng), "fid50k")
        for name, pairs in (("sizes", size_pairs(estimates)), ("patches", patch_pairs(estimates))):
            wrong[name] += any(c.outcome != "unresolved" for c in compare(pairs, noise, alpha=0.05))
    for name, count in wrong.items():
        assert count / STUDIES <= MOST, name
