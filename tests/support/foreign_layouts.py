"""Latents laid out as other projects lay them out, by the calls that their scripts make.

Each function takes moments, float16 (N, 2, 2C, h, w) not scaled: image and mirror; mean, then log-variance.
"""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import webdataset
from numpy.typing import NDArray
from safetensors.torch import save_file

Moments = NDArray[np.float16]


def means_of(moments: Moments) -> NDArray[np.float32]:
    """(N, 2, C, h, w)."""
    return np.split(moments.astype(np.float32), 2, axis=2)[0]


def write_fast_dit(folder: Path, moments: Moments, labels: Sequence[int], scale: float = 0.18215) -> None:
    """A batch of one for each file; every second latent is that of the mirror."""
    for name in ("imagenet256_features", "imagenet256_labels"):
        (folder / name).mkdir(parents=True)
    for number, (views, label) in enumerate(zip(means_of(moments), labels, strict=True)):
        np.save(folder / f"imagenet256_features/{number}.npy", views[number % 2][None] * np.float32(scale))
        np.save(folder / f"imagenet256_labels/{number}.npy", np.array([label]))


def write_repa(folder: Path, moments: Moments, labels: Sequence[int]) -> None:
    """Mean and standard deviation of the image, and dataset.json."""
    rows = []
    for number, (views, label) in enumerate(zip(moments.astype(np.float64), labels, strict=True)):
        mean, log_variance = np.split(views[0], 2)
        name = f"{number // 1000:05d}/img-mean-std-{number:08d}.npy"
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        np.save(folder / name, np.concatenate([mean, np.exp(log_variance / 2)]).astype(np.float32))
        rows.append([name, int(label)])
    (folder / "dataset.json").write_text(json.dumps({"labels": rows}))


def write_lightningdit(
    folder: Path,
    moments: Moments,
    labels: Sequence[int],
    ranks: int = 2,
    rows: int = 5,
    dtype: torch.dtype | None = None,
) -> None:
    """Every ``ranks``-th image to a rank, which begins again at the end, as torch's DistributedSampler has it."""
    folder.mkdir(parents=True)
    total = -(-len(labels) // ranks) * ranks
    padded = np.arange(total) % len(labels)
    means = torch.from_numpy(means_of(moments)).to(dtype or torch.float32)
    for rank in range(ranks):
        own = padded[rank::ranks]
        for shard, start in enumerate(range(0, len(own), rows)):
            some = own[start : start + rows]
            tensors = {
                "latents": means[some, 0].contiguous(),
                "latents_flip": means[some, 1].contiguous(),
                "labels": torch.from_numpy(np.asarray(labels)[some]),
            }
            save_file(tensors, folder / f"latents_rank{rank:02d}_shard{shard:03d}.safetensors")


def write_tars(
    folder: Path, moments: Moments, labels: Sequence[int], keys: Sequence[str], scale: float = 0.5, rows: int = 6
) -> None:
    """KEY.npy, a scaled latent, and KEY.cls."""
    folder.mkdir(parents=True)
    means = means_of(moments)[:, 0] * np.float32(scale)
    for start in range(0, len(keys), rows):
        with webdataset.TarWriter(str(folder / f"{start:06d}.tar")) as writer:
            for index in range(start, min(start + rows, len(keys))):
                writer.write({"__key__": keys[index], "npy": means[index], "cls": int(labels[index])})
