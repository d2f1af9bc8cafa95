"""The finished tiny study that the tests of the workflow ask about: its names, and which rules make what."""

from pathlib import Path

from pipeline import Plan

RESULTS = "results/tiny"
VARIANTS = {"DiT-Nano-2", "DiT-Nano-1", "DiT-Micro-2", "DiT-Micro-1"}
VERDICT = {"aggregate", "figures", "report"}
TRAINING = {"train_milestone", "held_out_loss"}
REFERENCE = {"reference", "levels"}
EVALUATION = {"sample_part", "extract_features", "memorisation", "score_samples", *VERDICT}


def trained(jobs: Plan) -> set[str]:
    """Variant and step of the training jobs, as DiT-Nano-2/step-10."""
    return {"/".join(Path(file).parts[2:5:2]) for file in jobs["train_milestone"]}
