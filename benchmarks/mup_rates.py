"""Does the best learning rate of a narrow DiT serve a wide one? `python -m benchmarks.mup_rates MANIFEST`.

Trains DiTs of three widths and one depth at a ladder of rates, by the standard parametrisation and by muP, on the
latents of a study (results/embedded/latents/manifest.json), and writes the noise error of the last quarter of the steps
of each run to results/bench/mup-rates.csv.
"""

import argparse
import json
import statistics
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from dit_scaling.common.csv_file import write_csv

if TYPE_CHECKING:
    import pandas as pd

TABLE = Path("results", "bench", "mup-rates.csv")
WIDTHS, HEAD_WIDTH, DEPTH, PATCH = (32, 64, 128), 16, 3, 2
RATES = tuple(5.0e-4 * 2**power for power in range(6))  # 5e-4 to 1.6e-2
STEPS, SEEDS = 3000, (0, 1)


def train(manifest: Path, width: int, rate: float, parametrisation: str, seed: int, steps: int) -> float:
    """Noise error of a run, as the mean over the last quarter of its log; not a number where it diverged."""
    import torch

    from dit_scaling.common.errors import UserError
    from dit_scaling.config.recipe import Recipe
    from dit_scaling.config.stages import TrainSettings
    from dit_scaling.latents.reader import LatentReader
    from dit_scaling.training.loop import train_to
    from dit_scaling.training.runtime import Runtime
    from dit_scaling.variants import Variant

    reader = LatentReader(manifest, "train")
    _, channels, size, _ = reader.shape
    settings = TrainSettings(
        variant=Variant(size=f"W{width}", patch=PATCH, depth=DEPTH, hidden_size=width, num_heads=width // HEAD_WIDTH),
        recipe=Recipe.model_validate(
            {
                "batch_size": 16,
                "learning_rate": rate,
                "horizontal_flip": False,
                "parametrisation": parametrisation,
                "mup_base_width": WIDTHS[0],
            }
        ),
        seed=seed,
        input_size=size,
        in_channels=channels // 2,
        num_classes=int(reader.labels.max()) + 1,
        latents="benchmark",
    )
    with tempfile.TemporaryDirectory(prefix="dit-scaling-mup-") as folder:
        try:
            states = train_to(settings, manifest, steps, Path(folder), Runtime(device=torch.device("cpu")))
        except UserError:  # weights that are no numbers any more
            return float("nan")
        lines = states.export_path(steps, "metrics.jsonl").read_text().splitlines()
    errors: list[float] = [json.loads(line)["mse"] for line in lines[3 * len(lines) // 4 :]]
    return statistics.mean(errors)


def runs(
    manifest: Path, widths: Sequence[int], rates: Sequence[float], seeds: Sequence[int], steps: int
) -> Iterator[dict[str, object]]:
    """A row per run: parametrisation, width, rate, seed and noise error."""
    for parametrisation in ("standard", "mup"):
        for width in widths:
            for rate in rates:
                for seed in seeds:
                    error = train(manifest, width, rate, parametrisation, seed, steps)
                    yield {
                        "parametrisation": parametrisation,
                        "width": width,
                        "rate": rate,
                        "seed": seed,
                        "error": error,
                    }


def best_rates(table: "pd.DataFrame") -> "pd.DataFrame":
    """By parametrisation and width the rate of the least mean error over seeds; one that diverged counts as worst."""
    worst = table.assign(error=table["error"].fillna(float("inf")))
    means = worst.groupby(["parametrisation", "width", "rate"], as_index=False)["error"].mean()
    best: pd.DataFrame = means.loc[means.groupby(["parametrisation", "width"])["error"].idxmin()]
    return best.reset_index(drop=True)


def main() -> None:
    """The command."""
    import pandas as pd

    parser = argparse.ArgumentParser(prog="python -m benchmarks.mup_rates", description=__doc__)
    parser.add_argument("manifest", type=Path, help="of a study's latents")
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--quick", action="store_true", help="two widths, two rates and one seed, to try it")
    given = parser.parse_args()
    small = given.quick
    rows = runs(
        given.manifest,
        WIDTHS[:2] if small else WIDTHS,
        RATES[1:3] if small else RATES,
        SEEDS[:1] if small else SEEDS,
        given.steps,
    )
    table = pd.DataFrame(list(rows))
    TABLE.parent.mkdir(parents=True, exist_ok=True)
    write_csv(table, TABLE.with_name(f"quick-{TABLE.name}") if small else TABLE)
    print(best_rates(table).to_string(index=False))


if __name__ == "__main__":
    main()
