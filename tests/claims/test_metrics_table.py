"""Tables of metrics: what is read, and what is refused with a message that helps."""

import json
from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner

from dit_scaling.claims import evaluate_claims, read_metrics_table
from dit_scaling.claims.metrics_table import at_common_step, find_metric
from dit_scaling.cli.commands import app
from dit_scaling.common.errors import UserError
from dit_scaling.paper.published import table4

HEADER = "variant,size,patch,params_m,gflops,fid50k"
S8, S4 = "DiT-S/8,S,8,33,0.36,153.6", "DiT-S/4,S,4,33,1.41,100.41"


def write(tmp_path: Path, *lines: str) -> Path:
    path = tmp_path / "metrics.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


def test_csv_with_comments_and_parquet_give_one_table(tmp_path: Path) -> None:
    csv = write(tmp_path, "# where it is from, with 1, 2 commas", HEADER, S8, "# between", S4)
    from_csv = read_metrics_table(csv)
    parquet = tmp_path / "metrics.parquet"
    from_csv.to_parquet(parquet)
    pd.testing.assert_frame_equal(read_metrics_table(parquet), from_csv)
    assert from_csv["fid50k"].tolist() == [153.6, 100.41]


def test_sizes_that_look_like_numbers_stay_text(tmp_path: Path) -> None:
    assert read_metrics_table(write(tmp_path, HEADER, "DiT-1/8,1,8,33,0.36,153.6"))["size"].tolist() == ["1"]


def test_a_unet_needs_no_patch(tmp_path: Path) -> None:
    table = read_metrics_table(write(tmp_path, HEADER, S8, "UNet-M,M,,90,6.0,70"))
    assert table["patch"].isna().tolist() == [False, True]


def test_what_belongs_to_a_metric_is_no_metric_of_its_own(tmp_path: Path) -> None:
    header = HEADER.replace("fid50k", "fd_digits,fd_digits_se,fd_digits_bias")
    table = read_metrics_table(write(tmp_path, header, "DiT-S/8,S,8,33,0.36,153,1,2"))
    assert find_metric(table) == "fd_digits"


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["variant,size,patch,gflops,fid50k", "DiT-S/8,S,8,0.36,153"], "missing column params_m"),
        (["variant,size,patch,params_m,gflops", "DiT-S/8,S,8,33,0.36"], "no metric column"),
        ([HEADER.replace("fid50k", "fid_a,fid_b"), S8 + ",1"], "several metrics"),
        ([HEADER], "no rows"),
        ([""], "is no table"),
        ([HEADER, S8, S4 + ",7,8,9"], "is no table"),
        ([HEADER, S8, "DiT-S/4,S,4,33,1.41,good"], r"'fid50k' is not a finite number in data row 2 \(DiT-S/4: good\)"),
        ([HEADER, "DiT-S/4,S,4,33,1.41,"], "'fid50k' is not a finite number in data row 1"),
        ([HEADER, "DiT-S/4,S,4,33,1.41,nan"], "'fid50k' is not a finite number"),
        ([HEADER, "DiT-S/4,S,4,33,1.41,inf"], "'fid50k' is not a finite number"),
        ([HEADER, "DiT-S/4,S,4,33,1.41,-3"], "'fid50k' is not positive"),
        ([HEADER, "DiT-S/4,S,4,33,1.41,0"], "'fid50k' is not positive"),
        ([HEADER, "DiT-S/4,S,4,0,1.41,3"], "'params_m' is not positive"),
        ([HEADER, "DiT-S/4,S,4,33,?,3"], "'gflops' is not a finite number"),
        ([HEADER, "DiT-S/4,S,2.5,33,1.41,3"], "'patch' is not a positive integer"),
        ([HEADER, "DiT-S/4,S,0,33,1.41,3"], "'patch' is not a positive integer"),
        ([HEADER, "DiT-S/4,S,,33,1.41,3"], "'patch' is not a positive integer"),
        ([HEADER, "DiT-S/4,,4,33,1.41,3"], "'size' is empty"),
        ([HEADER, ",S,4,33,1.41,3"], "'variant' is empty"),
        ([HEADER, S8, S8], "more than one row for variant DiT-S/8"),
        ([HEADER + ",seed", S8 + ",1", S8 + ",1"], "more than one row for variant DiT-S/8, seed 1"),
        ([HEADER + ",seed", S8 + ",1", S8 + ","], "'seed' is empty in data row 2"),
        ([HEADER + ",seed", S8 + ",1", S8.replace(",S,", ",B,") + ",2"], r"DiT-S/8 has more than one size \(B, S\)"),
        ([HEADER + ",seed", S8 + ",1", S8.replace("33", "34") + ",2"], "DiT-S/8 has more than one params_m"),
        ([HEADER, S8, S8.replace("DiT-S/8", "DiT-S/8b")], "share family, size and patch"),
        ([HEADER + ",fid50k_se", S8 + ",-1"], "'fid50k_se' is negative or no number"),
        ([HEADER + ",fid50k_se", S8 + ",many"], "'fid50k_se' is negative or no number"),
        ([HEADER + ",tokens", S8 + ",-1"], "'tokens' is not a positive integer"),
        ([HEADER + ",fid50k", S8 + ",1"], "'fid50k' stands there twice"),
        ([HEADER + ", FID50K ", S8 + ",1"], "'fid50k' stands there twice"),
        ([HEADER, S8.replace(",S,", ",B,")], "name DiT-S/8 says another size or patch"),
        ([HEADER, S8.replace(",8,", ",4,")], "name DiT-S/8 says another size or patch"),
        ([HEADER + ",step", S8 + ",400K"], "'step' is not a whole number"),
        ([HEADER + ",step", S8 + ",80000.5"], "'step' is not a whole number"),
        ([HEADER + ",step,steps", S8 + ",400000,80000"], "'steps' is another number than column 'step'"),
        ([HEADER + ",seed", S8 + ",first"], "'seed' is not a whole number"),
        ([HEADER + ",n_samples", S8 + ",10000"], "'n_samples' is another number than that in the name fid50k"),
        ([HEADER + ",guidance_scale", S8 + ",1", S4 + ","], "'guidance_scale' is unknown or no number in data row 2"),
        ([HEADER + ",guidance_scale", S8 + ",none"], "'guidance_scale' is unknown or no number"),
        ([HEADER + ",sampler", S8 + ",ddpm", S4 + ","], "'sampler' is empty in data row 2"),
        ([HEADER, S8.replace("153.6", "2024-05-01")], "'fid50k' is not a finite number"),
        ([HEADER, S8.replace("153.6", "45413")], r"over 5000, which no FID is \(a date\?\)"),
        ([HEADER, S8.replace("153.6", "True")], "'fid50k' is not a finite number"),
        ([HEADER, S8.replace("0.36,", "363e6,")], "'gflops' is over 1e[+]06"),
        ([HEADER, S8.replace("0.36,", "363,")], "'gflops' is 1000 times the known Gflops of DiT-S/8"),
        ([HEADER, S8.replace("33,", "33000000,")], "'params_m' is over 1e[+]06"),
        (
            [HEADER, S8.replace("0.36", "0.727"), S4],
            "2 times the known Gflops of DiT-S/8, as FLOPs .* while others agree",
        ),
        ([HEADER, S8.replace("0.36", "3"), S4], "DiT-S/4 has 1.41 Gflops and DiT-S/8 3, though its patch is smaller"),
        ([HEADER, S8.replace("0.36", "9"), "DiT-B/8,B,8,131,8,122"], "DiT-B/8 has 8 .*it is larger at the same patch"),
        ([HEADER + ",tokens", S8 + ",16", S4 + ",16"], "DiT-S/8 and DiT-S/4 latents of different sizes"),
        (
            [HEADER.replace(",", ";"), S8.replace(",", ";"), "DiT-S/4;S;4;33;1,410;100"],
            "comma may part decimals or thou",
        ),
    ],
)
def test_bad_tables_are_refused_with_place_and_remedy(tmp_path: Path, lines: list[str], message: str) -> None:
    path = write(tmp_path, *lines)
    with pytest.raises(UserError, match=message) as refusal:
        read_metrics_table(path)
    assert str(path) in str(refusal.value)


def test_unreadable_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="does not exist"):
        read_metrics_table(tmp_path / "absent.csv")
    with pytest.raises(UserError, match="cannot be read"):
        read_metrics_table(tmp_path)
    binary = tmp_path / "table.csv"
    binary.write_bytes(b"\xff\xfe\x00\x81")
    with pytest.raises(UserError, match="is no table"):
        read_metrics_table(binary)
    parquet = tmp_path / "table.parquet"
    parquet.write_bytes(b"PAR0")
    with pytest.raises(UserError, match="is no table"):
        read_metrics_table(parquet)


def test_the_metric_is_fid50k_or_the_only_one_or_the_named_one() -> None:
    table = table4()
    assert find_metric(table) == "fid50k"
    digits = table.rename(columns={"fid50k": "fd_digits"}).assign(fd_digits_se=1.0)
    assert find_metric(digits) == "fd_digits"
    assert find_metric(digits.assign(ours=1.0), "ours") == "ours"
    with pytest.raises(UserError, match="no column 'kid'"):
        find_metric(digits, "kid")


def test_variants_of_different_guidance_scales_are_not_left_out_but_refused(tmp_path: Path) -> None:
    mixed = read_metrics_table(write(tmp_path, f"{HEADER},guidance_scale", f"{S8},1.0", f"{S4},4.0"))
    assert len(mixed) == 2
    with pytest.raises(UserError, match="mixes protocols: guidance_scale"):
        evaluate_claims(mixed)


def test_the_command_says_which_guidance_scale_is_judged(tmp_path: Path) -> None:
    whole = pd.concat([table4().assign(guidance_scale=scale) for scale in (1.0, 4.0)])
    whole.to_csv(tmp_path / "metrics.csv", index=False)
    command = ["claims", str(tmp_path / "metrics.csv")]
    assert "Guidance scale: 1.\n" in CliRunner().invoke(app, command).output
    assert "Guidance scale: 4.\n" in CliRunner().invoke(app, [*command, "--guidance-scale", "4"]).output
    assert json.loads(CliRunner().invoke(app, [*command, "--json"]).output)["guidance_scale"] == 1.0


@pytest.mark.parametrize(
    ("column", "message"),
    [
        ("inception_score", "Inception score, where higher is better"),
        ("Recall", "recall, where higher is better"),
        ("precision_x8", "precision, where higher is better"),
        ("class_accuracy_x8", "class accuracy, where higher is better"),
        ("coverage_x8", "coverage, where higher is better"),
        ("fid50k_se", "the standard error of one, and no metric"),
        ("patch", "what a row is of, and no metric"),
        ("gflops", "what a row is of, and no metric"),
        ("seed", "what a row is of, and no metric"),
    ],
)
def test_only_distances_are_judged(column: str, message: str) -> None:
    table = table4().assign(seed=0)
    table = table if column in table else table.assign(**{column.lower(): 1.5})
    with pytest.raises(UserError, match=message):
        evaluate_claims(table, column)


def test_milestones_are_judged_at_the_last_common_step() -> None:
    final = table4().drop(columns="steps").assign(step=400_000)
    early = final.assign(step=50_000, fid50k=200.0)
    unfinished = pd.concat([early, final.query("variant != 'DiT-XL/2'")])
    rows, note = at_common_step(unfinished)
    assert set(rows["step"]) == {50_000}
    assert note is not None
    assert "11 other rows unused" in note
    report = evaluate_claims(pd.concat([early, final]))
    assert report["1"].effect == evaluate_claims(table4())["1"].effect
    assert any("step 400000" in assumption for assumption in report.assumptions)
    apart = pd.concat([final.query("size == 'S'"), early.query("size != 'S'")])
    with pytest.raises(UserError, match="no training step in common"):
        evaluate_claims(apart)


def test_different_sample_counts_are_not_compared() -> None:
    table = table4().assign(n_samples=[50_000] * 11 + [10_000])
    with pytest.raises(UserError, match="'n_samples' mixes 10000, 50000"):
        evaluate_claims(table)


@pytest.mark.parametrize(
    ("column", "values"),
    [
        ("guidance_scale", (1.0, 1.5)),
        ("sampler", ("ddpm", "ddim")),
        ("sampling_steps", (250, 50)),
        ("extractor", ("Inception-v3", "DINOv2")),
    ],
)
def test_different_protocols_are_not_compared(column: str, values: tuple[object, object]) -> None:
    mixed = table4().assign(**{column: [values[0]] * 11 + [values[1]]})
    with pytest.raises(UserError, match=f"mixes protocols: {column} {values[0]}, {values[1]}"):
        evaluate_claims(mixed)
    assert evaluate_claims(mixed.assign(**{column: values[0]}))["1"].would_be == "supported"


def as_text(separator: str = ",", comma: bool = False, head: str = "") -> str:
    rows = "\n".join((HEADER, S8, S4)).replace(",", separator)
    return head + (rows.replace("0.36", "0,36").replace(".", ",") if comma else rows) + "\n"


@pytest.mark.parametrize(
    "content",
    [
        as_text(";").encode(),
        as_text("\t").encode(),
        as_text(";", comma=True).encode(),
        as_text("\t", comma=True).encode("utf-16"),
        as_text().encode("utf-16-le"),
        as_text().encode("utf-8-sig"),
        as_text(";", head="sep=;\n").encode(),
        as_text(" , ").encode(),
        as_text().replace(HEADER, HEADER.upper()).encode(),
        as_text().replace("\n", "\r\n").encode(),
        as_text().replace("0.36", '"0,36"').encode(),
    ],
)
def test_tables_as_spreadsheets_write_them_are_one_table(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "metrics.csv"
    path.write_bytes(content)
    found = read_metrics_table(path)
    pd.testing.assert_frame_equal(found, read_metrics_table(write(tmp_path, HEADER, S8, S4)))


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"PK\x03\x04rest", "a workbook of Excel"),
        (b"\xd0\xcf\x11\xe0rest", "an old Excel"),
        (b"\x1f\x8brest", "gzip"),
        (b'[{"variant": 1}]', "JSON"),
        (b"| variant | size |\n|---|---|\n", "a table in Markdown"),
        (b"variant,size\n\xe9,S\n", "no text in UTF-8"),
    ],
)
def test_files_of_another_kind_are_named(tmp_path: Path, content: bytes, kind: str) -> None:
    path = tmp_path / "metrics.csv"
    path.write_bytes(content)
    with pytest.raises(UserError, match=kind):
        read_metrics_table(path)


@pytest.mark.parametrize("head", ["guidance", "CFG", "cfg_scale"])
def test_guidance_is_known_by_its_other_names(tmp_path: Path, head: str) -> None:
    told = write(tmp_path, f"{HEADER},{head}", f"{S8},1.0", f"{S4},4.0")
    assert read_metrics_table(told)["guidance_scale"].tolist() == [1.0, 4.0]
    with pytest.raises(UserError, match="'guidance_scale' is unknown or no number in data row 2"):
        read_metrics_table(write(tmp_path, f"{HEADER},{head}", f"{S8},1.0", f"{S4},"))
    with pytest.raises(UserError, match="column 'guidance_scale' stands there twice"):
        read_metrics_table(write(tmp_path, f"{HEADER},{head},guidance_scale", f"{S8},1.0,1.0"))


def test_steps_that_are_text_are_judged_as_numbers() -> None:
    final = table4().drop(columns="steps").assign(step="400000")
    early = final.assign(step="80000", fid50k=200.0)
    both = pd.concat([early, final])
    for table in (both, both.rename(columns={"step": "steps"})):
        report = evaluate_claims(table)
        assert report["1"].would_be == "supported"
        assert any("step 400000" in note for note in report.assumptions)


def test_dates_and_columns_that_stand_twice_in_a_data_frame_are_refused(tmp_path: Path) -> None:
    dates = table4().assign(fid50k=pd.Timestamp("2024-05-01"))
    dates.to_parquet(tmp_path / "dates.parquet")
    with pytest.raises(UserError, match="a date or a truth value"):
        read_metrics_table(tmp_path / "dates.parquet")
    twice = table4()
    with pytest.raises(UserError, match="'fid50k' stands there twice"):
        evaluate_claims(pd.concat([twice, twice["fid50k"]], axis="columns"))


def test_flops_that_count_twice_throughout_and_what_is_not_told_are_assumptions() -> None:
    notes = evaluate_claims(table4().assign(gflops=2 * table4()["gflops"])).assumptions
    assert any("Gflops are 2 times those of its variants" in note for note in notes)
    assert any("not told by the table" in note and "guidance_scale" in note for note in notes)
    told = table4().assign(n_samples=50_000, extractor="i", sampler="ddpm", sampling_steps=250, guidance_scale=1.0)
    assert not any("times" in note or "not told" in note for note in evaluate_claims(told).assumptions)


def test_gflops_on_larger_latents_are_no_other_unit(tmp_path: Path) -> None:
    rows = ["DiT-XL/2,XL,2,675,524.6,12", "DiT-XL/4,XL,4,675,118.6,30"]
    assert read_metrics_table(write(tmp_path, HEADER, *rows))["gflops"].tolist() == [524.6, 118.6]


def test_columns_that_a_spreadsheet_emptied_are_no_columns(tmp_path: Path) -> None:
    table = read_metrics_table(write(tmp_path, f"{HEADER},,", f"{S8},,", f"{S4},,"))
    pd.testing.assert_frame_equal(table, read_metrics_table(write(tmp_path, HEADER, S8, S4)))
    with pytest.raises(UserError, match="column '' stands there twice"):
        read_metrics_table(write(tmp_path, f"{HEADER},,", f"{S8},1,2", f"{S4},,"))


def test_a_comma_after_nothing_but_a_zero_parts_decimals(tmp_path: Path) -> None:
    rows = [
        row.replace(",", ";").replace(".", ",") for row in (S8.replace("0.36", "0.363"), S4.replace("1.41", "1.412"))
    ]
    table = read_metrics_table(write(tmp_path, HEADER.replace(",", ";"), *rows))
    assert table["gflops"].tolist() == [0.363, 1.412]


def test_names_without_a_family_are_told_how_names_are(tmp_path: Path) -> None:
    table = read_metrics_table(write(tmp_path, HEADER, S8.replace("DiT-", ""), S4.replace("DiT-", "")))
    with pytest.raises(UserError, match=r"The names S/8, S/4 do not say the family. Names are FAMILY-SIZE/PATCH"):
        evaluate_claims(table)


def test_the_command_names_what_it_leaves_out(tmp_path: Path) -> None:
    others = [row.replace("DiT-", "SiT-") for row in (S8, S4)]
    told = CliRunner().invoke(app, ["claims", str(write(tmp_path, HEADER, S8, S4, *others))]).output
    assert "Left out of claims 1 to 3: SiT-S/8, SiT-S/4 (of another family than DiT, on which they are judged)." in told
