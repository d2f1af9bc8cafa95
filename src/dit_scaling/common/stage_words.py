"""What the stages of a study are called: by the rules to run, in plan, status and time left, and in the report."""

from typing import Literal

Stage = Literal[
    "data",
    "vae",
    "latents",
    "preflight",
    "reference",
    "train",
    "losses",
    "gate",
    "sample",
    "features",
    "score",
    "report",
]

RULES: dict[Stage, tuple[str, ...]] = {
    "data": ("fetch", "data"),
    "vae": ("vae",),
    "latents": ("encode_shard", "latents"),
    "preflight": ("preflight",),
    "reference": ("classifier", "extractor", "reference", "levels"),
    "train": ("train_milestone", "train_and_measure"),
    "losses": ("held_out_loss", "loss_table"),
    "gate": ("gate",),
    "sample": ("sample_part",),
    "features": ("extract_features",),
    "score": ("score_samples", "memorisation"),
    "report": ("aggregate", "figures", "report"),
}
"""Stages in the order of the data, each with the rules that work for it."""
