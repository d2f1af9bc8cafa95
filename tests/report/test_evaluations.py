"""Distance against evaluations: the points are counted and averaged as they should be, and drawn."""

import pandas as pd
import pytest

from dit_scaling.common.errors import UserError
from dit_scaling.report.evaluations import SamplerPoint, draw_evaluations, points_by_evaluations


def table(sampler: str, steps: int, values: dict[str, list[float]], scale: float = 1.0) -> pd.DataFrame:
    rows = [
        {"variant": variant, "seed": seed, "step": step, "guidance_scale": scale, "fd": value * 10 / step}
        for variant, of_seeds in values.items()
        for seed, value in enumerate(of_seeds)
        for step in (5, 10)
    ]
    return pd.DataFrame(rows).assign(sampler=sampler, sampling_steps=steps)


def test_points_are_means_over_seeds_at_the_last_step_by_what_they_cost() -> None:
    tables = [
        table("heun", 5, {"DiT@flow-S/2": [4.0, 6.0]}),
        table("euler", 10, {"DiT@flow-S/2": [7.0, 7.0]}),
        table("euler", 5, {"DiT@flow-S/2": [9.0]}, scale=1.5),
    ]
    assert points_by_evaluations(tables, "fd") == [
        SamplerPoint("DiT@flow-S/2", "euler", 5, 10, 9.0, 1),
        SamplerPoint("DiT@flow-S/2", "euler", 10, 10, 7.0, 2),
        SamplerPoint("DiT@flow-S/2", "heun", 5, 9, 5.0, 2),
    ]


def test_the_figure_has_a_panel_per_variant_and_a_line_per_sampler() -> None:
    tables = [table("ddim", steps, {"A-S/2": [9.0 / steps], "B-S/2": [8.0 / steps]}) for steps in (5, 10, 20)]
    figure = draw_evaluations(points_by_evaluations([*tables, table("ddpm", 50, {"A-S/2": [1.0]})], "fd"), "FD")
    first, second = figure.axes
    assert [axes.get_title() for axes in figure.axes] == ["A-S/2", "B-S/2"]
    assert first.lines[0].get_xydata().tolist() == [[5, 1.8], [10, 0.9], [20, 0.45]]
    assert [line.get_label() for line in second.lines] == ["ddim", "ddpm"]


@pytest.mark.parametrize(
    ("tables", "words"),
    [
        ([table("plms", 5, {"A-S/2": [1.0]})], "Sampler plms is unknown"),
        ([table("ddim", 5, {"A-S/2": [1.0]})] * 2, "the same run by the same sampler"),
        ([table("ddim", 5, {"A-S/2": [1.0]}).drop(columns="sampler")], "without column sampler"),
    ],
)
def test_tables_that_make_no_figure_are_refused(tables: list[pd.DataFrame], words: str) -> None:
    with pytest.raises(UserError, match=words):
        points_by_evaluations(tables, "fd")
