"""Before images are scored: whether this machine's linear algebra gives distances that are known."""

import numpy as np
import scipy

from dit_scaling.common.errors import UserError
from dit_scaling.metrics.arrays import Array
from dit_scaling.metrics.frechet import frechet_distance

DIM = 128
TOLERANCE = 1e-6


def check_distances() -> dict[str, float]:
    """Compare the Frechet distance with a closed form, and its matrix root with scipy's; a tenth of a second.

    Gaussians whose covariances share their axes, ``Q diag(a) Q^T`` and ``Q diag(b) Q^T``, are apart by
    ``|mu1 - mu2|^2 + sum (sqrt(a) - sqrt(b))^2``. Of two others the trace of the root, ``tr((S1 S2)^(1/2))``, is taken
    from the distance and from `scipy.linalg.sqrtm`.

    Returns:
        The relative differences, by what was compared.

    Raises:
        UserError: they differ by more than rounding, so that no distance from this machine is to be believed.
    """
    rng = np.random.default_rng(0)
    axes = np.linalg.qr(rng.normal(size=(DIM, DIM)))[0]
    a, b = np.arange(1, DIM + 1.0) ** -1, np.linspace(0.5, 2.0, DIM)
    mean1, mean2 = rng.normal(size=(2, DIM))
    expected = float(np.sum((mean1 - mean2) ** 2) + np.sum((a**0.5 - b**0.5) ** 2))
    found = frechet_distance(mean1, (axes * a) @ axes.T, mean2, (axes * b) @ axes.T)

    first, second = (_covariance(rng) for _ in range(2))
    by_scipy = float(np.trace(scipy.linalg.sqrtm(first @ second)).real)
    by_distance = float(np.trace(first + second) - frechet_distance(mean1, first, mean1, second)) / 2
    differences = {
        "two known Gaussians": abs(found - expected) / expected,
        "matrix root two ways": abs(by_distance - by_scipy) / by_scipy,
    }
    for name, difference in differences.items():
        if not difference <= TOLERANCE:
            raise UserError(
                f"The self-check failed ({name}: {difference:.1e} apart, {TOLERANCE:.0e} allowed), so no distance is "
                "measured here. The linear algebra library of this numpy or scipy is at fault: install them again."
            )
    return differences


def _covariance(rng: np.random.Generator) -> Array:
    rows = rng.normal(size=(2 * DIM, DIM))
    return np.asarray(rows.T @ rows / (2 * DIM))
