"""The figures and tables of a study: names, titles, captions. Light, so that the Snakefile can ask for them.

The text under a figure is ``texts/NAME.rst``: the report's page and Snakemake's report read the same file.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

TEXTS = Path(__file__).parent / "texts"


@dataclass(frozen=True)
class Caption:
    """What stands over and under a figure, and under which heading it is filed."""

    name: str
    title: str
    category: str

    @property
    def file(self) -> Path:
        """Where the text under the figure is."""
        return TEXTS / f"{self.name}.rst"

    @property
    def text(self) -> str:
        return self.file.read_text(encoding="utf-8").strip()


FIGURES: Mapping[str, Caption] = {
    caption.name: caption
    for caption in (
        Caption("samples", "Samples", "Samples"),
        Caption("fid-gflops", "Distance against Gflops and against parameters", "Scaling"),
        Caption("bubbles", "Sizes and patches", "Scaling"),
        Caption("fid-compute", "Distance against training compute", "Scaling"),
        Caption("fid-steps", "Distance against training steps", "Training"),
        Caption("loss", "Training loss and gradient norm", "Training"),
        Caption("held-out-loss", "Loss on held-out images", "Training"),
        Caption("published", "The paper's Table 4 beside this study", "Table 4"),
    )
}
"""Caption by name, in the order of the report."""

TABLES: Mapping[str, str] = {
    "variants": "Variants",
    "levels": "What the distances lie between",
    "evaluations": "All evaluations",
    "fits": "Power laws",
    "budget": "What a larger budget should give",
    "agreement": "Agreement of the metrics",
    "pairs": "Pairs behind the verdicts",
    "correlations": "What explains the distance",
    "exceptions": "Pairs that Gflops alone misplace",
    "table4-claims": "Verdicts here and on the paper's Table 4",
    "table4-pairs": "Table 4: pairs behind the verdicts",
    "table4-correlations": "Table 4: what explains the FID",
    "table4-exceptions": "Table 4: pairs that Gflops alone misplace",
    "spread": "Table 4: verdicts by the spread that is assumed",
    "reproductions": "Trainings that the spread is estimated from",
    "memorisation": "Memorisation",
    "protocol": "Protocol",
    "preflight": "Preflight",
    "gates": "Gates",
    "data": "Data",
    "vae": "VAE",
    "latents": "Latents",
    "features": "Features",
    "costs": "Costs of training",
    "stages": "Wall time by stage",
    "commands": "Run it again",
    "versions": "Versions and hashes",
}
"""Title by name: the tables of the report, each of them ``tables/NAME.csv`` beside it."""
