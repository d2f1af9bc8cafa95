"""Keys of configs by names that they had before, so that an old config is answered with the new name."""

from collections.abc import Sequence

RENAMED = {
    "training.mirror": "training.horizontal_flip",
    "training.label_dropout": "training.class_dropout_prob",
    "resources.ranks_per_node": "resources.gpus_per_node",
    "sizes.*.layers": "sizes.*.depth",
    "sizes.*.width": "sizes.*.hidden_size",
    "sizes.*.heads": "sizes.*.num_heads",
    "deviations.mirroring": "deviations.horizontal flip",
    "deviations.label dropout": "deviations.class dropout",
}
"""Old key to new key; a star stands for any name."""


def new_name(key: Sequence[str]) -> str | None:
    """What the key with these parts is named now; None where it is no old one."""
    for old, new in RENAMED.items():
        parts = old.split(".")
        if len(parts) == len(key) and all(part in ("*", name) for part, name in zip(parts, key, strict=True)):
            stars = [name for part, name in zip(parts, key, strict=True) if part == "*"]
            return ".".join(stars.pop(0) if part == "*" else part for part in new.split("."))
    return None
