"""The command line ``dit-scaling``: what one asks before, beside and after a run of the pipeline.

A command is a file, NAME_command.py, and a row of `COMMANDS` (``commands.py``). Commands import what they need when
they run, so that ``--help`` answers at once.
"""

from dit_scaling.cli.commands import COMMANDS, app, main

__all__ = ["COMMANDS", "app", "main"]
