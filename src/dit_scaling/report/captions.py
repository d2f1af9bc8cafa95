"""The sections, figures and tables of a study: names and titles. Light, so that the Snakefile can ask for them.

A figure is a row of `FIGURES` and one of `drawings.DRAWINGS`; it then stands in its section of the page, in
Snakemake's report and in the folder ``figures``. The text that Snakemake's report has under it is ``texts/NAME.rst``.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

TEXTS = Path(__file__).parent / "texts"

SECTIONS: Mapping[str, str] = {
    "verdicts": "Verdicts",
    "scaling": "Scaling",
    "samples": "Samples",
    "training": "Training",
    "cost": "Cost",
    "differences": "Differences",
    "paper": "The paper",
    "health": "Health",
    "reproduce": "Reproduce",
}
"""Title by the section's id, in the order of the page."""


@dataclass(frozen=True)
class Caption:
    """A figure's title, and the section that it belongs to."""

    name: str
    title: str
    section: str
    usual: bool = True
    """Whether a reader looks for it in any study; one that is not leaves the page where there is nothing to draw."""

    @property
    def category(self) -> str:
        """The section's title."""
        return SECTIONS[self.section]

    @property
    def file(self) -> Path:
        """Where the text for Snakemake's report is."""
        return TEXTS / f"{self.name}.rst"

    @property
    def text(self) -> str:
        return self.file.read_text(encoding="utf-8").strip()


MAIN = "fid-gflops"
"""The figure of the first screen."""

FIGURES: Mapping[str, Caption] = {
    caption.name: caption
    for caption in (
        Caption(MAIN, "Distance against Gflops and against parameters", "scaling"),
        Caption("samples", "Samples", "samples"),
        Caption("families", "Distance against Gflops by family", "scaling", usual=False),
        Caption("bubbles", "Sizes and patches", "scaling"),
        Caption("metrics", "Other metrics against Gflops", "scaling"),
        Caption("fid-compute", "Small models trained long, large ones trained short", "training"),
        Caption("fid-steps", "Distance against training steps", "training"),
        Caption("loss", "Training loss and gradient norm", "training"),
        Caption("held-out-loss", "Loss on held-out images", "training"),
        Caption("sampling-compute", "Distance against what sampling costs", "scaling", usual=False),
        Caption("field", "This study among published families", "paper", usual=False),
        Caption("published", "The paper's Table 4 beside this study", "paper"),
    )
}
"""Caption by name, in the order of the report."""

TABLES: Mapping[str, str] = {
    "verdicts": "Verdicts",
    "variants": "Variants",
    "levels": "What the distances lie between",
    "evaluations": "All evaluations",
    "held-out-losses": "Losses on held-out images",
    "fits": "Power laws",
    "budget": "What a larger budget should give",
    "agreement": "Agreement of the metrics",
    "pairs": "Comparisons behind the verdicts",
    "steps": "Steps behind the verdicts",
    "correlations": "What explains the distance",
    "exceptions": "Comparisons that go against Gflops",
    "table4-claims": "Verdicts here and on the paper's Table 4",
    "table4-pairs": "Table 4: comparisons behind the verdicts",
    "table4-correlations": "Table 4: what explains the FID",
    "table4-exceptions": "Table 4: comparisons that go against Gflops",
    "spread": "Table 4: verdicts by the spread that is assumed",
    "reproductions": "Trainings that the spread is estimated from",
    "memorisation": "Memorisation",
    "protocol": "Settings",
    "preflight": "Preflight",
    "gates": "Gates",
    "data": "Data",
    "vae": "VAE",
    "latents": "Latents",
    "features": "Features",
    "costs": "Costs of training",
    "stages": "Wall time by stage",
    "commands": "Single stages",
    "versions": "Versions and hashes",
}
"""Title by name: the tables of the report, each of them ``tables/NAME.csv`` beside it."""
