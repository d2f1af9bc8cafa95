"""Where the time of the embedded study goes: `python -m benchmarks.hotspots` writes results/bench/hotspots.csv.

The slowest stages of a finished `results/embedded` by their recorded seconds, and inside the two slowest, training and
sampling, the operators of the largest variant on one thread, by kind. `python -m benchmarks.hotspots DiT-S/2
full-width` looks at training steps of the paper's variants too, and at encoding as in the rows for extraction.
"""

import sys
import timeit
from collections.abc import Callable, Sequence
from pathlib import Path

from dit_scaling.common.allocator import keep_freed_memory
from dit_scaling.common.files import atomic_path

STAGES = Path("results", "embedded", "tables", "stages.csv")
TABLE = Path("results", "bench", "hotspots.csv")
KINDS = {  # by the first words of an operator's name
    "convolutions": ("mkldnn_convolution",),
    "matrix products": ("mm", "addmm", "bmm"),
    "attention": ("_scaled_dot_product",),
    "GELU": ("gelu", "sigmoid"),  # while sampling its sigmoid, without the products around it
    "SiLU": ("silu",),
    "layer norm": ("native_layer_norm",),
    "group norm": ("native_group_norm",),
    "AdamW, clipping, EMA": ("_fused_adamw", "_foreach", "lerp", "linalg_vector_norm"),
}
OTHER = "other operators: modulation, gates, copies, sums"
NO_OPERATOR = "autograd and optimiser around their operators"


def kind_of(event: str) -> str:
    """The kind that an event of torch's profiler belongs to."""
    if not event.startswith("aten::"):
        return NO_OPERATOR
    name = event.removeprefix("aten::")
    return next((kind for kind, heads in KINDS.items() if name.startswith(heads)), OTHER)


def profile(run: Callable[[], object], number: int) -> dict[str, float]:
    """Shares of the time inside the profiler's events, by kind, the largest first."""
    from torch.profiler import ProfilerActivity
    from torch.profiler import profile as profiler

    with profiler(activities=[ProfilerActivity.CPU]) as found:
        for _ in range(number):
            run()
    taken: dict[str, float] = {}
    for event in found.key_averages():
        kind = kind_of(event.key)
        taken[kind] = taken.get(kind, 0.0) + event.self_cpu_time_total
    whole = sum(taken.values())
    return {kind: some / whole for kind, some in sorted(taken.items(), key=lambda item: -item[1])}


def runs(names: Sequence[str]) -> dict[str, Callable[[], object]]:
    """A training step, and a chain of two steps of sampling, of the largest variant as the study makes them.

    For each of ``names`` a training step of that variant of the paper, at the batch of its row in the benchmarks, or
    encoding with an autoencoder of that width.
    """
    import numpy as np
    import torch

    from benchmarks.extraction import IMAGE_SIZE, WIDTHS, random_vae
    from benchmarks.models import embedded_model, embedded_study, paper_model
    from benchmarks.training import BATCH, DIFFUSION, EAGER, draw_batch
    from dit_scaling.diffusion.process import create_diffusion
    from dit_scaling.diffusion.samplers import SamplingOptions
    from dit_scaling.latents.autoencoder import encode_moments, for_encoding
    from dit_scaling.training.step import TrainingStep

    torch.set_num_threads(1)
    study = embedded_study()
    (trained, batch_size), (sampled, _) = embedded_model(1), embedded_model(1)
    batch, step = (
        draw_batch(trained, batch_size),
        TrainingStep(trained.train(), study.training, create_diffusion(study.diffusion)),
    )
    start = draw_batch(sampled, study.resources.sample_batch)
    few = SamplingOptions(steps=2)

    def paper_step(name: str) -> Callable[[], object]:
        model = paper_model(name)
        drawn, train_step = draw_batch(model, BATCH), TrainingStep(model.train(), EAGER, DIFFUSION)
        return lambda: train_step(0, [drawn])

    def encoding(width: str) -> Callable[[], object]:
        vae = for_encoding(random_vae(WIDTHS[width]).eval(), torch.device("cpu"))
        images = np.random.default_rng(0).integers(0, 256, (2, IMAGE_SIZE, IMAGE_SIZE, 3), dtype=np.uint8)
        return lambda: encode_moments(vae, images)

    return {
        f"training step of {trained.variant.name}": lambda: step(0, [batch]),
        f"2 sampling steps of {sampled.variant.name}": lambda: DIFFUSION.sample(sampled, start.noise, start.y, few),
        **{f"training step of {name}, batch {BATCH}": paper_step(name) for name in names if name not in WIDTHS},
        **{f"encoding 2 images, {name}": encoding(name) for name in names if name in WIDTHS},
    }


def main() -> None:
    """Print both tables."""
    keep_freed_memory()
    import pandas as pd

    if STAGES.exists():
        stages = pd.read_csv(STAGES).sort_values("seconds", ascending=False)
        stages["share"] = stages["seconds"] / stages["seconds"].sum()
        print(stages.head(5).to_string(index=False, float_format="{:.3g}".format), end="\n\n")
    rows = []
    for what, run in runs(sys.argv[1:]).items():
        run()  # its first time is not like the others
        clock = timeit.Timer(run)
        number, _ = clock.autorange()
        milliseconds = 1e3 * min(clock.repeat(3, number)) / number  # without the profiler
        rows += [(what, milliseconds, kind, share) for kind, share in profile(run, number).items()]
    found = pd.DataFrame(rows, columns=["what", "milliseconds", "kind", "share"])
    print(found.to_string(index=False, float_format="{:.3g}".format))
    with atomic_path(TABLE) as temporary:
        found.to_csv(temporary, index=False)


if __name__ == "__main__":
    main()
