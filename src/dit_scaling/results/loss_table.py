"""The table of held-out losses of a study, whether or not it is sampled: what scaling laws are fitted to."""

from pathlib import Path

import pandas as pd

from dit_scaling.common.csv_file import write_csv
from dit_scaling.config.laws_settings import FLOPS_PER_GFLOP
from dit_scaling.config.study import Study
from dit_scaling.results.aggregate import add_losses
from dit_scaling.variants import count_gflops


def write_loss_table(study: Study, records: list[Path], output: Path) -> None:
    """Write a row per run and export: variant, seed, step, params, gflops, flops, images, budget, role and losses.

    ``flops`` are those of training, ``budget`` the one that the config names at this step and ``role`` whether laws are
    fitted to it; both are empty where the config has no ``laws``.

    Args:
        study: the study.
        records: losses.json of every trained variant and seed, in the config's order.
        output: CSV.

    Raises:
        UserError: a record is none.
    """
    runs = [(name, seed) for name in study.trained for seed in study.training.seeds]
    table = pd.DataFrame([row for name, seed in runs for row in _rows(study, name, seed)])
    write_csv(add_losses(table, dict(zip(runs, records, strict=True))), output)


def _rows(study: Study, name: str, seed: int) -> list[dict[str, object]]:
    gflops = count_gflops(study.variant(name), study.latent_size, study.vae.latent_channels)
    parameters, budgets = study.parameters(name), study.budgets(name)
    rows: list[dict[str, object]] = []
    for step in study.exports(name):
        images, budget = step * study.training.batch_size, budgets.get(step)
        rows.append(
            {
                "variant": name,
                "seed": seed,
                "step": step,
                "params": parameters,
                "gflops": gflops,
                "flops": FLOPS_PER_GFLOP * gflops * images,
                "images": images,
                "budget": budget.flops if budget else None,
                "role": budget.role if budget else "",
            }
        )
    return rows
