"""The results of a study that somebody names."""

from pathlib import Path

STUDY = "A study: its folder of results, its name below results/, or its config file."


def find_results(word: str) -> Path:
    """The folder of results that a word means: a folder, a name below results/, or a config file; it may be missing.

    Raises:
        UserError: the config file cannot be read as a study.
    """
    from dit_scaling.config import load_study

    path = Path(word)
    if path.is_dir():
        return path
    if path.suffix in (".yaml", ".yml"):
        return Path("results", load_study(path).study)
    return Path("results", word)
