"""Words for people: numbers as words, plurals, lists."""

from collections.abc import Sequence

NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")


def number_word(number: int) -> str:
    """Up to twelve as a word."""
    return NUMBERS[number] if 0 <= number < len(NUMBERS) else f"{number:,}"


def count(number: int, noun: str, plural: str = "") -> str:
    """A number with its noun: "1 pair", "7 pairs", "2 patches"."""
    if number != 1:
        noun = plural or (f"{noun}es" if noun.endswith(("ch", "s", "sh", "x")) else f"{noun}s")
    return f"{number:,} {noun}"


def of_all(number: int, total: int, noun: str) -> str:
    """How many of all: "all four metrics", "three of four metrics", "none of four metrics", "the only metric"."""
    if number == 0:
        return f"no {noun}" if total == 1 else f"none of {number_word(total)} {noun}s"
    if number == total:
        return (
            f"the only {noun}" if total == 1 else f"all {number_word(total)} {noun}s" if total > 2 else f"both {noun}s"
        )
    return f"{number_word(number)} of {number_word(total)} {noun}{'' if total == 1 else 's'}"


def listing(names: Sequence[str]) -> str:
    """One to many names: `a`, `a and b`, `a, b and c`."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def span(low: str, high: str) -> str:
    """Two ends, `0.5 to 0.8`, or one value where both are the same."""
    return low if low == high else f"{low} to {high}"


def sentence(text: str) -> str:
    """With a capital letter at its beginning."""
    return text[:1].upper() + text[1:]
