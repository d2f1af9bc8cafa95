"""The figures: what is drawn is what was measured, named by its features, and equal data give equal bytes."""

import dataclasses
import json
import re
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from dit_scaling.charts.scales import Scale, choose_unit, log_scale
from dit_scaling.common.errors import UserError
from dit_scaling.common.files import read_json, write_json
from dit_scaling.paper.published import reproduction_spread, table4
from dit_scaling.report.captions import FIGURES
from dit_scaling.report.drawings import DRAWINGS, draw_figures
from dit_scaling.report.figures.beside_table4 import draw_published
from dit_scaling.report.figures.losses import CURVE_POINTS, bin_curves
from dit_scaling.report.figures.material import Material, read_curves
from dit_scaling.report.figures.scaling import describe_trend, draw_scaling
from dit_scaling.report.figures.training import draw_compute, draw_steps
from dit_scaling.report.grid import arrange_samples
from dit_scaling.report.measurements import Measurements, fit_points, read_measurements
from dit_scaling.report.study_tables import tabulate_variants
from dit_scaling.report.style import describe_metric, shorten, style_variants
from report_study import StudyFiles, make_study


def draw(study: StudyFiles, folder: Path, **changes: Path) -> None:
    inputs = study.inputs
    files = {"table": inputs.table, "curves": study.curves, "levels": inputs.levels, "claims": inputs.claims} | changes
    samples = dict(zip(study.study.variants, inputs.samples, strict=True))
    draw_figures(files["table"], files["curves"], files["levels"], files["claims"], samples, folder)


def material_of(study: StudyFiles, measured: Measurements | None = None) -> Material:
    inputs = study.inputs
    measured = measured or read_measurements(inputs.table, inputs.levels, inputs.claims)
    return Material(measured, read_curves(study.curves))


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> StudyFiles:
    return make_study(tmp_path_factory.mktemp("study"))


@pytest.fixture(scope="module")
def figures(study: StudyFiles, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("figures")
    draw(study, folder)
    return folder


def test_every_figure_comes_as_svg_and_csv(figures: Path) -> None:
    assert DRAWINGS.keys() == FIGURES.keys() - {"samples"}
    expected = {f"{name}.{suffix}" for name in FIGURES for suffix in ("svg", "csv")}
    assert {path.name for path in figures.iterdir()} == expected
    for name in FIGURES:
        root = ElementTree.parse(figures / f"{name}.svg").getroot()
        assert root.tag.endswith("svg")
        assert FIGURES[name].text


def test_equal_data_give_equal_bytes(study: StudyFiles, figures: Path, tmp_path: Path) -> None:
    draw(study, tmp_path)
    for path in figures.iterdir():
        assert path.read_bytes() == (tmp_path / path.name).read_bytes(), path.name


@pytest.mark.parametrize("name", ["fid-gflops", "bubbles", "fid-compute", "fid-steps"])
def test_points_are_the_tables_at_the_first_guidance_scale(study: StudyFiles, figures: Path, name: str) -> None:
    table = pd.read_parquet(study.inputs.table)
    steps = [2500, 5000] if name in ("fid-compute", "fid-steps") else [5000]
    expected = table[(table["guidance_scale"] == 1.0) & table["step"].isin(steps)].set_index(["variant", "step"])
    drawn = pd.read_csv(figures / f"{name}.csv")
    if name == "fid-gflops":
        drawn = drawn[drawn["panel"] == "gflops"]
    points = drawn[drawn["kind"] == "variant"].set_index(["variant", "step"])
    assert len(points) == len(expected)
    x = {"fid-compute": "train_gflops", "fid-steps": None}.get(name, "gflops")
    for column in [study.metric, *([x] if x else [])]:
        np.testing.assert_allclose(points[column], expected[column].loc[points.index], rtol=1e-12)
    se = np.hypot(expected[f"{study.metric}_se"] / expected[study.metric], reproduction_spread().sd)
    half = np.log(points["high"] / points["low"]) / 2
    t = stats.t.isf(0.025, reproduction_spread().df)
    np.testing.assert_allclose(half, t * se.loc[points.index], rtol=1e-6)


def test_levels_are_those_of_the_reference(study: StudyFiles, figures: Path) -> None:
    drawn = pd.read_csv(figures / "bubbles.csv")
    assert drawn.loc[drawn["kind"] == "floor", study.metric].tolist() == [6.1, 11.2]
    assert drawn.loc[drawn["kind"] == "ceiling", study.metric].tolist() == [1480.0]
    svg = (figures / "bubbles.svg").read_text()
    assert ">↑ decoded noise 1,480<" in svg  # beyond the axis, which fits the models
    assert ">↓ held-out images 6.10, VAE reconstructions 11.2<" in svg


def test_lines_are_named_where_they_end_and_no_figure_has_a_legend(figures: Path) -> None:
    names = {"fid-gflops": ("Nano", "Micro", "Mini"), "fid-compute": ("Nano/2", "Mini/1"), "loss": ("Nano/2", "Mini/1")}
    for figure, expected in names.items():
        svg = (figures / f"{figure}.svg").read_text()
        assert "legend" not in svg
        for name in expected:
            assert re.search(rf'class="lb c\d"[^>]*>{name}<', svg), (figure, name)


def test_every_line_of_twelve_variants_has_its_name(tmp_path: Path) -> None:
    names = [f"DiT-{size}/{patch}" for size in ("S", "B", "L", "XL") for patch in (4, 2, 1)]
    material = material_of(make_study(tmp_path, variants=names))
    for drawing in DRAWINGS.values():
        for panel in drawing(material).panels:
            svg = panel.render()
            lines = re.findall(r'<polyline class="(?:ln|curve) (c\d)', svg)
            assert sorted(re.findall(r'<text class="lb (c\d)"', svg)) == sorted(lines), panel.said


def test_every_panel_draws_something_on_an_axis_that_fits_it(study: StudyFiles) -> None:
    material = material_of(study)
    for drawing in DRAWINGS.values():
        for panel in drawing(material).panels:
            svg = panel.render()
            assert 'class="pt ' in svg or 'class="curve ' in svg, panel.said
            left, top, right, bottom = panel.plot
            for x, y in re.findall(r'class="hit" cx="([\d.-]+)" cy="([\d.-]+)"', svg):
                assert left <= float(x) <= right, panel.said
                assert top <= float(y) <= bottom, panel.said


def test_axes_name_metric_and_units(figures: Path) -> None:
    svg = (figures / "fid-gflops.svg").read_text()
    assert ">Fréchet distance<" in svg
    assert ">Million multiply-adds of one forward pass<" in svg
    assert ">Thousand parameters<" in svg
    assert not any("FID" in (figures / f"{name}.svg").read_text() for name in FIGURES.keys() - {"published", "field"})


def test_correlation_is_pearsons(study: StudyFiles, figures: Path) -> None:
    drawn = pd.read_csv(figures / "fid-gflops.csv")
    text = draw_scaling(material_of(study)).text
    for panel, name in (("gflops", "ln Gflops"), ("params_m", "ln parameters")):
        points = drawn[(drawn["kind"] == "variant") & (drawn["panel"] == panel)]
        r = np.log(points[panel]).corr(points[study.metric])
        assert f"{name} {r:+.2f}".replace("-", "−") in text
    assert "(six variants)" in text


def test_axes_fit_the_data_and_say_nothing_beyond_them(study: StudyFiles) -> None:
    drawn = draw_compute(material_of(study))
    largest = drawn.data.loc[drawn.data["kind"] == "variant", "train_gflops"].max()
    assert drawn.data["train_gflops"].max() == pytest.approx(largest)
    assert set(drawn.data["kind"]) == {"variant", "floor", "ceiling", "fit"}


def test_fits_against_gflops_and_compute_carry_their_band(study: StudyFiles) -> None:
    material = material_of(study)
    for drawing, x in ((draw_scaling(material), "gflops"), (draw_compute(material), "train_gflops")):
        fit = fit_points(material.measured.final, x)
        assert fit is not None
        data = drawing.data[drawing.data[x].notna() & (drawing.data["kind"] == "fit")]
        expected = fit.predict(data[x])
        np.testing.assert_allclose(data[["low", "high"]], expected[["mean_low", "mean_high"]])
        assert 'class="band"' in drawing.panels[0].render()


def test_only_inception_features_make_a_fid() -> None:
    assert describe_metric("fid", 50_000) == "FID-50K"
    assert describe_metric("fid", 1234) == "FID (1,234 samples)"
    assert describe_metric("fd_classifier64", 50_000) == "Frechet distance on classifier features (64-d)"
    assert "FID" not in describe_metric("fd_dinov2", 50_000)


def test_paper_points_are_drawn_only_beside_its_own_variants(tmp_path: Path) -> None:
    ours = make_study(tmp_path / "small", features="inception")
    small = read_measurements(ours.inputs.table, ours.inputs.levels, ours.inputs.claims)
    assert small.label == "FID-1K"
    assert "published" not in set(draw_scaling(material_of(ours, small)).data["kind"])

    paper = make_study(tmp_path / "paper", features="inception", variants=["DiT-S/4", "DiT-S/2", "DiT-B/2"])
    table = pd.read_parquet(paper.inputs.table)
    table.loc[table["variant"] == "DiT-B/2", "gflops"] = 23.01  # on the paper's 32x32 latents
    table.to_parquet(paper.inputs.table)
    measured = read_measurements(paper.inputs.table, paper.inputs.levels, paper.inputs.claims)
    data = draw_scaling(material_of(paper, measured)).data
    published = data[(data["kind"] == "published") & (data["panel"] == "gflops")].set_index("variant")["fid"]
    assert len(published) == 12
    assert published["DiT-XL/2"] == 19.47
    quick = dataclasses.replace(measured, rows=measured.rows.assign(sampler="ddim"))
    assert "published" not in set(draw_scaling(material_of(paper, quick)).data["kind"])


def test_seeds_join_as_geometric_mean_with_the_wider_of_their_own_spread_and_the_published_one(tmp_path: Path) -> None:
    several = make_study(tmp_path, seeds=(0, 1, 2))
    measured = read_measurements(several.inputs.table, several.inputs.levels, several.inputs.claims)
    rows = measured.rows[measured.rows["step"] == 5000]
    logs = np.log(rows.set_index("variant")[several.metric])
    point = measured.final.set_index("variant").loc["DiT-Mini/1"]
    assert point["runs"] == 3
    assert point["value"] == pytest.approx(np.exp(logs["DiT-Mini/1"].mean()))
    spread, seeds = reproduction_spread(), rows[rows["variant"] == "DiT-Mini/1"]
    errors = ((seeds[f"{several.metric}_se"] / seeds[several.metric]) ** 2).mean()
    own = stats.t.ppf(0.975, 2) * np.sqrt(max(logs["DiT-Mini/1"].var(), errors) / 3)
    published = stats.t.ppf(0.975, spread.df) * np.sqrt((spread.sd**2 + errors) / 3)
    assert np.log(point["high"] / point["value"]) == pytest.approx(max(own, published))


def test_loss_curves_are_means_over_stretches_and_seeds() -> None:
    steps = np.arange(1, 601)
    runs = [
        pd.DataFrame({"variant": "DiT-Nano/2", "seed": seed, "step": steps, "loss": steps + seed, "gradient_norm": 1.0})
        for seed in (0, 2)
    ]
    binned = bin_curves(pd.concat(runs))
    assert len(binned) == CURVE_POINTS
    assert binned["step"].tolist() == [10 * k + 5.5 for k in range(60)]
    np.testing.assert_allclose(binned["loss"], binned["step"] + 1)


def test_colours_tell_sizes_and_markers_patches(study: StudyFiles) -> None:
    styles = style_variants(read_measurements(study.inputs.table, study.inputs.levels, study.inputs.claims).final)
    assert tuple(styles) == study.study.variants  # by size, then from the largest patch to the smallest
    assert styles["DiT-Nano/1"].hue == styles["DiT-Nano/2"].hue == "c0"
    assert styles["DiT-Nano/1"].shape == styles["DiT-Mini/1"].shape != styles["DiT-Mini/2"].shape


def test_panels_for_every_patch_and_every_size(study: StudyFiles) -> None:
    titles = [panel.y_title.split(":")[0] for panel in draw_steps(material_of(study)).panels]
    assert titles == ["Patch 2", "Patch 1", "Nano", "Micro", "Mini"]


def test_a_figure_with_one_point_a_line_is_a_sentence(study: StudyFiles) -> None:
    material = material_of(study)
    points = material.measured.points
    once = dataclasses.replace(material.measured, points=points[points["step"] == points["step"].max()])
    for draw_one in (draw_steps, draw_compute):
        drawn = draw_one(dataclasses.replace(material, measured=once))
        assert drawn.panels == ()
        assert "5,000" in drawn.finding


COMPUTE = {"DiT-Nano/2": (1.0, 2.0), "DiT-Micro/1": (4.0, 8.0), "DiT-Mini/1": (6.0, 12.0)}  # at its two steps


@pytest.mark.parametrize(
    ("distances", "expected"),
    [
        (
            {"DiT-Nano/2": (50, 45), "DiT-Micro/1": (40, 36), "DiT-Mini/1": (35, 20)},
            "Nano/2 below 4 billion multiply-adds of training, Micro/1 below 6, Mini/1 above",
        ),
        (
            {"DiT-Nano/2": (50, 45), "DiT-Micro/1": (40, 30), "DiT-Mini/1": (35, 20)},
            "Nano/2 below 4 billion multiply-adds of training, then 3 changes, Mini/1 above 12",
        ),
        (
            {"DiT-Nano/2": (50, 45), "DiT-Micro/1": (48, 46), "DiT-Mini/1": (55, 20)},
            "Nano/2 below 12 billion multiply-adds of training, Mini/1 above",
        ),
        (
            {"DiT-Nano/2": (50, 10), "DiT-Micro/1": (48, 46), "DiT-Mini/1": (55, 20)},
            "Nano/2 has the lowest distance at every training compute",
        ),
    ],
)
def test_the_best_model_for_each_training_compute_is_named(
    study: StudyFiles, distances: dict[str, tuple[float, float]], expected: str
) -> None:
    material = material_of(study)
    points = material.measured.points[material.measured.points["variant"].isin(list(distances))]
    at = [(name, (2500, 5000).index(step)) for name, step in zip(points["variant"], points["step"], strict=True)]
    points = points.assign(
        value=[distances[name][place] for name, place in at], train_gflops=[COMPUTE[name][place] for name, place in at]
    )
    final = points[points["step"] == 5000]
    drawn = draw_compute(
        dataclasses.replace(material, measured=dataclasses.replace(material.measured, points=points, final=final))
    )
    assert drawn.finding.removeprefix("Best for the compute: ") == expected


def test_the_finding_names_where_more_compute_does_not_help(study: StudyFiles) -> None:
    material = material_of(study)
    assert describe_trend(material) == "More compute lowers the distance at every size"
    worse = material.measured.final["value"].where(material.measured.final["variant"] != "DiT-Mini/1", 9999.0)
    spoiled = dataclasses.replace(material.measured, final=material.measured.final.assign(value=worse))
    told = describe_trend(dataclasses.replace(material, measured=spoiled))
    assert told == "More compute lowers the distance, but not from Mini/2 to Mini/1"


def test_ticks_are_few_round_and_inside() -> None:
    for low, high in ((0.4, 17.0), (15.0, 60.0), (48.0, 350.0), (3e5, 4e9), (17.0, 18.0), (1.0, 1.08)):
        ticks = log_scale([low, high]).ticks(6)
        assert 2 <= len(ticks) <= 7
        assert all(low / 1.2 <= tick <= high * 1.2 for tick in ticks)
    assert Scale(0, 10_000, log=False).ticks(6) == [0, 2000, 4000, 6000, 8000, 10000]


def test_units_leave_no_leading_zeros() -> None:
    assert choose_unit([0.4e6, 15e6]).word == "million"
    assert choose_unit([0.05e6, 0.33e6]).word == "thousand"
    assert choose_unit([3e19]).word == "10¹⁸"


@pytest.mark.parametrize("missing", ["table", "curves", "levels"])
def test_missing_inputs_are_named(study: StudyFiles, tmp_path: Path, missing: str) -> None:
    with pytest.raises(UserError, match="nowhere does not exist"):
        draw(study, tmp_path, **{missing: tmp_path / "nowhere"})
    assert not list(tmp_path.iterdir())


def test_tables_that_no_figure_may_join_are_refused(study: StudyFiles, tmp_path: Path) -> None:
    table = pd.read_parquet(study.inputs.table)

    def refusal(changed: pd.DataFrame) -> str:
        changed.to_parquet(tmp_path / "changed.parquet")
        with pytest.raises(UserError) as error:
            read_measurements(tmp_path / "changed.parquet", study.inputs.levels, study.inputs.claims)
        return str(error.value)

    assert "n_samples" in refusal(table.assign(n_samples=range(len(table))))
    ours = table["variant"] == "DiT-Mini/1"
    for column, one, other in (("extractor", "a", "b"), ("sampler", "ddpm", "ddim"), ("sampling_steps", 250, 50)):
        mixed = table.assign(**{column: np.where(ours, one, other)})
        assert f"mixes protocols: {column} " in refusal(mixed)
    assert "train_gflops" in refusal(table.drop(columns="train_gflops"))
    assert "no rows" in refusal(table.iloc[:0])
    assert study.metric in refusal(table.assign(**{study.metric: np.nan}))


def test_broken_files_are_refused(study: StudyFiles, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    broken.write_text("neither table nor record")
    with pytest.raises(UserError, match="Parquet"):
        read_measurements(broken, study.inputs.levels, study.inputs.claims)
    with pytest.raises(UserError, match="has no column"):
        draw(study, tmp_path, curves=broken)
    write_json(broken, {"metric": study.metric})
    with pytest.raises(UserError, match="extractor"):
        read_measurements(study.inputs.table, broken, study.inputs.claims)
    with pytest.raises(UserError, match="no report on claims"):
        read_measurements(study.inputs.table, study.inputs.levels, broken)


def test_what_the_verdicts_leave_out_is_drawn_and_not_fitted(study: StudyFiles, tmp_path: Path) -> None:
    claims = read_json(study.inputs.claims)
    write_json(tmp_path / "claims.json", claims | {"exclusions": [{"variant": "DiT-Nano/2", "reason": "bottleneck"}]})
    measured = read_measurements(study.inputs.table, study.inputs.levels, tmp_path / "claims.json")
    drawing = draw_scaling(material_of(study, measured))
    assert set(study.study.variants) <= set(drawing.data["variant"])
    assert "(five variants)" in drawing.text
    kept = measured.final[measured.final["variant"] != "DiT-Nano/2"]
    fit = fit_points(measured.final, "gflops")
    assert fit is not None
    assert fit.b == pytest.approx(np.polyfit(np.log(kept["gflops"]), np.log(kept["value"]), 1)[0])


def test_a_study_of_one_variant_is_drawn_without_fit(tmp_path: Path) -> None:
    lone = make_study(tmp_path, variants=["DiT-Nano/2"])
    reference = json.loads(lone.inputs.levels.read_text())
    write_json(lone.inputs.levels, reference | {"levels": {}})
    drawing = draw_scaling(material_of(lone))
    assert set(drawing.data["kind"]) == {"variant"}
    assert "Pearson" not in drawing.text
    scale = drawing.panels[0].x
    assert scale.low < 1e3 * drawing.data["gflops"].iloc[0] < scale.high
    draw(lone, tmp_path / "figures")


@pytest.fixture
def with_unet(tmp_path: Path) -> StudyFiles:
    """The study with a U-Net, which has neither patches nor tokens."""
    made = make_study(tmp_path)
    table = pd.read_parquet(made.inputs.table)
    unet = table[table["variant"] == "DiT-Nano/2"].assign(variant="UNet-S", size="S", params_m=0.2, gflops=0.0021)
    pd.concat([table, unet.assign(patch=np.nan, tokens=np.nan)]).to_parquet(made.inputs.table)
    return made


def test_a_unet_is_drawn_beside_the_transformers_and_fitted_with_none(with_unet: StudyFiles, tmp_path: Path) -> None:
    samples = dict(zip(with_unet.study.variants, with_unet.inputs.samples, strict=True))
    samples["UNet-S"] = with_unet.inputs.samples[0]
    inputs = with_unet.inputs
    draw_figures(inputs.table, with_unet.curves, inputs.levels, inputs.claims, samples, tmp_path / "figures")
    svg = (tmp_path / "figures" / "fid-gflops.svg").read_text()
    assert ">UNet-S<" in svg
    assert "(six variants)" in svg
    measured = read_measurements(inputs.table, inputs.levels, inputs.claims)
    fit = fit_points(measured.final, "gflops")
    assert fit is not None
    assert fit.n == 6
    grid = arrange_samples(measured.final, samples)
    assert grid.columns == ("Nano", "Micro", "Mini", "S")
    assert grid.rows[-1] == ("UNet", (None, None, None, "UNet-S"))
    assert [label for label, _ in grid.rows] == ["DiT patch 2", "DiT patch 1", "UNet"]
    rows = tabulate_variants(measured, beside_paper=False).rows
    assert [row[5] for row in rows] == ["16", "64", "16", "64", "16", "64", "–"]


def test_samples_stand_sizes_across_and_patches_down(study: StudyFiles, figures: Path) -> None:
    drawn = pd.read_csv(figures / "samples.csv")
    assert set(drawn["variant"]) == set(study.study.variants)
    assert drawn.groupby("variant")["index"].apply(list).map(lambda found: found == list(range(10))).all()
    svg = (figures / "samples.svg").read_text()
    assert all(f">{text}<" in svg for text in ("DiT-Nano", "DiT-Micro", "DiT-Mini", "patch 2", "patch 1"))


def test_table_4_and_the_study_share_no_axis(study: StudyFiles, figures: Path) -> None:
    drawn = pd.read_csv(figures / "published.csv").set_index("variant")
    paper = table4().set_index("variant")
    theirs = drawn[drawn["metric"] == "fid50k"]
    np.testing.assert_allclose(theirs["value"], paper.loc[theirs.index, "fid50k"], rtol=1e-12)
    assert set(drawn[drawn["metric"] == study.metric].index) == set(study.study.variants)
    left, right = draw_published(material_of(study)).panels
    assert left.y_title == "The paper’s Table 4: FID-50K"
    assert right.y_title == "This study: Fréchet distance"
    assert left.y != right.y


@pytest.mark.parametrize(
    ("names", "short"),
    [
        (["DiT-S/2", "DiT-B/2"], ["S/2", "B/2"]),
        (["DiT-S/2", "lab.nets:Net-S"], ["DiT-S/2", "Net-S"]),
        (["lab.nets:Net@flow-S", "lab.nets:Net-S"], ["Net@flow-S", "Net-S"]),
        (["a.nets:Net-S", "b.nets:Net-S"], ["a.nets:Net-S", "b.nets:Net-S"]),
        (["lab.nets:Net-S", "lab.nets:Net-B"], ["S", "B"]),
    ],
)
def test_names_are_as_short_as_tells_all_apart(names: list[str], short: list[str]) -> None:
    assert list(shorten(names).values()) == short
