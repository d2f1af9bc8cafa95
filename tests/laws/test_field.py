"""The published field: rows are traced, the pooled law is that of least squares, and words follow its tests."""

import json

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from typer.testing import CliRunner

from dit_scaling.cli import app
from dit_scaling.common.errors import UserError
from dit_scaling.laws.field_law import fit_family, fit_field
from dit_scaling.laws.field_text import describe_published
from dit_scaling.paper.field import at_equal_steps, families
from dit_scaling.paper.published import convergence, table4


def test_every_row_has_a_source_and_says_how_it_was_read() -> None:
    table = families()
    assert table["source"].notna().all()
    assert set(table["mark"]) == {"seen", "collected"}
    assert {"SiT", "MDTv2", "DiG", "DiC", "DiCo", "U-ViT", "EDM2", "DiT+TREAD", "SiT+TREAD"} < set(table["family"])
    assert not table.duplicated(["model", "steps"]).any()


def test_rows_agree_with_the_other_published_tables() -> None:
    table = at_equal_steps().set_index("model")
    known = table4().set_index("variant")
    for name in ("DiT-S/2", "DiT-B/2", "DiT-L/2", "DiT-XL/2"):
        assert table.loc[name, "fid50k"] == known.loc[name, "fid50k"]
        assert table.loc[name, "gflops"] == known.loc[name, "gflops"]
    curves = convergence()
    at_400k = curves[
        (curves["steps"] == 400_000) & curves["model"].str.startswith("SiT") & ~curves["model"].str.contains("REPA")
    ]
    for model, fid in zip(at_400k["model"], at_400k["fid50k"], strict=True):
        assert table.loc[model, "fid50k"] == pytest.approx(fid)


def test_the_pooled_law_is_scipys_and_its_offsets_are_found() -> None:
    rng = np.random.default_rng(1)
    rows = []
    for family, offset in (("DiT", 0.0), ("A", 0.0), ("B", -0.4)):
        for gflops in (5.0, 20.0, 80.0, 120.0):
            fid = 100 * gflops**-0.4 * np.exp(offset + rng.normal(0, 0.02))
            rows.append({"family": family, "gflops": gflops, "fid50k": fid})
    table = pd.DataFrame(rows)
    law = fit_field(table)
    line = stats.linregress(np.log(table["gflops"]), np.log(table["fid50k"]))
    assert law.exponent == pytest.approx(line.slope)
    assert law.r_squared == pytest.approx(line.rvalue**2)
    assert law.p_offsets < 1e-6
    assert law.p_slopes > 0.05
    same, better = law.offsets
    assert same.low < 1 < same.high
    assert better.low < np.exp(-0.4) < better.high < 1


def test_one_family_is_no_field() -> None:
    table = at_equal_steps()
    with pytest.raises(UserError, match="DiT and another"):
        fit_field(table[table["family"] == "SiT"])
    assert fit_family(table[table["family"] == "MDTv2"]) is None


def test_words_say_what_is_tested_and_what_is_not() -> None:
    told = describe_published("all")
    assert "does not explain FID across architectures" in told
    assert "EDM2: 3 models" in told
    assert told.count("Not testable") == 2
    assert "MDTv2-XL/2 7.7 under MDTv2-B/2 19.55" in describe_published("mdtv2")
    with pytest.raises(UserError, match="choose all or one of DiT, SiT"):
        describe_published("PixArt")


def test_json_has_the_figures_of_the_words() -> None:
    record = json.loads(CliRunner().invoke(app, ["claims", "--published", "all", "--json"]).output)
    of_families = {family["name"]: family for family in record["families"]}
    table = at_equal_steps()
    for name in ("DiT", "SiT"):
        own = table[table["family"] == name]
        line = stats.linregress(np.log(own["gflops"]), np.log(own["fid50k"]))
        law = of_families[name]["law"]
        assert law["exponent"] == pytest.approx(line.slope)
        assert law["low"] < law["exponent"] < law["high"]
        fids = [pair["fid50k"] for pair in of_families[name]["larger"]]
        assert fids == list(own.sort_values("gflops")["fid50k"])[1:]
    assert of_families["EDM2"]["order"] is None
    assert of_families["MDTv2"]["law"] is None
    assert record["across"]["exponent"] == pytest.approx(fit_field(table).exponent)
    told = describe_published("SiT")
    assert f"(p = {of_families['SiT']['larger'][0]['p']:.2g})" in told
    assert json.loads(CliRunner().invoke(app, ["claims", "--published", "SiT", "--json"]).output)["across"] is None


def test_the_command_takes_a_table_or_a_family() -> None:
    runner = CliRunner()
    told = runner.invoke(app, ["claims", "--published", "SiT"])
    assert told.exit_code == 0
    assert told.output.startswith("SiT: 4 models, arXiv 2401.08740")
    assert isinstance(runner.invoke(app, ["claims"]).exception, UserError)
