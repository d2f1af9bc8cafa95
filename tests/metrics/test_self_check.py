"""The self-check passes here, and fails where a distance is off."""

import pytest

from dit_scaling.common.errors import UserError
from dit_scaling.metrics import frechet, self_check


def test_it_passes_on_sound_libraries() -> None:
    assert max(self_check.check_distances().values()) < 1e-9


@pytest.mark.parametrize(("factor", "named"), [(1.0001, "two known Gaussians"), (float("nan"), "two known Gaussians")])
def test_a_distance_that_is_off_is_refused(factor: float, named: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(self_check, "frechet_distance", lambda *given: factor * frechet.frechet_distance(*given))
    with pytest.raises(UserError, match=f"self-check failed .{named}"):
        self_check.check_distances()


def test_a_matrix_root_that_is_off_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    root = self_check.scipy.linalg.sqrtm
    monkeypatch.setattr(self_check.scipy.linalg, "sqrtm", lambda matrix: 1.001 * root(matrix))
    with pytest.raises(UserError, match=r"self-check failed .matrix root two ways"):
        self_check.check_distances()
