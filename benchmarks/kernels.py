"""Where the time of a training step and of a sampler goes on a GPU, by kind of kernel: python -m benchmarks.kernels

Networks of the paper's widths with fewer blocks, which compile sooner: all blocks cost the same; and the embedded
study's largest, whose operators are launched more slowly than they run. Also alone: the large matrix product that is
the ceiling, attention's back ends, and the passes over all weights at XL's full size.
"""

import argparse
import json
import re
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from benchmarks.models import embedded_model
from dit_scaling.common.devices import describe_device, matrix_products
from dit_scaling.config.recipe import Recipe
from dit_scaling.diffusion.process import PAPER_PROCESS, create_diffusion
from dit_scaling.diffusion.samplers import SamplingOptions
from dit_scaling.models import DiT, count_parameters, create_model
from dit_scaling.models.compiling import compiled
from dit_scaling.sampling.one_shape import compiled_sampler
from dit_scaling.training.batches import Batch
from dit_scaling.training.step import TrainingStep
from dit_scaling.variants import Variant, parse_variant

KINDS: Mapping[str, str] = {
    "attention": r"flash|fmha|sdpa|attention|softmax",
    "matrix products": r"gemm|nvjet|cutlass|xmma|splitKreduce|aten::(mm|addmm|bmm)",
    "optimiser and EMA": r"adam|lerp|multi_tensor",
    "fused by the compiler: reductions": r"triton_(per|red)",
    "fused by the compiler: elementwise": r"triton_poi",
    "copies": r"memcpy|memset|CatArray|copy|direct_copy|aten::(cat|copy_)",
    "elementwise": r"elementwise|vectorized|aten::(add|mul|addcmul)",
    "reductions": r"reduce|norm",
}
NAMED = 14  # of the costliest kernels
BATCH_OF_EMBEDDED = 16


def tell(what: str, **facts: Any) -> None:
    """One line of JSON, at once: what comes later may be cut off."""
    print(json.dumps({"what": what, **facts}), flush=True)


def carry_out(part: str, measure: Callable[[], None], device: torch.device) -> None:
    """Measure one part, and tell how long it took or why it failed; whatever that is, the next can still be had."""
    started = time.perf_counter()
    try:
        measure()
    except Exception as error:
        tell("failed", part=part, error=f"{type(error).__name__}: {error}"[:500])
    if device.type == "cuda":
        torch.cuda.empty_cache()
    torch._dynamo.reset()
    tell("done", part=part, seconds=round(time.perf_counter() - started, 1))


def seconds_of(run: Callable[[], object], device: torch.device, repeats: int) -> float:
    """Median time of a call in seconds, after two that are not counted; by events on a GPU."""
    for _ in range(2):
        run()
    if device.type != "cuda":
        started = time.perf_counter()
        run()
        return time.perf_counter() - started
    times = list[float]()
    for _ in range(repeats):
        before, after = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        before.record()
        run()
        after.record()
        after.synchronize()
        times.append(before.elapsed_time(after) / 1e3)
    return sorted(times)[len(times) // 2]


def profile(what: str, run: Callable[[], object], device: torch.device, steps: int, named: bool = True) -> None:
    """Time a step and share its kernels out to kinds, in milliseconds a step."""
    seconds = seconds_of(run, device, 2 * steps)
    activity = torch.profiler.ProfilerActivity
    activities = [activity.CUDA] if device.type == "cuda" else [activity.CPU]
    with torch.profiler.profile(activities=activities) as recorded:
        for _ in range(steps):
            run()
        if device.type == "cuda":
            torch.cuda.synchronize()
    kinds, kernels = defaultdict[str, float](float), list[tuple[float, int, str]]()
    for event in recorded.key_averages():
        own = event.self_device_time_total if device.type == "cuda" else event.self_cpu_time_total
        milliseconds = own / 1e3 / steps
        kind = next((kind for kind, names in KINDS.items() if re.search(names, event.key, re.IGNORECASE)), "other")
        kinds[kind] += milliseconds
        kernels.append((milliseconds, event.count // steps, event.key))
    tell(
        what,
        step_ms=round(1e3 * seconds, 3),
        kernels_ms=round(sum(kinds.values()), 3),
        launches=sum(count for _, count, _ in kernels),
        kinds={kind: round(kinds[kind], 3) for kind in sorted(kinds, key=lambda kind: -kinds[kind])},
    )
    for milliseconds, count, name in sorted(kernels, reverse=True)[: NAMED if named else 0]:
        print(f"    {milliseconds:8.3f} ms {count:5d} x {name[:150]}", flush=True)


def shortened(name: str, blocks: int) -> DiT:
    """A network of the paper with so many blocks."""
    variant = parse_variant(name)
    assert isinstance(variant, Variant)
    model = create_model(variant.model_copy(update={"depth": blocks}))
    assert isinstance(model, DiT)
    return model


def training(model: DiT, batch: int, device: torch.device, recipe: Recipe, graphs: bool = False) -> None:
    """A training step on one batch that stays; ``graphs`` launches what is compiled as CUDA graphs."""
    name, depth = model.variant.name, model.variant.depth
    model.to(device).train()
    if graphs:
        compiled(model, graphs=True)
    shape = (batch, model.in_channels, model.input_size, model.input_size)
    x0, noise = torch.randn(2, *shape, device=device)
    drawn = Batch(
        x0, torch.randint(1, 1000, (batch,)), torch.randint(model.num_classes, (batch,), device=device), noise
    )
    with matrix_products(recipe.precision):
        own = recipe.model_copy(update={"compile": recipe.compile and not graphs})
        take = TrainingStep(model, own, create_diffusion(PAPER_PROCESS))
        started = time.perf_counter()
        take(0, [drawn])
        if device.type == "cuda":
            torch.cuda.synchronize()
        first = time.perf_counter() - started
        how = described(recipe.precision, recipe.compile, graphs)
        tell("first step", variant=name, blocks=depth, seconds=round(first, 1))
        profile(f"training {name}, {depth} blocks, batch {batch}, {how}", lambda: take(1, [drawn]), device, 3)


def described(precision: str, fast: bool, graphs: bool) -> str:
    """How a network ran."""
    return f"{precision}, {'eager' if not fast else 'CUDA graphs' if graphs else 'compiled'}"


def sampling(
    model: DiT, batch: int, device: torch.device, precision: str, fast: bool = True, graphs: bool = False
) -> None:
    """Ten denoising steps from one noise, with the noise of the steps drawn on the device."""
    name, depth = model.variant.name, model.variant.depth
    model.to(device).eval()
    denoiser = compiled_sampler(model, graphs=graphs) if fast else model
    noise = torch.randn(batch, model.in_channels, model.input_size, model.input_size, device=device)
    labels = torch.randint(model.num_classes, (batch,), device=device)

    def run() -> None:
        with matrix_products(precision), torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16"):
            create_diffusion(PAPER_PROCESS).sample(denoiser, noise, labels, SamplingOptions(steps=10))

    how = described(precision, fast, graphs)
    profile(f"10 sampling steps {name}, {depth} blocks, batch {batch}, {how}", run, device, 1, named=fast)


def attention(device: torch.device, batch: int, heads: int, tokens: int, widths: tuple[int, ...]) -> None:
    """Forward and backward of attention in bf16, by back end and by the width that heads are padded to."""
    own = widths[0]
    for width in widths:
        for back_end in (SDPBackend.FLASH_ATTENTION, SDPBackend.CUDNN_ATTENTION, SDPBackend.EFFICIENT_ATTENTION):
            packed = torch.randn(batch, tokens, 3, heads, own, device=device, dtype=torch.bfloat16, requires_grad=True)

            def forward(packed: Tensor = packed, width: int = width, back_end: SDPBackend = back_end) -> Tensor:
                q, k, v = F.pad(packed, (0, width - own)).permute(2, 0, 3, 1, 4).unbind(0)
                with sdpa_kernel(back_end):
                    return F.scaled_dot_product_attention(q, k, v, scale=own**-0.5)[..., :own]

            def both(packed: Tensor = packed, forward: Callable[[], Tensor] = forward) -> None:
                out = forward()
                torch.autograd.backward(out, out.detach())
                packed.grad = None

            try:
                with torch.no_grad():
                    once = seconds_of(forward, device, 10)
                twice = seconds_of(both, device, 10)
            except RuntimeError as error:
                tell("attention", own=own, width=width, back_end=back_end.name, refused=str(error)[:100])
                continue
            tell(
                "attention",
                own=own,
                width=width,
                back_end=back_end.name,
                forward_ms=round(1e3 * once, 3),
                both_ms=round(1e3 * twice, 3),
            )


def products(device: torch.device, tokens: int, width: int) -> None:
    """Rate of a block's matrix products in bf16, forward, in TFLOP/s, beside a large one of random numbers."""
    side = 8192 if device.type == "cuda" else 512
    shapes = {
        "large": (side, side, side),
        "qkv": (tokens, width, 3 * width),
        "proj": (tokens, width, width),
        "fc1": (tokens, width, 4 * width),
        "fc2": (tokens, 4 * width, width),
        "gradient of fc1's weight": (4 * width, tokens, width),
    }
    for name, (m, k, n) in shapes.items():
        a = torch.randn(m, k, device=device, dtype=torch.bfloat16)
        b = torch.randn(n, k, device=device, dtype=torch.bfloat16)
        seconds = seconds_of(lambda a=a, b=b: a @ b.T, device, 10)  # type: ignore[misc]
        tell("product", name=name, shape=[m, k, n], tflops=round(2 * m * k * n / seconds / 1e12, 1))


def weights_passes(device: torch.device, count: int) -> None:
    """The passes over all weights that end a step, each alone, and as one compiled function."""
    weights, ema, m, v = (torch.randn(count, device=device).abs_() for _ in range(4))
    gradient = torch.randn(count, device=device)
    parts = [part.clone() for part in gradient.split(-(-count // 300))]
    weights.grad = gradient
    optimiser = torch.optim.AdamW([weights], 1e-4, fused=True)
    optimiser.state[weights] = {"step": torch.zeros((), device=device), "exp_avg": m, "exp_avg_sq": v}
    passes: dict[str, Callable[[], object]] = {
        "copy of one array": lambda: ema.copy_(weights),
        "gathering 300 gradients": lambda: torch.cat(parts, out=gradient),
        "norm of the gradient": lambda: torch.nn.utils.get_total_norm([gradient]),
        "AdamW": optimiser.step,
        "EMA": lambda: ema.lerp_(weights, 1e-4),
    }
    for name, run in passes.items():
        tell("pass over all weights", name=name, weights=count, ms=round(1e3 * seconds_of(run, device, 10), 3))

    def at_once(w: Tensor, e: Tensor, m: Tensor, v: Tensor, g: Tensor, scale: Tensor, rate: Tensor) -> None:
        g = g * scale
        first, second = m.lerp(g, 0.1), v * 0.999 + g * g * 0.001
        moved = w - rate * first / (second.sqrt() + 1e-8)
        w.copy_(moved)
        e.copy_(e.lerp(moved, 1e-4))
        m.copy_(first)
        v.copy_(second)

    fused = torch.compile(at_once, dynamic=False)
    scale, rate = torch.ones((), device=device), torch.full((), 1e-4, device=device)
    seconds = seconds_of(lambda: fused(weights, ema, m, v, gradient, scale, rate), device, 10)
    tell("pass over all weights", name="clip, AdamW and EMA as one", weights=count, ms=round(1e3 * seconds, 3))


def parts(device: torch.device, small: bool) -> Iterator[tuple[str, Callable[[], None]]]:
    """What is measured, the most wanted first."""
    fast, tf32 = Recipe(precision="bfloat16", compile=True), Recipe(precision="tf32")
    xl_of, xs_of = (("DiT-S/8", 2), ("DiT-S/8", 2)) if small else (("DiT-XL/2", 4), ("DiT-S/2", 12))

    def xl() -> DiT:
        return shortened(*xl_of)

    def xs() -> DiT:
        return shortened(*xs_of)

    def embedded() -> DiT:
        return embedded_model(1)[0]

    batch, batch_s, drawn = (2, 2, 2) if small else (128, 256, 64)
    yield "products", lambda: products(device, 256 if small else 32768, 128 if small else 1152)
    yield "training-xl", lambda: training(xl(), batch, device, fast)
    yield "attention", lambda: attention(device, batch, 2 if small else 16, 256, (72, 80, 96, 128))
    yield "weights", lambda: weights_passes(device, 10**5 if small else count_parameters("DiT-XL/2"))
    yield "training-s", lambda: training(xs(), batch_s, device, fast)
    yield "sampling-xl", lambda: sampling(xl(), drawn, device, "bfloat16")
    yield "sampling-xl-graphs", lambda: sampling(xl(), drawn, device, "bfloat16", graphs=True)
    yield "training-embedded", lambda: training(embedded(), BATCH_OF_EMBEDDED, device, fast)
    yield "training-embedded-graphs", lambda: training(embedded(), BATCH_OF_EMBEDDED, device, fast, graphs=True)
    yield "training-embedded-eager", lambda: training(embedded(), BATCH_OF_EMBEDDED, device, tf32)
    yield "sampling-embedded", lambda: sampling(embedded(), drawn, device, "bfloat16")
    yield "sampling-embedded-graphs", lambda: sampling(embedded(), drawn, device, "bfloat16", graphs=True)
    yield "training-s-graphs", lambda: training(xs(), batch_s, device, fast, graphs=True)
    yield "sampling-xl-tf32", lambda: sampling(xl(), drawn, device, "tf32", fast=False)
    yield "attention-64", lambda: attention(device, batch_s, 2 if small else 6, 256, (64,))
    yield "training-xl-tf32", lambda: training(xl(), batch, device, tf32)


def main() -> None:
    """Measure all parts, or those named."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.kernels", description=__doc__)
    parser.add_argument("parts", nargs="*", help="names of parts; all where there is none")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--small", action="store_true", help="sizes that show only that everything runs")
    arguments = parser.parse_args()
    device = torch.device(arguments.device)
    tell("device", name=describe_device(device), torch=torch.__version__)
    for name, measure in parts(device, arguments.small):
        if not arguments.parts or name in arguments.parts:
            carry_out(name, measure, device)


if __name__ == "__main__":
    main()
