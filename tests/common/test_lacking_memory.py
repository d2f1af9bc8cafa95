"""Lack of memory is told with what to do about it."""

import errno
import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch

from dit_scaling.common.errors import LackingMemoryError, UserError
from dit_scaling.common.lacking_memory import fixed_memory_named, memory_named

OUT_OF_MEMORY = (
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB."),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 8000000 bytes."),
    MemoryError(),
)


@pytest.mark.parametrize("error", OUT_OF_MEMORY, ids=lambda error: type(error).__name__)
def test_lack_of_memory_names_the_setting_and_half_its_value(error: Exception) -> None:
    with pytest.raises(UserError) as told, memory_named("run X", "resources.sample_batch", 125, "images"):
        raise error
    assert str(told.value) == (
        "run X: 125 images at once do not fit the memory of this machine. Set resources.sample_batch to 62 or less; "
        "that changes no result but for the rounding of sums."
    )


def test_where_nothing_less_fits_a_smaller_variant_is_named() -> None:
    with pytest.raises(UserError, match="smaller variants"), memory_named("run", "resources.micro_batch", 1, "samples"):
        raise torch.OutOfMemoryError


def test_other_errors_are_not_taken_for_a_lack_of_memory() -> None:
    with pytest.raises(RuntimeError, match="shapes"), memory_named("run", "resources.micro_batch", 8, "samples"):
        raise RuntimeError("shapes do not fit")


def test_a_setting_that_changes_results_is_told_as_such() -> None:
    with pytest.raises(UserError) as told, memory_named("training", "vae.batch_size", 8, "images"):
        raise torch.OutOfMemoryError
    assert "Set vae.batch_size to 4 or less, which changes results; or run fewer jobs side by side" in str(told.value)


@pytest.mark.parametrize("error", OUT_OF_MEMORY, ids=lambda error: type(error).__name__)
def test_where_no_setting_makes_it_smaller_room_is_made(error: Exception) -> None:
    with pytest.raises(UserError) as told, fixed_memory_named("the job of rule gate"):
        raise error
    assert str(told.value) == (
        "the job of rule gate does not fit the memory of this machine, and no setting makes it smaller. To make room, "
        "run fewer jobs side by side (snakemake --cores), or take a machine with more memory."
    )


def test_on_a_gpu_its_settings_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda: SimpleNamespace(total_memory=15 * 2**30))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "NVIDIA T4")
    with pytest.raises(UserError) as told, fixed_memory_named("the job of rule gate"):
        raise torch.OutOfMemoryError
    for words in ("NVIDIA T4 (15 GiB)", "resources.jobs_per_gpu to 1", "resources.device to cpu"):
        assert words in str(told.value)


def test_what_else_fails_passes() -> None:
    with pytest.raises(RuntimeError, match="shapes"), fixed_memory_named("the job"):
        raise RuntimeError("shapes do not fit")


def test_the_module_loads_no_torch() -> None:
    code = "import sys, dit_scaling.common.lacking_memory; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def limited(gigabytes: float, code: str) -> "subprocess.CompletedProcess[str]":
    """Run code in a process that may address so much memory."""
    limit = int(gigabytes * 1e9)
    return subprocess.run(
        [sys.executable, "-c", f"import resource; resource.setrlimit(resource.RLIMIT_AS, ({limit}, {limit}))\n{code}"],
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(("command", "gigabytes"), [("diagnose", 0.6), ("export", 1.5), ("bench", 2.0)])
def test_commands_that_cannot_load_torch_say_memory(command: str, gigabytes: float) -> None:
    run = limited(
        gigabytes,
        f"import sys; sys.argv = ['dit-scaling', '{command}', 'x.pt', 'y']\nfrom dit_scaling.cli import main; main()",
    )
    assert run.returncode == 2, run.stderr
    assert "Traceback" not in run.stderr
    assert f"address space, which is {gigabytes:.1f} GB (ulimit -v unlimited)" in " ".join(run.stderr.split())


@pytest.mark.parametrize(
    "error",
    [
        ImportError("libtorch_cpu.so: failed to map segment from shared object"),
        OSError(errno.ENOMEM, "Cannot allocate memory"),
    ],
)
def test_libraries_that_cannot_be_loaded_lack_memory(error: Exception) -> None:
    with pytest.raises(LackingMemoryError, match="does not fit the memory"), fixed_memory_named("the job"):
        raise error


def test_without_a_limit_nothing_is_tried() -> None:
    run = limited(
        17.5, "from dit_scaling.common.lacking_memory import *\nsys.executable = None\nrefuse_little_address_space()"
    )
    assert run.returncode == 0, run.stderr
