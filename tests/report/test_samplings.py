"""Other samplings of a study's runs: what may stand beside it, counted and drawn as it should be."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from dit_scaling.common.errors import UserError
from dit_scaling.report.added_samplings import read_samplings
from dit_scaling.report.figures.material import Material, read_curves
from dit_scaling.report.figures.sampling import draw_sampling
from dit_scaling.report.measurements import Measurements, read_measurements
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
