"""What the facts of data, VAE, latents, features and versions are called, and the table of settings."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from dit_scaling.common.words import sentence
from dit_scaling.paper.deviations import ProtocolRow
from dit_scaling.report.table import Column, Table, words

DATA = {
    "images": "Images",
    "image_size": "Pixels a side",
    "channels": "Channels",
    "class_names": "Classes",
    "counts.train": "Training images",
    "counts.held_out": "Held-out images",
}
VAE = {
    "source": "Source",
    "parameters": "Parameters",
    "scaling_factor": "Scale of the latents",
    "held_out.mse": "Held-out squared error, pixels in [-1, 1]",
    "held_out.psnr": "Held-out PSNR (dB)",
}
EXTRACTOR = {"kind": "Kind", "held_out_accuracy": "Accuracy on held-out images"}
VERSIONS = {"git_commit": "Git commit", "settings_digest": "Digest of the settings", "python": "Python"}
"""Facts that are always told, if only as not measured."""

OTHERS = {
    "classes": "Number of classes",
    "content": "Digest of the content",
    "device": "Device",
    "downsampling": "Downsampling",
    "dtype": "Number format",
    "feature_dim": "Features",
    "fingerprint": "Fingerprint",
    "folder": "Folder",
    "held_out.images": "Held-out images",
    "latent_channels": "Latent channels",
    "latent_shape": "Shape of a row (mean and log variance)",
    "reference": "Reference images",
    "scale": "Scale",
    "seconds": "Seconds of training",
    "settings_digest": "Digest of the settings",
    "source": "Source",
    "splits.held_out.channel_mean": "Mean of each channel, held out",
    "splits.held_out.channel_std": "Standard deviation of each channel, held out",
    "splits.held_out.count": "Held-out latents",
    "splits.held_out.label_histogram": "Labels, held out",
    "splits.held_out.shards": "Shards, held out",
    "splits.train.channel_mean": "Mean of each channel, training",
    "splits.train.channel_std": "Standard deviation of each channel, training",
    "splits.train.count": "Training latents",
    "splits.train.label_histogram": "Labels, training",
    "splits.train.shards": "Shards, training",
    "vae_sha256": "VAE (sha256)",
    "versions.dit-scaling": "dit-scaling",
    "versions.torch": "torch",
    "weights_sha256": "Weights (sha256)",
}
"""Facts that are told where a record has them; what is not here is named by the words of its key."""


def tabulate_protocol(protocol: Sequence[ProtocolRow]) -> Table:
    """Every setting here and in the paper, and why it differs."""

    def judge(row: Mapping[str, Any]) -> str:
        if not row["known"]:
            return "the paper’s is not known"
        return "same" if row["same"] else row["reason"] or "no reason given"

    shown = (
        Column("setting", lambda row: sentence(row["setting"]), words=True),
        words("here", "ours"),
        words("paper"),
        Column("why", judge, words=True),
        Column("what it means", lambda row: row["meaning"], words=True, narrow=False),
    )
    return Table("protocol", pd.DataFrame(protocol), shown)
