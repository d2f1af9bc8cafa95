"""Paired differences: those of scipy's paired test, and of the best variant of each seed and step."""

from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from dit_scaling.common.errors import UserError
from dit_scaling.losses.paired import above_best, paired_difference

RNG = np.random.default_rng(0)
IMAGES = RNG.normal(0.16, 0.03, 500)


def write(path: Path, *losses: np.ndarray) -> Path:
    np.savez(path, steps=np.arange(1, len(losses) + 1), mse=np.array(losses, dtype=np.float32))
    return path


def test_the_error_is_that_of_a_paired_test() -> None:
    first, second = IMAGES + RNG.normal(0.001, 0.004, 500), IMAGES
    mean, error = paired_difference(first, second)
    assert mean / error == pytest.approx(stats.ttest_rel(first, second).statistic)
    assert error < 0.2 * first.std() / np.sqrt(500)


def test_each_run_stands_beside_the_best_of_its_seed_and_step(tmp_path: Path) -> None:
    records = {
        ("DiT-Nano/2", 0): write(tmp_path / "nano.npz", IMAGES, IMAGES - 0.02),
        ("DiT-Mini/2", 0): write(tmp_path / "mini.npz", IMAGES + 0.01, IMAGES - 0.05),
        ("DiT-Mini/2", 1): write(tmp_path / "other.npz", IMAGES),
        ("DiT-Mini/1", 0): tmp_path / "none.npz",
        ("DiT@flow-Nano/2", 0): write(tmp_path / "flow.npz", IMAGES + 1),  # of a velocity
    }
    above = above_best(records).set_index(["variant", "seed", "step"])["held_out_mse_above"]
    assert above["DiT-Nano/2", 0, 1] == 0
    assert above["DiT-Mini/2", 0, 1] == pytest.approx(0.01, abs=1e-6)
    assert above["DiT-Nano/2", 0, 2] == pytest.approx(0.03, abs=1e-6)
    assert above["DiT-Mini/2", 1, 1] == 0
    assert above["DiT@flow-Nano/2", 0, 1] == 0
    assert len(above) == 6


def test_what_holds_no_losses_is_refused(tmp_path: Path) -> None:
    (tmp_path / "torn.npz").write_bytes(b"PK")
    with pytest.raises(UserError, match=r"torn\.npz holds no losses"):
        above_best({("DiT-Nano/2", 0): tmp_path / "torn.npz"})
