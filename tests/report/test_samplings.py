"""Other samplings of a study's runs: what may stand beside it, counted and drawn as it should be."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from dit_scaling.common.errors import UserError
from dit_scaling.report.added_samplings import read_samplings
from dit_scaling.report.drawings import draw_figures
from dit_scaling.report.figures.material import Material, read_curves
from dit_scaling.report.figures.sampling import draw_sampling
from dit_scaling.report.measurements import Measurements, read_measurements
from dit_scaling.report.page import write_report
from dit_scaling.report.remake import make_report
from report_study import StudyFiles, make_study


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> StudyFiles:
    return make_study(tmp_path_factory.mktemp("results") / "synthetic", variants=["DiT-Nano/2", "DiT-Mini/1"])


@pytest.fixture(scope="module")
def measured(study: StudyFiles) -> Measurements:
    return read_measurements(study.inputs.table, study.inputs.levels, study.inputs.claims)


def other(study: StudyFiles, path: Path, **changes: object) -> Path:
    table = pd.read_parquet(study.inputs.table).assign(**changes)
    table.to_csv(path, index=False)
    return path


def test_lines_are_of_variants_and_samplers_over_what_they_cost(
    study: StudyFiles, measured: Measurements, tmp_path: Path
) -> None:
    table = pd.read_parquet(study.inputs.table)
    given = [
        other(study, tmp_path / "ten.csv", sampling_steps=10, **{study.metric: 1.5 * table[study.metric]}),
        other(study, tmp_path / "heun.csv", sampler="heun", sampling_steps=5),
    ]
    drawn = draw_sampling(Material(measured, read_curves(study.curves), samplings=read_samplings(given, measured)))
    points = drawn.data[drawn.data["kind"] == "variant"]
    assert len(points) == 3 * len(study.study.variants)
    costs = {("ddpm", 10): 10, ("ddpm", 50): 50, ("heun", 5): 9}  # Heun takes two a step, one at the last
    gflops = measured.final.set_index("variant")["gflops"]
    for (sampler, steps), evaluations in costs.items():
        rows = points[(points["sampler"] == sampler) & (points["sampling_steps"] == steps)].set_index("variant")
        assert set(rows["evaluations"]) == {evaluations}
        np.testing.assert_allclose(rows["sampling_gflops"], evaluations * gflops[rows.index])
    ours = points[points["sampling_steps"] == 50].set_index("variant")[study.metric]
    ten = points[points["sampling_steps"] == 10].set_index("variant")[study.metric]
    np.testing.assert_allclose(ten, 1.5 * ours[ten.index])
    first, second = drawn.panels
    assert first.x_title == "Network evaluations to sample one image"
    assert second.x_title.endswith("multiply-adds to sample one image")
    assert ">Mini/1 ddpm<" in first.render()
    assert "heun, 5 steps, 9 network evaluations" in first.render()
    assert drawn.finding.startswith("DiT-Mini/1 by ddpm in 50 network evaluations has the lowest distance, ")


def test_the_command_draws_them_on_a_page_of_its_own(
    study: StudyFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dit_scaling.report.remake.find_inputs", lambda *_: study.inputs)
    page, _ = make_report(study.study, tmp_path, sampled=[other(study, tmp_path / "ten.csv", sampling_steps=10)])
    assert 'id="figure-sampling-compute"' in page.read_text()
    drawn = pd.read_csv(page.parent / "figures-with-points" / "sampling-compute.csv")
    assert set(drawn["evaluations"].dropna()) == {10, 50}


@pytest.fixture(scope="module")
def listed(tmp_path_factory: pytest.TempPathFactory) -> StudyFiles:
    """The same study, its last step sampled in 16 and in 8 steps too."""
    root = tmp_path_factory.mktemp("listed") / "synthetic"
    return make_study(root, variants=["DiT-Nano/2", "DiT-Mini/1"], further_steps=(16, 8))


def test_further_steps_change_no_row_and_no_verdict(study: StudyFiles, listed: StudyFiles) -> None:
    for name in ("metrics.csv", "claims.json", "claims.csv", "agreement.csv", "training.csv"):
        assert (listed.inputs.table.parent / name).read_bytes() == (study.inputs.table.parent / name).read_bytes()
    pd.testing.assert_frame_equal(pd.read_parquet(listed.inputs.table), pd.read_parquet(study.inputs.table))
    assert study.inputs.sampling_steps is None
    assert not (study.inputs.table.parent / "sampling-steps.csv").exists()


def test_further_steps_have_a_table_of_their_own(listed: StudyFiles) -> None:
    assert listed.inputs.sampling_steps is not None
    further, ours = pd.read_csv(listed.inputs.sampling_steps), pd.read_csv(listed.inputs.table.with_suffix(".csv"))
    assert list(further.columns) == list(ours.columns)
    assert len(further) == 2 * 2 * 2  # variants, guidance scales, numbers of steps
    assert (set(further["sampling_steps"]), set(further["step"])) == ({16, 8}, {5000})
    assert set(ours["sampling_steps"]) == {50}


def test_a_study_of_several_numbers_of_steps_draws_them(study: StudyFiles, listed: StudyFiles, tmp_path: Path) -> None:
    inputs = replace(listed.inputs, figures=tmp_path / "figures")
    samples = dict(zip(listed.study.variants, inputs.samples, strict=True))
    draw_figures(
        inputs.table, inputs.curves, inputs.levels, inputs.claims, samples, inputs.figures, inputs.sampling_steps
    )
    drawn = pd.read_csv(inputs.figures / "sampling-compute.csv")
    points = drawn[drawn["kind"] == "variant"]
    assert sorted(points["evaluations"]) == [8, 8, 16, 16, 50, 50]
    measured = pd.concat([pd.read_parquet(inputs.table), pd.read_csv(inputs.sampling_steps)])
    rows = measured[(measured["step"] == 5000) & (measured["guidance_scale"] == 1)]
    expected = rows.set_index(["variant", "sampling_steps"])[listed.metric]
    found = points.set_index(["variant", "sampling_steps"])[listed.metric]
    np.testing.assert_allclose(found, expected[found.index])
    write_report(listed.settings, inputs, tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text()
    assert 'id="figure-sampling-compute"' in page
    assert "sampling-steps.csv</a>" in page
    write_report(study.settings, study.inputs, tmp_path / "other" / "report.html")
    other_page = (tmp_path / "other" / "report.html").read_text()
    assert 'id="figure-sampling-compute"' not in other_page
    assert "sampling-steps.csv" not in other_page


def test_other_samplings_stand_beside_a_studys_own_numbers_of_steps(listed: StudyFiles, tmp_path: Path) -> None:
    inputs = listed.inputs
    measured = read_measurements(inputs.table, inputs.levels, inputs.claims)
    assert inputs.sampling_steps is not None
    heun = other(listed, tmp_path / "heun.csv", sampler="heun", sampling_steps=16)
    found = read_samplings([inputs.sampling_steps, heun], measured)
    assert [(rows["sampler"].iloc[0], rows["sampling_steps"].iloc[0]) for rows in found] == [
        ("ddpm", 16),
        ("ddpm", 8),
        ("heun", 16),
    ]
    with pytest.raises(UserError, match=r"by ddpm in 16 steps, as .*sampling-steps.csv has"):
        read_samplings([inputs.sampling_steps, other(listed, tmp_path / "again.csv", sampling_steps=16)], measured)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, "by ddpm in 50 steps, as the study itself has"),
        ({"sampler": "plms"}, "sampler plms is unknown"),
        ({"sampling_steps": 10, "guidance_scale": 4.0}, "no rows at guidance scale 1 and step 5,000"),
        ({"sampling_steps": 10, "n_samples": 77}, "n_samples is 77, the study's is 1000"),
        ({"sampling_steps": 10, "extractor": "another"}, "extractor is another"),
        ({"sampling_steps": 10, "variant": "DiT-Huge/2"}, "variants that the study lacks: DiT-Huge/2|more than one"),
    ],
)
def test_tables_that_no_figure_may_join_are_refused(
    study: StudyFiles, measured: Measurements, tmp_path: Path, changes: dict[str, object], words: str
) -> None:
    with pytest.raises(UserError, match=words):
        read_samplings([other(study, tmp_path / "other.csv", **changes)], measured)


def test_a_table_given_twice_and_one_without_a_column_are_refused(
    study: StudyFiles, measured: Measurements, tmp_path: Path
) -> None:
    ten = other(study, tmp_path / "ten.csv", sampling_steps=10)
    with pytest.raises(UserError, match=r"by ddpm in 10 steps, as .*ten.csv has"):
        read_samplings([ten, ten], measured)
    pd.read_csv(ten).drop(columns="sampler").to_csv(ten, index=False)
    with pytest.raises(UserError, match="has no column sampler"):
        read_samplings([ten], measured)
