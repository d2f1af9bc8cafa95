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


def describe_distance(value: float | None) -> str:
    """A distance: one decimal from 10 on, two below, none from 1,000 on."""
    if value is None or math.isnan(value) or not 10 <= abs(value) < 1000:
        return describe_number(value)
    return f"{value:.1f}"


def describe_quantity(value: float) -> str:
    """Four digits, with thousands apart and without an exponent: 0.4618, 1,408, 19,680."""
    return f"{float(f'{value:.4g}'):,.12g}"


def describe_signed(value: float) -> str:
    """Two decimals with a sign, but for what rounds to zero."""
    text = f"{value:+.2f}".replace("-", "−")
    return "0.00" if float(f"{value:.2f}") == 0 else text


def describe_spread(value: float) -> str:
    """A standard deviation to two digits."""
    return MISSING if math.isnan(value) else f"{float(f'{value:.2g}'):,.12g}"


def describe_r2(value: float) -> str:
    """A share that is explained, to two digits."""
    return f"{value:.2f}"


def describe_percent(share: float) -> str:
    """A share as a whole percentage, without its sign; one digit more below 1%."""
    percent = abs(100 * share)
    return f"{percent:.0f}%" if percent >= 1 or percent == 0 else f"{percent:.1f}%"
