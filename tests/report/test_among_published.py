"""The study among published families: drawn for studies of the paper's steps, batch and measure only."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from dit_scaling.paper.field import at_equal_steps
from dit_scaling.report.figures.among_published import draw_field
from dit_scaling.report.figures.material import Material
from dit_scaling.report.measurements import Measurements, estimate_points
from dit_scaling.variants import training_gflops

PAPER = [("DiT-S/2", 33.0, 6.06, 68.4), ("DiT-B/2", 130.0, 23.01, 43.47)]


@pytest.fixture
def measured() -> Measurements:
    rows = pd.DataFrame(PAPER, columns=["variant", "params_m", "gflops", "fid"]).assign(
        size=["S", "B"], patch=2, tokens=256, seed=0, step=400_000, sampler="ddpm", images_seen=256 * 400_000
    )
    rows["fid"] *= 1.1
    rows["train_gflops"] = [training_gflops(gflops, 256 * 400_000) for gflops in rows["gflops"]]
    points = estimate_points(rows, "fid")
    return Measurements("fid", "inception", "FID-50K", "x", "x", 1.0, "x", rows, points, points, ())


def test_the_studys_models_stand_among_all_published_ones_with_gflops(measured: Measurements) -> None:
    drawn = draw_field(Material(measured, pd.DataFrame()))
    field = at_equal_steps().dropna(subset="gflops")
    assert len(drawn.data) == len(field) + 2
    line = stats.linregress(np.log(field["gflops"]), np.log(field["fid50k"]))
    rows = measured.rows
    away = np.log(rows["fid"]) - line.intercept - line.slope * np.log(rows["gflops"])
    assert f"two models lie {100 * np.expm1(away.mean()):.0f}% above" in drawn.finding
    svg = drawn.panels[0].render()
    for told in (">SiT<", ">DiCo<", "published DiT-XL/2: 19.5", "S/2: 75.2"):
        assert told in svg


@pytest.mark.parametrize(
    "changes", [{"step": 300_000}, {"images_seen": 128 * 400_000}, {"sampler": "ddim"}, {"gflops": 99.0}]
)
def test_others_are_not_compared(measured: Measurements, changes: dict[str, object]) -> None:
    rows = measured.rows.assign(**changes)
    points = estimate_points(rows, "fid")
    other = dataclasses.replace(measured, rows=rows, points=points, final=points)
    assert draw_field(Material(other, pd.DataFrame())).panels == ()


@pytest.mark.parametrize("changes", [{"features": "dinov2"}, {"label": "FID-10K"}, {"guidance_scale": 1.5}])
def test_other_measures_are_not_compared(measured: Measurements, changes: dict[str, str]) -> None:
    other = dataclasses.replace(measured, **changes)  # type: ignore[arg-type]
    assert draw_field(Material(other, pd.DataFrame())).panels == ()
