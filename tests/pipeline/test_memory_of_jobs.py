"""Whatever job lacks memory says what to set, without a traceback."""

import shutil
from pathlib import Path

import pytest
import torch

from jobs import RESULTS, STEP, SmallStudy, job_of, run_job

CUDA = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.")
CPU = RuntimeError("[enforce fail at alloc_cpu.cpp:121] DefaultCPUAllocator: can't allocate memory: you tried ...")
NUMPY = MemoryError("Unable to allocate 20.0 GiB for an array")

LACKING = [
    ("vae", "latents.vae_training.vae_loss", CUDA, "Set vae.batch_size to 2 or less, which changes results"),
    ("vae", "latents.vae_stage.reconstruct", CUDA, "the job of rule vae does not fit"),
    ("extractor", "metrics.classifier.to_input", CPU, "Set metrics.extractor.batch_size to "),
    ("encode_shard", "latents.encode.encode_moments", CUDA, "Set resources.encode_batch to "),
    ("train_milestone", "training.loop.BatchSource", CUDA, "Set resources.micro_batch to "),
    ("sample_part", "sampling.parts.sample_latents", CPU, "Set resources.sample_batch to "),
    (
        "preflight",
        "health.preflight.preflight.check_loss",
        CPU,
        "preflight, loss does not fit the memory of this machine",
    ),
    ("gate", "health.gates.gate.look", CUDA, "the job of rule gate does not fit"),
    ("reference", "metrics.reference.see", CUDA, "the job of rule reference does not fit"),
    ("extract_features", "metrics.extraction.see", CUDA, "the job of rule extract_features does not fit"),
    ("memorisation", "metrics.memorisation.read_samples", NUMPY, "the job of rule memorisation does not fit"),
]
TARGETS = {"preflight": f"{RESULTS}/preflight/preflight.json", "gate": f"{STEP}/gate.json"}


@pytest.mark.parametrize(("rule", "function", "error", "words"), LACKING, ids=lambda cell: str(cell)[:40])
def test_a_job_that_lacks_memory_names_what_to_set(
    rule: str,
    function: str,
    error: Exception,
    words: str,
    small_study: SmallStudy,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def lack(*_: object, **__: object) -> None:
        raise error

    monkeypatch.chdir(shutil.copytree(small_study.folder, tmp_path / "study"))
    job = job_of(rule, TARGETS[rule]) if rule in TARGETS else small_study.jobs[rule]
    shutil.rmtree(f"{RESULTS}/states", ignore_errors=True)  # from which training would have nothing to do
    for output in map(Path, job.output):
        output.unlink(missing_ok=True)  # as Snakemake does
    monkeypatch.setattr(f"dit_scaling.{function}", lack)
    assert run_job(rule, job) == 2
    message = " ".join(capsys.readouterr().err.split())
    assert words in message
    assert "memory of this machine" in message
    assert f"{rule} failed" not in message
