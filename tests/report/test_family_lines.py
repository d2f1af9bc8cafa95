"""A line per family against compute: scipy's line through the logarithms, and what is drawn."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from dit_scaling.claims import evaluate_claims
from dit_scaling.paper.published import table4
from dit_scaling.report.family_lines import draw_families, family_lines
from dit_scaling.report.verdict_tables import compare_verdicts


def points() -> pd.DataFrame:
    rows = [
        ("DiT-S/2", 1.0, 9.0),
        ("DiT@flow-S/2", 1.0, 8.0),
        ("DiT-B/2", 4.0, 5.0),
        ("DiT@flow-B/2", 4.0, 4.0),
        ("DiT-L/2", 16.0, 2.0),
        ("UNet-S", 1.1, 9.5),
    ]
    table = pd.DataFrame(rows, columns=["variant", "gflops", "value"])
    return table.assign(train_gflops=3e6 * table["gflops"], low=0.9 * table["value"], high=1.2 * table["value"])


def test_lines_are_of_families_and_least_squares() -> None:
    lines = family_lines(points(), "gflops")
    assert [line.family for line in lines] == ["DiT", "DiT@flow", "UNet"]
    assert [line.fit is not None for line in lines] == [True, False, False]
    slope = stats.linregress(np.log([1.0, 4.0, 16.0]), np.log([9.0, 5.0, 2.0])).slope
    assert lines[0].fit is not None
    assert lines[0].fit.b == pytest.approx(slope)


def test_every_family_is_drawn_with_its_intervals() -> None:
    axes = draw_families(family_lines(points(), "train_gflops"), "train_gflops", "FD").axes[0]
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["DiT", "DiT@flow", "UNet"]
    low, high = axes.containers[1][2][0].get_segments()[0][:, 1]
    assert (low, high) == (pytest.approx(7.2), pytest.approx(9.6))
    assert axes.get_xscale() == axes.get_yscale() == "log"


def test_a_studys_own_claims_are_not_set_beside_table_4() -> None:
    table = points().assign(size=points()["variant"].str.extract(r"-(\w+)")[0], patch=2.0, params_m=points()["gflops"])
    table.loc[table["variant"] == "UNet-S", "patch"] = np.nan
    report = evaluate_claims(table.rename(columns={"value": "fd_x8"}), "fd_x8", families=[("DiT@flow", "DiT")])
    shown = compare_verdicts("name", report.to_dict(), evaluate_claims(table4()).to_dict()).data
    assert shown["claim"].tolist() == ["0", "1", "2", "3"]
