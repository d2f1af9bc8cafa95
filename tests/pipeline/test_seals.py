"""Every file that one job hands to another is compared with what it was when it was made."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load
from typer.testing import CliRunner

from damage import SHARD
from dit_scaling.cli import app
from dit_scaling.common.seals import broken, sealed_files
from dit_scaling.results.verify import verify
from jobs import EVALUATION, RESULTS, STEP, SmallStudy, run_job


@pytest.fixture(autouse=True)
def study(small_study: SmallStudy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A copy of the finished small study, with the files' times, is the working directory."""
    folder = shutil.copytree(small_study.folder, tmp_path / "study")
    monkeypatch.chdir(folder)


def flip(path: Path, seed: int = 0) -> None:
    """Change one bit; size and times stay."""
    status = path.stat()
    content = bytearray(path.read_bytes())
    position = int(np.random.default_rng(seed).integers(8 * len(content)))
    content[position // 8] ^= 1 << position % 8
    path.write_bytes(content)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def test_every_output_of_every_job_is_sealed(small_study: SmallStudy) -> None:
    sealed = set(sealed_files(Path(RESULTS)))
    unmade = set(map(Path, small_study.jobs["figures"].output))  # the small study draws none
    outputs = {Path(file) for job in small_study.jobs.values() for file in job.output} - unmade
    assert outputs <= sealed
    assert [complaint for path in sealed if (complaint := broken(path))] == []


def test_every_flipped_bit_is_seen_by_each_job_that_reads_the_file(
    small_study: SmallStudy, capsys: pytest.CaptureFixture[str]
) -> None:
    sealed = set(sealed_files(Path(RESULTS)))
    tried = 0
    for script, job in small_study.jobs.items():
        for number, path in enumerate(sorted({Path(file) for file in job.input} & sealed)):
            if not path.stat().st_size:
                continue  # the log of a run shorter than its window
            whole = path.read_bytes()
            flip(path, number)
            assert run_job(script, job) == 2, (script, path)
            assert f"{path} is not as the job that made it left it" in capsys.readouterr().err
            path.write_bytes(whole)
            tried += 1
    assert tried > 25


def test_a_flipped_bit_in_a_seal_is_seen_too(small_study: SmallStudy) -> None:
    seal = Path(RESULTS, ".seals", EVALUATION.removeprefix(f"{RESULTS}/"), "metrics.json")
    text = seal.read_text()
    seal.write_text(("0" if text[0] != "0" else "1") + text[1:])
    assert run_job("aggregate", small_study.jobs["aggregate"]) == 2


def test_weights_that_rot_where_they_were_exported_are_trained_again(small_study: SmallStudy) -> None:
    weights = Path(STEP, "ema.safetensors")
    whole = weights.read_bytes()
    (exported,) = Path(RESULTS, "states").glob("*/step-4/ema.safetensors")
    for path in (weights, exported):
        path.write_bytes(whole)
        flip(path)
    for output in map(Path, small_study.jobs["train_milestone"].output):
        output.unlink()
    assert run_job("train_milestone", small_study.jobs["train_milestone"]) == 0
    assert exported.read_bytes() == weights.read_bytes()
    # The keys of a safetensors file's header come in any order.
    tensors, again = load(whole), load(weights.read_bytes())
    assert again.keys() == tensors.keys()
    assert all(torch.equal(again[name], tensor) for name, tensor in tensors.items())
    assert broken(exported) is None


def test_a_shard_that_rots_at_its_size_and_time_stops_training_before_anything_is_saved(
    small_study: SmallStudy, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.rmtree(f"{RESULTS}/states")
    flip(Path(SHARD), 4)
    assert run_job("train_milestone", small_study.jobs["train_milestone"]) == 2
    message = capsys.readouterr().err
    assert f"{SHARD} is no usable shard: its sha256 is not that of the manifest" in message
    assert f"run: snakemake {SHARD}" in message
    assert list(Path(RESULTS, "states").rglob("*.safetensors")) == []


def test_verify_finds_what_was_damaged_and_says_what_makes_it_again() -> None:
    assert verify(Path(RESULTS)).damaged == ()
    answer = CliRunner().invoke(app, ["verify", "small"])
    assert (answer.exit_code, answer.output.split("files read")[1].strip()) == (0, ", 0 of them damaged.")
    (state,) = Path(RESULTS, "states").glob("*/state-000000004.safetensors")
    damaged = sorted([Path(SHARD), Path(EVALUATION, "metrics.json"), Path(RESULTS, "report.html")])
    for path in (*damaged, state):
        flip(path)
    found = verify(Path(RESULTS))
    assert (list(found.damaged), found.states) == (damaged, (state,))
    answer = CliRunner().invoke(app, ["verify", RESULTS])
    assert answer.exit_code == 1
    assert f"snakemake --cores 1 --force {' '.join(map(str, damaged))}" in answer.output
    assert f"rm {state}" in answer.output


def test_verify_names_what_killed_jobs_left_half_written() -> None:
    half = Path(RESULTS, "vae", ".tmp-0123-vae.json")
    half.touch()
    answer = CliRunner().invoke(app, ["verify", RESULTS])
    assert (answer.exit_code, str(half) in answer.output) == (0, True)


@pytest.mark.parametrize("argument", ["nowhere", "images"])
def test_verify_needs_a_study(argument: str) -> None:
    answer = CliRunner().invoke(app, ["verify", argument])
    assert answer.exit_code != 0
    assert argument in str(answer.exception)
