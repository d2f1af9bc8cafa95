"""The report: one file without a network, every number of it the table's, everything escaped."""

import dataclasses
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from dit_scaling.errors import UserError
from dit_scaling.files import read_json, write_json
from dit_scaling.report.numbers import MISSING, describe_number
from dit_scaling.report.page import ReportInputs, write_report
from dit_scaling.sampling.images import Samples, write_samples
from report_study import StudyFiles, make_study

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
    assert all(reference.startswith("data:") for reference in page.references)
    assert not {"script", "iframe", "object", "video", "audio"} & page.tags
    html = (study.inputs.table.parent / "report.html").read_text()
    assert "@import" not in html
    assert "url(" not in html
    assert "default-src 'none'" in html


def test_every_verdict_stands_with_its_reason(study: StudyFiles, page: Page) -> None:
    claims = read_json(study.inputs.claims)["claims"]
    assert {claim["claim"] for claim in claims} == {"0", "1", "2", "3"}
    for claim in claims:
        assert f"{claim['verdict']} Claim {claim['claim']}. {claim['statement']}.{claim['reason']}" in page.text


def test_every_pair_behind_a_verdict_is_listed(study: StudyFiles, page: Page) -> None:
    claim = next(claim for claim in read_json(study.inputs.claims)["claims"] if claim["claim"] == "1")
    rows = page.table("expected better")
    assert [(row["expected better"], row["expected worse"], row["outcome"]) for row in rows] == [
        (pair["favoured"], pair["other"], pair["outcome"]) for pair in claim["comparisons"]
    ]
    ratios = [np.exp(pair["effect"]) for pair in claim["comparisons"]]
    np.testing.assert_allclose([float(row["ratio"]) for row in rows], ratios, atol=5e-4)


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
        relative = 1.959964 * record["fd_classifier64_se"] / record["fd_classifier64"]
        ends = [describe_number(record["fd_classifier64"] * np.exp(sign * relative)) for sign in (-1, 1)]
        assert row["95% interval"] == " to ".join(ends)


def test_costs_follow_from_the_training_log(study: StudyFiles, page: Page) -> None:
    table = pd.read_parquet(study.inputs.table).query("guidance_scale == 1.0 and step == 5000").set_index("variant")
    costs = next(table for table in page.tables if "steps/s" in table[0])
    for variant, _, steps, images, compute, speed in costs[1:]:
        seconds = table.loc[variant, "train_seconds"]
        assert steps == describe_number(5000 / seconds)
        assert images == describe_number(5000 * 16 / seconds)
        assert compute == describe_number(table.loc[variant, "train_gflops"])
        assert speed == describe_number(table.loc[variant, "train_gflops"] / seconds)


def test_protocol_lines_facts_and_commands_are_there(page: Page) -> None:
    assert "Protocol: amber." in page.text
    assert any(row["setting"] == "batch size" and row["here"] == "16" for row in page.table("setting"))
    assert [row["line"] for row in page.table("line")] == ["held-out images", "VAE reconstructions", "decoded noise"]
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
    assert "snakemake --cores 2 --forcerun fid" in commands
    assert any("results/synthetic/DiT-Nano-2/seed-0/step-5000/guidance-1.0/metrics.json" in text for text in commands)


def test_table_4_is_judged_beside_the_study(page: Page) -> None:
    assert page.text.count("Claim 1. ") == 2
    assert "fid50k changes by" in page.text


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
    assert {cells[1] for cells in costs[1:]} == {MISSING}
    assert f"held-out PSNR (dB){MISSING}" in page.text.replace(" ", " ")
    assert "unknown key.deep3" in page.text


def test_twelve_variants_of_large_noisy_samples_stay_below_ten_megabytes(tmp_path: Path) -> None:
    names = [f"DiT-{size}/{patch}" for size in ("S", "B", "L", "XL") for patch in (4, 2, 1)]
    large = make_study(tmp_path, variants=names, image_size=256, channels=3)
    page = render(large, tmp_path / "report.html")
    assert (tmp_path / "report.html").stat().st_size < 10e6
    assert sum(reference.startswith("data:image/jpeg") for reference in page.references) == 12


@pytest.mark.parametrize(
    "name", [field.name for field in dataclasses.fields(ReportInputs) if field.name not in ("figures", "samples")]
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
