"""A line per family against Gflops: scipy's line through the logarithms, and what a reader is told."""

import dataclasses
import re

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from dit_scaling.claims import evaluate_claims
from dit_scaling.paper.published import table4
from dit_scaling.report.drawings import DRAWINGS
from dit_scaling.report.figures.family_lines import draw_families
from dit_scaling.report.figures.material import Material
from dit_scaling.report.measurements import Measurements
from dit_scaling.report.verdict_tables import compare_verdicts

ROWS = [
    ("DiT-S/2", 1.0, 9.0),
    ("DiT@flow-S/2", 1.0, 8.0),
    ("DiT-B/2", 4.0, 5.0),
    ("DiT@flow-B/2", 4.0, 4.0),
    ("DiT-L/2", 16.0, 2.0),
    ("UNet-S", 1.1, 9.5),
]


def material(rows: list[tuple[str, float, float]] = ROWS) -> Material:
    table = pd.DataFrame(rows, columns=["variant", "gflops", "value"])
    names = table["variant"].str.split(r"[-/]", regex=True)
    points = table.assign(
        series=table["variant"].str.split("/").str[0],
        size=names.str[1],
        patch=names.str[2].astype("Int64"),
        params_m=table["gflops"],
        train_gflops=3e6 * table["gflops"],
        step=100,
        runs=1,
        low=0.9 * table["value"],
        high=1.2 * table["value"],
        fitted=~table["variant"].str.startswith("UNet"),
    )
    no_rows = pd.DataFrame(columns=["variant", "step", "fd"])
    measured = Measurements("fd", "x", "FD", "x", "x", 1.0, "none", no_rows, points, points, ())
    return Material(measured, pd.DataFrame())


def test_a_family_of_three_has_its_power_law_and_smaller_ones_a_line() -> None:
    (panel,) = draw_families(material()).panels
    svg = panel.render()
    (law,) = re.findall(r'<polyline class="law c\d" points="([^"]*)" data-members="DiT-S/2 DiT-B/2 DiT-L/2"', svg)
    ends = [[float(x) for x in place.split(",")] for place in (law.split()[0], law.split()[-1])]
    line = stats.linregress(np.log([1.0, 4.0, 16.0]), np.log([9.0, 5.0, 2.0]))
    for (x, y), gflops in zip(ends, (1.0, 16.0), strict=True):
        fitted = np.exp(line.intercept + line.slope * np.log(gflops))
        assert (x, y) == pytest.approx(panel.at(gflops, fitted), abs=0.06)
    assert re.search(r'<polyline class="ln c\d"[^>]* data-p="DiT@flow-S/2=[\d.,]+ DiT@flow-B/2=', svg)
    for family in ("DiT", "DiT@flow", "UNet"):
        assert re.search(rf'class="lb c\d"[^>]*>{family}<', svg), family
    hues = dict(re.findall(r'class="pt (c\d)" data-v="([^"]*)"', svg)[::-1])
    assert len(hues) == 3


def test_the_finding_compares_laws_at_equal_gflops_only() -> None:
    flow = [(f"DiT@flow-{size}/2", gflops, 0.8 * value) for size, gflops, value in (("S", 1.0, 9.0), ("L", 16.0, 2.0))]
    both = [*ROWS[::2][:3], *flow, ("DiT@flow-B/2", 4.0, 4.0)]
    assert (
        draw_families(material(both)).finding
        == "At equal Gflops the law of DiT@flow lies lowest, the next one 25% above it"
    )
    apart = [(name, gflops * 100 if "flow" in name else gflops, value) for name, gflops, value in both]
    assert draw_families(material(apart)).finding.startswith("No Gflops are in reach of all families’ laws; ")
    crossed = [(name, gflops, 20 / value if "flow" in name else value) for name, gflops, value in both]
    assert draw_families(material(crossed)).finding.endswith("DiT@flow at the least, DiT at the most")
    assert draw_families(material()).finding == "DiT-L/2 has the lowest distance, 2.00"


def test_a_class_of_ones_own_is_named_without_its_module() -> None:
    own = [(f"my_lab.nets:Net-{size}", gflops, 7.0) for size, gflops in (("S", 1.0), ("B", 4.0))]
    (panel,) = draw_families(material([*ROWS, *own])).panels
    assert ">Net<" in panel.render()
    twins = [("a.b:Net-S", 1.0, 7.0), ("c.d:Net-S", 2.0, 6.0)]
    (panel,) = draw_families(material(twins)).panels
    assert ">a.b:Net<" in panel.render()


def test_one_family_is_not_drawn() -> None:
    drawn = draw_families(material([row for row in ROWS if row[0].startswith("DiT-")]))
    assert drawn.panels == ()
    assert drawn.finding == "All variants are of one family, DiT."


def test_other_figures_take_several_families() -> None:
    several = material()
    rows = several.measured.final.rename(columns={"value": "fd"})
    several = dataclasses.replace(several, measured=dataclasses.replace(several.measured, rows=rows))
    assert {name: len(DRAWINGS[name](several).panels) for name in ("bubbles", "families")} == {
        "bubbles": 1,
        "families": 1,
    }


def test_a_studys_own_claims_are_not_set_beside_table_4() -> None:
    table = material().measured.final.rename(columns={"value": "fd_x8"})
    report = evaluate_claims(table, "fd_x8", families=[("DiT@flow", "DiT")])
    shown = compare_verdicts("name", report.to_dict(), evaluate_claims(table4()).to_dict()).data
    assert shown["claim"].tolist() == ["0", "1", "2", "3"]
