"""The published figures shipped with the package."""

import math
import subprocess
import sys

import numpy as np
import pytest

from dit_scaling.paper.published import REPRODUCTIONS, convergence, reproduction_spread, table4, xl2_long
from dit_scaling.variants import count_gflops, count_parameters, parse_variant


def test_table4_agrees_with_the_closed_forms_of_the_variants() -> None:
    table = table4()
    assert len(table) == 12
    for row in table.itertuples():
        variant = parse_variant(str(row.variant))
        assert (variant.size, variant.patch) == (row.size, row.patch)
        assert count_gflops(variant) == pytest.approx(row.gflops, abs=0.03)
        assert count_parameters(variant) / 1e6 == pytest.approx(row.params_m, abs=1)


def test_convergence_ends_where_table4_stands() -> None:
    curve = convergence()
    xl2 = curve[(curve["model"] == "DiT-XL/2") & (curve["source"] == "DiT")]
    published = table4().set_index("variant").loc["DiT-XL/2", "fid50k"]
    assert xl2["fid50k"].tolist() == [pytest.approx(published, abs=0.05)]
    assert (curve[["steps", "fid50k"]] > 0).all().all()


def test_long_run_has_the_record_with_guidance() -> None:
    record = xl2_long().query("cfg_scale == 1.5 and sfid == sfid")
    assert record[["fid50k", "sfid", "inception_score"]].to_numpy().tolist() == [[2.27, 4.60, 278.24]]


def test_spread_is_the_pooled_sd_of_ln_fid() -> None:
    spread = reproduction_spread()
    assert spread.df == 5
    by_variant = {name: np.var(np.log(values), ddof=1) for name, values in REPRODUCTIONS.items()}
    pooled = (by_variant["DiT-XL/2"] + 2 * by_variant["DiT-B/4"] + 2 * by_variant["DiT-S/8"]) / 5
    assert spread.sd == pytest.approx(math.sqrt(pooled), rel=1e-12)
    assert spread.sd == pytest.approx(0.0636, abs=1e-4)


def test_neither_published_figures_nor_claims_import_torch() -> None:
    code = "import sys, dit_scaling.claims, dit_scaling.paper.published; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
