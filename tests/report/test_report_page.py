"""The report: one file without a network, every number of it the table's, everything escaped."""

import dataclasses
import json
import math
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from dit_scaling.common.errors import UserError
from dit_scaling.common.files import read_json, write_json
from dit_scaling.paper.deviations import compare_protocol, hindrances
from dit_scaling.paper.published import reproduction_spread
from dit_scaling.plan.peaks import peak_of
from dit_scaling.report.captions import TABLES
from dit_scaling.report.classes import view_classes
from dit_scaling.report.cost_tables import tabulate_costs, tabulate_stages
from dit_scaling.report.measurements import read_measurements
from dit_scaling.report.numbers import MISSING, describe_number
from dit_scaling.report.page import ReportInputs, write_report
from dit_scaling.report.study_tables import tabulate_variants
from dit_scaling.sampling.images import Samples, write_samples
from report_study import StudyFiles, make_study

PAPER = {
    "study": "paper",
    "data": {
        "source": "image_folder",
        "path": "imagenet",
        "image_size": 256,
        "classes": 1000,
        "held_out": 4,
        "background": None,
        "exif_transpose": False,
    },
    "vae": {"source": "pretrained", "path": "stabilityai/sd-vae-ft-mse"},
    "variants": ["DiT-S/8", "DiT-XL/2"],
    "training": {"steps": 400_000},
    "sampling": {},
    "metrics": {"extractor": {"kind": "inception", "weights": "inception"}},
}
VOID = {"meta", "link", "img", "br", "input", "hr"}


class Page(HTMLParser):
    """Text, tables, references and badges of a page; fails on tags that do not match."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.stack: list[str] = []
        self.references: list[str] = []
        self.tables: list[list[list[str]]] = []
        self.pieces: list[str] = []
        self.tags: set[str] = set()
        self.feed(html)
        self.close()
        assert not self.stack
        self.text = re.sub(r"\s+", " ", "".join(self.pieces))

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.references += [value or "" for name, value in attributes if name in ("src", "href", "action", "data")]
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self.tables[-1][-1].append("")
        if tag not in VOID:
            self.stack.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.stack.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" in self.stack:
            return
        self.pieces.append(data)
        if self.stack and self.stack[-1] in ("td", "th", "b") and {"td", "th"} & set(self.stack):
            self.tables[-1][-1][-1] += data

    def table(self, first_head: str) -> list[dict[str, str]]:
        """Rows of the first table whose first head is that, by head."""
        found = next(table for table in self.tables if table and table[0] and table[0][0] == first_head)
        return [dict(zip(found[0], row, strict=True)) for row in found[1:]]


def render(study: StudyFiles, output: Path, **changes: Any) -> Page:
    write_report(study.settings, dataclasses.replace(study.inputs, **changes), output)
    return Page(output.read_text())


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> StudyFiles:
    made = make_study(tmp_path_factory.mktemp("study"))
    figure = made.inputs.table.parent / "figures" / "fid-gflops.svg"
    figure.parent.mkdir()
    figure.write_text("<svg xmlns='http://www.w3.org/2000/svg'/>")
    return dataclasses.replace(made, inputs=dataclasses.replace(made.inputs, figures=[figure]))


@pytest.fixture(scope="module")
def page(study: StudyFiles) -> Page:
    return render(study, study.inputs.table.parent / "report.html")


def test_page_refers_to_nothing_outside(study: StudyFiles, page: Page) -> None:
    assert page.references
    assert all(reference.startswith(("data:", "#")) for reference in page.references)
    assert not {"script", "iframe", "object", "video", "audio"} & page.tags
    html = (study.inputs.table.parent / "report.html").read_text()
    assert "@import" not in html
    assert "url(" not in html
    assert "default-src 'none'" in html


def test_every_verdict_stands_with_its_reason(study: StudyFiles, page: Page) -> None:
    claims = read_json(study.inputs.claims)["claims"]
    assert {claim["claim"] for claim in claims} == {"0", "1", "2", "3"}
    for claim in claims:
        limits = f" ({claim['qualification']})" if claim["qualification"] else ""
        condition = f" Would be {claim['would_be']} if {claim['condition']}." if claim["would_be"] else ""
        said = f"{claim['statement']}{limits}.{condition}{claim['reason']}"
        assert f"{claim['verdict']} Claim {claim['claim']}. {said}" in page.text
    assert any(claim["condition"] for claim in claims)


def test_every_pair_behind_a_verdict_is_listed(study: StudyFiles, page: Page) -> None:
    pairs = [
        (claim["claim"], pair) for claim in read_json(study.inputs.claims)["claims"] for pair in claim["comparisons"]
    ]
    assert {claim for claim, _ in pairs} == {"1", "2", "3"}
    rows = next(table for table in page.tables if table[0][:2] == ["claim", "expected better"])[1:]
    assert [row[:4] for row in rows] == [
        [claim, pair["favoured"], pair["other"], pair["outcome"]] for claim, pair in pairs
    ]
    np.testing.assert_allclose(
        [float(row[4]) for row in rows], [np.exp(pair["effect"]) for _, pair in pairs], atol=5e-4
    )


def test_variants_table_is_the_parquet(study: StudyFiles, page: Page) -> None:
    table = pd.read_parquet(study.inputs.table).query("guidance_scale == 1.0 and step == 5000").set_index("variant")
    rows = page.table("variant")
    assert sorted(row["variant"] for row in rows) == sorted(study.study.variants)
    for row in rows:
        record = table.loc[row["variant"]]
        assert row["params (M)"] == f"{record['params_m']:.4g}"
        assert row["Gflops"] == f"{record['gflops']:.4g}"
        assert (row["tokens"], row["steps"], row["seeds"]) == (f"{record['tokens']}", "5,000", "1")
        assert row["Frechet distance on classifier features (64-d)"] == describe_number(record["fd_classifier64"])
        assert row["KID, classifier features (64-d)"] == describe_number(record["kid_classifier64"])
        assert row["class accuracy"] == describe_number(record["class_accuracy_classifier64"])
        assert (row["precision"], row["recall"]) == ("0.5", "0.25")
        sd = math.hypot(record["fd_classifier64_se"] / record["fd_classifier64"], reproduction_spread().sd)
        relative = stats.t.isf(0.025, reproduction_spread().df) * sd
        ends = [describe_number(record["fd_classifier64"] * np.exp(sign * relative)) for sign in (-1, 1)]
        assert row["95% interval"] == " to ".join(ends)


@pytest.mark.parametrize(("accuracy", "level"), [(0.12, "amber"), (0.49, "amber"), (0.51, "green")])
def test_a_variant_whose_samples_show_no_class_is_named(study: StudyFiles, accuracy: float, level: str) -> None:
    measured = read_measurements(study.inputs.table, study.inputs.levels, study.inputs.claims)
    scores = [accuracy if name == "DiT-Nano/2" else 0.8 for name in measured.rows["variant"]]
    rows = measured.rows.assign(class_accuracy_classifier64=scores)
    view = view_classes(dataclasses.replace(measured, rows=rows), study.inputs.levels, classes=10)
    assert view is not None
    assert view.level == level
    assert view.sentence.startswith("Most samples of DiT-Nano/2 do not") is (level == "amber")
    assert f"(accuracy {accuracy} to 0.8; 0.9 on reconstructions, 0.1 by chance)" in view.sentence


@pytest.mark.parametrize(("classes", "best", "level"), [(1, 1.0, None), (10, 0.1, "amber"), (10, 0.54, "amber")])
def test_a_classifier_that_tells_nothing_says_so(
    study: StudyFiles, classes: int, best: float, level: str | None, tmp_path: Path
) -> None:
    levels = read_json(study.inputs.levels)
    levels["levels"]["reconstructions"]["class_accuracy_classifier64"] = best
    write_json(tmp_path / "levels.json", levels)
    measured = read_measurements(study.inputs.table, study.inputs.levels, study.inputs.claims)
    rows = measured.rows.assign(class_accuracy_classifier64=best)
    view = view_classes(dataclasses.replace(measured, rows=rows), tmp_path / "levels.json", classes)
    assert (view and view.level) == level
    assert view is None or view.sentence.startswith("The classifier recognises too few reconstructions")


def test_class_accuracy_stands_at_the_head_where_a_classifier_gave_it(page: Page, tmp_path: Path) -> None:
    assert "Samples: amber." in page.text  # by the accuracy that the smallest variant has here
    assert "Samples:" not in render(make_study(tmp_path, features="inception"), tmp_path / "report.html").text


def test_levels_without_class_accuracy_are_refused(study: StudyFiles, tmp_path: Path) -> None:
    levels = read_json(study.inputs.levels)
    del levels["levels"]["reconstructions"]["class_accuracy_classifier64"]
    write_json(tmp_path / "levels.json", levels)
    with pytest.raises(UserError, match="lacks the class accuracy of reconstructions"):
        render(study, tmp_path / "report.html", levels=tmp_path / "levels.json")


def test_costs_follow_from_the_training_log(study: StudyFiles, page: Page) -> None:
    table = pd.read_parquet(study.inputs.table).query("guidance_scale == 1.0 and step == 5000").set_index("variant")
    costs = next(table for table in page.tables if "steps/s" in table[0])
    for variant, device, _, steps, images, compute, speed, utilisation in costs[1:]:
        seconds = table.loc[variant, "train_seconds"]
        assert steps == describe_number(5000 / seconds)
        assert images == describe_number(5000 * 16 / seconds)
        assert compute == describe_number(table.loc[variant, "train_gflops"])
        assert speed == describe_number(2 * table.loc[variant, "train_gflops"] / seconds)
        assert (device, utilisation) == ("AMD EPYC", "peak unknown")


def test_protocol_lines_facts_and_commands_are_there(page: Page) -> None:
    assert "Protocol: amber." in page.text
    rows = {row["setting"]: row for row in page.table("setting")}
    assert rows["batch size"]["here"] == "16"
    assert any("a test of reasons" in text for text in rows["batch size"].values())
    assert any("no reason given" in text for text in rows["warm-up"].values())
    assert [row["level"] for row in page.table("level")] == ["held-out images", "VAE reconstructions", "decoded noise"]
    facts = {
        row["fact"]: row["value"]
        for table in page.tables
        if table[0] == ["fact", "value"]
        for row in [dict(zip(table[0], cells, strict=True)) for cells in table[1:]]
    }
    assert facts["held-out PSNR (dB)"] == "24.40"
    assert facts["training images"] == "4,500 in all, 450 to 450 each"
    assert facts["git commit"] == "abc1234"
    commands = [row["command"] for row in page.table("to")]
    assert "snakemake --cores 2 --forcerun score" in commands
    assert any("results/synthetic/DiT-Nano-2/seed-0/step-5000/guidance-1.0/metrics.json" in text for text in commands)


def test_table_4_is_judged_beside_the_study(study: StudyFiles, page: Page) -> None:
    assert page.text.count("Claim 1. ") == 2
    assert "fid50k changes by" in page.text
    rows = {row[0]: row for table in page.tables if "Table 4" in table[0] for row in table[1:]}
    ours = {claim["claim"]: claim for claim in read_json(study.inputs.claims)["claims"]}
    for number, (_, statement, here, _, there, change) in rows.items():
        assert (statement, here) == (ours[number]["statement"], ours[number]["words"])
        conditional = "inconclusive; would be supported if runs scatter as published reproductions do (7.3%)"
        assert there == ("not testable" if number == "0" else conditional)
        assert change == ("–" if number == "0" else "-24% (-28% to -20%)" if number == "1" else "-48% (-51% to -44%)")


def test_table_4_is_judged_by_every_choice_of_the_spread(page: Page) -> None:
    rows = page.table("trainings that count")
    assert [row["spread"] for row in rows][:2] == ["7.3%", "4.0%"]
    assert {row["claim 1"] for row in rows} > {"supported", "inconclusive"}
    heads, *trainings = next(table for table in page.tables if "framework" in table[0])
    assert len(trainings) == 10
    for column in ("framework", "source"):
        assert all(row[heads.index(column)] for row in trainings)


def test_every_table_is_a_csv_beside_the_page_and_named_there(study: StudyFiles, page: Page) -> None:
    folder = study.inputs.table.parent / "tables"
    assert {path.stem for path in folder.iterdir()} == TABLES.keys()
    for name in TABLES:
        assert f"tables/{name}.csv" in page.text
        assert len(pd.read_csv(folder / f"{name}.csv").columns) >= 2
    variants = pd.read_csv(folder / "variants.csv").set_index("variant")
    table = pd.read_parquet(study.inputs.table).query("guidance_scale == 1.0 and step == 5000").set_index("variant")
    for column in ("gflops", "params_m", study.metric, "kid_classifier64"):
        np.testing.assert_allclose(variants[column], table.loc[variants.index, column], rtol=1e-12)
    pd.testing.assert_frame_equal(
        pd.read_csv(folder / "evaluations.csv"), pd.read_csv(study.inputs.table.with_suffix(".csv"))
    )


def test_checks_before_and_during_training_are_tables(study: StudyFiles, page: Page) -> None:
    checks = [(check["check"], check["margin"], check["outcome"]) for check in page.table("check")]
    assert checks == [("VAE input range", "–", "passed"), ("EMA moved", "+20.0%", "passed")]
    gate = next(table for table in page.tables if table[0][-1] == "page")[1]
    assert gate == [study.study.variants[0], "0", "100", "on track", "no fault", "EMA moved: +20.0%", "gate.html"]


def test_table_4_lists_its_unresolved_pairs_and_its_exceptions(study: StudyFiles, page: Page) -> None:
    folder = study.inputs.table.parent / "tables"
    pairs = pd.read_csv(folder / "table4-pairs.csv").set_index(["favoured", "other"])
    assert len(pairs) == 18 + 12 + 12
    for pair in (("DiT-L/8", "DiT-B/8"), ("DiT-XL/4", "DiT-L/4")):
        assert pairs.loc[pair, "outcome"] == "unresolved"
        assert any(tuple(row[1:4]) == (*pair, "unresolved") for table in page.tables for row in table)
    exceptions = pd.read_csv(folder / "table4-exceptions.csv")
    assert {("DiT-S/4", "DiT-B/8"), ("DiT-S/2", "DiT-L/8"), ("DiT-B/4", "DiT-XL/8")} <= set(
        zip(exceptions["better"], exceptions["worse"], strict=True)
    )
    correlations = pd.read_csv(folder / "table4-correlations.csv").set_index("key")["value"]
    assert correlations[["pearson_gflops", "pearson_params", "r2_gflops"]].round(3).tolist() == [-0.93, -0.471, 0.875]


def test_what_a_larger_budget_should_give_is_marked_as_extrapolated(study: StudyFiles, page: Page) -> None:
    final = read_measurements(study.inputs.table, study.inputs.levels, study.inputs.claims).final
    slope, intercept = np.polyfit(np.log(final["train_gflops"]), np.log(final["value"]), 1)
    rows = page.table("compute of the largest run")
    for row, times in zip(rows, (1, 2, 5, 10), strict=True):
        expected = np.exp(intercept + slope * np.log(times * final["train_gflops"].max()))
        assert row["compute of the largest run"] == f"x {times}"
        assert row["expected: Frechet distance on classifier features (64-d)"] == describe_number(expected)
        assert row["basis"] == ("extrapolated" if times > 1 else "within the data")


def test_published_fid_stands_beside_ours_only_at_the_papers_protocol(study: StudyFiles, page: Page) -> None:
    assert "No published FID stands beside these: not the paper's are data, horizontal flip, VAE" in page.text
    assert "published FID-50K" not in page.table("variant")[0]
    assert hindrances(study.study, compare_protocol(study.study, 5000))

    paper = study.study.model_validate_json(json.dumps(PAPER))
    assert hindrances(paper, compare_protocol(paper, 1_281_167)) == ()
    for change in ({"guidance_scales": (1.5,)}, {"steps": 50}, {"num_samples": 10_000}):
        other = paper.model_copy(update={"sampling": paper.sampling.model_copy(update=change)})
        assert len(hindrances(other, compare_protocol(other, 1_281_167))) == 1


def test_difference_from_the_published_fid(tmp_path: Path) -> None:
    paper = make_study(tmp_path, features="inception", variants=["DiT-S/4", "DiT-S/2", "DiT-Nano/2"])
    measured = read_measurements(paper.inputs.table, paper.inputs.levels, paper.inputs.claims)
    table = tabulate_variants(measured, beside_paper=True)
    rows = {row[0]: dict(zip([column.head for column in table.columns], row, strict=True)) for row in table.rows}
    ours = measured.final.set_index("variant")["value"]
    assert rows["DiT-S/4"]["published FID-50K"] == "100.41"
    assert rows["DiT-S/4"]["difference"] == f"{ours['DiT-S/4'] - 100.41:+.2f}"
    assert rows["DiT-Nano/2"]["difference"] == "not published"


def test_utilisation_is_the_rate_over_the_peak_of_a_known_device(tmp_path: Path) -> None:
    made = make_study(tmp_path, seeds=(0, 1))
    table = pd.read_parquet(made.inputs.table).assign(device="NVIDIA H200", train_seconds=10.0)
    table.to_parquet(made.inputs.table)
    costs = tabulate_costs(
        read_measurements(made.inputs.table, made.inputs.levels, made.inputs.claims), made.study
    ).data
    achieved = 6 * costs["train_gflops"] / 3 / 10  # forward and backward three passes, two operations a multiply-add
    np.testing.assert_allclose(costs["gflop_per_second"], achieved)
    np.testing.assert_allclose(costs["utilisation"], achieved / 67_000)
    assert peak_of("NVIDIA A100-SXM4-80GB", "bfloat16") == 312
    assert peak_of("NVIDIA H100 PCIe", "bfloat16") == 756
    assert peak_of("4 x NVIDIA H200", "bfloat16") == 4 * 989
    assert peak_of("NVIDIA GeForce RTX 4090", "bfloat16") is None
    assert peak_of("NVIDIA RTX A1000 Laptop GPU", "bfloat16") is None
    mixed = table["device"].where(table["seed"] == 0, "NVIDIA A100-SXM4-80GB")
    table.assign(device=mixed).to_parquet(made.inputs.table)
    costs = tabulate_costs(
        read_measurements(made.inputs.table, made.inputs.levels, made.inputs.claims), made.study
    ).data
    assert set(costs["devices"]) == {"NVIDIA A100-SXM4-80GB, NVIDIA H200"}
    assert costs["utilisation"].isna().all()


def test_wall_time_by_stage_sums_the_records_of_its_jobs(tmp_path: Path) -> None:
    (tmp_path / "train").mkdir()
    for name, seconds, memory in (("vae", 60.5, "512.25"), ("train/a", 100.0, "700"), ("train/b", 50.0, "NA")):
        (tmp_path / f"{name}.tsv").write_text(f"s\th:m:s\tmax_rss\n{seconds}\t0:01:00\t{memory}\n")
    stages = tabulate_stages(tmp_path).data.set_index("stage")
    assert list(stages.index) == ["vae", "train"]
    assert stages.loc["train"].tolist() == [2, 150.0, 100.0, 700.0]
    (tmp_path / "vae.tsv").write_text("nothing\n")
    with pytest.raises(UserError, match=r"vae\.tsv is no record"):
        tabulate_stages(tmp_path)


def test_everything_from_outside_is_escaped(tmp_path: Path) -> None:
    attack = "<script>alert('x')</script>"
    hostile = make_study(
        tmp_path,
        bottlenecks={"DiT-Nano/2": attack},
        class_names=[f"<img src=x onerror={digit}>" for digit in range(10)],
    )
    study = hostile.settings.study.model_copy(update={"study": attack})
    settings = hostile.settings.model_copy(update={"study": study})
    page = render(dataclasses.replace(hostile, settings=settings), tmp_path / "report.html")
    assert "script" not in page.tags
    assert f"{attack}: do the scaling claims" in page.text
    assert f"DiT-Nano/2: declared a bottleneck: {attack}" in page.text
    assert "x" not in page.references
    assert "<img src=x onerror=3>" in page.text


def test_several_seeds_show_mean_and_spread(tmp_path: Path) -> None:
    several = make_study(tmp_path, seeds=(0, 1, 2))
    page = render(several, tmp_path / "report.html")
    table = pd.read_parquet(several.inputs.table).query("guidance_scale == 1.0 and step == 5000")
    records = table[table["variant"] == "DiT-Mini/1"]
    row = next(row for row in page.table("variant") if row["variant"] == "DiT-Mini/1")
    assert row["seeds"] == "3"
    mean = np.exp(np.log(records["fd_classifier64"]).mean())
    assert row["Frechet distance on classifier features (64-d)"] == describe_number(mean)
    kid = records["kid_classifier64"]
    assert row["KID, classifier features (64-d)"] == f"{describe_number(kid.mean())} ± {describe_number(kid.std())}"
    assert "spread over training seeds" in page.text


def test_what_was_not_measured_is_said_so(tmp_path: Path) -> None:
    poor = make_study(tmp_path, features="inception")
    table = pd.read_parquet(poor.inputs.table).assign(train_seconds=np.nan)
    table.to_parquet(poor.inputs.table)
    write_json(poor.inputs.vae, {"source": "trained", "unknown_key": {"deep": 3}})
    page = render(poor, tmp_path / "report.html")
    row = page.table("variant")[0]
    assert row["class accuracy"] == MISSING
    assert "FID-1K" in row
    costs = next(table for table in page.tables if "steps/s" in table[0])
    assert {cells[2] for cells in costs[1:]} == {MISSING}
    assert f"held-out PSNR (dB){MISSING}" in page.text.replace(" ", " ")
    assert "unknown key.deep3" in page.text


def test_twelve_variants_of_large_noisy_samples_stay_below_ten_megabytes(tmp_path: Path) -> None:
    names = [f"DiT-{size}/{patch}" for size in ("S", "B", "L", "XL") for patch in (4, 2, 1)]
    large = make_study(tmp_path, variants=names, image_size=256, channels=3)
    page = render(large, tmp_path / "report.html")
    assert (tmp_path / "report.html").stat().st_size < 10e6
    assert sum(reference.startswith("data:image/jpeg") for reference in page.references) == 12


@pytest.mark.parametrize(
    "name",
    [
        field.name
        for field in dataclasses.fields(ReportInputs)
        if field.name not in ("gates", "figures", "samples", "times", "memorisation")
    ],
)
def test_missing_inputs_are_named(study: StudyFiles, tmp_path: Path, name: str) -> None:
    with pytest.raises(UserError, match="nowhere"):
        render(study, tmp_path / "report.html", **{name: tmp_path / "nowhere"})
    assert not (tmp_path / "report.html").exists()


def test_missing_lists_of_inputs_are_named(study: StudyFiles, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="one part of samples per variant"):
        render(study, tmp_path / "report.html", samples=study.inputs.samples[1:])
    with pytest.raises(UserError, match="nowhere"):
        render(study, tmp_path / "report.html", figures=[tmp_path / "nowhere.svg"])
    for broken in ([], {"claims": [{"claim": "1"}]}):
        write_json(tmp_path / "claims.json", broken)
        with pytest.raises(UserError, match=r"claims\.json"):
            render(study, tmp_path / "report.html", claims=tmp_path / "claims.json")


def test_samples_of_other_noise_are_refused(study: StudyFiles, tmp_path: Path) -> None:
    other = tmp_path / "part-00000.npz"
    write_samples(other, Samples(np.zeros((20, 32, 32, 1), np.uint8), np.ones(20, np.int64), np.arange(20)))
    with pytest.raises(UserError, match="share noise"):
        render(study, tmp_path / "report.html", samples=[*study.inputs.samples[:-1], other])


def test_settings_are_shown_as_they_are(study: StudyFiles, page: Page) -> None:
    shown = json.loads(next(piece for piece in page.pieces if piece.startswith('{\n  "study"')))
    assert shown == study.study.model_dump(mode="json")


def test_the_metrics_agreement_is_told(study: StudyFiles, page: Page) -> None:
    assert read_json(study.inputs.claims)["agreement"] in page.text
    rows = {row["metric"]: row for row in page.table("metric")}
    assert rows["fd_classifier64"]["beside the headline"] == "headline"
    assert rows["kid_classifier64"]["rank correlation"] == "1"
    assert rows["class_accuracy_classifier64"]["better"] == "higher"
    assert rows["precision_classifier64"]["rank correlation"] == "undefined"
    assert rows["kid_classifier64"]["pairs of claim 1"].endswith("of 6")


def test_memorisation_is_read_variant_by_variant(study: StudyFiles, page: Page) -> None:
    rows = next(table for table in page.tables if table[0][-1] == "z (Mann-Whitney)")[1:]
    assert [row[0] for row in rows] == list(study.study.variants)
    assert rows[0][2:6] == ["11.0%", "9.5% to 12.5%", "10.0%", "no sign of copying"]
    assert rows[-1][2:6] == ["6.0%", "4.5% to 7.5%", "10.0%", "nearer to training"]
    # Over six variants each interval is 1.346 times as wide, so that 8.0% and 2.0% are not beyond chance.
    assert "Samples of DiT-Mini/2, DiT-Mini/1 are nearer to training images than to unseen" in page.text
    assert "the nearest of 6.0% to 11.0% of the samples" in page.text
    assert "fewer than about 20% of the samples would not show" in page.text
    assert "4,500 training images (100% of them) and 500 held-out images (10% of all)" in page.text
    assert "DiT-Mini/1, the variant with the smallest share" in page.text


def test_too_few_held_out_images_show_no_copies(study: StudyFiles, tmp_path: Path) -> None:
    record = read_json(study.inputs.memorisation[0])
    record["held_out_share"] = {"share": 0.0, "expected": 0.0016, "low": 0.0, "high": 0.0025}
    write_json(tmp_path / "memorisation.json", record)
    shutil.copy(study.inputs.memorisation[0].with_suffix(".png"), tmp_path / "memorisation.png")
    page = render(study, tmp_path / "report.html", memorisation=[tmp_path / "memorisation.json"] * 6)
    assert "too few to show any copies" in page.text


def test_broken_records_of_memorisation_are_named(study: StudyFiles, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="nowhere"):
        paths = [tmp_path / "nowhere.json", *study.inputs.memorisation[1:]]
        render(study, tmp_path / "report.html", memorisation=paths)
    write_json(tmp_path / "memorisation.json", {"samples": 3})
    with pytest.raises(UserError, match="not records of memorisation"):
        paths = [tmp_path / "memorisation.json", *study.inputs.memorisation[1:]]
        render(study, tmp_path / "report.html", memorisation=paths)
