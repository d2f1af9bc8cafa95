"""From a study's results to laws, predictions and the runs to make next; refused where nothing can be said."""

import json
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from dit_scaling.cli import app
from dit_scaling.common.errors import UserError
from dit_scaling.common.files import write_json
from dit_scaling.config import load_study
from dit_scaling.config.stages import ReportSettings
from dit_scaling.data.assets import open_stages
from dit_scaling.laws.frontier import Frontier, Interval, minima_of
from dit_scaling.laws.laws_record import laws_record
from dit_scaling.laws.laws_table import one_series, read_laws_table
from dit_scaling.laws.laws_text import OUTSIDE, UNIDENTIFIED, describe_laws
from dit_scaling.laws.next_runs import width
from dit_scaling.laws.run_grid import grid_of
from dit_scaling.laws.single_laws import SingleLaw
from dit_scaling.laws.study_laws import StudyLaws, at_equal_compute, fit_laws, summarise_cells
from dit_scaling.plan.price import devices_as_measured
from dit_scaling.plan.reach import (
    describe_reach,
    flops_per_hour,
    parse_budget,
    reach_of,
    read_study,
    tell_reach_of_study,
    training_rate,
)
from dit_scaling.report.remake import make_report
from dit_scaling.results.finished_study import read_finished
from dit_scaling.results.loss_table import write_loss_table
from dit_scaling.results.status import read_status
from dit_scaling.results.status_text import describe_status
from known_laws import (
    BUDGETS,
    CURVATURE,
    PARAMS,
    SHAPES_BUDGETS,
    SHAPES_PARAMS,
    additive,
    additive_table,
    best,
    isoflop_table,
)
from pipeline import ROOT

CONFIG = ROOT / "config"
ISOFLOP = load_study(CONFIG / "config.yaml", CONFIG / "embedded-isoflop.yaml")


def write_results(folder: Path) -> Path:
    """Results of a study for laws whose exponents are known."""
    isoflop_table(np.random.default_rng(0)).to_csv(folder / "losses.csv", index=False)
    record = {"settings": ReportSettings(study=ISOFLOP).stored()}
    write_json(folder / "losses-provenance.json", record)
    return folder


@pytest.fixture
def results(tmp_path: Path) -> Path:
    return write_results(tmp_path)


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> StudyLaws:
    """The laws of `results`."""
    return fit_laws(read_laws_table(write_results(tmp_path_factory.mktemp("results"))))


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


def test_laws_are_read_from_a_folder_and_told(results: Path, fitted: StudyLaws) -> None:
    assert isinstance(fitted.frontier, Frontier)
    told = describe_laws(fitted)
    assert "Best size ~ C^0.4" in told
    assert f"{BUDGETS[-1]:.3g} FLOPs, 2.5 times the largest fitted" in told
    assert UNIDENTIFIED in told or "- E: " in told
    size, loss = fitted.frontier.size_exponent, fitted.frontier.loss_exponent
    halves = (size.high - size.low) / 2, (loss.high - loss.low) / 2 / loss.value
    assert "Half of these intervals: {:.3f} for the size and {:.1%} of the exponent".format(*halves) in told
    told = CliRunner().invoke(app, ["laws", str(results)])
    assert told.exit_code == 0
    assert "0.568" in told.output


def test_json_has_the_laws_with_their_intervals(results: Path, fitted: StudyLaws) -> None:
    told = CliRunner().invoke(app, ["laws", str(results), "--json"])
    record = json.loads(told.output, parse_constant=lambda word: pytest.fail(f"{word} is no JSON"))
    frontier, (forward,) = record["frontier"], record["frontier"]["forward"]
    assert isinstance(fitted.frontier, Frontier)
    assert frontier["size_exponent"] == asdict(fitted.frontier.size_exponent)
    assert frontier["loss_exponent"] == asdict(fitted.frontier.loss_exponent)
    assert frontier["images_exponent"]["value"] == pytest.approx(1 - frontier["size_exponent"]["value"])
    assert forward["size"] == asdict(fitted.forward[0].size)
    assert forward["measured"]["value"] == fitted.forward[0].measured.loss
    assert [minimum["interior"] for minimum in record["minima"]] == [True] * 7
    assert len(record["measured"]) == 35
    assert set(record["additive"]["parameters"]) == {"E", "A", "a", "B", "b"}
    assert len(record["additive"]["forward"]) == 5
    assert [law["quantity"] for law in record["single"]] == ["training images, of DiT-W3/2"]  # sizes share no images
    assert cell_of(fitted, "DiT-W5/2") == pytest.approx(record["additive"]["forward"][2]["measured"])


def cell_of(laws: StudyLaws, variant: str) -> float:
    """The geometric mean over seeds of a size at the budget to predict, from the table."""
    rows = laws.series.rows
    own = rows[(rows["role"] == "predict") & (rows["variant"] == variant)]
    return float(np.exp(np.log(own["held_out_mse"]).mean()))


def test_the_additive_law_predicts_budgets_that_were_not_fitted() -> None:
    laws = fit_laws(additive_table(np.random.default_rng(3)))
    assert [cell.flops for cell in laws.cells] == pytest.approx(np.repeat(SHAPES_BUDGETS[-2:], 4))
    for cell in laws.cells:
        params = SHAPES_PARAMS[int(cell.variant[5])]
        true = additive(params, cell.flops / (60 * params))
        assert cell.predicted.value == pytest.approx(true, rel=0.01)
        assert cell.error == pytest.approx(cell.predicted.value / cell.measured - 1)
    assert sum(cell.covered for cell in laws.cells) >= 6
    nearer, further = summarise_cells(laws.cells)
    assert nearer.sizes == further.sizes == 4
    assert further.rms == pytest.approx(np.sqrt(np.mean([cell.error**2 for cell in laws.cells[4:]])))
    told = describe_laws(laws)
    assert f"At {SHAPES_BUDGETS[-1]:.3g} FLOPs: error {further.mean:+.2%} (mean), {further.rms:.2%}" in told
    assert told.count("| DiT-W4/2 |") == 3  # the head of what was measured, and two budgets


def test_a_budget_without_a_minimum_says_which_and_keeps_the_others() -> None:
    table = isoflop_table(np.random.default_rng(0))
    edge = table[(table["budget"] != BUDGETS[0]) | (table["params"] != PARAMS[0])]
    edge = edge.assign(held_out_mse=edge["held_out_mse"].where(edge["budget"] != BUDGETS[0], edge["params"] ** 0.1))
    laws = fit_laws(edge)
    assert [minimum.interior for minimum in laws.minima] == [False] + [True] * 6
    told = describe_laws(laws)
    assert f"| {BUDGETS[0]:.3g} | 4 | {OUTSIDE} |  |" in told
    assert f"No frontier: The best size is not inside those measured at {BUDGETS[0]:.3g} FLOPs" in told
    assert f"| {BUDGETS[6]:.3g} | 5 | " in told
    record = laws_record(laws)
    assert record["minima"][0]["params"] is None
    assert "not inside those measured" in record["frontier"]["refused"]


def test_an_exponent_wider_than_its_value_has_no_number() -> None:
    table = isoflop_table(np.random.default_rng(1))
    laws = fit_laws(table[table["role"] == "fit"])
    assert isinstance(laws.frontier, Frontier)
    wide = Interval(0.4, 0.1, 0.6)
    laws = replace(
        laws,
        frontier=replace(laws.frontier, size_exponent=wide),
        single=(SingleLaw("parameters", 5, wide, 0.01, None),),
    )
    told, record = describe_laws(laws), laws_record(laws)
    assert f"Best size ~ C^({UNIDENTIFIED}), value ~ C^-0.0" in told
    assert "Half of these intervals" not in told
    assert f"value ~ x^-({UNIDENTIFIED})" in told
    assert record["frontier"]["size_exponent"] is None
    assert record["single"][0]["exponent"] is None


@pytest.mark.parametrize("words", [["--metric", "held_out_mse"], ["--family", "DiT"]])
def test_the_back_test_takes_no_metric_and_no_family(words: list[str]) -> None:
    answer = CliRunner().invoke(app, ["laws", "--published", *words])
    assert "leave out --metric and --family" in str(answer.exception)


def test_the_back_test_is_json_too() -> None:
    told = CliRunner().invoke(app, ["laws", "--published", "--json"])
    record = json.loads(told.output)
    together = next(row for row in record["tests"] if row["test"] == "together")
    errors = [abs(each["predicted"] / each["measured"] - 1) for each in record["predictions"]]
    assert together["predictions"] == len(errors)
    assert together["median_error"] == pytest.approx(np.median(errors))
    assert together["covered"] == np.mean(
        [each["low"] <= each["measured"] <= each["high"] for each in record["predictions"]]
    )


def test_what_a_study_does_not_tell_has_its_reason(tmp_path: Path) -> None:
    table = isoflop_table(np.random.default_rng(0))
    laws = fit_laws(table[table["budget"] == BUDGETS[0]])
    assert isinstance(laws.frontier, str)
    assert "No frontier: A frontier needs 3 budgets" in describe_laws(laws)
    with pytest.raises(UserError, match=r"losses\.csv"):
        read_laws_table(tmp_path)
    with pytest.raises(UserError, match="fid50k"):
        fit_laws(table, "fid50k")


@pytest.fixture
def mixed() -> pd.DataFrame:
    """Three series in one table, of which two have losses of their own."""
    table = isoflop_table(np.random.default_rng(0))
    velocity = table.assign(variant=table["variant"].str.replace("DiT-", "DiT@flow-"), held_out_mse=3.0)
    coarse = table[table["variant"].isin(table["variant"].unique()[:2])]
    coarse = coarse.assign(variant=coarse["variant"].str.replace("/2", "/4"), held_out_mse=5.0)
    return pd.concat([velocity, coarse, table], ignore_index=True)


def test_laws_join_one_family_at_one_patch_and_name_the_others(
    mixed: pd.DataFrame, results: Path, fitted: StudyLaws
) -> None:
    laws = fit_laws(mixed)
    assert isinstance(laws.frontier, Frontier)
    assert isinstance(fitted.frontier, Frontier)
    assert laws.frontier.size_exponent == fitted.frontier.size_exponent
    assert "Fitted: DiT at patch 2. Left out: DiT@flow, DiT at patch 4." in describe_laws(laws)
    assert "Left out" not in describe_laws(fitted)
    assert laws_record(laws)["left_out"] == ["DiT@flow", "DiT at patch 4"]
    assert one_series(mixed, "DiT@flow").left_out == ("DiT",)
    mixed.to_csv(results / "losses.csv", index=False)
    words = ["predict", "--from", str(results), "--budget", f"{BUDGETS[-1]:.6g}flops"]
    assert "Left out: DiT@flow, DiT at patch 4." in CliRunner().invoke(app, words).output


def test_which_family_is_asked_where_it_is_not_clear(mixed: pd.DataFrame) -> None:
    with pytest.raises(UserError, match="--family dit: the table has DiT, DiT@flow"):
        one_series(mixed, "dit")
    others = mixed[mixed["variant"].str.startswith("DiT@flow")]
    assert one_series(others).family == "DiT@flow"
    unets = others.assign(variant=others["variant"].str.replace("DiT@flow", "UNet").str.removesuffix("/2"))
    with pytest.raises(UserError, match="has families DiT@flow, UNet, and laws are of one"):
        one_series(pd.concat([others, unets], ignore_index=True))
    assert one_series(unets).told == ""


@pytest.mark.parametrize("metric", ["variant", "role", "params", "patch", "recall_x8", "fd_x8_se"])
def test_columns_that_are_no_loss_have_no_law(metric: str) -> None:
    table = isoflop_table(np.random.default_rng(0)).assign(patch=2, recall_x8=0.5, fd_x8_se=0.1)
    with pytest.raises(UserError, match=f"--metric {metric}: this column is"):
        fit_laws(table, metric)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (lambda _: "", "cannot be read as a table"),
        (lambda text: text.partition("\n")[0] + "\n", "has no rows"),
        (lambda text: text.replace("role", "rule", 1), "has no column role"),
        (lambda text: text.replace("0", "x"), "and not a positive number"),
    ],
)
def test_a_broken_table_of_losses_is_refused(results: Path, lines: Callable[[str], str], message: str) -> None:
    path = results / "losses.csv"
    path.write_text(lines(path.read_text()))
    with pytest.raises(UserError, match=message):
        read_laws_table(results)


def test_one_seed_of_every_size_is_told_as_that() -> None:
    table = isoflop_table(np.random.default_rng(0))
    laws = fit_laws(table[table["seed"] == table["seed"].min()])
    assert laws.frontier == "Every size has one seed, so nothing tells how runs scatter: run more seeds."


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


@pytest.mark.parametrize("text", ["", "0", "-3", "many", "3 days", "1.2.3", ".", "1e999"])
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
    told = CliRunner().invoke(app, ["predict", "--from", str(results), "--budget", f"{flops:.6g}flops", "--json"])
    record = json.loads(told.output)
    assert record["size"] == pytest.approx(asdict(reach.size), rel=1e-5)
    assert record["loss"] == pytest.approx(asdict(reach.loss), rel=1e-5)
    assert record["steps"] == pytest.approx(reach.steps, rel=1e-4)
    assert record["distance"] == {"refused": reach.distance}
    assert record["next_runs"]["half_width"] < record["half_width"]


def test_what_a_study_for_laws_does_not_have_is_told_with_what_it_has(results: Path) -> None:
    with pytest.raises(UserError, match=r"no claims to compare\. What it found: dit-scaling laws"):
        read_finished(results)
    with pytest.raises(UserError, match=r"has no report\. What it found: dit-scaling laws"):
        make_report(ISOFLOP, results)
    status = read_status(ISOFLOP, open_stages(ISOFLOP, results), results)
    assert "report" not in describe_status(status, results)


@pytest.mark.parametrize("record", [{"settings": {"study": {"of": "a later version"}}}, {"settings": []}, {}])
def test_a_record_of_another_version_is_told_as_that(results: Path, record: Any) -> None:
    write_json(results / "losses-provenance.json", record)
    with pytest.raises(UserError, match=r"losses-provenance\.json is of another version"):
        read_study(results)


@pytest.mark.parametrize(
    ("factor", "place"), [(0.1, "0.1 times the smallest measured"), (2.0, "within the budgets measured")]
)
def test_a_budget_below_the_data_is_not_within_them(results: Path, factor: float, place: str) -> None:
    reach = reach_of(results, factor * BUDGETS[0], batch_size=16)
    assert reach.below == pytest.approx(factor)
    assert f"training FLOPs, {place}. Intervals" in describe_reach(reach, 16)


def test_beyond_a_factor_of_a_hundred_nothing_is_predicted(results: Path) -> None:
    with pytest.raises(UserError, match=r"nothing is predicted beyond 100 times\. What would narrow the answer most"):
        reach_of(results, 101 * BUDGETS[-2], batch_size=16)
    with pytest.raises(UserError, match=r"nothing is predicted below 0\.01 times"):
        reach_of(results, BUDGETS[0] / 101, batch_size=16)


def test_hours_are_flops_at_the_rate_of_the_plan(results: Path) -> None:
    study = read_study(results)
    assert study == ISOFLOP
    rate = training_rate(devices_as_measured("h100", 1, study), study)
    assert flops_per_hour("h100", study) == pytest.approx(3600 * rate)
    flops = 2 * BUDGETS[-1]
    asked = ["predict", "--from", str(results), "--device", "h100", "--budget"]
    told = CliRunner().invoke(app, [*asked, f"{flops:.9g}flops", "--json"])
    record = json.loads(told.output)
    assert record["device_hours"] == pytest.approx(flops / (3600 * rate))
    told = CliRunner().invoke(app, [*asked, f"{record['device_hours']:.9g}"])
    assert f"Budget: {flops:.3g} training FLOPs" in told.output
    assert f"Cost: {record['device_hours']:.4g} hours of one h100" in told.output
    with pytest.raises(UserError, match="settings"):
        read_study(results / "nowhere")


def test_plan_tells_what_its_dearest_run_can_reach(results: Path) -> None:
    told = tell_reach_of_study(ISOFLOP, results)
    files = [str(CONFIG / "config.yaml"), str(CONFIG / "embedded-isoflop.yaml")]
    words = ["plan", *files, "--utilisation", "0.4", "--from", str(results), "--chances", "--json"]
    record = json.loads(CliRunner().invoke(app, words).output)
    reach = reach_of(results, 3.84e12, 16)
    assert record["reach"]["size"] == pytest.approx(asdict(reach.size), rel=1e-3)
    assert record["reach"]["other"] == []
    assert record["chances"] == {"refused": "a study with `laws` samples nothing and has none"}
    assert "Budget: 3.84e+12 training FLOPs, 2.5 times the largest measured" in told
    assert "another" not in told
    other = load_study(CONFIG / "config.yaml")
    assert "They are of another recipe than this study's" not in tell_reach_of_study(other, results)
    faster = other.model_copy(update={"training": other.training.model_copy(update={"learning_rate": 1e-3})})
    assert "They are of another recipe than this study's, and taken to hold." in tell_reach_of_study(faster, results)
