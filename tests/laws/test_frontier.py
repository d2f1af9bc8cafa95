"""The frontier on data made from known exponents: recovered, covered as often as it says, and refused where unknown."""

import numpy as np
import pandas as pd
import pytest

from dit_scaling.common.errors import UserError
from dit_scaling.laws.frontier import Frontier, Interval, fit_frontier
from dit_scaling.laws.run_grid import Grid, grid_of, pools, resampled_means, scatter
from dit_scaling.laws.study_laws import fit_laws
from known_laws import BUDGETS, LOSS_EXPONENT, PARAMS, SIZE_EXPONENT, best, isoflop_table


def fitted(table: pd.DataFrame) -> Grid:
    return grid_of(table[table["role"] == "fit"], "held_out_mse", "budget")


def test_known_exponents_are_recovered_without_noise() -> None:
    laws = fit_laws(isoflop_table(np.random.default_rng(0), sd=1e-9))
    assert isinstance(laws.frontier, Frontier)
    assert laws.frontier.size_exponent.value == pytest.approx(SIZE_EXPONENT, abs=1e-4)
    assert laws.frontier.loss_exponent.value == pytest.approx(LOSS_EXPONENT, abs=1e-5)
    for minimum in laws.frontier.minima:
        assert (minimum.params, minimum.loss) == pytest.approx(best(minimum.flops), rel=1e-4)
    (forward,) = laws.forward
    assert (forward.size.value, forward.loss.value) == pytest.approx(best(BUDGETS[-1]), rel=1e-3)
    assert forward.loss.value == pytest.approx(forward.measured.loss, rel=1e-4)


def test_four_seeds_with_measured_noise_reach_what_the_design_asks_for() -> None:
    frontier = fit_frontier(fitted(isoflop_table(np.random.default_rng(0))))
    assert frontier.pooled
    for interval, half in ((frontier.loss_exponent, 0.006), (frontier.size_exponent, 0.14)):
        assert interval.low < interval.value < interval.high
        assert interval.high - interval.low < 2 * half
    assert frontier.run_sd == pytest.approx(0.0065, rel=0.35)


@pytest.mark.slow
def test_intervals_cover_as_often_as_they_say() -> None:
    """85% to 97% of 300 studies at a nominal 90%, exponents and the budget beyond."""
    repetitions = 300
    inside = np.zeros(4)
    for repetition in range(repetitions):
        table = isoflop_table(np.random.default_rng([7, repetition]))
        frontier = fit_frontier(fitted(table), replicates=300, seed=repetition)
        size, loss = best(BUDGETS[-1])
        size_span, loss_span = frontier.predict(BUDGETS[-1])
        measured = loss * np.exp(np.random.default_rng([8, repetition]).normal(0, 0.0065 / 2))
        known = (
            (frontier.size_exponent, SIZE_EXPONENT),
            (frontier.loss_exponent, LOSS_EXPONENT),
            (size_span, size),
            (loss_span, measured),
        )
        inside += [holds(interval, value) for interval, value in known]
    assert (inside >= 0.85 * repetitions).all(), inside / repetitions
    assert (inside <= 0.97 * repetitions).all(), inside / repetitions


def holds(interval: Interval, value: float) -> bool:
    return interval.low <= value <= interval.high


def test_resampled_means_scatter_as_seeds_do() -> None:
    rng, sd = np.random.default_rng(3), 0.01
    grid = Grid(tuple("abcdefgh"), PARAMS, BUDGETS[:3], rng.normal(0, sd, (8, 4, 1)) + np.zeros((8, 4, 3)))
    drawn = resampled_means(grid, 2000)
    own, df = scatter(grid)
    assert df == 24
    assert drawn.std(axis=0).mean() == pytest.approx(own / 2, rel=0.1)
    # Whole runs: what one run has at one stop it has at the others.
    assert np.corrcoef(drawn[:, 0, 0], drawn[:, 0, 2])[0, 1] > 0.999


def test_sizes_that_scatter_differently_keep_their_own_deviations() -> None:
    rng = np.random.default_rng(4)
    sds = np.array([0.001] * 4 + [0.1] * 4)
    grid = Grid(tuple("abcdefgh"), PARAMS, BUDGETS[:2], rng.normal(0, sds[:, None, None], (8, 6, 2)))
    assert not pools(grid)
    drawn = resampled_means(grid, 500).std(axis=0)
    assert drawn[4:].min() > 10 * drawn[:4].max()


def test_a_lone_seed_borrows_and_a_study_of_lone_seeds_is_refused() -> None:
    table = isoflop_table(np.random.default_rng(5))
    lone = table[(table["variant"] != "DiT-W4/2") | (table["seed"] == 0)]
    assert isinstance(fit_frontier(fitted(lone), replicates=50), Frontier)
    with pytest.raises(UserError, match="one seed"):
        fit_frontier(fitted(table[table["seed"] == 0]))


def test_a_minimum_at_the_edge_is_no_minimum() -> None:
    table = isoflop_table(np.random.default_rng(6))
    largest = table[table["params"] >= PARAMS[3]]
    few = table[(table["budget"] > BUDGETS[4]) | (table["params"] >= PARAMS[3])]
    with pytest.raises(UserError, match="sizes"):
        fit_frontier(fitted(few))
    high = largest[largest["budget"].isin(BUDGETS[5:])].assign(role="fit")
    high = high.assign(held_out_mse=high["params"] ** 0.1)
    with pytest.raises(UserError, match="not inside those measured"):
        fit_frontier(fitted(high))


def test_a_run_twice_at_one_budget_is_refused() -> None:
    table = isoflop_table(np.random.default_rng(6))
    with pytest.raises(UserError, match="twice"):
        grid_of(pd.concat([table, table.head(1)]), "held_out_mse", "budget")


def test_intervals_widen_with_distance() -> None:
    frontier = fit_frontier(fitted(isoflop_table(np.random.default_rng(2))))
    widths = [np.log(span.high / span.low) for flops in (16, 160, 1600) for span in frontier.predict(flops * 9.6e10)]
    assert widths[0] < widths[2] < widths[4]
    assert widths[1] < widths[3] < widths[5]
