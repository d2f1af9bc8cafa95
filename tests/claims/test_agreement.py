"""Agreement of metrics: scipy's rank correlation and permutation test, Table 4, and tables made by hand."""

import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from dit_scaling.claims import AgreementReport, compare_metrics, evaluate_claims
from dit_scaling.claims.agreement import find_metrics, rank_test
from dit_scaling.paper.published import table4

RNG = np.random.default_rng(0)


def agreement_of(table: pd.DataFrame, metric: str = "fid50k", **options: object) -> AgreementReport:
    return compare_metrics(table, evaluate_claims(table, metric, **options))  # type: ignore[arg-type]


def by_name(report: AgreementReport) -> "dict[str, pd.Series[float]]":
    return {row["metric"]: row for _, row in report.table().iterrows()}


@pytest.mark.parametrize("count", [3, 4, 6, 12])
@pytest.mark.parametrize("ties", [False, True])
def test_rank_test_is_scipys(count: int, ties: bool) -> None:
    x, y = RNG.normal(size=(2, count))
    if ties:
        x[0] = x[1]
    found = rank_test(x, y)
    assert found is not None
    oracle = stats.spearmanr(x, y)
    assert found[0] == pytest.approx(oracle.statistic)
    if count <= 6:
        test = stats.permutation_test(
            (x,), lambda a: stats.spearmanr(a, y).statistic, permutation_type="pairings", alternative="greater"
        )
        assert found[1] == pytest.approx(test.pvalue)
        assert found[1] + found[2] >= 1
    else:
        assert found[1] == pytest.approx(stats.spearmanr(x, y, alternative="greater").pvalue)


def test_u_nets_of_another_objective_are_left_out() -> None:
    """Their held-out loss is of something else; other families are left out anyway."""
    losses = RNG.uniform(0.1, 0.2, 12)
    table = table4().drop(columns="steps").assign(held_out_mse=losses)
    unets = pd.DataFrame(
        {
            "variant": ["UNet-A", "UNet@flow-A"],
            "size": "A",
            "params_m": 400,
            "gflops": [100.0, 101.0],
            "fid50k": [19.0, 5.0],
            "held_out_mse": [0.15, 0.9],
        }
    )
    both, ddpm = (agreement_of(pd.concat([table, rows])) for rows in (unets, unets[:1]))
    assert both == ddpm


@pytest.mark.parametrize(("x", "y"), [([1, 2], [1, 2]), ([1, 1, 1], [1, 2, 3]), ([1, 2, 3], [4, 4, 4])])
def test_what_has_no_rank_correlation_has_none(x: list[float], y: list[float]) -> None:
    assert rank_test(np.array(x), np.array(y)) is None


def test_metrics_are_found_by_name_without_what_belongs_to_them() -> None:
    columns = [
        "fd_x",
        "fd_x_se",
        "fd_x_bias",
        "kid_x",
        "kid_x_sd",
        "precision_x",
        "recall_x",
        "class_accuracy_x",
        "step",
    ]
    table = pd.DataFrame([dict.fromkeys(columns, 1.0)])
    assert find_metrics(table) == ["fd_x", "kid_x", "precision_x", "recall_x", "class_accuracy_x"]
    assert find_metrics(table.assign(recall_x=math.nan)) == ["fd_x", "kid_x", "precision_x", "class_accuracy_x"]


def test_followers_agree_opponents_disagree_and_chance_is_undecided() -> None:
    base = table4()
    order = [3, 7, 1, 10, 0, 5, 9, 2, 11, 4, 8, 6]
    table = base.assign(
        kid_x=base["fid50k"] ** 2,
        precision_x=1 / base["fid50k"],
        recall_x=base["fid50k"] / 200,
        class_accuracy_x=base["fid50k"].to_numpy()[order] / 200,
    )
    report = agreement_of(table)
    rows = by_name(report)
    assert {name: row["agreement"] for name, row in rows.items()} == {
        "fid50k": "agrees",
        "kid_x": "agrees",
        "precision_x": "agrees",
        "recall_x": "disagrees",
        "class_accuracy_x": "undecided",
    }
    assert rows["precision_x"]["spearman"] == pytest.approx(1)
    assert rows["recall_x"]["spearman"] == pytest.approx(-1)
    assert (rows["kid_x"]["claimed_1"], rows["kid_x"]["pairs_1"]) == (18, 18)
    assert (rows["recall_x"]["claimed_2"], rows["recall_x"]["pairs_2"]) == (0, 12)
    assert "kid_x (+1.00), precision_x (+1.00) order the variants as fid50k does" in report.sentence
    assert "recall_x (-1.00) order the variants the other way" in report.sentence
    assert report.sentence.startswith("Of 4 other metrics")


def test_published_correlations_with_gflops_and_params() -> None:
    (row,) = agreement_of(table4()).metrics
    assert row.pearson_gflops == pytest.approx(-0.930, abs=5e-4)
    assert row.pearson_params == pytest.approx(-0.471, abs=5e-4)
    assert agreement_of(table4()).sentence == "The table has no metric beside fid50k."


def test_seeds_count_by_their_mean_and_only_at_the_last_common_step() -> None:
    base = table4().drop(columns=["steps"])
    runs = [base.assign(seed=seed, step=400, fid50k=base["fid50k"] * (1 + 0.01 * seed)) for seed in (0, 1, 2)]
    kid = [run.assign(kid_x=run["fid50k"] + shift) for run, shift in zip(runs, (-50, 0, 50), strict=True)]
    early = kid[0].assign(step=100, kid_x=-base["fid50k"])
    found = by_name(agreement_of(pd.concat([*kid, early])))
    expected = np.corrcoef(np.log(base["gflops"]), base["fid50k"])[0, 1]
    assert found["kid_x"]["pearson_gflops"] == pytest.approx(expected)
    assert found["kid_x"]["agreement"] == "agrees"


def test_bottlenecks_are_left_out() -> None:
    base = table4()
    wrong = base.assign(kid_x=np.where(base["variant"] == "DiT-S/2", 1e6, base["fid50k"]))
    assert by_name(agreement_of(wrong))["kid_x"]["spearman"] < 0.9
    left = by_name(agreement_of(wrong, bottlenecks={"DiT-S/2": "a test"}))["kid_x"]
    assert left["spearman"] == pytest.approx(1)
    assert left["pairs_1"] == 15


def test_three_variants_decide_nothing() -> None:
    table = table4().head(3).assign(kid_x=lambda rows: rows["fid50k"])
    row = by_name(agreement_of(table))["kid_x"]
    assert (row["spearman"], row["agreement"]) == (pytest.approx(1), "undecided")
    two = by_name(agreement_of(table.head(2)))["kid_x"]
    assert two["spearman"] is two["p"] is two["pearson_gflops"] is None
