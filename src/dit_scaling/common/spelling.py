"""What was probably meant by a word that is not known, and which names are the same to the eye."""

import unicodedata
from collections.abc import Iterable
from difflib import get_close_matches


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """A question to put after a sentence, with a space before it; empty where no known word is like ``word``."""
    names = {name.lower(): name for name in known}
    close = get_close_matches(word.lower(), names, n=1)
    return f" Did you mean '{names[close[0]]}'?" if close else ""


def same_letters(name: str) -> str:
    """Equal for names that look equal: composed Unicode (macOS writes names decomposed), without spaces around it."""
    return unicodedata.normalize("NFC", name.strip())
