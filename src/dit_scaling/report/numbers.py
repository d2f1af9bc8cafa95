"""Numbers for people, the same in figures and tables."""

import math

MISSING = "not measured"


def describe_number(value: float | None) -> str:
    """About four digits without an exponent where one can do without: 1,480, 161.5, 19.47, 0.00213."""
    if value is None or math.isnan(value):
        return MISSING
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    if abs(value) >= 100:
        return f"{value:.1f}"
    return f"{value:.2f}" if abs(value) >= 1 else f"{value:.3g}"
