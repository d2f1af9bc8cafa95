"""``python -m dit_scaling.cli``, the same as ``dit-scaling``."""

from dit_scaling.cli.commands import main

main()
