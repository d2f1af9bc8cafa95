"""The command that fills the figures of a GPU: parts that are cut off, and tables from logs that are not whole."""

import csv
import io
import json
import os
import sys
import time
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
import torch
from benchmarks import gpu_figures
from benchmarks.gpu_figures import Part, main, parts_of, run_part
from benchmarks.gpu_tables import WAY, all_tables, read_lines, with_new_rates

from dit_scaling.plan import bench
from dit_scaling.plan.bench import Ran, measured_row

DATE = "2027-01-02"


def rate(variant: str, stage: str, rate: float, ran: Ran, **more: Any) -> dict[str, Any]:
    """A line of the part ``rates``."""
    row = measured_row(torch.device("cpu"), variant, stage, rate, ran)
    return {"what": "rate", **row, "device": "H200", "torch": "2.12.0", "date": DATE, **more}


FAST = Ran("bfloat16", True, 128)
RATES = [
    {"what": "device", "name": "NVIDIA H200", "torch": "2.12.0"},
    {"what": "product", "precision": "bfloat16", "tflops": 660.2},
    rate("DiT-XL/2", "train", 4.67, FAST),
    rate("DiT-XL/2", "sample", 6.5, Ran("bfloat16", True, 64)),
    rate("DiT-XL/2", "sample", 3.3, Ran("bfloat16", True, 64), what="beside", how="compiled", guidance=4.0),
    rate("diffusers' DiT-XL/2", "train", 3.9, FAST, what="beside"),
    rate("SD-VAE", "encode", 424.0, Ran("tf32", False, 64)),
    rate("SD-VAE", "shards", 200.0, Ran("tf32", False, 64), what="beside"),
    {"what": "failed", "part": "training S/2", "error": "OutOfMemoryError: too much"},
]


def cells(page: str, row: str) -> list[str]:
    """Of the table's row that begins so."""
    line = next(line for line in page.splitlines() if line.startswith(f"| {row}"))
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_tables_hold_what_a_card_has_shown_before() -> None:
    """425 TFLOP/s and 43% of the peak of 989 were worked out from 4.67 steps/s when it was measured."""
    page = all_tables({"rates": RATES}, {}, 0, "abc", "the command")
    assert page.startswith(f"One NVIDIA H200, torch 2.12.0, commit abc, {DATE}, `the command`.")
    assert cells(page, "DiT-XL/2, batch 128, bfloat16, compiled")[1:] == ["4.67", "425", "43.0% of 989"]
    assert cells(page, "diffusers' DiT-XL/2, batch 128")[1:] == ["3.9", "355", "35.9% of 989"]
    assert cells(page, "DiT-XL/2, batch 64, bfloat16, compiled, guidance 4")[1] == "3.3"
    assert cells(page, "tf32")[1:] == ["424", "", "200", "94%"]
    assert "660 TFLOP/s in bfloat16" in page
    assert "Failed: training S/2: OutOfMemoryError: too much" in page


def test_kernels_tests_and_study_are_told_as_their_logs_have_them() -> None:
    kernels = [
        {
            "what": "training DiT-XL/2, 4 blocks",
            "step_ms": 31.25,
            "kernels_ms": 30.0,
            "launches": 400,
            "kinds": {"attention": 21.0, "copies": 9.0, "other": 0.0},
        },
        {"what": "attention", "width": 96, "back_end": "FLASH", "own": 72, "refused": "no kernel"},
    ]
    tests = (
        "tests/gpu/test_gpu_jobs.py::test_one PASSED [ 50%]\n"
        "  1.00e-05 <   1e-04  features\n"
        "FAILED tests/gpu/test_gpu_jobs.py::test_two - assert 1 == 2\n"
        "=== 1 failed, 1 passed in 12.30s ===\n"
    )
    ended = [{"what": "ended", "code": 0, "cut": False, "seconds": 300.5}]
    page = all_tables({"kernels": kernels, "embedded": ended}, {"tests": tests}, 41, "", "the command")
    assert cells(page, "training DiT-XL/2, 4 blocks")[1:] == ["31.2", "30", "400", "attention 70%, copies 30%"]
    assert cells(page, "72")[1:] == ["96", "FLASH", "", "", "no kernel"]
    for words in (
        "Tests: 1 failed, 1 passed in 12.30s.",
        "FAILED tests/gpu/test_gpu_jobs.py::test_two",
        "1.00e-05 <   1e-04  features",
        "ended with 0 after 300.5 s, with 41 jobs finished",
    ):
        assert words in page
    cut = all_tables({}, {"tests": tests.rsplit("FAILED", 1)[0]}, 0, "", "the command")
    assert "Tests: 1 ended, and then they were cut off." in cut


def test_new_rates_take_the_place_of_old_ones(tmp_path: Path) -> None:
    with_new_rates(RATES, "abc", tmp_path / "rates.csv")
    text = (tmp_path / "rates.csv").read_text()
    known = resources.files("dit_scaling.plan").joinpath("measured_rates.csv").read_text()
    changed = set(text.splitlines()) ^ set(known.splitlines())
    assert {line for line in changed if "abc" in line} == {
        f"H200,2.12.0,DiT-XL/2,bfloat16,true,128,train,4.67,abc,{DATE},dit-scaling bench",
        f"H200,2.12.0,DiT-XL/2,bfloat16,true,64,sample,6.5,abc,{DATE},dit-scaling bench",
        f"H200,2.12.0,SD-VAE,tf32,false,64,encode,424,abc,{DATE},dit-scaling bench",
    }
    assert len(changed) == 5, "two of them were measured before"
    ways = [tuple(row[key] for key in WAY) for row in csv.DictReader(io.StringIO(text))]
    assert len(set(ways)) == len(ways)


def test_without_new_rates_the_table_is_as_it_was(tmp_path: Path) -> None:
    with_new_rates([], "abc", tmp_path / "rates.csv")
    known = resources.files("dit_scaling.plan").joinpath("measured_rates.csv")
    assert (tmp_path / "rates.csv").read_bytes() == known.read_bytes()


def test_a_device_has_the_name_that_the_table_gives_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "describe_device", lambda _device: "NVIDIA H200")
    assert measured_row(torch.device("cpu"), "DiT-S/2", "training", 1.0, FAST)["device"] == "H200"
    monkeypatch.setattr(bench, "describe_device", lambda _device: "AMD EPYC")
    assert measured_row(torch.device("cpu"), "DiT-S/2", "training", 1.0, FAST)["device"] == "AMD EPYC"


SLOW = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
print('{"what": "rate", "child": %d}' % child.pid, flush=True)
print('{"what": "ra', end="", flush=True)
time.sleep(60)
"""


def test_a_part_that_takes_too_long_ends_with_its_children_and_keeps_what_it_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gpu_figures, "GRACE", 1.0)
    said = run_part(Part("rates", 60, ("-c", SLOW), {}), tmp_path, 2.0)
    assert said.startswith("cut off after")
    line, ended = read_lines(tmp_path / "rates.log")
    assert (ended["what"], ended["cut"]) == ("ended", True)
    end = time.monotonic() + 5
    while Path(f"/proc/{line['child']}/cmdline").exists() and time.monotonic() < end:
        if not Path(f"/proc/{line['child']}/cmdline").read_bytes():  # a zombie, which its new parent has not reaped
            break
        time.sleep(0.05)
    else:
        assert not Path(f"/proc/{line['child']}/cmdline").exists()


@pytest.fixture
def quick_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Parts that end at once, the second with an error."""

    def quick(*_: object) -> Iterator[Part]:
        yield Part("rates", 60, ("-c", f"print({json.dumps(json.dumps(RATES[2]))})"), {})
        yield Part("tests", 60, ("-c", "raise SystemExit(3)"), {})
        yield Part("kernels", 60, ("-c", ""), {})

    monkeypatch.setattr(gpu_figures, "parts_of", quick)


@pytest.mark.usefixtures("quick_parts")
def test_the_command_writes_tables_and_says_what_is_not_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["gpu_figures", "--output", str(tmp_path), "--commit", "abc"])
    assert main() == 1
    assert "Not whole: python -m benchmarks.gpu_figures tests\n" in capsys.readouterr().out
    assert "425" in (tmp_path / "figures.md").read_text()
    assert f"4.67,abc,{DATE}" in (tmp_path / "measured_rates.csv").read_text()
    (tmp_path / "figures.md").unlink()
    monkeypatch.setattr(sys, "argv", [*sys.argv, "tables"])
    assert main() == 0
    assert "425" in (tmp_path / "figures.md").read_text()


@pytest.mark.usefixtures("quick_parts")
def test_a_part_for_which_no_time_is_left_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["gpu_figures", "--output", str(tmp_path), "--seconds", "1"])
    assert main() == 1
    assert "Not whole: python -m benchmarks.gpu_figures rates tests kernels\n" in capsys.readouterr().out


def test_the_study_is_the_embedded_one_with_several_jobs_on_the_gpu(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dit_scaling.config import load_study

    monkeypatch.setattr(os, "sched_getaffinity", lambda _process: set(range(16)))
    study = next(part for part in parts_of(tmp_path, "cuda", small=False) if part.name == "embedded")
    configs = study.command[study.command.index("--configfile") + 1 :]
    found, embedded = load_study(*map(Path, configs)), load_study(Path(configs[0]))
    assert (found.resources.device, found.resources.jobs_per_gpu) == ("cuda", 8)
    same = found.model_copy(update={"resources": embedded.resources})
    assert same == embedded
