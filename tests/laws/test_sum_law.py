"""Sums of power laws and the additive law on data made from known numbers."""

import numpy as np
import pandas as pd
import pytest

from dit_scaling.claims.fits import fit_power_law
from dit_scaling.common.errors import UserError
from dit_scaling.laws.additive import AdditiveLaw, fit_additive
from dit_scaling.laws.run_grid import grid_of
from dit_scaling.laws.single_laws import single_laws
from dit_scaling.laws.sum_law import fit_sum_law

N, D = (grid.ravel() for grid in np.meshgrid(np.geomspace(1e4, 3e5, 6), np.geomspace(1e4, 5e5, 7)))
TRUE = {"E": 0.187, "A": 2.0, "a": 0.39, "B": 1.5, "b": 0.35}


def additive(n: np.ndarray, d: np.ndarray) -> np.ndarray:
    return TRUE["E"] + TRUE["A"] * n ** -TRUE["a"] + TRUE["B"] * d ** -TRUE["b"]


def test_the_additive_law_is_recovered() -> None:
    law = fit_sum_law(np.column_stack([N, D]), additive(N, D), floor=True)
    assert law.floor == pytest.approx(TRUE["E"], rel=1e-3)
    assert law.exponents == pytest.approx((TRUE["a"], TRUE["b"]), rel=1e-2)
    assert law.coefficients == pytest.approx((TRUE["A"], TRUE["B"]), rel=5e-2)
    assert law.residual < 1e-5


def test_a_power_law_is_that_of_least_squares_and_outliers_count_less() -> None:
    x, rng = np.geomspace(1, 1e4, 30), np.random.default_rng(0)
    y = 3 * x**-0.07 * np.exp(rng.normal(0, 0.002, 30))  # within Huber's square part
    ours, theirs = fit_sum_law(x[:, None], y, floor=False), fit_power_law(x, y)
    assert ours.exponents[0] == pytest.approx(-theirs.b, rel=1e-4)
    y[3] *= 1.5
    assert fit_sum_law(x[:, None], y, floor=False).exponents[0] == pytest.approx(0.07, abs=0.002)
    assert -fit_power_law(x, y).b != pytest.approx(0.07, abs=0.002)


def test_a_floor_is_found() -> None:
    x = np.geomspace(1, 100, 8)
    law = fit_sum_law(x[:, None], 2 + 5 * x**-0.8, floor=True)
    assert (law.floor, law.coefficients[0], law.exponents[0]) == pytest.approx((2, 5, 0.8), rel=1e-3)
    np.testing.assert_allclose(law(np.array([[1000.0]])), 2 + 5 * 1000**-0.8, rtol=1e-3)


@pytest.mark.parametrize(
    ("x", "y"), [([[1.0], [2.0]], [1.0, 2.0]), ([[1.0], [2.0], [-1.0]], [1.0, 2.0, 3.0]), ([1.0, 2.0], [1.0, 2.0])]
)
def test_what_is_no_law_is_refused(x: list, y: list) -> None:
    with pytest.raises(UserError, match="law"):
        fit_sum_law(np.array(x), np.array(y), floor=True)


def fitted(floor: float, sd: float, replicates: int) -> AdditiveLaw:
    rng, rows = np.random.default_rng(1), []
    for params in np.geomspace(1e4, 3e5, 5):
        for seed in range(3):
            deviation = np.exp(rng.normal(0, sd))
            for images in np.geomspace(2e4, 5e5, 6):
                value = (additive(params, images) - TRUE["E"] + floor) * deviation
                rows.append({"variant": f"{params:.0f}", "seed": seed, "params": params, "images": images, "y": value})
    grid = grid_of(pd.DataFrame(rows), "y", "images")
    return fit_additive(grid, np.broadcast_to(grid.stops, grid.means.shape), replicates=replicates)


def test_what_the_data_identify_has_an_interval() -> None:
    law = fitted(TRUE["E"], 0.0005, 40)
    known = {parameter.name: parameter.interval for parameter in law.parameters}
    for name in ("E", "a", "b"):
        interval = known[name]
        assert interval is not None
        assert interval.low <= TRUE[name] <= interval.high
    assert law.size_exponent.low <= TRUE["b"] / (TRUE["a"] + TRUE["b"]) <= law.size_exponent.high
    at = law.predict(1e6, 2e6, 0.0005)
    assert at.low <= additive(1e6, 2e6) <= at.high


def test_what_they_do_not_identify_has_no_number() -> None:
    law = fitted(0.0, 0.02, 10)
    known = {parameter.name: parameter.interval for parameter in law.parameters}
    assert known["E"] is None


def test_laws_of_one_quantity_have_their_exponents_and_floors() -> None:
    rng, rows = np.random.default_rng(2), []
    for params in np.geomspace(1e4, 1e6, 6):
        for seed in range(4):
            for images in np.geomspace(1e4, 1e6, 6):
                value = (0.1 + 3 * images**-0.4) * params**-0.05 * np.exp(rng.normal(0, 0.0005))
                rows.append({"variant": f"{params:.0f}", "seed": seed, "params": params, "images": images, "y": value})
    grid = grid_of(pd.DataFrame(rows), "y", "images")
    by_params, by_images = single_laws(grid, np.broadcast_to(grid.stops, grid.means.shape))
    assert by_params.exponent.low <= 0.05 <= by_params.exponent.high
    assert by_params.floor is None
    assert by_images.floor is not None
    params = grid.params[0]
    assert by_images.floor.value == pytest.approx(0.1 * params**-0.05, rel=0.05)
    assert by_images.residual > 10 * by_params.residual  # no straight line in logarithms
