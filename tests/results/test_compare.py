"""Studies side by side: what differs, by how much, and whether that can be said at all."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from markupsafe import escape
from scipy import stats
from typer.testing import CliRunner

from dit_scaling.claims import evaluate_claims
from dit_scaling.cli import app
from dit_scaling.common.errors import UserError
from dit_scaling.common.files import write_json
from dit_scaling.common.pages import content_policy
from dit_scaling.config import parse_study
from dit_scaling.config.stages import AggregateSettings
from dit_scaling.report.compare_page import write_compare_page
from dit_scaling.results.compare import compare_studies, read_all
from dit_scaling.results.compare_text import describe_comparisons
from dit_scaling.results.finished_study import read_finished
from dit_scaling.variants import count_gflops, training_gflops

ROOT = Path(__file__).parents[2]
VARIANTS = ("DiT-Mini/1", "DiT-Mini/2", "DiT-Micro/1", "DiT-Micro/2")
SEEDS = (0, 1, 2, 3, 4, 5)
METRIC = "fd_classifier64"


def write_study(folder: Path, name: str, factor: float, spread: float = 0.02, **changes: Any) -> Path:
    """Results of a study whose distances are ``factor`` times those of another, but for the noise of its runs."""
    config = yaml.safe_load((ROOT / "config" / "config.yaml").read_text())
    config |= {"study": name, "variants": list(VARIANTS), "claims": {}}
    config["training"] |= {"seeds": list(SEEDS), "milestones": [5000], **changes.pop("training", {})}
    study = parse_study(config | changes.pop("config", {}))
    rng, rows = np.random.default_rng(len(name)), []
    for place, variant_name in enumerate(VARIANTS):
        variant = study.variant(variant_name)
        gflops = count_gflops(variant, study.latent_size, study.vae.latent_channels)
        for seed in SEEDS:
            for step in study.training.exports:
                images = step * study.training.batch_size
                rows.append(
                    {
                        "variant": variant.name,
                        "size": variant.size,
                        "patch": variant.patch,
                        "params_m": study.parameters(variant_name) / 1e6,
                        "gflops": gflops,
                        "seed": seed,
                        "step": step,
                        "guidance_scale": 1.0,
                        "train_gflops": training_gflops(gflops, images),
                        METRIC: factor * (10 + 5 * place) * (20_000 / step) * math.exp(rng.normal(0, spread)),
                        "n_samples": 1000,
                        "reference_sha256_classifier64": "ab" * 32,
                        "weights_sha256_classifier64": "cd" * 32,
                        "training_digest": f"{name}-{variant.name}",
                    }
                    | changes
                )
    results = folder / name
    results.mkdir()
    table = pd.DataFrame(rows)
    table.to_parquet(results / "metrics.parquet", index=False)
    write_json(results / "claims.json", evaluate_claims(table, METRIC).to_dict())
    write_json(results / "provenance.json", {"settings": AggregateSettings(evaluations=(), study=study).stored()})
    (results / "times").mkdir()
    (results / "times" / "vae.tsv").write_text("s\th:m:s\n7200\t2:00:00\n")
    return results


def test_a_difference_is_welchs_test_on_ln_metric(tmp_path: Path) -> None:
    first, other = (read_finished(write_study(tmp_path, name, factor)) for name, factor in (("a", 1.0), ("bb", 0.9)))
    found = compare_studies(first, other)
    last = [study.table[study.table["step"] == 10_000] for study in (first, other)]
    raw = []
    for row in found.at_end:
        ours, theirs = (np.log(table.loc[table["variant"] == row.variant, METRIC]) for table in last)
        test = stats.ttest_ind(theirs, ours, equal_var=False)
        interval = test.confidence_interval(0.95)
        assert row.change == pytest.approx(np.expm1(theirs.mean() - ours.mean()))
        assert (row.low, row.high) == pytest.approx((np.expm1(interval.low), np.expm1(interval.high)))
        assert row.beyond_noise
        raw.append(test.pvalue)
    # Holm: the least of m p-values is multiplied by m, and the largest by 1, or stays below a lesser one corrected.
    corrected = sorted(row.p for row in found.at_end)
    assert corrected[0] == pytest.approx(4 * min(raw))
    assert corrected == pytest.approx(np.maximum.accumulate(np.sort(raw) * [4, 3, 2, 1]))


def test_studies_with_one_beginning_are_told_apart(tmp_path: Path) -> None:
    names = ("embedded-confirm-1", "embedded-confirm-2")
    text = describe_comparisons(read_all([read_finished(write_study(tmp_path, name, 1.0)) for name in names]))
    (head,) = {line for line in text.splitlines() if line.startswith("variant")}
    assert head.split()[1:3] == list(names)


@pytest.mark.parametrize(("alpha", "level"), [(0.05, "95%"), (0.005, "99.5%")])
def test_intervals_are_named_by_their_level(tmp_path: Path, alpha: float, level: str) -> None:
    changes = {"config": {"claims": {"alpha": alpha}}}
    comparisons = read_all([read_finished(write_study(tmp_path, name, 1.0, **changes)) for name in ("a", "bb")])
    assert f"  {level} CI" in describe_comparisons(comparisons)
    write_compare_page(comparisons, tmp_path / "page.html")
    assert f"Intervals at {level}." in (tmp_path / "page.html").read_text()
    claims = evaluate_claims(comparisons[0].first.table, METRIC, alpha=alpha).claims
    assert f"({level} interval " in next(claim.reason for claim in claims if claim.claim == "1")


def test_equal_studies_differ_by_noise_alone(tmp_path: Path) -> None:
    studies = [read_finished(write_study(tmp_path, name, 1.0, spread=0.2)) for name in ("a", "bb")]
    found = compare_studies(*studies)
    assert len(found.at_end) == len(VARIANTS)
    assert not any(row.beyond_noise for row in found.at_end)
    assert found.settings == ()


def test_equal_compute_is_an_earlier_step_of_the_longer_study(tmp_path: Path) -> None:
    longer = {"steps": 20_000, "milestones": [10_000]}
    first = read_finished(write_study(tmp_path, "a", 1.0))
    other = read_finished(write_study(tmp_path, "longer", 1.0, training=longer))
    found = compare_studies(first, other)
    assert {(row.first_step, row.other_step, row.compute_ratio) for row in found.at_end} == {(10_000, 20_000, 2.0)}
    assert {(row.first_step, row.other_step) for row in found.at_equal_compute} == {(10_000, 10_000)}
    assert all(row.change == pytest.approx(-0.5, abs=0.05) for row in found.at_end)
    assert all(abs(row.change) < 0.05 for row in found.at_equal_compute)
    assert ("training.steps", "10000", "20000") in found.settings


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"n_samples": 500}, "samples"),
        ({"reference_sha256_classifier64": "ef" * 32}, "reference"),
        ({"weights_sha256_classifier64": "ef" * 32}, "weights of the features"),
    ],
)
def test_distances_of_different_yardsticks_are_not_compared(tmp_path: Path, changes: dict[str, Any], what: str) -> None:
    first, other = (
        read_finished(write_study(tmp_path, "a", 1.0)),
        read_finished(write_study(tmp_path, "b", 1.0, **changes)),
    )
    found = compare_studies(first, other)
    assert found.unsound == (what,)
    assert found.at_end == found.at_equal_compute == ()
    assert f"Distances are not compared, as they are measured with different {what} (" in describe_comparisons([found])


def test_variants_of_one_name_and_two_sizes_are_not_compared(tmp_path: Path) -> None:
    sizes = yaml.safe_load((ROOT / "config" / "config.yaml").read_text())["sizes"]
    sizes["Micro"]["depth"] += 1
    studies = [
        read_finished(write_study(tmp_path, name, 1.0, config=config))
        for name, config in (("a", {}), ("b", {"sizes": sizes}))
    ]
    found = compare_studies(*studies)
    assert found.namesakes == ("DiT-Micro/1", "DiT-Micro/2")
    assert [row.variant for row in found.at_end] == ["DiT-Mini/1", "DiT-Mini/2"]


def test_the_command_writes_a_table_a_page_and_json(tmp_path: Path) -> None:
    places = [str(write_study(tmp_path, name, factor)) for name, factor in (("one", 1.0), ("two", 0.5))]
    page = tmp_path / "page.html"
    told = CliRunner().invoke(app, ["compare", *places, "--page", str(page)])
    assert told.exit_code == 0, told.exception
    assert told.output.count("lower, beyond noise") == len(VARIANTS)
    assert "one (" in told.output
    assert "2 hours of jobs" in told.output
    html = page.read_text()
    assert html.count("lower, beyond noise") == len(VARIANTS)
    assert "<script" not in html
    style = html.split("<style>")[1].split("</style>")[0]
    assert str(escape(content_policy([style]))) in html
    assert "http" not in html.replace("http-equiv", "")
    record = json.loads(CliRunner().invoke(app, ["compare", *places, "--page", str(page), "--json"]).output)
    assert [study["study"] for study in record["studies"]] == ["one", "two"]
    rows = record["beside_the_first"][0]["at_end"]
    assert all(row["change"] == pytest.approx(-0.5, abs=0.05) for row in rows)


def test_studies_with_several_guidance_scales_are_compared_at_the_first(tmp_path: Path) -> None:
    for name in ("one", "two"):
        path = write_study(tmp_path, name, 1.0) / "metrics.parquet"
        table = pd.read_parquet(path)
        pd.concat([table, table.assign(guidance_scale=4.0)]).to_parquet(path, index=False)
    first, other = (read_finished(tmp_path / name) for name in ("one", "two"))
    assert set(first.table["guidance_scale"]) == {1.0}
    assert len(compare_studies(first, other).at_end) == len(VARIANTS)


def test_studies_without_a_common_variant_are_told_as_that(tmp_path: Path) -> None:
    for name, kept in (("one", VARIANTS[:2]), ("two", VARIANTS[2:])):
        path = write_study(tmp_path, name, 1.0) / "metrics.parquet"
        table = pd.read_parquet(path)
        table[table["variant"].isin(kept)].to_parquet(path, index=False)
    comparisons = read_all([read_finished(tmp_path / name) for name in ("one", "two")])
    told = describe_comparisons(comparisons)
    assert "No distance is compared: no variant is the same in both studies." in told
    assert "Noise: ." not in told
    assert "equal training compute" not in told
    write_compare_page(comparisons, tmp_path / "page.html")
    assert "no variant is the same in both studies" in (tmp_path / "page.html").read_text()


def test_one_study_is_no_comparison(tmp_path: Path) -> None:
    study = read_finished(write_study(tmp_path, "a", 1.0))
    with pytest.raises(UserError, match="two or more different studies"):
        read_all([study, study])


def test_a_study_that_is_not_finished_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"provenance.json does not exist: .* holds no finished study"):
        read_finished(tmp_path)
