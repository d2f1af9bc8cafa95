"""The ladder of rates by widths: a smoke of its runs, and what it takes for the best."""

import math
from pathlib import Path

import pandas as pd
import pytest
from benchmarks.mup_rates import best_rates, runs


def test_a_few_steps_of_every_run(toy_latents: Path) -> None:
    rows = list(runs(toy_latents, (32,), (1.0e-3,), (0,), steps=50))
    assert [(row["parametrisation"], row["width"]) for row in rows] == [("standard", 32), ("mup", 32)]
    assert rows[0]["error"] == pytest.approx(rows[1]["error"])  # at the base width both are one network


def test_the_best_rate_is_that_of_the_least_mean_and_none_that_diverged() -> None:
    rows = [(1e-3, 0, 0.5), (1e-3, 1, 0.7), (2e-3, 0, 0.1), (2e-3, 1, math.nan)]
    table = pd.DataFrame(rows, columns=["rate", "seed", "error"]).assign(parametrisation="mup", width=32)
    assert best_rates(table)[["rate", "error"]].values.tolist() == [[1e-3, pytest.approx(0.6)]]
