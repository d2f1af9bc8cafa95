"""`dit-scaling report`: points of others in the figures, and the page with all that it links as a ZIP."""

import dataclasses
import zipfile
from pathlib import Path

import pandas as pd
import pytest

from dit_scaling.common.errors import UserError
from dit_scaling.report.added_points import read_points
from dit_scaling.report.bundle import bundle_report, links_of
from dit_scaling.report.inputs import find_inputs
from dit_scaling.report.page import write_report
from dit_scaling.report.remake import WITH_POINTS, make_report
from report_study import StudyFiles, make_study

METRIC = "fd_classifier64"


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> StudyFiles:
    return make_study(tmp_path_factory.mktemp("results") / "synthetic")


def test_points_of_others_stand_in_the_figures_by_name(study: StudyFiles, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = study.inputs.table.parent
    given = folder / "points.csv"
    given.write_text(f"variant,gflops,params_m,{METRIC}\nSiT-S/2,0.004,0.2,31.5\n<b>bold</b>,0.009,,25\n")
    points = read_points(given, METRIC)
    assert points["value"].tolist() == [31.5, 25.0]
    monkeypatch.setattr("dit_scaling.report.remake.find_inputs", lambda *_: study.inputs)
    page, _ = make_report(study.study, folder, add=given)
    html = page.read_text()
    assert page.name == WITH_POINTS
    assert ">SiT-S/2</text>" in (folder / "figures-with-points" / "fid-gflops.svg").read_text()
    assert 'href="figures-with-points/fid-gflops.svg"' in html
    assert html.count("<title>SiT-S/2: 31.5</title>") == 2  # against Gflops and against parameters
    assert html.count("<title>&lt;b&gt;bold&lt;/b&gt;: 25.0</title>") == 1
    assert ">SiT-S/2</text>" in html


def test_names_stay_as_they_are_and_the_metrics_column_goes_before_value(tmp_path: Path) -> None:
    given = tmp_path / "points.csv"
    given.write_text(f"variant,gflops,params_m,value,{METRIC}\nNA,0.004,NA,99,31.5\n2,0.005,,99,30\n")
    points = read_points(given, METRIC)
    assert points["variant"].tolist() == ["NA", "2"]
    assert points["value"].tolist() == [31.5, 30.0]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("variant,gflops\na,1\n", "lacks a column"),
        ("variant,value\na,1\n", "lacks a column"),
        ("variant,gflops,value\n", "has 0 rows"),
        ("variant,gflops,value\na,1,2\nb,-1,2\n", "line 3: gflops is '-1'"),
        ("variant,gflops,value\na,1,fast\n", "line 2: value is 'fast'"),
        ("variant,gflops,value\na,1,\n", "line 2: give the distance"),
        ("variant,gflops,params_m,value\na,,,3\n", "line 2: give the distance, and gflops or params_m"),
        ("variant,gflops,value\na,1,2\n,1,2\n", "line 3: variant is empty"),
    ],
)
def test_points_that_cannot_be_drawn_are_refused(tmp_path: Path, text: str, told: str) -> None:
    (tmp_path / "points.csv").write_text(text)
    with pytest.raises(UserError, match=told):
        read_points(tmp_path / "points.csv", METRIC)
    with pytest.raises(UserError, match="does not exist"):
        read_points(tmp_path / "nowhere.csv", METRIC)


def test_the_bundle_holds_the_page_and_every_file_that_it_links(tmp_path: Path) -> None:
    home = tmp_path / "results" / "x"
    for name, text in {
        "report.html": '<a href="tables/a.csv">a</a><a href="#b">b</a><a href="run/gate.html">g</a>'
        '<a href="https://example.org/c">c</a><img src="data:,"><a href="lost.csv">l</a>',
        "tables/a.csv": "1",
        "run/gate.html": '<a href="../report.html#gates">back</a><a href="loss.svg">l</a>',
        "run/loss.svg": "<svg/>",
        "secret.txt": "not linked",
    }.items():
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        (home / name).write_text(text)
    assert bundle_report(home / "report.html", tmp_path / "one.zip") == ["lost.csv"]
    with zipfile.ZipFile(tmp_path / "one.zip") as archive:
        assert archive.namelist() == ["report.html", "run/gate.html", "run/loss.svg", "tables/a.csv"]
        assert archive.read("tables/a.csv") == b"1"
    bundle_report(home / "report.html", tmp_path / "two.zip")
    assert (tmp_path / "one.zip").read_bytes() == (tmp_path / "two.zip").read_bytes()
    with pytest.raises(UserError, match="Make the report first"):
        bundle_report(home / "nowhere.html", tmp_path / "three.zip")


def test_every_link_of_a_report_is_relative_and_below_its_study(study: StudyFiles) -> None:
    folder = study.inputs.table.parent
    write_report(study.settings, study.inputs, folder / "report.html")
    links = links_of(folder / "report.html")
    assert {"tables/pairs.csv", "figures/fid-gflops.csv", "metrics.csv", "gate.html", "claims.json"} <= set(links)
    assert not [link for link in links if link.startswith(("/", ".."))]
    wanted = [link for link in links if not link.startswith("figures/") and link != "gate.html"]
    assert all((folder / link).is_file() for link in wanted)


def test_the_command_needs_a_finished_study(study: StudyFiles, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"report\.html does not exist. Make it first"):
        make_report(study.study, tmp_path)
    (tmp_path / "report.html").write_text("<html></html>")
    page, lost = make_report(study.study, tmp_path, bundle=tmp_path / "all.zip")
    assert (page, lost) == (tmp_path / "all.zip", [])
    pd.DataFrame({"variant": ["a"], "gflops": [1.0], "value": [2.0]}).to_csv(tmp_path / "points.csv")
    with pytest.raises(UserError, match=r"levels\.json"):
        make_report(study.study, tmp_path, add=tmp_path / "points.csv")
    assert not (tmp_path / WITH_POINTS).exists()


def test_inputs_lie_where_the_rules_put_them(study: StudyFiles, tmp_path: Path) -> None:
    inputs = find_inputs(study.study, tmp_path, tmp_path)
    assert inputs.gates == []  # none is there
    named = {field.name: getattr(inputs, field.name) for field in dataclasses.fields(inputs)}
    assert named["levels"] == tmp_path / "reference" / "classifier" / "levels.json"
    assert named["samples"][0] == (
        tmp_path / "DiT-Nano-2" / "seed-0" / "step-5000" / "guidance-1.0" / "samples" / "first-00000.npz"
    )
    assert len(named["memorisation"]) == len(study.study.variants)
