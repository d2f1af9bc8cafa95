"""``init``: a folder to run studies in, without a clone."""

from pathlib import Path
from typing import Annotated

import typer

from dit_scaling.common.errors import UserError
from dit_scaling.common.pipeline import PIPELINE

COPIED = ("config", "profiles", "slurm")
"""What a clone has for users to edit."""

SNAKEFILE = '''\
"""A study with the rules of the installed package dit-scaling. It runs with: snakemake --cores 2"""

from dit_scaling.common.pipeline import SNAKEFILE


# A config file given on the command line is a study of its own, not a change to this one.
if not workflow.config_settings.configfiles:

    configfile: "config/config.yaml"


module study:
    snakefile:
        SNAKEFILE
    config:
        config


use rule * from study
'''


def init(folder: Annotated[Path, typer.Argument(help="A folder that is new, or empty.")]) -> None:
    """Make a folder for studies: a Snakefile that takes the rules from this package, all configs, and profiles."""
    import shutil

    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"{folder} is there already, and is no empty folder. Name a new one.")
    for name in COPIED:
        shutil.copytree(PIPELINE / name, folder / name)
    (folder / "Snakefile").write_text(SNAKEFILE, encoding="utf-8")
    typer.echo(
        f"{folder} is ready. config/config.yaml is the embedded study, which needs no GPU and no network:\n\n"
        f"  cd {folder}\n  snakemake --cores 2\n\n"
        "config/README.md says how to make it a study of your own."
    )
