"""The Frechet distance of 2048-d moments, beside clean-fid's matrix root and torch-fidelity's eigenvalues."""

from collections.abc import Callable

import numpy as np

from benchmarks.row import Row, Setting, Side, at_least, equal_within, timed
from dit_scaling.metrics.arrays import Array
from dit_scaling.metrics.frechet import frechet_distance

Pair = tuple[Array, Array, Array, Array]


def draw_moments(setting: Setting) -> Pair:
    """Means and covariances of twice as many features as there are dimensions, with a spectrum that falls off."""
    dim = setting.choose(2048, 128)
    rng = np.random.default_rng(0)
    mixing = rng.standard_normal((dim, dim)) * np.exp(-4 * np.arange(dim) / dim) / np.sqrt(dim)
    found: list[Array] = []
    for shift in (0.0, 0.05):
        features = np.maximum(rng.standard_normal((2 * dim, dim)) @ mixing + 0.3 + shift, 0)  # as after a ReLU
        found += [features.mean(axis=0), np.cov(features, rowvar=False)]
    return found[0], found[1], found[2], found[3]


def by(distance: Callable[[Array, Array, Array, Array], float]) -> Callable[[Setting], Side]:
    """A side that applies ``distance`` to the two pairs of moments."""

    def make(setting: Setting) -> Side:
        moments, found = draw_moments(setting), list[float]()
        return timed(lambda: found.append(distance(*moments)), lambda: {"distance": found[0]})

    return make


def clean_fid(setting: Setting) -> Side:
    """clean-fid's: scipy's sqrtm of the product."""
    from cleanfid.fid import frechet_distance as distance

    return by(distance)(setting)


def torch_fidelity(setting: Setting) -> Side:
    """torch-fidelity's: numpy's eigvals of the product."""
    from torch_fidelity.metric_fid import KEY_METRIC_FID, fid_statistics_to_metric

    def distance(mu1: Array, sigma1: Array, mu2: Array, sigma2: Array) -> float:
        statistics = ({"mu": mu1, "sigma": sigma1}, {"mu": mu2, "sigma": sigma2})
        return float(fid_statistics_to_metric(*statistics, verbose=False)[KEY_METRIC_FID])

    return by(distance)(setting)


def row(name: str, peer: str, make_peer: Callable[[Setting], Side], target: float) -> Row:
    """Our distance beside one of a library."""
    return Row(
        name=f"frechet-{name}",
        what="Frechet distance of 2048-d moments",
        peer=peer,
        make_ours=by(frechet_distance),
        make_peer=make_peer,
        agree=equal_within(1e-4),
        target=at_least(target),
    )


ROWS = (
    row("clean-fid", "clean-fid (scipy's sqrtm)", clean_fid, 5.0),
    row("torch-fidelity", "torch-fidelity (eigvals)", torch_fidelity, 1.3),
)
