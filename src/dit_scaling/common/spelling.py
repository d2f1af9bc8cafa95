"""What was probably meant by a word that is not known."""

from collections.abc import Iterable
from difflib import get_close_matches


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """A question to put after a sentence, with a space before it; empty where no known word is like ``word``."""
    names = {name.lower(): name for name in known}
    close = get_close_matches(word.lower(), names, n=1)
    return f" Did you mean '{names[close[0]]}'?" if close else ""
