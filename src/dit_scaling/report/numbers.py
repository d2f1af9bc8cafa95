"""Numbers for people, the same in figures and tables."""

import math
from typing import Any

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


def describe_cell(value: Any) -> str:
    """Any scalar of a table: text as it is, whole numbers whole, others as ``describe_number``."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return MISSING
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float) and not value.is_integer():
        return describe_number(value)
    return f"{value:,.0f}" if isinstance(value, int | float) else str(value)


def describe_p(p: float) -> str:
    """A p-value to two digits."""
    return "< 0.0001" if p < 1e-4 else f"{p:.2g}"
