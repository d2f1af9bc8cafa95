"""What a container may lack: the name of its user, and a home that can be written."""

import getpass
import os
from pathlib import Path


def name_user() -> None:
    """Name a user whom a container knows by number only: Snakemake and torch ask for a name, and take it from USER."""
    try:
        getpass.getuser()
    except (KeyError, OSError):
        os.environ["USER"] = f"uid-{os.getuid()}"


def give_home(folder: Path) -> Path | None:
    """Where HOME cannot be written, make ``folder`` the home of this process and of those that it starts.

    torch, matplotlib, fontconfig, the hub and Snakemake keep their caches below it.

    Returns:
        the folder, absolute; None where HOME stays, also because the folder cannot be made.
    """
    home = os.environ.get("HOME") or os.path.expanduser("~")  # noqa: PTH111  Path.home raises where there is none
    if home not in ("/", "~") and os.access(home, os.W_OK | os.X_OK):
        return None
    given = folder.absolute()
    try:
        given.mkdir(parents=True, exist_ok=True)
    except OSError:
        return None
    os.environ["HOME"] = str(given)
    return given
