"""How far the values of checks are from their limits."""

import math

import pytest

from dit_scaling.health.check import Check, at_least, at_most, describe_margin, margin_between, nearest, within


@pytest.mark.parametrize(
    ("check", "margin"),
    [
        (at_most("error", 0.3, 1.5, ""), 0.8),
        (at_most("error", 3.0, 1.5, ""), -1.0),
        (at_least("share", 0.6, 0.5, ""), 0.2),
        (at_least("share", 0.0, 0.5, ""), -1.0),
        (at_least("all", 1.0, 1.0, ""), None),
        (at_least("all", 0.9, 1.0, ""), -0.1),
        (within("ratio", 2.0, 1.0, 3.0, ""), 1.0),
        (within("ratio", 2.75, 1.0, 3.0, ""), 0.25),
        (within("ratio", 0.5, 1.0, 3.0, ""), -0.5),
        (within("none", 0.0, 0.0, 0.0, ""), None),
        (at_most("error", math.nan, 1.5, ""), None),
        (within("ratio", math.nan, 1.0, 3.0, ""), None),
    ],
)
def test_the_margin_is_the_distance_from_the_limit_and_negative_beyond_it(check: Check, margin: float | None) -> None:
    assert check.margin == (None if margin is None else pytest.approx(margin))
    assert margin is None or check.passed == (margin >= 0)


def test_of_several_values_the_worst_counts() -> None:
    assert margin_between([0.0, -1.2, 0.3], -1.5, 1.5) == pytest.approx(0.2)
    assert margin_between([math.nan, 0.0], -1.5, 1.5) is None
    assert margin_between([0.0, math.nan], -1.5, 1.5) is None


def test_the_nearest_to_its_limit_is_the_one_with_the_least_margin() -> None:
    near, far, exact = at_most("near", 1.4, 1.5, ""), at_most("far", 0.1, 1.5, ""), Check("exact", "1", "1", True, "")
    assert nearest([far, exact, near]) is near
    assert nearest([exact]) is None


def test_margins_are_shown_as_signed_shares() -> None:
    assert [describe_margin(margin) for margin in (0.59, -1.5, None)] == ["+59.0%", "-150.0%", "–"]
