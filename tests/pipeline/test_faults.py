"""Faults of disk, network and machine: a message with file and step, nothing half-written, and a rerun that goes on."""

import errno
import logging
import os
import re
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import Tensor

from damage import SHARD, Damage, cut, flip, lose
from dit_scaling.common.errors import UserError
from dit_scaling.common.files import sha256_file
from dit_scaling.config.stages import TrainSettings
from dit_scaling.diffusion.gaussian import GaussianDiffusion
from dit_scaling.latents import encode
from dit_scaling.training.launch import WORKER, TrainJob, train_on_ranks
from dit_scaling.training.runtime import Runtime
from jobs import EVALUATION, FIRST_OUTPUT, RESULTS, STEP, SmallStudy, run_job
from pipeline import plan, snakemake, start_snakemake

CONFIG = Path("study.yaml")


@pytest.fixture
def study(small_study: SmallStudy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the finished small study; the working directory."""
    folder = shutil.copytree(small_study.folder, tmp_path / "study")
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def run(small_study: SmallStudy, capsys: pytest.CaptureFixture[str]) -> Callable[[str], tuple[int, str]]:
    """Run a script on its job, its outputs removed first as Snakemake does; exit code and message."""

    def run(script: str) -> tuple[int, str]:
        job = small_study.jobs[script]
        for output in map(Path, job.output):
            if output.exists():
                output.unlink()
        capsys.readouterr()
        code = run_job(script, job)
        return code, capsys.readouterr().err

    return run


def assert_readable(message: str, *words: str) -> None:
    assert "Traceback" not in message
    assert [word for word in words if word not in message] == [], message
    assert list(Path.cwd().rglob(".tmp-*")) == []


def assert_as_without_fault(small_study: SmallStudy, script: str) -> None:
    file = FIRST_OUTPUT[script]
    if script != "train_milestone":
        assert sha256_file(Path(file)) == sha256_file(small_study.folder / file)
        return
    weights, expected = load_file(Path(file)), load_file(small_study.folder / file)
    for name, tensor in expected.items():
        # Within one process buffers lie elsewhere in each run, and sums are vectorised from there: last bits differ.
        # The loss does not depend on the keys' bias, and AdamW makes full steps of that rounding.
        if not name.endswith("qkv.bias"):
            assert (weights[name] - tensor).norm() <= 1e-5 * tensor.norm(), name


# --- the disk


@contextmanager
def disk_at(folder: Path, size: str) -> Iterator[Callable[[str], object]]:
    """A disk of its own; what is yielded remounts it with other options. Skips where nothing can be mounted."""
    folder.mkdir(parents=True, exist_ok=True)
    try:
        command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
        subprocess.run(command, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"no disk can be mounted here: {error}")
    try:
        yield lambda options: subprocess.run(["mount", "-o", f"remount,{options}", folder], check=True)
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


@pytest.mark.parametrize(
    ("script", "disk", "size", "file"),
    [
        ("encode_shard", f"{RESULTS}/latents", "8k", "train-00000.tar"),
        ("train_milestone", f"{RESULTS}/states", "8k", "state-000000004.safetensors"),
        ("sample_part", f"{EVALUATION}/samples", "4k", "first-00000.npz"),
    ],
)
def test_a_full_disk_names_the_file_and_room_is_all_it_takes(
    study: Path,
    small_study: SmallStudy,
    run: Callable[[str], tuple[int, str]],
    script: str,
    disk: str,
    size: str,
    file: str,
) -> None:
    shutil.move(disk, "before")
    with disk_at(study / disk, size) as remount:
        code, message = run(script)
        assert code == 2
        assert_readable(message, f"{script}: {disk}", file, os.strerror(errno.ENOSPC))
        assert not Path(FIRST_OUTPUT[script]).exists()
        remount("size=8m")
        assert run(script)[0] == 0
        assert_as_without_fault(small_study, script)


def test_a_full_disk_under_the_autoencoder(study: Path, run: Callable[[str], tuple[int, str]]) -> None:
    shutil.rmtree(f"{RESULTS}/vae")
    with disk_at(study / RESULTS / "vae", "8k") as remount:
        code, message = run("vae")
        assert code == 2
        assert_readable(message, f"vae: {RESULTS}/vae/autoencoder", os.strerror(errno.ENOSPC))
        assert list(Path(RESULTS, "vae").iterdir()) == []
        remount("size=8m")
        assert run("vae")[0] == 0


def test_a_full_disk_for_the_logs_still_says_what_is_wrong(study: Path, run: Callable[[str], tuple[int, str]]) -> None:
    shutil.rmtree(f"{RESULTS}/logs")
    Path(SHARD).unlink()
    with disk_at(study / RESULTS / "logs", "4k"):
        Path(RESULTS, "logs", "filler").write_bytes(b"x" * 4096)
        code, message = run("train_milestone")
        assert code == 2
        assert_readable(message, SHARD, "is missing")


@pytest.mark.parametrize("script", ["encode_shard", "train_milestone", "score_samples", "aggregate"])
def test_a_read_only_results_folder(
    study: Path, small_study: SmallStudy, run: Callable[[str], tuple[int, str]], script: str
) -> None:
    with disk_at(study / "results", "16m") as remount:
        shutil.copytree(small_study.folder / "results", "results", dirs_exist_ok=True)
        for output in small_study.jobs[script].output:
            Path(output).unlink(missing_ok=True)
        remount("ro")
        code, message = run(script)
        assert code == 2
        assert_readable(message, f"{script}: {RESULTS}/logs", os.strerror(errno.EROFS))
        remount("rw")
        assert run(script)[0] == 0
        assert_as_without_fault(small_study, script)


@pytest.mark.usefixtures("study")
@pytest.mark.parametrize("fault", [errno.ENOSPC, errno.EIO, errno.EDQUOT])
@pytest.mark.parametrize(
    "script", ["encode_shard", "train_milestone", "sample_part", "extract_features", "score_samples"]
)
def test_a_write_that_fails_at_its_end(
    small_study: SmallStudy,
    run: Callable[[str], tuple[int, str]],
    monkeypatch: pytest.MonkeyPatch,
    script: str,
    fault: int,
) -> None:
    def fail(_file: int) -> None:
        raise OSError(fault, os.strerror(fault))

    shutil.rmtree(f"{RESULTS}/states")
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fail)
        code, message = run(script)
    assert code == 2
    assert_readable(message, f"{script}: {RESULTS}", os.strerror(fault))
    assert not Path(FIRST_OUTPUT[script]).exists()
    assert run(script)[0] == 0
    assert_as_without_fault(small_study, script)


# --- shards


@pytest.mark.parametrize("damage", [lose(SHARD), cut(SHARD), flip(SHARD, 3000)], ids=["lost", "truncated", "altered"])
def test_a_bad_shard_is_encoded_again_by_the_command_in_the_message(
    study: Path, small_study: SmallStudy, run: Callable[[str], tuple[int, str]], damage: Damage
) -> None:
    shutil.rmtree(f"{RESULTS}/states")
    damage(study)
    code, message = run("train_milestone")
    assert code == 2
    assert_readable(message, f"train_milestone: {SHARD}")
    advice = re.search(r"[Rr]un: snakemake (\S+)", message)
    assert advice is not None, message
    Path(SHARD).unlink(missing_ok=True)
    assert plan(study, advice[1], config=CONFIG) == {"encode_shard": {SHARD}}
    assert run("encode_shard")[0] == run("train_milestone")[0] == 0
    assert_as_without_fault(small_study, "train_milestone")


# --- numbers


@pytest.mark.usefixtures("study")
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_an_autoencoder_that_fails_on_one_image_names_it(
    small_study: SmallStudy,
    run: Callable[[str], tuple[int, str]],
    monkeypatch: pytest.MonkeyPatch,
    value: float,
) -> None:
    whole = encode.encode_moments
    images = []

    def failing(vae: Any, batch: NDArray[np.uint8], *options: str) -> NDArray[np.float32]:
        moments = whole(vae, batch, *options)
        images.append(len(batch))
        if len(images) == 1:
            moments[2] = value
        return moments

    with monkeypatch.context() as patch:
        patch.setattr(encode, "encode_moments", failing)
        code, message = run("encode_shard")
    assert code == 2
    assert_readable(message, "encode_shard: ", ".png", "NaN or infinity")
    assert not Path(SHARD).exists()
    assert run("encode_shard")[0] == 0
    assert_as_without_fault(small_study, "encode_shard")


@pytest.mark.usefixtures("study")
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_loss_that_is_no_number_stops_before_anything_is_exported(
    small_study: SmallStudy,
    run: Callable[[str], tuple[int, str]],
    monkeypatch: pytest.MonkeyPatch,
    value: float,
) -> None:
    whole, steps = GaussianDiffusion.training_losses, []

    def failing(*arguments: Any, **others: Any) -> dict[str, Tensor]:
        losses = whole(*arguments, **others)
        steps.append(1)
        return {name: loss * value for name, loss in losses.items()} if len(steps) == 3 else losses

    shutil.rmtree(f"{RESULTS}/states")
    with monkeypatch.context() as patch:
        patch.setattr(GaussianDiffusion, "training_losses", failing)
        code, message = run("train_milestone")
    assert code == 2
    assert_readable(message, "train_milestone: DiT-Nano/2, seed 0", "NaN or infinite", "step 4", f"{RESULTS}/states/")
    assert not Path(FIRST_OUTPUT["train_milestone"]).exists()
    assert list(Path(RESULTS, "states").rglob("*.safetensors")) == []
    assert run("train_milestone")[0] == 0
    assert_as_without_fault(small_study, "train_milestone")


# --- processes


@pytest.mark.slow
def test_a_killed_job_is_named_and_the_next_run_goes_on_from_its_state(study: Path) -> None:
    text = CONFIG.read_text().replace("steps: 4\n", "steps: 400\n") + "resources:\n  save_steps: 40\n"
    CONFIG.write_text(text)
    target = f"{Path(STEP).parent}/step-400/ema.safetensors"
    with start_snakemake(study, "--cores", "1", target, config=CONFIG) as process:
        job = None
        while job is None and process.poll() is None:
            saved = list(study.glob(f"{RESULTS}/states/*/state-*.json"))
            family = psutil.Process(process.pid).children(recursive=True) if len(saved) > 1 else []
            job = next((child for child in family if "train_milestone.py" in " ".join(child.cmdline())), None)
            time.sleep(0.05)
        assert job is not None
        job.kill()
        message = "".join(process.communicate())
    assert process.returncode == 1
    assert_readable(message, "train_milestone", target, "logs/train/")
    assert not Path(target).exists()
    again = snakemake(study, "--cores", "1", target, config=CONFIG)
    assert again.returncode == 0, again.stderr
    (log,) = study.glob(f"{RESULTS}/logs/train/*step-400.log")
    assert re.search(r"starts at step [1-9]\d+ of 400", log.read_text())
    assert Path(target).exists()


@pytest.mark.slow
def test_a_killed_rank_is_reported_and_the_next_start_goes_on(
    toy_run: TrainSettings, toy_latents: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    runtime = Runtime(device=torch.device("cpu"), save_steps=20)
    job = TrainJob(toy_run, toy_latents, 20_000, tmp_path / "states", runtime)

    def kill_a_rank() -> None:
        while len(list(job.states.glob("*/state-*.json"))) < 2:
            time.sleep(0.05)
        family = [(child, child.cmdline()) for child in psutil.Process().children(recursive=True)]
        ranks = [child for child, words in family if WORKER in words and "torch.distributed.run" not in words]
        assert len(ranks) == 2
        ranks[1].kill()

    killer = threading.Thread(target=kill_a_rank)
    killer.start()
    with pytest.raises(UserError, match="DiT-Toy/2, seed 0: a rank of 2 died on the way to step 20000") as death:
        train_on_ranks(job, 2)
    killer.join()
    (folder,) = {path.parent for path in job.states.glob("*/state-*.json")}
    assert f"resumes from the newest state in {folder}" in str(death.value)
    newest = max(int(path.stem.removeprefix("state-")) for path in job.states.glob("*/state-*.json"))
    train_on_ranks(replace(job, last_step=newest + 5), 2)
    assert f"starts at step {newest} of {newest + 5}" in caplog.text


def test_a_full_folder_for_temporary_files_is_said_before_anything_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with disk_at(tmp_path / "tmp", "64k"):
        monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
        run = start_snakemake(tmp_path, "--cores", "1")
        said = "".join(run.communicate(timeout=120))
    assert run.returncode == 2, said
    assert "no temporary file can be written: No space left on device. Make room, or set TMPDIR to a folder" in said
    assert "Traceback" not in said
