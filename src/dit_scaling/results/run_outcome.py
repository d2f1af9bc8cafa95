"""What a study found, in a line a claim."""

import math
from pathlib import Path
from typing import Any

from dit_scaling.common.errors import UserError
from dit_scaling.common.files import read_json


def describe_outcome(claims: Path) -> list[str]:
    """The verdicts in claims.json, a line each; claims whose models were not run have none.

    Raises:
        UserError: the file is missing or no report on claims.
    """
    report = read_json(claims)
    try:
        return [_line(claim) for claim in report["claims"] if claim["verdict"] != "not testable"]
    except (KeyError, TypeError) as error:
        raise UserError(f"{claims} is no report on claims ({error!r}). Run: snakemake --forcerun aggregate.") from None


def _line(claim: dict[str, Any]) -> str:
    """One claim; its effect is the natural logarithm of a ratio of distances, which is told in per cent."""
    line = f"Claim {claim['claim']}: {claim['words']}. {claim['statement']}"
    effect, interval = claim["effect"], claim["confidence"]
    # Claim 3 compares two correlations, and its effect is that of only one half of it.
    if effect is None or interval is None or claim["correlations"] is not None:
        return f"{line}."
    mean, low, high = (f"{100 * math.expm1(value):+.0f}%" for value in (effect, interval["low"], interval["high"]))
    return f"{line} ({mean} a step on average, {interval['level']:.0%} CI {low} to {high})."
