"""Tables of metrics: what is read, and what is refused with a message that helps."""

from pathlib import Path

import pandas as pd
import pytest

from dit_scaling.claims import evaluate_claims, read_metrics_table
from dit_scaling.claims.metrics_table import at_common_step, find_metric
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
    assert find_metric(digits, "gflops") == "gflops"
    with pytest.raises(UserError, match="no column 'kid'"):
        find_metric(digits, "kid")


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
    assert evaluate_claims(mixed.assign(**{column: values[0]}))["1"].verdict == "supported"
