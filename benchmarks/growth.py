"""How cost grows: `python -m benchmarks.growth` writes results/bench/growth.csv and docs/growth.png.

Training steps of the S and B variants, and one of XL/2, against their cost in closed form; extraction and the Frechet
distance against the number of images. Each point is a process of its own, so that its peak memory is its own.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.row import Setting, Side, timed
from benchmarks.worker import THREAD_VARIABLES, peak_resident
from dit_scaling.common.allocator import KEPT_MEMORY
from dit_scaling.common.files import atomic_path

if TYPE_CHECKING:
    import pandas as pd

TABLE = Path("results", "bench", "growth.csv")
FIGURE = Path("docs", "growth.png")
BLUE = "#0072B2"
LARGEST = "DiT-XL/2"
LARGEST_FITS = 24 * 2**30  # bytes, of its training step at batch 1
THREADS = 2
RUNS = 3  # of which the median counts, after one that does not


@dataclass(frozen=True)
class Point:
    """One measurement: a training step of a variant at a batch size, or a stage on a number of images."""

    kind: str
    name: str
    count: int


POINTS = (
    *(Point("training", f"DiT-{size}/{patch}", 4) for size in "SB" for patch in (8, 4, 2)),
    Point("training", LARGEST, 1),
    *(Point(kind, kind, count) for kind in ("extraction", "distance") for count in (1_000, 4_000, 16_000)),
)
QUICK_POINTS = (
    Point("training", "DiT-S/8", 1),
    Point("training", "DiT-S/4", 1),
    *(Point(kind, kind, count) for kind in ("extraction", "distance") for count in (50, 100)),
)


def measure_point(point: Point) -> dict[str, Any]:
    """Seconds and peak memory in bytes, beside the size they should grow with: multiply-adds in 1e9, or images."""
    with tempfile.TemporaryDirectory(prefix="dit-scaling-growth-") as folder:
        make: Callable[[Setting, Point], tuple[Side, dict[str, Any]]]
        make = {"training": training, "extraction": extraction, "distance": distance}[point.kind]
        side, facts = make(Setting(quick=False, folder=Path(folder)), point)
        side.seconds()
        seconds = statistics.median(side.seconds() for _ in range(RUNS))
    return {"kind": point.kind, "name": point.name, **facts, "seconds": seconds, "peak_bytes": peak_resident()}


def training(_setting: Setting, point: Point) -> tuple[Side, dict[str, Any]]:
    """A training step, not compiled."""
    from benchmarks.models import paper_model
    from benchmarks.training import DIFFUSION, draw_batch
    from dit_scaling.config.recipe import Recipe
    from dit_scaling.training.step import TrainingStep
    from dit_scaling.variants import TRAINING_PASSES, count_gflops, count_tokens

    model = paper_model(point.name)
    variant, batch = model.variant, draw_batch(model, point.count)
    step = TrainingStep(model.train(), Recipe(), DIFFUSION)
    facts = {
        "tokens": count_tokens(variant, model.input_size),
        "width": variant.hidden_size,
        "batch": point.count,
        "size": TRAINING_PASSES * point.count * count_gflops(variant),
    }
    return timed(lambda: step(0, [batch])), facts


def extraction(setting: Setting, point: Point) -> tuple[Side, dict[str, Any]]:
    """The latents' stage on images of 32 x 32 and a small autoencoder."""
    from benchmarks.extraction import WIDTHS, encode_to_shard

    return encode_to_shard(setting, WIDTHS["eighth-width"], point.count, side=32), {"size": point.count}


def distance(setting: Setting, point: Point) -> tuple[Side, dict[str, Any]]:
    """Features, moments and Frechet distance of images in memory, with the embedded study's classifier."""
    from benchmarks.features import score_images

    return score_images(setting, point.count), {"size": point.count}


def draw(table: "pd.DataFrame", path: Path) -> None:
    """Seconds against size for each kind, with the straight line that fits its points best, for each width its own."""
    import numpy as np
    from matplotlib.figure import Figure

    labels = {
        "training": "multiply-adds of a training step (1e9)",
        "extraction": "images encoded, with their mirrors",
        "distance": "images scored",
    }
    figure = Figure(figsize=(10, 3.4), layout="constrained")
    for axes, (kind, label) in zip(figure.subplots(1, len(labels)), labels.items(), strict=True):
        rows = table[table["kind"] == kind]
        axes.plot(rows["size"], rows["seconds"], "o", color=BLUE)
        for _, points in rows.groupby("width", dropna=False):
            if len(points) > 1:
                slope, start = np.polyfit(points["size"], points["seconds"], 1)
                ends = np.array([0, points["size"].max()])
                axes.plot(ends, start + slope * ends, color="black", linewidth=0.8, linestyle="--")
        for name, size, seconds in zip(rows["name"], rows["size"], rows["seconds"], strict=True):
            if name.endswith("/2"):
                axes.annotate(name, (size, seconds), xytext=(-4, 6), textcoords="offset points", fontsize=7, ha="right")
        axes.set(xlim=(0, None), ylim=(0, 1.1 * rows["seconds"].max()), xlabel=label, title=kind)
    figure.axes[0].set_ylabel("seconds")
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=160)


def main() -> int:
    """Measure every point; the exit code is 1 where XL/2 takes more memory than it may."""
    import pandas as pd

    parser = argparse.ArgumentParser(prog="python -m benchmarks.growth", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a few small points, to try it")
    parser.add_argument("--point", type=int, help="measure this one and print it as JSON")
    given = parser.parse_args()
    points = QUICK_POINTS if given.quick else POINTS
    if given.point is not None:
        print(json.dumps(measure_point(points[given.point])))
        return 0
    rows = []
    for number, point in enumerate(points):
        print(f"{point.name}, {point.count} ...", file=sys.stderr, flush=True)
        command = [sys.executable, "-m", "benchmarks.growth", "--point", str(number)]
        environment = {**KEPT_MEMORY, **os.environ, **dict.fromkeys(THREAD_VARIABLES, str(THREADS))}
        options = ["--quick"] if given.quick else []
        run = subprocess.run([*command, *options], env=environment, stdout=subprocess.PIPE, text=True, check=True)
        rows.append(json.loads(run.stdout.splitlines()[-1]))
    table = pd.DataFrame(rows)
    with atomic_path(TABLE.with_name("quick-growth.csv") if given.quick else TABLE) as temporary:
        table.to_csv(temporary, index=False)
    draw(table, TABLE.with_name("quick-growth.png") if given.quick else FIGURE)
    print(table.to_string(index=False))
    largest = table.loc[table["name"] == LARGEST, "peak_bytes"]
    return int(bool((largest > LARGEST_FITS).any()))


if __name__ == "__main__":
    sys.exit(main())
