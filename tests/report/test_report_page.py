"""The report: one file without a network, every number of it the table's, everything escaped."""

import base64
import dataclasses
import hashlib
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
from dit_scaling.common.words import of_all
from dit_scaling.paper.deviations import compare_protocol, hindrances
from dit_scaling.paper.published import reproduction_spread
from dit_scaling.plan.peaks import peak_of
from dit_scaling.report.captions import FIGURES, SECTIONS, TABLES
from dit_scaling.report.classes import view_classes
from dit_scaling.report.cost_tables import tabulate_costs, tabulate_stages
from dit_scaling.report.inputs import ReportInputs
from dit_scaling.report.measurements import read_measurements
from dit_scaling.report.numbers import MISSING, describe_distance, describe_number, describe_quantity, describe_spread
from dit_scaling.report.page import write_report
from dit_scaling.report.sentences import describe_change
from dit_scaling.report.study_tables import tabulate_variants
from dit_scaling.report.style import shorten
from dit_scaling.report.verdict_lines import describe_outcome
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
        self.classes: list[str] = []
        self.ids: list[str] = []
        self.labels: list[str] = []
        self.feed(html)
        self.close()
        assert not self.stack
        self.text = re.sub(r"\s+", " ", "".join(self.pieces))

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.classes += [name for key, value in attributes if key == "class" for name in (value or "").split()]
        self.ids += [value or "" for key, value in attributes if key == "id"]
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
        if {"style", "script"} & set(self.stack):
            return
        self.pieces.append(data)
        if self.stack and self.stack[-1] == "dt":
            self.labels.append(data)
        if self.stack and self.stack[-1] in ("td", "th", "b", "a", "span") and {"td", "th"} & set(self.stack):
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
    return make_study(tmp_path_factory.mktemp("study"))


@pytest.fixture(scope="module")
def page(study: StudyFiles) -> Page:
    return render(study, study.inputs.table.parent / "report.html")


def test_page_asks_for_nothing_outside(study: StudyFiles, page: Page) -> None:
    assert not {"iframe", "object", "video", "audio", "form"} & page.tags
    html = (study.inputs.table.parent / "report.html").read_text()
    assert not re.search(r'\ssrc="(?!data:)', html)
    assert "@import" not in html
    assert "url(" not in html
    assert not re.search(r'\sstyle="|\son[a-z]+="', html)  # the content policy would refuse them
    assert not [reference for reference in page.references if re.match(r"(?!data:)[a-z]+:|//", reference)]


@pytest.mark.usefixtures("page")
def test_style_and_script_stand_under_their_hash(study: StudyFiles) -> None:
    html = (study.inputs.table.parent / "report.html").read_text()
    (policy,) = re.findall(r'Content-Security-Policy" content="([^"]*)"', html)
    assert policy.startswith("default-src &#39;none&#39;")
    for tag in ("style", "script"):
        (content,) = re.findall(f"<{tag}>(.*?)</{tag}>", html, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert f"{tag}-src &#39;sha256-{digest}&#39;" in policy
    assert "unsafe" not in policy


def test_links_within_the_page_lead_somewhere_and_folds_say_what_they_hold(page: Page) -> None:
    inside = [reference[1:] for reference in page.references if reference.startswith("#")]
    assert set(inside) >= set(SECTIONS)
    assert set(inside) <= set(page.ids)
    assert len(page.ids) == len(set(page.ids))
    for title in (
        "All evaluations (24)",
        "Losses on held-out images (6)",
        "Wall time by stage (1)",
        "Versions and hashes (5)",
    ):
        assert title in page.text


def test_every_figure_is_drawn_with_its_finding_or_is_a_sentence(page: Page) -> None:
    for name, caption in FIGURES.items():
        if name != "samples" and caption.usual:
            assert f"figure-{name}" in page.ids, caption.title
            drawn = f"figures/{name}.csv" in page.references
            assert drawn != (f"{caption.title}. " in page.text)
    for name in ("families", "sampling-compute", "field"):  # one family, one sampling, no ImageNet: nothing to say
        assert f"figure-{name}" not in page.ids
    assert "Mini/1: " in page.text  # titles of points: values without a script
    assert "95% interval" in page.text


def test_every_claim_that_was_tested_stands_first_with_its_number(study: StudyFiles, page: Page) -> None:
    claims = {claim["claim"]: claim for claim in read_json(study.inputs.claims)["claims"]}
    assert "Claim 0" not in page.text.split("Scaling", 1)[0]  # no U-Net was run
    first = page.text[: page.text.index("Preflight and gates")]
    for number in ("1", "2"):
        percent = f"{abs(100 * math.expm1(claims[number]['effect'])):.0f}% lower distance on average (95% CI "
        assert percent in first
        assert f"Claim {number}: " in first
    assert first.count("The condition: runs scatter as published reproductions do") == 1
    for dialect in ("resolved alone", "lower metric", "joint evidence", study.metric, "R^2"):
        assert dialect not in page.text.replace(f"{study.metric}.", "")


def test_a_condition_asks_for_more_seeds_where_several_were_too_few(study: StudyFiles, tmp_path: Path) -> None:
    few = make_study(tmp_path, seeds=(0, 1), variants=["DiT-Nano/2", "DiT-Micro/2"])
    told = "It was not measured here. Train {} seeds to measure it."
    for made, seeds in ((few, "more"), (study, "several")):
        assert told.format(seeds) in render(made, tmp_path / "report.html").text


def test_the_terminal_tells_the_verdicts_in_the_sentences_of_the_page(study: StudyFiles, page: Page) -> None:
    outcome, *lines, condition = describe_outcome(study.inputs.claims, study.study.variants)
    assert outcome.removesuffix(".") in page.text
    assert condition in page.text
    assert len(lines) == 3  # no U-Net was run
    for line in lines:
        found = re.fullmatch(r"Claim \d \(\w+\): ([a-z ]+)\. (.*)", line)
        assert found
        assert found[1] in {claim["verdict"] for claim in read_json(study.inputs.claims)["claims"]}
        assert found[2] in page.text


def test_no_table_has_a_head_only_and_no_label_is_a_key(study: StudyFiles, page: Page) -> None:
    assert all(len(table) > 1 for table in page.tables)
    assert "(0)" not in page.text
    heads = [head for table in page.tables for head in table[0]]
    assert [label for label in (*heads, *page.labels) if re.search(r"[a-z]_[a-z]|[a-z]\.[a-z]", label)] == []
    assert len(page.labels) > 15
    html = (study.inputs.table.parent / "report.html").read_text()
    assert "text-transform" not in html  # it made "Seed 0, Step 250"


def test_every_comparison_behind_a_verdict_is_listed(study: StudyFiles, page: Page) -> None:
    found = [row[:4] for table in page.tables if table[0][:2] == ["Claim", "Expected better"] for row in table[1:]]
    for claim in read_json(study.inputs.claims)["claims"]:
        for pair in claim["comparisons"]:
            names = [pair[key].removeprefix("DiT-") for key in ("favoured", "other")]
            assert [claim["claim"], *names, describe_change(pair["effect"])] in found


def test_variants_table_is_the_parquet(study: StudyFiles, page: Page) -> None:
    table = pd.read_parquet(study.inputs.table).query("guidance_scale == 1.0 and step == 5000").set_index("variant")
    rows = page.table("Variant")
    assert sorted(row["Variant"] for row in rows) == sorted(name[4:] for name in study.study.variants)
    for row in rows:
        record = table.loc[f"DiT-{row['Variant']}"]
        assert row["Params (k)"] == describe_quantity(1000 * record["params_m"])
        assert row["Mflops"] == describe_quantity(1000 * record["gflops"])
        assert row["Tokens"] == f"{record['tokens']}"
        assert row["Fréchet distance"] == describe_distance(record["fd_classifier64"])
        assert row["KID"] == describe_number(record["kid_classifier64"])
        assert row["Class accuracy"] == describe_number(record["class_accuracy_classifier64"])
        assert (row["Precision"], row["Recall"]) == ("0.5", "0.25")
        sd = math.hypot(record["fd_classifier64_se"] / record["fd_classifier64"], reproduction_spread().sd)
        relative = stats.t.isf(0.025, reproduction_spread().df) * sd
        ends = [describe_distance(record["fd_classifier64"] * np.exp(sign * relative)) for sign in (-1, 1)]
        assert row["95% interval"] == " to ".join(ends)


@pytest.mark.parametrize(("accuracy", "level"), [(0.12, "amber"), (0.49, "amber"), (0.51, "green")])
def test_a_variant_whose_samples_show_no_class_is_named(study: StudyFiles, accuracy: float, level: str) -> None:
    measured = read_measurements(study.inputs.table, study.inputs.levels, study.inputs.claims)
    scores = [accuracy if name == "DiT-Nano/2" else 0.8 for name in measured.rows["variant"]]
    rows = measured.rows.assign(class_accuracy_classifier64=scores)
    view = view_classes(
        dataclasses.replace(measured, rows=rows), study.inputs.levels, 10, shorten(study.study.variants)
    )
    assert view is not None
    assert view.level == level
    assert view.sentence.startswith("Most samples of Nano/2 do not") is (level == "amber")
    assert f"{accuracy:.0%} to 80%" in view.sentence
    assert "90% of reconstructions do, 10% by chance" in view.sentence


@pytest.mark.parametrize(("classes", "best", "level"), [(1, 1.0, None), (10, 0.1, "amber"), (10, 0.54, "amber")])
def test_a_classifier_that_tells_nothing_says_so(
    study: StudyFiles, classes: int, best: float, level: str | None, tmp_path: Path
) -> None:
    levels = read_json(study.inputs.levels)
    levels["levels"]["reconstructions"]["class_accuracy_classifier64"] = best
    write_json(tmp_path / "levels.json", levels)
    measured = read_measurements(study.inputs.table, study.inputs.levels, study.inputs.claims)
    rows = measured.rows.assign(class_accuracy_classifier64=best)
    view = view_classes(
        dataclasses.replace(measured, rows=rows), tmp_path / "levels.json", classes, shorten(study.study.variants)
    )
    assert (view and view.level) == level
    assert view is None or view.sentence.startswith("The classifier recognises too few reconstructions")


def test_class_accuracy_stands_at_the_head_where_a_classifier_gave_it(page: Page, tmp_path: Path) -> None:
    assert "alarm" in page.classes
    assert "Samples: Most samples of" in page.text  # by the accuracy that the smallest variant has here
    assert "Samples: Most" not in render(make_study(tmp_path, features="inception"), tmp_path / "report.html").text


def test_levels_without_class_accuracy_are_refused(study: StudyFiles, tmp_path: Path) -> None:
    levels = read_json(study.inputs.levels)
    del levels["levels"]["reconstructions"]["class_accuracy_classifier64"]
    write_json(tmp_path / "levels.json", levels)
    with pytest.raises(UserError, match="lacks the class accuracy of reconstructions"):
        render(study, tmp_path / "report.html", levels=tmp_path / "levels.json")


def test_costs_follow_from_the_training_log(study: StudyFiles, page: Page) -> None:
    table = pd.read_parquet(study.inputs.table).query("guidance_scale == 1.0 and step == 5000").set_index("variant")
    costs = next(table for table in page.tables if "Steps/s" in table[0])
    for name, device, _, steps, images, compute, speed, utilisation in costs[1:]:
        variant = f"DiT-{name}"
        seconds = table.loc[variant, "train_seconds"]
        assert steps == describe_number(5000 / seconds)
        assert images == describe_number(5000 * 16 / seconds)
        assert compute == describe_number(table.loc[variant, "train_gflops"])
        assert speed == describe_number(2 * table.loc[variant, "train_gflops"] / seconds)
        assert (device, utilisation) == ("AMD EPYC", "peak unknown")


def test_settings_facts_and_commands_are_there(page: Page) -> None:
    rows = {row[0]: row for table in page.tables if table[0][0] == "Setting" for row in table[1:]}
    assert f"of {len(rows)} settings differ from the paper" in page.text
    assert rows["Batch size"][1:4] == ["16", "256", "a test of reasons"]
    assert rows["Warm-up"][3] == "no reason given"
    assert [row["Level"] for row in page.table("Level")] == ["held-out images", "VAE reconstructions", "decoded noise"]
    for fact, value in (
        ("Held-out PSNR (dB)", "24.40"),
        ("Training images", "4,500 in all, 450 to 450 each"),
        ("Git commit", "abc1234"),
    ):
        assert f"{fact}{value}" in page.text
    commands = [row["Command"] for row in page.table("To")]
    assert "snakemake --cores 2 --forcerun score" in commands
    assert any("results/synthetic/DiT-Nano-2/seed-0/step-5000/guidance-1.0/metrics.json" in text for text in commands)


def test_table_4_is_judged_beside_the_study(study: StudyFiles, page: Page) -> None:
    ours = {claim["claim"]: claim for claim in read_json(study.inputs.claims)["claims"]}
    rows = {row[0][0]: row for table in page.tables if "Table 4" in table[0] for row in table[1:]}
    assert rows.keys() == ours.keys()
    for number, (_, here, _, there, change) in rows.items():
        supposed = ours[number]["would_be"]
        assert here == (f"open; would be {supposed}" if supposed else ours[number]["words"])
        assert there == ("not testable" if number == "0" else "open; would be supported")
        assert change == ("–" if number == "0" else "−24% (−28% to −20%)" if number == "1" else "−48% (−51% to −44%)")
    assert "Larger models had a 24% lower distance on average (95% CI 20 to 28%)." in page.text


def test_table_4_is_judged_by_every_choice_of_the_spread(page: Page) -> None:
    rows = page.table("Trainings that count")
    assert [row["Spread"] for row in rows][:2] == ["7.3%", "4.0%"]
    assert {row["Claim 1"] for row in rows} > {"supported", "inconclusive"}
    heads, *trainings = next(table for table in page.tables if "Framework" in table[0])
    assert len(trainings) == 10
    for column in ("Framework", "Source"):
        assert all(row[heads.index(column)] for row in trainings)


def test_every_table_is_a_csv_beside_the_page_and_named_there(study: StudyFiles, page: Page) -> None:
    folder = study.inputs.table.parent / "tables"
    assert {path.stem for path in folder.iterdir()} == TABLES.keys()
    for name in TABLES:
        assert name == "verdicts" or f"tables/{name}.csv" in page.references
        assert len(pd.read_csv(folder / f"{name}.csv").columns) >= 2
    variants = pd.read_csv(folder / "variants.csv").set_index("variant")
    table = pd.read_parquet(study.inputs.table).query("guidance_scale == 1.0 and step == 5000").set_index("variant")
    for column in ("gflops", "params_m", study.metric, "kid_classifier64"):
        np.testing.assert_allclose(variants[column], table.loc[variants.index, column], rtol=1e-12)
    pd.testing.assert_frame_equal(
        pd.read_csv(folder / "evaluations.csv"), pd.read_csv(study.inputs.table.with_suffix(".csv"))
    )


def test_checks_before_and_during_training_are_tables(page: Page) -> None:
    checks = [(check["Check"], check["Margin"], check["Outcome"]) for check in page.table("Check")]
    assert checks == [("VAE input range", "–", "passed"), ("EMA moved", "+20.0%", "passed")]
    gate = next(table for table in page.tables if table[0][-1] == "Nearest to its limit")[1]
    assert gate == ["Nano/2", "0", "100", "on track", "no fault", "EMA moved: +20.0%"]
    assert "gate.html" in page.references


def test_table_4_lists_its_unresolved_pairs_and_its_exceptions(study: StudyFiles, page: Page) -> None:
    folder = study.inputs.table.parent / "tables"
    pairs = pd.read_csv(folder / "table4-pairs.csv").set_index(["favoured", "other"])
    assert len(pairs) == 18 + 12 + 12
    for pair in (("DiT-L/8", "DiT-B/8"), ("DiT-XL/4", "DiT-L/4")):
        assert pairs.loc[pair, "outcome"] == "unresolved"
        assert any(
            (*row[1:3], row[4]) == (*pair, "within noise") for table in page.tables for row in table if len(row) > 4
        )
    exceptions = pd.read_csv(folder / "table4-exceptions.csv")
    assert {("DiT-S/4", "DiT-B/8"), ("DiT-S/2", "DiT-L/8"), ("DiT-B/4", "DiT-XL/8")} <= set(
        zip(exceptions["better"], exceptions["worse"], strict=True)
    )
    correlations = pd.read_csv(folder / "table4-correlations.csv").set_index("key")["value"]
    assert correlations[["pearson_gflops", "pearson_params", "r2_gflops"]].round(3).tolist() == [-0.93, -0.471, 0.875]


def test_what_a_larger_budget_should_give_is_marked_as_extrapolated(study: StudyFiles, page: Page) -> None:
    final = read_measurements(study.inputs.table, study.inputs.levels, study.inputs.claims).final
    slope, intercept = np.polyfit(np.log(final["train_gflops"]), np.log(final["value"]), 1)
    rows = page.table("Compute of the largest run")
    for row, times in zip(rows, (1, 2, 5, 10), strict=True):
        expected = np.exp(intercept + slope * np.log(times * final["train_gflops"].max()))
        assert row["Compute of the largest run"] == f"x {times}"
        assert row["Expected distance"] == describe_distance(expected)
        assert row["Basis"] == ("extrapolated" if times > 1 else "within the data")


def test_published_fid_stands_beside_ours_only_at_the_papers_protocol(study: StudyFiles, page: Page) -> None:
    assert "No published FID stands beside these: not the paper’s are data, horizontal flip, VAE" in page.text
    assert "Published FID-50K" not in page.table("Variant")[0]
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
    stages = tabulate_stages(tmp_path).data.set_index("part").drop(columns="stage")
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
    assert (tmp_path / "report.html").read_text().count("<script") == 1
    assert f"{attack}: a scaling study" in page.text
    assert f"Nano/2 (declared a bottleneck: {attack})" in page.text
    assert "x" not in page.references
    assert "<img src=x onerror=3>" in page.text


def test_several_seeds_show_mean_and_spread(tmp_path: Path) -> None:
    several = make_study(tmp_path, seeds=(0, 1, 2))
    page = render(several, tmp_path / "report.html")
    table = pd.read_parquet(several.inputs.table).query("guidance_scale == 1.0 and step == 5000")
    records = table[table["variant"] == "DiT-Mini/1"]
    row = next(row for row in page.table("Variant") if row["Variant"] == "Mini/1")
    assert "6 variants × 3 seeds × 5,000 steps" in page.text
    assert "seeds " in page.text  # of each point
    mean = np.exp(np.log(records["fd_classifier64"]).mean())
    assert row["Fréchet distance"] == describe_distance(mean)
    kid = records["kid_classifier64"]
    assert row["KID"] == f"{describe_number(kid.mean())} ± {describe_spread(kid.std())}"
    assert "spread over training seeds" in page.text


def test_what_was_not_measured_is_said_so(tmp_path: Path) -> None:
    poor = make_study(tmp_path, features="inception")
    table = pd.read_parquet(poor.inputs.table).assign(train_seconds=np.nan)
    table.to_parquet(poor.inputs.table)
    write_json(poor.inputs.vae, {"source": "trained", "unknown_key": {"deep": 3}})
    page = render(poor, tmp_path / "report.html")
    assert "FID-1K" in page.table("Variant")[0]
    assert re.search(r"Not measured: [^.]*class accuracy", page.text)
    costs = next(table for table in page.tables if "Steps/s" in table[0])
    assert {cells[2] for cells in costs[1:]} == {MISSING}
    assert f"Held-out PSNR (dB){MISSING}" in page.text
    assert "Unknown key: deep3" in page.text


@pytest.mark.slow
def test_twelve_variants_of_large_noisy_samples_stay_below_ten_megabytes(tmp_path: Path) -> None:
    names = [f"DiT-{size}/{patch}" for size in ("S", "B", "L", "XL") for patch in (4, 2, 1)]
    large = make_study(tmp_path, variants=names, image_size=256, channels=3)
    page = render(large, tmp_path / "report.html")
    assert (tmp_path / "report.html").stat().st_size < 10e6
    assert sum(reference.startswith("data:image/jpeg") for reference in page.references) >= 12


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
    rows = {row["Metric"]: row for row in page.table("Metric")}
    assert len(rows) == len(pd.read_csv(study.inputs.agreement))
    kid = rows["KID, classifier features (64-d)"]
    assert next(iter(rows.values()))["Beside the headline"] == "headline"
    assert kid["Rank correlation"] == "1"
    assert rows["class accuracy"]["Better"] == "higher"
    assert rows["precision"]["Rank correlation"] == "undefined"
    assert kid["Agree on claim 1"].endswith("of 6")
    others = pd.read_csv(study.inputs.agreement).iloc[1:]
    agree = of_all(int((others["agreement"] == "agrees").sum()), len(others), "other metric")
    assert f"Do other metrics agree? {agree.capitalize()} order the variants as the distance does" in page.text


def test_memorisation_is_read_variant_by_variant(study: StudyFiles, page: Page) -> None:
    rows = next(table for table in page.tables if table[0][-1] == "z (Mann-Whitney)")[1:]
    assert [f"DiT-{row[0]}" for row in rows] == list(study.study.variants)
    assert rows[0][2:6] == ["11.0%", "9.5% to 12.5%", "10.0%", "no sign of copying"]
    assert rows[-1][2:6] == ["6.0%", "4.5% to 7.5%", "10.0%", "nearer to training"]
    # Over six variants each interval is 1.346 times as wide, so that 8.0% and 2.0% are not beyond chance.
    assert "Samples of Mini/2 and Mini/1 are nearer to training images than to unseen" in page.text
    assert "the nearest of 6.0% to 11.0% of the samples" in page.text
    assert "fewer than about 20% of the samples would not show" in page.text
    assert "4,500 training images (100% of them) and 500 held-out images (10% of all)" in page.text
    assert "Mini/1, the variant with the smallest share" in page.text


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


def test_faults_stand_first_and_are_not_among_what_is_fine(study: StudyFiles, tmp_path: Path) -> None:
    gate = read_json(study.inputs.gates[0])
    write_json(tmp_path / "gate.json", gate | {"status": "broken", "reason": "the average does not move."})
    check = {"name": "EMA", "value": "0", "expected": "1", "passed": False, "meaning": "frozen"}
    write_json(tmp_path / "preflight.json", {"checks": [check]})
    page = render(
        study, tmp_path / "report.html", gates=[tmp_path / "gate.json"], preflight=tmp_path / "preflight.json"
    )
    outcome = page.text.index("a scaling study of Diffusion Transformers")
    for fault in ("1 of 1 run is broken.", "Broken: Nano/2, seed 0. At step 100: the average", "EMA: 0, expected 1."):
        assert page.text.index(fault) < outcome
    assert page.references.count("gate.html") == 2  # beside the fault and in the table of gates
    assert "no fault found" not in page.text


def test_a_study_without_gates_is_told_so_without_an_alarm(study: StudyFiles, tmp_path: Path) -> None:
    page = render(study, tmp_path / "report.html", gates=[])
    assert "Gates are off: nobody looked at the runs" in page.text
    assert "Preflight: no fault found" in page.text
