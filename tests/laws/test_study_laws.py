"""From a study's results to laws, predictions and the runs to make next; refused where nothing can be said."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from dit_scaling.cli import app
from dit_scaling.common.errors import UserError
from dit_scaling.common.files import write_json
from dit_scaling.config import load_study
from dit_scaling.config.stages import ReportSettings
from dit_scaling.laws.frontier import Frontier, minima_of
from dit_scaling.laws.laws_text import UNIDENTIFIED, describe_laws
from dit_scaling.laws.next_runs import width
from dit_scaling.laws.run_grid import grid_of
from dit_scaling.laws.study_laws import at_equal_compute, fit_laws, read_laws_table
from dit_scaling.plan.price import devices_as_measured
from dit_scaling.plan.reach import (
    flops_of_hours,
    parse_budget,
    reach_of,
    read_study,
    tell_reach_of_study,
    training_rate,
)
from dit_scaling.results.loss_table import write_loss_table
from known_laws import BUDGETS, CURVATURE, PARAMS, best, isoflop_table
from pipeline import ROOT

CONFIG = ROOT / "config"
ISOFLOP = load_study(CONFIG / "config.yaml", CONFIG / "embedded-isoflop.yaml")


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """Results of a study for laws whose exponents are known."""
    isoflop_table(np.random.default_rng(0)).to_csv(tmp_path / "losses.csv", index=False)
    record = {"settings": ReportSettings(study=ISOFLOP).stored()}
    write_json(tmp_path / "losses-provenance.json", record)
    return tmp_path


def test_budgets_become_steps_of_each_size_and_prefixes_of_one_run() -> None:
    table = pd.concat([pd.DataFrame({"variant": name, "step": ISOFLOP.exports(name)}) for name in ISOFLOP.variants])
    assert table["step"].min() >= 600
    assert (table.groupby("variant")["step"].count() == [1, 3, 5, 8, 7, 8, 5, 3]).all() or len(table) == 40
    assert ISOFLOP.laws is not None
    assert all(len(budget.variants) == 5 for budget in ISOFLOP.laws.budgets)
    assert [budget.role for budget in ISOFLOP.laws.budgets].count("predict") == 1


def test_the_table_of_losses_has_compute_and_budgets(tmp_path: Path) -> None:
    study = ISOFLOP.model_copy(update={"training": ISOFLOP.training.model_copy(update={"seeds": (0,)})})
    records = []
    for name in study.variants:
        records.append(tmp_path / f"{name.replace('/', '-')}.json")
        steps = {str(step): {"held_out_mse": 0.2} for step in study.exports(name)}
        write_json(records[-1], {"steps": steps})
    write_loss_table(study, records, tmp_path / "losses.csv")
    table = pd.read_csv(tmp_path / "losses.csv")
    assert (np.abs(table["flops"] / table["budget"] - 1) < 0.001).all()
    np.testing.assert_allclose(table["flops"], 6e9 * table["gflops"] * table["step"] * 16)
    assert (table.groupby("budget")["variant"].count() == 5).all()
    assert set(table.loc[table["role"] == "predict", "budget"]) == {3.84e12}


def test_laws_are_read_from_a_folder_and_told(results: Path) -> None:
    laws = fit_laws(read_laws_table(results))
    assert isinstance(laws.frontier, Frontier)
    told = describe_laws(laws)
    assert "Best size ~ C^0.4" in told
    assert f"{BUDGETS[-1]:.3g} FLOPs, 2.5 times the largest fitted" in told
    assert UNIDENTIFIED in told or "- E: " in told
    told = CliRunner().invoke(app, ["laws", str(results)])
    assert told.exit_code == 0
    assert "0.568" in told.output


def test_what_a_study_does_not_tell_has_its_reason(tmp_path: Path) -> None:
    table = isoflop_table(np.random.default_rng(0))
    laws = fit_laws(table[table["budget"] == BUDGETS[0]])
    assert isinstance(laws.frontier, str)
    assert "No frontier: A frontier needs 3 budgets" in describe_laws(laws)
    with pytest.raises(UserError, match=r"losses\.csv"):
        read_laws_table(tmp_path)
    with pytest.raises(UserError, match="fid50k"):
        fit_laws(table, "fid50k")


def test_a_table_of_metrics_serves_too(tmp_path: Path) -> None:
    table = isoflop_table(np.random.default_rng(0))
    metrics = table.drop(columns=["params", "flops", "images", "budget", "role"]).assign(
        params_m=table["params"] / 1e6,
        train_gflops=table["flops"] / 2e9,
        images_seen=table["images"],
        guidance_scale=1.0,
    )
    metrics.to_parquet(tmp_path / "metrics.parquet")
    laws = fit_laws(read_laws_table(tmp_path))
    assert isinstance(laws.frontier, Frontier)
    assert len(laws.frontier.minima) == len(BUDGETS)


def test_exports_at_equal_steps_are_read_off_at_equal_compute() -> None:
    rows = []
    for size, params in enumerate(PARAMS):
        for flops in 60 * params * np.geomspace(2e3, 8e6, 24):  # exports of all sizes at the same steps
            at, loss = best(flops)
            value = loss * np.exp(CURVATURE * np.log(params / at) ** 2)
            rows += [
                {"variant": f"DiT-W{size}/2", "seed": seed, "params": params, "flops": flops, "held_out_mse": value}
                for seed in range(2)
            ]
    table = pd.DataFrame(rows)
    met = at_equal_compute(table, "held_out_mse")
    assert (met.groupby("flops")["variant"].nunique() >= 4).all()
    flops = met["flops"].unique()
    assert (flops[1:] / flops[:-1] >= 1.4).all()
    few = met[met["flops"].between(1e11, 2e12)]
    grid = grid_of(few, "held_out_mse")
    for minimum in minima_of(grid):
        assert (minimum.params, minimum.loss) == pytest.approx(best(minimum.flops), rel=0.02)
    alone = at_equal_compute(table[table["params"] > PARAMS[5]], "held_out_mse")
    assert alone.empty


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("300", (300.0, "hours")),
        ("0.5h", (0.5, "hours")),
        ("1e18flops", (1e18, "flops")),
        ("2E3 FLOPs", (2e3, "flops")),
    ],
)
def test_budgets_are_hours_or_flops(text: str, found: tuple[float, str]) -> None:
    assert parse_budget(text) == found


@pytest.mark.parametrize("text", ["", "0", "-3", "many", "3 days"])
def test_what_is_no_budget_is_refused(text: str) -> None:
    with pytest.raises(UserError, match="--budget"):
        parse_budget(text)


def test_a_budget_beyond_the_data_has_size_steps_loss_and_a_next_run(results: Path) -> None:
    flops = 10 * BUDGETS[-2]
    reach = reach_of(results, flops, batch_size=16)
    size, loss = best(flops)
    assert reach.size.low < size < reach.size.high
    assert reach.loss.low < loss < reach.loss.high
    assert reach.beyond == pytest.approx(10)
    assert reach.steps * 6e9 * reach.gflops * 16 == pytest.approx(flops)
    assert reach.gflops == pytest.approx(1e-8 * reach.size.value, rel=1e-6)
    assert isinstance(reach.distance, str)
    assert reach.next_runs.width < width(reach.loss)
    told = CliRunner().invoke(app, ["predict", "--from", str(results), "--budget", f"{flops:.6g}flops"])
    assert told.exit_code == 0, told.output
    assert "10 times the largest measured" in told.output
    assert "What would narrow the loss most" in told.output


def test_beyond_a_factor_of_a_hundred_nothing_is_predicted(results: Path) -> None:
    with pytest.raises(UserError, match=r"nothing is predicted beyond 100 times\. What would narrow the answer most"):
        reach_of(results, 101 * BUDGETS[-2], batch_size=16)


def test_hours_are_flops_at_the_rate_of_the_plan(results: Path) -> None:
    study = read_study(results)
    assert study == ISOFLOP
    rate = training_rate(devices_as_measured("h100", 1, study), study)
    assert flops_of_hours(2.0, "h100", study) == pytest.approx(7200 * rate)
    with pytest.raises(UserError, match="settings"):
        read_study(results / "nowhere")


def test_plan_tells_what_its_dearest_run_can_reach(results: Path) -> None:
    told = tell_reach_of_study(ISOFLOP, results)
    assert "Budget: 3.84e+12 training FLOPs, 2.5 times the largest measured" in told
    assert "another" not in told
    other = load_study(CONFIG / "config.yaml")
    assert "They are of another recipe than this study's" not in tell_reach_of_study(other, results)
    faster = other.model_copy(update={"training": other.training.model_copy(update={"learning_rate": 1e-3})})
    assert "They are of another recipe than this study's, and taken to hold." in tell_reach_of_study(faster, results)
