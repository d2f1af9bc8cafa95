"""What the tests on a GPU share: the device, and a table of what was measured, printed at the end.

`TEST_DEVICE=cpu pytest -m gpu tests/gpu` walks the same paths on the CPU: what can break without a GPU breaks there.
`TEST_DEVICE=pretended` walks them on a GPU that is none: what mixes devices, or waits for one, breaks there.
"""

import os
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from subprocess import CompletedProcess

import pytest
import torch

import pipeline
import pretended_cuda
from bounds import Below
from pipeline import TINY, edited, snakemake

DEVICE = os.environ.get("TEST_DEVICE", "cuda")
PRETENDED = DEVICE == "pretended"
MEASURED = pytest.StashKey[list[str]]()

# One GPU is enough; and a job that found several would choose one by a variable that is read before CUDA starts.
os.environ["CUDA_VISIBLE_DEVICES"] = os.environ.get("CUDA_VISIBLE_DEVICES", "0").partition(",")[0]


def pytest_configure(config: pytest.Config) -> None:
    if PRETENDED:  # in this process, and in all that it starts
        pipeline.OFFLINE = Path(pretended_cuda.__file__).parent
        os.environ["PYTHONPATH"] = str(pipeline.OFFLINE)
        pretended_cuda.pretend()
    config.stash[MEASURED] = []


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Those that wait for the study come last."""
    items.sort(key=waits_for_study)


def waits_for_study(item: pytest.Item) -> bool:
    return "finished_study" in getattr(item, "fixturenames", ())


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if config.stash[MEASURED]:
        terminalreporter.section("measured against their bounds")
        terminalreporter.write_line("\n".join(config.stash[MEASURED]))


@pytest.fixture(scope="session")
def device() -> torch.device:
    """The device under test; without it there is nothing to test."""
    if DEVICE == "cuda" and not torch.cuda.is_available():
        pytest.skip("torch sees no CUDA device here (TEST_DEVICE=cpu walks these tests on the CPU)")
    return torch.device("cuda" if PRETENDED else DEVICE)


@pytest.fixture(scope="session")
def full_size() -> bool:
    """Whether networks are as wide as the paper's: a CPU computes with narrower ones."""
    return DEVICE == "cuda"


@pytest.fixture
def cuda(device: torch.device) -> torch.device:
    """The device of tests that mean nothing elsewhere."""
    if device.type != "cuda":
        pytest.skip("only CUDA has this")
    return device


@pytest.fixture
def real() -> None:
    """For tests of what a pretended GPU lacks: memory, compiled graphs, NCCL, places for several processes."""
    if PRETENDED:
        pytest.skip("a pretended GPU has none of this")


@pytest.fixture
def below(request: pytest.FixtureRequest) -> Below:
    """Asserts that a measured value is below its bound, and adds both to the table at the end."""

    def check(what: str, value: float, bound: float) -> None:
        request.config.stash[MEASURED].append(f"{value:10.2e} < {bound:7.0e}  {what}")
        assert value < bound, what

    return check


@pytest.fixture(autouse=True)
def as_in_a_job(device: torch.device) -> Iterator[None]:
    """Each test begins as a job does: float32 convolutions, nothing compiled, and no memory of others."""
    convolutions = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    torch._dynamo.reset()
    yield
    torch.backends.cudnn.allow_tf32 = convolutions
    if device.type == "cuda":
        torch.cuda.empty_cache()


@pytest.fixture(scope="session", autouse=True)
def study_run(
    request: pytest.FixtureRequest, device: torch.device, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Path, Future[CompletedProcess[str]]] | None]:
    """The tiny study on the device, running beside all other tests: most of its time is starting processes."""
    if not any(map(waits_for_study, request.session.items)):
        yield None
        return
    folder = tmp_path_factory.mktemp("study")
    cores = len(os.sched_getaffinity(0)) // 2 if DEVICE == "cuda" else 2
    config = edited(folder, {"resources.device": device.type, "resources.jobs_per_gpu": cores}, TINY)
    with ThreadPoolExecutor(1) as pool:
        yield folder, pool.submit(snakemake, folder, "--cores", str(cores), config=config)


@pytest.fixture
def finished_study(study_run: tuple[Path, Future[CompletedProcess[str]]]) -> Path:
    """The folder of the tiny study, run to its end."""
    folder, run = study_run
    finished = run.result()
    assert finished.returncode == 0, finished.stderr[-4000:]
    return folder
