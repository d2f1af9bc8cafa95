"""Noise, pairs, correlations and fits against closed forms, scipy and simulated truth."""

import math
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats

from dit_scaling.claims import fit_power_law
from dit_scaling.claims.comparisons import compare, holm, neighbours_of, patch_pairs, pool, size_pairs
from dit_scaling.claims.contrasts import contrast, homogeneity_p
from dit_scaling.claims.correlations import correlate, williams, zou
from dit_scaling.claims.metrics_table import check_table
from dit_scaling.claims.noise import Estimate, Noise, estimate
from dit_scaling.common.errors import UserError
from dit_scaling.paper.published import reproduction_spread, table4
from dit_scaling.variants import training_gflops


def seeds_table(logs: NDArray[np.float64]) -> pd.DataFrame:
    """Table 4's first variants with a row per seed; ``logs`` is ln metric, shape (variants, seeds)."""
    variants = table4().head(len(logs)).drop(columns=["steps", "fid50k"])
    rows = [variants.assign(seed=seed, fid50k=np.exp(column)) for seed, column in enumerate(logs.T)]
    return check_table(pd.concat(rows))


def variant(size: str, params_m: float, ln_metric: float, variance: float = 0.01, df: float = math.inf) -> Estimate:
    return Estimate(f"DiT-{size}/2", "DiT", size, 2, params_m, params_m, 0.0, ln_metric, variance, df, 0.01, 1, False)


def shared(variance: float, df: float = math.inf) -> Noise:
    return Noise("assumed", variance, df, "", reproduction_spread())


def two_sizes(logs: NDArray[np.float64]) -> pd.DataFrame:
    seeds = logs.shape[1]
    return seeds_table(logs).assign(size=["S", "B"] * seeds, patch=2, params_m=[33.0, 130.0] * seeds)


@pytest.mark.parametrize("scatter", [(0.1, 0.1), (0.15, 0.1), (0.1, 0.07)])
@pytest.mark.parametrize("seeds", [3, 4])
def test_a_pair_is_welchs_t_test_whatever_its_scatter(scatter: tuple[float, float], seeds: int) -> None:
    pattern = np.array([-1.0, 1.2, -0.6, 0.3][:seeds])
    logs = np.array([[4.0], [3.9]]) + np.array(scatter)[:, None] * np.array([pattern, pattern[::-1]])
    estimates, noise = estimate(two_sizes(logs), "fid50k")
    (comparison,) = compare(size_pairs(estimates), noise, alpha=0.05)
    oracle = stats.ttest_ind(logs[1], logs[0], alternative="less", equal_var=False)
    assert noise.rule == "own"
    assert noise.condition == ""
    assert comparison.widened == (oracle.df < 4)
    assert comparison.df == pytest.approx(oracle.df)
    assert comparison.p == pytest.approx(oracle.pvalue, rel=1e-9)
    pooled = pool(size_pairs(estimates), noise, alpha=0.05)
    interval = stats.ttest_ind(logs[1], logs[0], equal_var=False).confidence_interval(0.95)
    assert (pooled.low, pooled.high) == pytest.approx((interval.low, interval.high), rel=1e-9)


def test_a_pair_of_fewer_than_four_degrees_of_freedom_has_to_pass_the_published_spread_too() -> None:
    logs = np.array([[4.0, 4.3, 3.7, 4.1], [3.80, 3.801, 3.799, 3.8]])
    estimates, noise = estimate(two_sizes(logs), "fid50k")
    (comparison,) = compare(size_pairs(estimates), noise, alpha=0.05)
    welch = stats.ttest_ind(logs[1], logs[0], alternative="less", equal_var=False)
    spread = reproduction_spread()
    assert comparison.df == pytest.approx(welch.df)
    assert welch.df < 4
    published = stats.t.cdf((3.8 - 4.025) / (spread.sd * math.sqrt(2 / 4)), spread.df)
    assert comparison.widened
    assert comparison.p == pytest.approx(max(welch.pvalue, published))
    reach = contrast([(estimates[0], 1.0)], noise).reach(0.05)
    assert reach >= stats.t.isf(0.025, spread.df) * spread.sd / 2


@pytest.mark.parametrize("seeds", [3, 4])
def test_homogeneity_of_equal_groups_is_the_one_way_anova(seeds: int) -> None:
    pattern = np.array([-0.1, 0.12, -0.06, 0.03][:seeds])
    logs = (
        4 + np.array([[0.0], [0.02], [-0.01], [0.05], [0.03]]) + np.array([[1.0], [0.8], [1.1], [0.9], [1.2]]) * pattern
    )
    estimates, noise = estimate(seeds_table(logs), "fid50k")
    oracle = stats.f_oneway(*logs, equal_var=False)
    assert noise.rule == "own"
    assert homogeneity_p(estimates, noise) == pytest.approx(oracle.pvalue, rel=1e-9)


def test_unequal_numbers_of_seeds_count_by_each_variants_own_spread() -> None:
    table = seeds_table(np.log([[10.0, 11.0, 12.0], [20.0, 21.0, 25.0], [30.0, 31.0, 33.0]]))
    table = table.drop(index=table.index[(table["seed"] == 2) & (table["size"] == "S") & (table["patch"] == 4)])
    estimates, noise = estimate(table, "fid50k")
    by_name = {e.variant: e for e in estimates}
    assert noise.df == 5
    for name, values in {"DiT-S/8": [10, 11, 12], "DiT-S/4": [20, 21], "DiT-S/2": [30, 31, 33]}.items():
        assert by_name[name].variance == pytest.approx(stats.sem(np.log(values)) ** 2)
        assert by_name[name].df == len(values) - 1


def test_standard_errors_go_through_the_delta_method() -> None:
    estimates, noise = estimate(check_table(table4().assign(fid50k_se=2.0)), "fid50k")
    xl2, spread = next(e for e in estimates if e.variant == "DiT-XL/2"), reproduction_spread()
    rng = np.random.default_rng(0)
    draws = np.log(rng.normal(19.47, 2.0, 200_000)) + spread.sd * rng.standard_normal(200_000)
    assert xl2.variance == pytest.approx((2 / 19.47) ** 2 + spread.sd**2)
    assert math.sqrt(xl2.variance) == pytest.approx(float(draws.std()), rel=0.02)
    assert noise.df == spread.df
    assert "what another training seed would change" in noise.source


@pytest.mark.no_cover
def test_one_seed_is_judged_no_more_surely_than_reproductions_allow() -> None:
    """Standard errors of 1%, as of 4,000 samples, beside a scatter of 7.3% between trainings."""
    rng, spread, false_alarms = np.random.default_rng(0), reproduction_spread(), 0
    table = check_table(table4().assign(fid50k_se=1.0))
    for _ in range(100):
        equal = 100 * np.exp(spread.sd * rng.standard_normal(12))
        estimates, noise = estimate(table.assign(fid50k=equal, fid50k_se=0.01 * equal), "fid50k")
        compared = compare(size_pairs(estimates), noise, alpha=0.05)
        false_alarms += any(c.outcome != "unresolved" for c in compared)
    assert false_alarms <= 10  # two directions at 5% each


def test_a_standard_error_of_zero_leaves_the_noise_of_training() -> None:
    estimates, _ = estimate(check_table(table4().assign(fid50k_se=0.0)), "fid50k")
    assert {e.variance for e in estimates} == {reproduction_spread().sd ** 2}


def test_seeds_that_agree_by_chance_do_not_override_the_tables_own_error() -> None:
    """Two seeds of each variant 0.1% apart, standard errors of 18%."""
    table = seeds_table(np.log([[100.0, 100.1], [80.0, 80.1], [60.0, 60.1], [50.0, 50.06]]))
    estimates, _ = estimate(check_table(table.assign(fid50k_se=0.18 * table["fid50k"])), "fid50k")
    assert [math.sqrt(e.variance * 2) for e in estimates] == [pytest.approx(0.18)] * 4
    four = seeds_table(np.log([[100.0, 100.1, 100.0, 99.9], [80.0, 85.0, 70.0, 75.0]]))
    (first, second), noise = estimate(check_table(four.assign(fid50k_se=0.02 * four["fid50k"])), "fid50k")
    assert noise.rule == "own"
    assert math.sqrt(first.variance * 4) == pytest.approx(0.02)
    assert second.variance * 4 == pytest.approx(np.var(np.log([80, 85, 70, 75]), ddof=1))


def test_two_seeds_of_one_variant_tell_nothing_of_the_others() -> None:
    table = pd.concat([table4().assign(seed=0), table4().query("variant == 'DiT-B/4'").assign(seed=1, fid50k=68.4)])
    estimates, noise = estimate(check_table(table), "fid50k")
    spread = reproduction_spread()
    assert noise.rule == "assumed"
    assert noise.df == spread.df
    assert "WIDENED" in noise.source
    assert "1 of the 4 degrees of freedom" in noise.source
    assert {round(e.variance * e.runs, 12) for e in estimates} == {round(spread.sd**2, 12)}


def test_a_few_wild_seeds_widen_further() -> None:
    table = pd.concat([table4().assign(seed=0), table4().query("variant == 'DiT-B/4'").assign(seed=1, fid50k=100.0)])
    estimates, _ = estimate(check_table(table), "fid50k")
    wild = float(np.var(np.log([68.38, 100.0]), ddof=1))
    assert {round(e.variance * e.runs, 12) for e in estimates} == {round(wild, 12)}


def test_a_variant_with_one_seed_borrows_the_largest_scatter_and_says_so() -> None:
    rng = np.random.default_rng(0)
    table = seeds_table(rng.normal([[4.0], [3.9], [3.8]], [[0.6], [0.02], [0.05]], (3, 4)))
    broken = table[(table["seed"] == 0) | (table["patch"] != 2)]
    estimates, noise = estimate(broken, "fid50k")
    lone = next(e for e in estimates if e.variant == "DiT-S/2")
    assert lone.variance == pytest.approx(max(4 * e.variance for e in estimates if e is not lone))
    assert lone.df == reproduction_spread().df
    assert "DiT-S/2" in noise.condition
    quiet = seeds_table(rng.normal([[4.0], [3.9], [3.8]], 0.01, (3, 4)))
    estimates, _ = estimate(quiet[(quiet["seed"] == 0) | (quiet["patch"] != 2)], "fid50k")
    assert next(e for e in estimates if e.runs == 1).variance == pytest.approx(reproduction_spread().sd ** 2)


def test_noise_that_cannot_be_judged_is_refused() -> None:
    with pytest.raises(UserError, match="exactly one value for all seeds"):
        estimate(seeds_table(np.log([[10.0, 10.0], [20.0, 20.0]])), "fid50k")
    partly = table4().assign(fid50k_se=[1.0] * 11 + [math.nan])
    with pytest.raises(UserError, match="empty for DiT-XL/2"):
        estimate(check_table(partly), "fid50k")
    _, noise = estimate(check_table(table4().assign(fid50k_se=math.nan, n_samples=50_000)), "fid50k")
    assert "published spread" in noise.source
    assert "n_samples alone" in noise.source


def test_holm_worked_example() -> None:
    # Step-down by hand: 4 x 0.005, 3 x 0.01, 2 x 0.03, then never less than the one before.
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])


@given(st.permutations(range(8)), st.lists(st.floats(0, 1), min_size=8, max_size=8))
def test_holm_lies_between_raw_and_bonferroni_in_any_order(order: list[int], p: list[float]) -> None:
    corrected = holm(p)
    assert np.all(corrected >= np.array(p))
    assert np.all(corrected <= np.minimum(1, len(p) * np.array(p)))
    assert holm([p[i] for i in order]) == pytest.approx(corrected[order])


def test_holm_keeps_the_familywise_error_of_dependent_pairs() -> None:
    rng = np.random.default_rng(0)
    noise = shared(0.01)
    simulations = 1000
    wrong = 0
    for values in rng.normal(0, 0.1, (simulations, 4)):
        variants = [variant(str(i), i + 1.0, value) for i, value in enumerate(values)]
        wrong += any(c.outcome != "unresolved" for c in compare(size_pairs(variants), noise, alpha=0.05))
    assert stats.binomtest(wrong, simulations, 0.05, alternative="greater").pvalue > 0.001


def test_pooled_interval_covers_the_true_mean_effect() -> None:
    rng = np.random.default_rng(0)
    truth = np.array([0.0, -0.3, -0.4, -0.9])
    effects = [truth[j] - truth[i] for i in range(4) for j in range(i + 1, 4)]  # all pairs, which share variants
    simulations = 400
    covered = 0
    for _ in range(simulations):
        spread = math.sqrt(0.01 * rng.chisquare(6) / 6)
        values = truth + rng.normal(0, 0.1, 4)
        variants = [variant(str(i), i + 1.0, value, spread**2) for i, value in enumerate(values)]
        pooled = pool(size_pairs(variants), shared(spread**2, 6), alpha=0.05)
        covered += pooled.low < np.mean(effects) < pooled.high
    assert stats.binomtest(covered, simulations, 0.95).pvalue > 0.001


def test_williams_on_steigers_example() -> None:
    # r(masculinity, verbal) = .5, r(femininity, verbal) = .4, r between = .1, n = 103: R's psych::r.test gives 0.89.
    test = williams(0.5, 0.4, 0.1, 103)
    assert test.t == pytest.approx(0.89, abs=0.005)
    assert 2 * test.p_gflops == pytest.approx(0.37, abs=0.005)
    swapped = williams(0.4, 0.5, 0.1, 103)
    assert (swapped.t, swapped.p_params) == pytest.approx((-test.t, test.p_gflops))


def test_williams_keeps_its_level_with_eight_variants() -> None:
    rng = np.random.default_rng(0)
    covariance = [[1, 0.7, 0.6], [0.7, 1, 0.6], [0.6, 0.6, 1]]
    simulations = 4000
    rejected = 0
    for _ in range(simulations):
        r = np.atleast_2d(np.corrcoef(rng.multivariate_normal([0, 0, 0], covariance, 8).T))
        rejected += williams(r[0, 2], r[1, 2], r[0, 1], 8).p_gflops < 0.05
    assert rejected / simulations == pytest.approx(0.05, abs=0.015)


def test_zous_own_example_of_correlations_with_one_variable_in_common() -> None:
    # Zou (2007), section on overlapping correlations: .396 and .179, .088 between, n = 66: interval -.093 to .517.
    interval = zou(0.396, 0.179, 0.088, 66, alpha=0.05)
    assert (interval.low, interval.high) == pytest.approx((-0.093, 0.517), abs=5e-4)
    swapped = zou(0.179, 0.396, 0.088, 66, alpha=0.05)
    assert (swapped.low, swapped.high) == pytest.approx((-interval.high, -interval.low))
    assert zou(1.0, 0.4, 0.4, 12, alpha=0.05).low > 0


@pytest.mark.parametrize("n", [8, 12])
def test_zous_interval_seldom_excludes_the_truth_with_so_few_variants(n: int) -> None:
    rng = np.random.default_rng(0)
    covariance = [[1, 0.7, 0.9], [0.7, 1, 0.7], [0.9, 0.7, 1]]
    simulations, missed = 2000, 0
    for _ in range(simulations):
        r = np.corrcoef(rng.multivariate_normal([0, 0, 0], covariance, n).T)
        interval = zou(r[0, 2], r[1, 2], r[0, 1], n, alpha=0.05)
        missed += not interval.low < 0.2 < interval.high
    assert missed / simulations < 0.065


def test_neighbours_have_no_variant_between_them() -> None:
    estimates, _ = estimate(check_table(table4()), "fid50k")
    names = {(a.variant, b.variant) for a, b in neighbours_of(size_pairs(estimates))}
    sizes = ["S", "B", "L", "XL"]
    assert names == {(f"DiT-{b}/{p}", f"DiT-{a}/{p}") for a, b in pairwise(sizes) for p in (2, 4, 8)}
    assert len(neighbours_of(patch_pairs(estimates))) == 8
    without = [e for e in estimates if e.variant != "DiT-L/4"]
    assert ("DiT-XL/4", "DiT-B/4") in {(a.variant, b.variant) for a, b in neighbours_of(size_pairs(without))}


def test_correlations_agree_with_scipy_and_with_exact_laws() -> None:
    estimates, _ = estimate(check_table(table4()), "fid50k")
    found = correlate(estimates)
    assert found is not None
    table = table4()
    oracle = stats.pearsonr(np.log(table["gflops"]), table["fid50k"])
    assert found.pearson_gflops == pytest.approx(oracle.statistic, rel=1e-9)
    law = table.assign(fid50k=100 * table["params_m"] ** -0.2 * table["patch"] ** 0.6)
    exact = correlate(estimate(check_table(law), "fid50k")[0])
    assert exact is not None
    assert (exact.exponent_params, exact.exponent_tokens) == pytest.approx((-0.2, -0.3))
    assert exact.r2_params_tokens == pytest.approx(1)
    tokens = correlate(estimate(check_table(law.assign(tokens=(32 / law["patch"]) ** 2)), "fid50k")[0])
    assert tokens is not None
    assert tokens.exponent_tokens == pytest.approx(-0.3)


def test_too_few_or_constant_variants_have_no_correlation() -> None:
    estimates, _ = estimate(check_table(table4()), "fid50k")
    assert correlate(estimates[:2]) is None
    assert correlate([e for e in estimates if e.size == "S" and e.params_m == 33]) is None
    seven = correlate(estimates[:7])
    assert seven is not None
    assert seven.williams is None
    four = correlate(estimates[:4])
    assert four is not None
    assert four.r2_params_tokens is None


def test_tokens_get_no_credit_where_gflops_are_the_whole_law() -> None:
    table = table4()
    scatter = np.exp(np.random.default_rng(0).normal(0, 0.02, len(table)))
    pure = correlate(estimate(check_table(table.assign(fid50k=100 * table["gflops"] ** -0.3 * scatter)), "fid50k")[0])
    assert pure is not None
    assert pure.p_tokens is not None
    assert pure.p_tokens > 0.05
    assert pure.exponent_params == pytest.approx(pure.exponent_tokens, abs=0.05)


def test_power_law_agrees_with_linregress_and_recovers_an_exact_law() -> None:
    table = table4()
    fit = fit_power_law(table["gflops"], table["fid50k"])
    oracle = stats.linregress(np.log(table["gflops"]), np.log(table["fid50k"]))
    assert (fit.a, fit.b, fit.b_error) == pytest.approx((oracle.intercept, oracle.slope, oracle.stderr))
    assert fit.r_squared == pytest.approx(0.875, abs=5e-4)
    exact = fit_power_law([1.0, 10.0, 100.0], [50.0, 5.0, 0.5])
    prediction = exact.predict([1000.0, 10.0])
    assert prediction["y"].to_numpy() == pytest.approx([0.05, 5.0])
    assert prediction["extrapolated"].tolist() == [True, False]


def test_band_of_the_curve_at_one_is_the_interval_of_the_intercept() -> None:
    table = table4()
    fit = fit_power_law(table["gflops"], table["fid50k"])
    oracle = stats.linregress(np.log(table["gflops"]), np.log(table["fid50k"]))
    reach = stats.t.ppf(0.95, 10) * oracle.intercept_stderr
    at_one = fit.predict(1.0, level=0.9).iloc[0]
    assert (math.log(at_one["mean_low"]), math.log(at_one["mean_high"])) == pytest.approx(
        (fit.a - reach, fit.a + reach)
    )


def test_prediction_interval_covers_new_points_also_beyond_the_data() -> None:
    rng = np.random.default_rng(0)
    x = np.geomspace(1, 100, 8)
    simulations = 1000
    covered = 0
    for _ in range(simulations):
        y = 80 * x**-0.3 * np.exp(rng.normal(0, 0.1, 8))
        ahead = fit_power_law(x, y).predict(500.0).iloc[0]
        new = 80 * 500.0**-0.3 * math.exp(rng.normal(0, 0.1))
        covered += ahead["low"] < new < ahead["high"]
    assert covered / simulations == pytest.approx(0.95, abs=0.025)


def test_bands_widen_away_from_the_data_and_nest() -> None:
    fit = fit_power_law(table4()["gflops"], table4()["fid50k"])
    bands = fit.predict([5.0, 100.0, 10_000.0])
    assert (bands["low"] < bands["mean_low"]).all()
    assert (bands["mean_low"] < bands["y"]).all()
    assert (bands["y"] < bands["mean_high"]).all()
    assert (bands["mean_high"] < bands["high"]).all()
    assert (np.diff(np.log(bands["mean_high"] / bands["mean_low"])) > 0).all()


def test_training_compute_of_the_published_largest_model() -> None:
    # XL/2, 400K steps of batch 256: 118.64 x 256 x 400,000 x 3 = 3.64e10 Gflops.
    assert training_gflops(118.64, images=256 * 400_000) == pytest.approx(3.6446e10, rel=1e-4)


@pytest.mark.parametrize(
    ("x", "y"),
    [
        ([1, 2], [1, 2]),
        ([1, 2, 3], [1, 2]),
        ([1, 2, 0], [1, 2, 3]),
        ([1, 2, 3], [1, -2, 3]),
        ([1, 2, math.nan], [1, 2, 3]),
        ([2, 2, 2], [1, 2, 3]),
    ],
)
def test_points_without_a_power_law_are_refused(x: list[float], y: list[float]) -> None:
    with pytest.raises(UserError, match="power law needs"):
        fit_power_law(x, y)


def test_predictions_outside_the_domain_are_refused() -> None:
    fit = fit_power_law([1, 2, 3], [3, 2, 2])
    with pytest.raises(UserError, match="positive, finite"):
        fit.predict(0)
    with pytest.raises(UserError, match="level"):
        fit.predict(1, level=95)
    assert fit_power_law([1, 2, 3], [2, 2, 2]).r_squared is None
