"""The grid of rates by widths: a smoke of its runs, what is not run again, and the rule for the best rate."""

import math
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import pytest
from benchmarks import mup_rates
from benchmarks.mup_rates import RATES, Run, best_rates, complete, planned, train, verdicts


def test_a_few_steps_of_every_run(toy_latents: Path) -> None:
    runs = planned(toy_latents, (32,), (1.0e-3,), (0,), steps=50)
    assert [(run.parametrisation, run.width) for run in runs] == [("standard", 32), ("mup", 32)]
    errors = [train(toy_latents, run) for run in runs]
    assert errors[0] == pytest.approx(errors[1])  # at the base width both are one network


def test_a_run_that_diverges_has_no_error(toy_latents: Path) -> None:
    assert math.isnan(train(toy_latents, Run("", 100, "standard", 32, 1.0e12, 0)))


def test_what_the_table_has_is_not_run_again(
    toy_latents: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Run] = []

    def pretended(_manifest: Path, runs: Sequence[Run], _jobs: int) -> list[tuple[Run, float]]:
        asked.extend(runs)
        return [(run, math.nan if run.rate > 1 else 1 / run.width) for run in runs]

    monkeypatch.setattr(mup_rates, "trained", pretended)
    runs = planned(toy_latents, (32, 64), (RATES[1], 1e-3 / 3, 2.0), (0,), steps=50)
    whole = complete(toy_latents, runs[:7], tmp_path / "table.csv", jobs=1)
    again = complete(toy_latents, runs, tmp_path / "table.csv", jobs=1)
    pd.testing.assert_frame_equal(again.head(7), whole)
    assert asked == runs
    other = planned(toy_latents, (32, 64), (RATES[1],), (0,), steps=60)
    complete(toy_latents, other, tmp_path / "table.csv", jobs=1)
    assert asked == [*runs, *other]  # of other steps


def grid(best: dict[str, tuple[int, ...]]) -> pd.DataFrame:
    """Errors that are least at the rate of that place by width, narrow to wide, and grow by 0.1 a step from there."""
    rows = [
        (name, 32 * 2**wider, rate, seed, 0.5 + 0.1 * abs(step - place) + (0.01 if seed else -0.01))
        for name, places in best.items()
        for wider, place in enumerate(places)
        for step, rate in enumerate(RATES)
        for seed in (0, 1)
    ]
    return pd.DataFrame(rows, columns=["parametrisation", "width", "rate", "seed", "error"])


@pytest.mark.parametrize(
    ("places", "away", "verdict"),
    [
        ((3, 3, 4), [0, 0, 1], "transfers"),
        ((4, 3, 2), [0, -1, -2], "does not transfer"),
        ((5, 4, 3), [0, -1, -2], "does not transfer"),
        ((5, 5, 4), [0, 0, -1], "not decided: a best rate is at an end of the grid"),
        ((1, 1, 0), [0, 0, -1], "not decided: a best rate is at an end of the grid"),
    ],
)
def test_the_rule(places: tuple[int, ...], away: list[int], verdict: str) -> None:
    best = best_rates(grid({"mup": places}))
    assert best["rate"].tolist() == [RATES[place] for place in places]
    assert best["away"].tolist() == away
    assert best["lost"].tolist() == pytest.approx([0.2 * abs(steps) for steps in away])
    assert verdicts(best, RATES) == {"mup": verdict}


def test_parametrisations_are_told_apart() -> None:
    table = grid({"standard": (4, 3, 2), "mup": (3, 3, 3)})
    assert verdicts(best_rates(table), RATES) == {"mup": "transfers", "standard": "does not transfer"}


def test_no_rate_at_which_a_run_diverged_is_best() -> None:
    rows = [(1e-3, 0, 0.5), (1e-3, 1, 0.7), (2e-3, 0, 0.1), (2e-3, 1, math.nan)]
    table = pd.DataFrame(rows, columns=["rate", "seed", "error"]).assign(parametrisation="mup", width=32)
    assert best_rates(table)[["rate", "error"]].values.tolist() == [[1e-3, pytest.approx(0.6)]]
