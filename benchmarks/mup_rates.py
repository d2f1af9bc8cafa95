"""Does the best learning rate of a narrow DiT serve a wide one? `python -m benchmarks.mup_rates MANIFEST --jobs 2`.

Trains DiTs of three widths and one depth at a grid of rates, by the standard parametrisation and by muP, on the
latents of a study (results/embedded/latents/manifest.json). The noise error of the last quarter of the steps of each
run goes to results/bench/mup-rates.csv as soon as it is known; what stands there of these latents and steps is not run
again.

The rule, decided before any run: by parametrisation and width the best rate is that of the least error, as the mean
over seeds; a run that diverged is worse than any other. The best rate of a parametrisation

- **does not transfer** where that of a wider network lies more than one step of the grid from the narrowest's;
- is **not decided** else, where one of the best rates is the first or the last of the grid, as better ones may lie
  beyond;
- **transfers** else.

muP does what it is for where its best rate transfers and that of the standard parametrisation does not.
"""

import argparse
import json
import math
import multiprocessing
import statistics
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING

from dit_scaling.common.csv_file import write_csv

if TYPE_CHECKING:
    import pandas as pd

TABLE = Path("results", "bench", "mup-rates.csv")
WIDTHS, HEAD_WIDTH, DEPTH, PATCH = (32, 64, 128), 16, 3, 2
RATES = tuple(5.0e-4 * 2**power for power in range(6))  # 5e-4 to 1.6e-2
STEPS, SEEDS = 3000, (0, 1)


@dataclass(frozen=True)
class Run:
    """One training run, by what changes its result; ``latents`` is the digest of their manifest."""

    latents: str
    steps: int
    parametrisation: str
    width: int
    rate: float
    seed: int


def train(manifest: Path, run: Run) -> float:
    """Noise error of a run, as the mean over the last quarter of its log; not a number where it diverged."""
    import torch

    from dit_scaling.config.recipe import Recipe
    from dit_scaling.config.stages import TrainSettings
    from dit_scaling.latents.reader import LatentReader
    from dit_scaling.training.loop import train_to
    from dit_scaling.training.records import DivergedError
    from dit_scaling.training.runtime import Runtime
    from dit_scaling.variants import Variant

    torch.set_num_threads(1)
    reader = LatentReader(manifest, "train")
    _, channels, size, _ = reader.shape
    heads = run.width // HEAD_WIDTH
    settings = TrainSettings(
        variant=Variant(size=f"W{run.width}", patch=PATCH, depth=DEPTH, hidden_size=run.width, num_heads=heads),
        recipe=Recipe.model_validate(
            {
                "batch_size": 16,
                "learning_rate": run.rate,
                "horizontal_flip": False,
                "parametrisation": run.parametrisation,
                "mup_base_width": WIDTHS[0],
            }
        ),
        seed=run.seed,
        input_size=size,
        in_channels=channels // 2,
        num_classes=int(reader.labels.max()) + 1,
        latents="benchmark",
    )
    with tempfile.TemporaryDirectory(prefix="dit-scaling-mup-") as folder:
        try:
            states = train_to(settings, manifest, run.steps, Path(folder), Runtime(device=torch.device("cpu")))
        except DivergedError:
            return float("nan")
        lines = states.export_path(run.steps, "metrics.jsonl").read_text().splitlines()
    errors: list[float] = [json.loads(line)["mse"] for line in lines[3 * len(lines) // 4 :]]
    return statistics.mean(errors)


def planned(
    manifest: Path, widths: Sequence[int], rates: Sequence[float], seeds: Sequence[int], steps: int
) -> list[Run]:
    """Every run, the widest first, as they take longest."""
    from dit_scaling.common.files import sha256_file

    latents = sha256_file(manifest)[:16]
    cells = product(sorted(widths, reverse=True), rates, seeds, ("standard", "mup"))
    return [Run(latents, steps, parametrisation, width, rate, seed) for width, rate, seed, parametrisation in cells]


def trained(manifest: Path, runs: Sequence[Run], jobs: int) -> Iterator[tuple[Run, float]]:
    """Each run with its error as soon as it is done, ``jobs`` of them at a time in processes of their own."""
    with ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn")) as pool:
        pending = {pool.submit(train, manifest, run): run for run in runs}
        try:
            for done in as_completed(pending):
                yield pending[done], done.result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def complete(manifest: Path, runs: Sequence[Run], path: Path, jobs: int) -> "pd.DataFrame":
    """The errors of all ``runs``, those that ``path`` has from there; each new one is added to it at once."""
    import pandas as pd

    known = (
        pd.read_csv(path, dtype={"latents": str})
        if path.exists()
        else pd.DataFrame(columns=[*Run.__dataclass_fields__, "error"])
    )
    errors = {Run(*row[:-1]): row[-1] for row in known.itertuples(index=False, name=None)}
    path.parent.mkdir(parents=True, exist_ok=True)
    left = [run for run in runs if run not in errors]
    for number, (run, error) in enumerate(trained(manifest, left, jobs), start=1):
        errors[run] = error
        write_csv(pd.DataFrame([asdict(run) | {"error": error} for run, error in errors.items()]), path)
        told = f"{run.parametrisation}, width {run.width}, rate {run.rate:g}, seed {run.seed}"
        print(f"{number} of {len(left)}: {told}: {error:.4f}", flush=True)
    return pd.DataFrame([asdict(run) | {"error": errors[run]} for run in runs])


def best_rates(table: "pd.DataFrame") -> "pd.DataFrame":
    """By parametrisation and width the rate of the least mean error over seeds, and how the narrowest's does there.

    ``away`` is how many steps of the grid (factors of 2) it lies above the narrowest's, and ``lost`` by how much
    larger a share the error is at the narrowest's rate.
    """
    import pandas as pd

    errors: dict[tuple[str, int], dict[float, list[float]]] = {}
    for parametrisation, width, rate, error in table[["parametrisation", "width", "rate", "error"]].values.tolist():
        cell = errors.setdefault((parametrisation, width), {})
        cell.setdefault(rate, []).append(math.inf if math.isnan(error) else error)
    rows = []
    for parametrisation, width in sorted(errors):
        narrowest = min(other for of, other in errors if of == parametrisation)
        means, of_narrowest = (
            {rate: statistics.mean(found) for rate, found in errors[parametrisation, some].items()}
            for some in (width, narrowest)
        )
        best, known = min(means, key=means.__getitem__), min(of_narrowest, key=of_narrowest.__getitem__)
        rows.append(
            {
                "parametrisation": parametrisation,
                "width": width,
                "rate": best,
                "error": means[best],
                "away": round(math.log2(best / known)),
                "lost": means[known] / means[best] - 1,
            }
        )
    return pd.DataFrame(rows)


def verdicts(best: "pd.DataFrame", rates: Sequence[float]) -> dict[str, str]:
    """By parametrisation whether the best rate transfers, by the rule of this module."""
    found = {}
    for parametrisation, rows in best.groupby("parametrisation"):
        if rows["away"].abs().max() > 1:
            found[str(parametrisation)] = "does not transfer"
        elif rows["rate"].isin([min(rates), max(rates)]).any():
            found[str(parametrisation)] = "not decided: a best rate is at an end of the grid"
        else:
            found[str(parametrisation)] = "transfers"
    return found


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.mup_rates", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("manifest", type=Path, help="of a study's latents")
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time, each on one thread")
    parser.add_argument("--quick", action="store_true", help="two widths, two rates and one seed, to try it")
    given = parser.parse_args()
    small = given.quick
    rates = RATES[1:3] if small else RATES
    runs = planned(given.manifest, WIDTHS[:2] if small else WIDTHS, rates, SEEDS[:1] if small else SEEDS, given.steps)
    best = best_rates(
        complete(given.manifest, runs, TABLE.with_name(f"quick-{TABLE.name}") if small else TABLE, given.jobs)
    )
    print(f"\nBest rates by width, after {given.steps:,} steps:\n\n{best.to_string(index=False)}\n")
    for parametrisation, verdict in verdicts(best, rates).items():
        print(f"{parametrisation}: {verdict}")


if __name__ == "__main__":
    main()
