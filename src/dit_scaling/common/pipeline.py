"""Where the pipeline is that Snakemake runs: its rules, scripts, configs and profiles."""

from pathlib import Path

PACKED = Path(__file__).parents[1] / "pipeline"
"""In an installed package: see ``force-include`` in pyproject.toml."""

PIPELINE = PACKED if PACKED.is_dir() else Path(__file__).parents[3]
"""The folder that has ``rules``, ``workflow``, ``config`` and the rest; of an editable install the clone."""

SNAKEFILE = str(PIPELINE / "workflow" / "Snakefile")
"""What a study's own Snakefile takes as a module."""
