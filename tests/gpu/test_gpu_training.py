"""Training on the device: the CPU's weights, the same ones twice and after a kill, one graph, no wait for the host."""

import os
import re
import signal
import socket
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from bounds import Below
from dit_scaling.common.devices import matrix_products
from dit_scaling.common.errors import UserError
from dit_scaling.config.stages import TrainSettings
from dit_scaling.diffusion.process import create_diffusion
from dit_scaling.models import create_model
from dit_scaling.training.batches import Batch, BatchSource, seed_for
from dit_scaling.training.loop import train_to
from dit_scaling.training.ranks import Ranks, torchrun_ranks
from dit_scaling.training.runtime import Runtime
from dit_scaling.training.step import TrainingStep
from dit_scaling.variants import Variant
from forked import CONTEXT

pytestmark = pytest.mark.gpu

CPU = torch.device("cpu")
STEPS = 30
BOUNDS = {"float32": 1e-3, "tf32": 5e-2, "bfloat16": 1e-1}
"""Distance of two trainings' ends, as a share of the way that training moves the weights."""


@pytest.fixture
def run(toy_run: TrainSettings, full_size: bool) -> TrainSettings:
    """Two blocks as wide as DiT-S on 64 tokens; narrower on the CPU."""
    hidden_size, num_heads = (384, 6) if full_size else (64, 1)
    variant = Variant(size="Toy", patch=1, depth=2, hidden_size=hidden_size, num_heads=num_heads)
    return toy_run.model_copy(update={"variant": variant}).with_recipe(batch_size=16, learning_rate=1e-3)


def trained(run: TrainSettings, manifest: Path, states: Path, device: torch.device, **how: Any) -> Tensor:
    """Raw and EMA weights (n,) after the steps."""
    return exported(train_to(run, manifest, STEPS, states, Runtime(device=device, **how)).path)


def exported(folder: Path) -> Tensor:
    files = [folder / f"step-{STEPS}" / f"{name}.safetensors" for name in ("raw", "ema")]
    return flat({f"{file.stem} {key}": tensor for file in files for key, tensor in load_file(file).items()})


def flat(weights: dict[str, Tensor]) -> Tensor:
    """Weights as one vector without the keys' biases, to which the loss is blind: their gradient is rounding alone."""
    return torch.cat([without_key_bias(name, tensor).flatten().double() for name, tensor in sorted(weights.items())])


def without_key_bias(name: str, tensor: Tensor) -> Tensor:
    if not name.endswith("qkv.bias"):
        return tensor
    queries, _, values = tensor.chunk(3)
    return torch.cat([queries, values])


def untrained(run: TrainSettings) -> Tensor:
    torch.manual_seed(seed_for("init", run.seed))
    state = create_model(run.variant, run.input_size, run.num_classes, run.in_channels).state_dict()
    return flat({f"{name} {key}": tensor for name in ("raw", "ema") for key, tensor in state.items()})


@pytest.fixture(scope="module")
def on_the_cpu() -> dict[str, Tensor]:
    """Weights that the CPU trains in float32, once for all tests."""
    return {}


@pytest.mark.parametrize("compile", [False, True], ids=["eager", "compiled"])
@pytest.mark.parametrize("precision", BOUNDS)
def test_thirty_steps_end_where_the_cpu_ends(
    run: TrainSettings,
    toy_latents: Path,
    tmp_path: Path,
    device: torch.device,
    on_the_cpu: dict[str, Tensor],
    below: Below,
    precision: str,
    compile: bool,
) -> None:
    if not on_the_cpu:
        on_the_cpu["weights"] = trained(run, toy_latents, tmp_path / "cpu", CPU)
    fast = run.with_recipe(precision=precision, compile=compile)
    found, exact, start = trained(fast, toy_latents, tmp_path, device), on_the_cpu["weights"], untrained(run)
    apart = float((found - exact).norm() / (exact - start).norm())
    below(f"{STEPS} steps, {precision}, {'compiled' if compile else 'eager'}", apart, BOUNDS[precision])


def train_and_die(run: TrainSettings, manifest: Path, states: Path, device: str, step: int) -> None:
    """Train like everybody, saving every ten steps, and die of SIGKILL on the way to ``step``."""
    draw = BatchSource.batch

    def fatal(self: BatchSource, drawn: int) -> Batch:
        if drawn == step:
            os.kill(os.getpid(), signal.SIGKILL)
        return draw(self, drawn)

    BatchSource.batch = fatal  # type: ignore[method-assign]
    train_to(run, manifest, STEPS, states, Runtime(device=torch.device(device), save_steps=10))


@pytest.mark.parametrize("fast", [False, True], ids=["float32 eager", "bfloat16 compiled"])
def test_twice_and_after_a_kill_bit_for_bit(
    run: TrainSettings, toy_latents: Path, tmp_path: Path, device: torch.device, fast: bool
) -> None:
    if fast:
        run = run.with_recipe(precision="bfloat16", compile=True)
    once = trained(run, toy_latents, tmp_path / "once", device)
    assert torch.equal(once, trained(run, toy_latents, tmp_path / "twice", device))
    arguments = (run, toy_latents, tmp_path / "killed", str(device), 27)
    process = CONTEXT.Process(target=train_and_die, args=arguments)
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert [path.name for path in sorted((tmp_path / "killed").rglob("state-*.json"))] == [
        "state-000000010.json",
        "state-000000020.json",
    ]
    assert torch.equal(once, trained(run, toy_latents, tmp_path / "killed", device))


def batches(run: TrainSettings, device: torch.device) -> Callable[[int], list[Batch]]:
    """Random batches; that of step 7 holds timestep 0, whose loss has a term of its own."""

    def draw(step: int) -> list[Batch]:
        rng = torch.Generator().manual_seed(step)
        shape = (run.recipe.batch_size, run.in_channels, run.input_size, run.input_size)
        t = torch.randint(1, 1000, shape[:1], generator=rng)
        if step == 7:
            t[3] = 0
        x0, noise = torch.randn(2, *shape, generator=rng).to(device)
        return [Batch(x0, t, torch.randint(run.num_classes, shape[:1], generator=rng).to(device), noise)]

    return draw


def start(run: TrainSettings, device: torch.device, ranks: Ranks | None = None) -> TrainingStep:
    torch.manual_seed(0)
    model = create_model(run.variant, run.input_size, run.num_classes, run.in_channels)
    return TrainingStep(
        model.to(device).train(), run.recipe, create_diffusion(run.diffusion), *([] if ranks is None else [ranks])
    )


@pytest.mark.usefixtures("real")
def test_a_compiled_network_is_one_graph_and_stays_it(run: TrainSettings, device: torch.device) -> None:
    from torch._dynamo.utils import counters

    run = run.with_recipe(precision="bfloat16", compile=True)
    counters.clear()
    step, draw = start(run, device), batches(run, device)
    with matrix_products(run.recipe.precision):
        step(0, draw(0))
        with torch.compiler.set_stance("fail_on_recompile"):
            for number in range(1, 10):
                step(number, draw(number))
    assert counters["stats"]["unique_graphs"] == 1
    assert not counters["graph_break"]


@pytest.mark.parametrize("fast", [False, True], ids=["float32 eager", "bfloat16 compiled"])
def test_no_step_waits_for_the_gpu(
    run: TrainSettings,
    toy_latents: Path,
    tmp_path: Path,
    cuda: torch.device,
    monkeypatch: pytest.MonkeyPatch,
    fast: bool,
) -> None:
    """The loop's own steps: batch, copy to the device, network, loss, optimiser, EMA, sums of the log."""
    if fast:
        run = run.with_recipe(precision="bfloat16", compile=True, gradient_clip=1.0)
    take = TrainingStep.__call__

    def counted(self: TrainingStep, step: int, parts: list[Batch]) -> Tensor:
        # The first steps compile, and after the last one the state is saved.
        torch.cuda.set_sync_debug_mode("error" if 5 <= step < STEPS - 1 else "default")
        return take(self, step, parts)

    monkeypatch.setattr(TrainingStep, "__call__", counted)
    try:
        train_to(run, toy_latents, STEPS, tmp_path, Runtime(device=cuda))
    finally:
        torch.cuda.set_sync_debug_mode("default")


def train_in_a_group(run: TrainSettings, device: str, port: int, output: Path) -> None:
    """Write the weights after ten steps of two parts in a process group of one rank, with and without replication."""
    os.environ.update(RANK="0", LOCAL_RANK="0", WORLD_SIZE="1", MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    with torchrun_ranks(device) as (_, place), matrix_products(run.recipe.precision):
        draw = batches(run, place)
        for name, ranks in {"alone": Ranks(), "replicated": Ranks(0, 2)}.items():  # a count of 2 replicates
            step = start(run, place, ranks)
            for number in range(10):
                step(number, draw(number)[0].split(run.recipe.batch_size // 2))
            torch.save(step.tensors, output / f"{name}.pt")


@pytest.mark.usefixtures("real")
@pytest.mark.parametrize("fast", [False, True], ids=["float32 eager", "bfloat16 compiled"])
def test_one_rank_of_a_group_trains_as_none(
    run: TrainSettings, tmp_path: Path, device: torch.device, fast: bool
) -> None:
    """Over NCCL on CUDA: gradients through buckets, in two parts of which only the last is averaged."""
    if fast:
        run = run.with_recipe(precision="bfloat16", compile=True)
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = CONTEXT.Process(target=train_in_a_group, args=(run, device.type, port, tmp_path))
    process.start()
    process.join()
    assert process.exitcode == 0
    alone, replicated = (torch.load(tmp_path / f"{name}.pt", map_location="cpu") for name in ("alone", "replicated"))
    for name, tensor in alone.items():
        assert torch.equal(tensor, replicated[name]), name


@pytest.mark.usefixtures("real")
def test_out_of_memory_names_the_setting_and_a_value_that_fits(
    run: TrainSettings, toy_latents: Path, tmp_path: Path, cuda: torch.device
) -> None:
    total = torch.cuda.get_device_properties(cuda).total_memory
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction((torch.cuda.memory_allocated() + 1.5e9) / total)
    big, micro_batch, told = run.with_recipe(batch_size=4096), 4096, list[str]()
    try:
        while micro_batch:
            try:
                train_to(big, toy_latents, 2, tmp_path, Runtime(device=cuda, micro_batch=micro_batch))
                break
            except UserError as error:
                told.append(str(error))
                micro_batch = int(re.findall(r"resources\.micro_batch to (\d+) or less", str(error))[0])
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert 1 <= len(told) <= 5
    assert "4096 samples at once do not fit the memory of" in told[0]
