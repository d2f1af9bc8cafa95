"""Tables of losses of runs whose laws are known, with seeds that scatter as measured on the digits."""

import numpy as np
import pandas as pd

SIZE_EXPONENT, LOSS_EXPONENT, CURVATURE = 0.47, 0.07, 0.03
PARAMS = np.array([9.5e3, 15e3, 30e3, 50e3, 90e3, 148e3, 330e3, 725e3])
BUDGETS = 9.6e10 * np.array([1.0, 1.6, 2.5, 4.0, 6.3, 10.0, 16.0, 40.0])
WINDOWS = ((0, 5), (1, 6), (1, 6), (2, 7), (2, 7), (3, 8), (3, 8), (3, 8))
"""Sizes compared at each budget, as in config/embedded-isoflop.yaml."""
FITTED = 7


def best(flops: float) -> tuple[float, float]:
    """Best size and its loss at a budget."""
    ratio = flops / 9.6e10
    return 30e3 * ratio**SIZE_EXPONENT, 0.18 * ratio**-LOSS_EXPONENT


def isoflop_table(rng: np.random.Generator, seeds: int = 4, sd: float = 0.0065) -> pd.DataFrame:
    """A parabola of ln loss in ln N at each budget; a run's deviation changes little between neighbouring budgets."""
    rows = []
    for size, params in enumerate(PARAMS):
        for seed in range(seeds):
            deviation = rng.normal(0, sd)
            for budget, (flops, window) in enumerate(zip(BUDGETS, WINDOWS, strict=True)):
                deviation = 0.9 * deviation + rng.normal(0, sd * np.sqrt(1 - 0.9**2))
                if not window[0] <= size < window[1]:
                    continue
                at, loss = best(flops)
                ln_loss = np.log(loss) + CURVATURE * np.log(params / at) ** 2 + deviation
                rows.append(
                    {
                        "variant": f"DiT-W{size}/2",
                        "seed": seed,
                        "step": round(flops / params),
                        "params": params,
                        "gflops": 1e-8 * params,
                        "flops": flops,
                        "images": flops / (60 * params),
                        "budget": flops,
                        "role": "fit" if budget < FITTED else "predict",
                        "held_out_mse": float(np.exp(ln_loss)),
                    }
                )
    return pd.DataFrame(rows)


FLOOR, FACTORS, EXPONENTS = 0.187, (2.0, 1.5), (0.39, 0.35)
SHAPES_PARAMS = np.array([2.2e4, 3.1e4, 5.2e4, 1.5e5, 3.3e5])
SHAPES_BUDGETS = 9.6e10 * np.array([1.0, 1.42, 2.0, 2.81, 4.0, 5.63, 8.0])
SHAPES_WINDOWS = ((0, 4), (0, 4), (0, 4), (0, 5), (0, 5), (1, 5), (1, 5))
"""Sizes compared at each budget, as in config/shapes-isoflop.yaml."""


def additive(params: float, images: float) -> float:
    """The value that size and images give."""
    (a, b), (by_params, by_images) = FACTORS, EXPONENTS
    return FLOOR + a * params**-by_params + b * images**-by_images


def additive_table(rng: np.random.Generator, seeds: int = 4, sd: float = 0.003) -> pd.DataFrame:
    """An additive law at budgets as in config/shapes-isoflop.yaml, of which the last two are to be predicted."""
    rows = []
    for size, params in enumerate(SHAPES_PARAMS):
        for seed in range(seeds):
            deviation = rng.normal(0, sd)
            for budget, (flops, window) in enumerate(zip(SHAPES_BUDGETS, SHAPES_WINDOWS, strict=True)):
                if not window[0] <= size < window[1]:
                    continue
                gflops = 1e-8 * params
                images = flops / (6e9 * gflops)
                rows.append(
                    {
                        "variant": f"DiT-W{size}/2",
                        "seed": seed,
                        "step": round(images / 16),
                        "params": params,
                        "gflops": gflops,
                        "flops": flops,
                        "images": images,
                        "budget": flops,
                        "role": "fit" if budget < 5 else "predict",
                        "held_out_mse": additive(params, images) * float(np.exp(deviation)),
                    }
                )
    return pd.DataFrame(rows)
