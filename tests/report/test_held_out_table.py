"""The table of held-out losses: means over seeds at the last common step, and nothing where none were measured."""

import dataclasses

import pandas as pd
import pytest

from dit_scaling.report.held_out_table import tabulate_held_out
from dit_scaling.report.measurements import Measurements, read_measurements
from report_study import make_study


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Measurements:
    study = make_study(tmp_path_factory.mktemp("study"), seeds=(0, 2), variants=["DiT-Nano/2", "DiT-Mini/1"])
    return read_measurements(study.inputs.table, study.inputs.levels, study.inputs.claims)


def test_rows_are_means_over_seeds_at_the_last_common_step(measured: Measurements) -> None:
    table = tabulate_held_out(measured)
    last = measured.rows[measured.rows["step"] == 5000].groupby("variant")
    assert table.data["variant"].tolist() == ["DiT-Nano/2", "DiT-Mini/1"]
    for name in ("held_out_mse", "training_mse"):
        pd.testing.assert_series_equal(table.data.set_index("variant")[name].sort_index(), last[name].mean())
    loss = last["held_out_mse"].mean()["DiT-Mini/1"]
    assert [column.head for column in table.columns] == ["variant", "held-out loss", "on training images"]
    assert table.rows[1][1] == f"{loss:.4g} ± 0.001"


def test_a_loss_that_one_variant_lacks_is_said_to_be_missing(measured: Measurements) -> None:
    rows = measured.rows.copy()
    rows.loc[rows["variant"] == "DiT-Nano/2", "training_mse"] = float("nan")
    assert tabulate_held_out(dataclasses.replace(measured, rows=rows)).rows[0][2] == "not measured"


def test_a_study_without_losses_has_no_rows(measured: Measurements) -> None:
    losses = [name for name in measured.rows.columns if "mse" in name]
    bare = dataclasses.replace(measured, rows=measured.rows.drop(columns=losses))
    assert tabulate_held_out(bare).rows == []
