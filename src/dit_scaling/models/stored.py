"""Weights as files hold them: safetensors, torch's own, what training scripts wrap around them, diffusers' folders."""

import argparse
import json
import logging
import re
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor

from dit_scaling.common.errors import UserError
from dit_scaling.common.files import open_regular
from dit_scaling.data.assets import PIPELINE_WEIGHTS
from dit_scaling.diffusion.process import PAPER_PROCESS, AnyProcess, DiffusionSettings, PredictionType
from dit_scaling.diffusion.schedule import SCHEDULES
from dit_scaling.models.diffusers_names import MARK, config_problem, from_diffusers_state

Weights = Literal["ema", "model"]
CONTAINERS: Mapping[Weights, tuple[str, ...]] = {
    "ema": ("ema", "ema_state_dict", "ema_model", "model_ema", "state_dict_ema"),
    "model": ("model", "model_state_dict", "state_dict", "module", "net", "weights"),
}
"""Names under which training scripts keep averaged and raw weights; DiT's own train.py has the first of each."""
FIRST = "x_embedder.proj.weight"  # a key of every DiT, by which the prefix of a wrapper shows
COMPILED = "_orig_mod."  # torch.compile puts it before every name, or in the middle
ESCAPES = re.compile(r"\x1b\[[0-9;]*m")

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Stored:
    """What a file holds of a model, under the released names."""

    state: dict[str, Tensor]
    metadata: Mapping[str, str] = field(default_factory=dict)
    """Of a safetensors file."""
    num_classes: int | None = None
    """Without the null class, where the file tells it beside the weights."""
    num_heads: int | None = None
    diffusion: AnyProcess = PAPER_PROCESS
    """The process that the weights reverse; the paper's where nothing says otherwise."""


def weights_file(path: Path) -> Path:
    """The file itself; of a folder with a diffusers pipeline or its transformer, the transformer's weights."""
    return next((path / inside for inside in PIPELINE_WEIGHTS if (path / inside).is_file()), path)


def read_stored(path: Path, weights: Weights = "ema") -> Stored:
    """Read weights; no code of the file is run. What is taken of a file that holds more is logged.

    Args:
        path: .safetensors, a file of torch.save, or a folder of ``weights_file``.
        weights: which to take where a file holds both. "ema" takes the raw ones where there are no others.

    Raises:
        UserError: no such file, not a checkpoint, cut short, or without the weights that are asked for.
    """
    path = weights_file(path)
    if not path.is_file():
        raise UserError(f"{path} does not exist. Run the training stage that makes it, or check the path.")
    if path.suffix == ".safetensors":
        state, metadata = _read_safetensors(path)
        return _renamed(path, state, metadata, None, weights)
    content = _read_torch(path)
    if not isinstance(content, Mapping):
        raise UserError(f"{path} holds {type(content).__name__}, not a state dict. Save the weights alone.")
    stated = getattr(content.get("args"), "num_classes", None)
    state = dict(content) if _is_state(content) else _unwrapped(path, content, weights)
    return _renamed(path, state, {}, stated if type(stated) is int else None, weights)


def _read_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors stay on disk until they are used."""
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
        return load_file(path), metadata
    except Exception as error:  # broken bytes make safetensors raise nearly anything
        raise _unreadable(path, error) from None


def _read_torch(path: Path) -> Any:
    try:
        with torch.serialization.safe_globals([argparse.Namespace]):  # of DiT's train.py; it can hold values only
            # Mapped: of a training checkpoint's weights, averages and optimiser states only some are read.
            return torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except Exception as error:  # broken bytes make torch.load raise nearly anything
        raise _unreadable(path, error) from None


def _unreadable(path: Path, error: Exception) -> UserError:
    text = ESCAPES.sub("", str(error))
    unsafe = re.search(r"GLOBAL ([\w.]+)", text)
    if unsafe:
        return UserError(
            f"{path} cannot be read as a checkpoint without running code of it: it holds {unsafe[1]}. Where you trust "
            "it, load it where it was made and save its weights alone, like torch.save(content['ema'], ...)."
        )
    reason = text.partition("\n")[0] or type(error).__name__
    return UserError(
        f"{path} cannot be read as a checkpoint ({reason}). It may be cut short or no checkpoint at all: fetch or make "
        "it again."
    )


def _is_state(content: object) -> bool:
    return isinstance(content, Mapping) and all(isinstance(tensor, Tensor) for tensor in content.values())


def _unwrapped(path: Path, content: Mapping[str, Any], weights: Weights) -> dict[str, Tensor]:
    """One state dict of several that a training script saved together."""
    found = {
        kind: next((name for name in names if name in content and _is_state(content[name])), None)
        for kind, names in CONTAINERS.items()
    }
    chosen = found[weights] or (found["model"] if weights == "ema" else None)
    if chosen is None:
        there = f"the weights under '{found['ema']}' alone" if found["ema"] else ", ".join(map(str, content))
        raise UserError(
            f"{path} is not a plain state dict, and has no '{weights}': it holds {there}. Save its weights alone, like "
            "torch.save(content['ema'], ...)."
        )
    beside = sorted(str(key) for key in content if key != chosen)
    log.warning("%s: its weights under '%s' are taken; it also holds %s", path, chosen, ", ".join(beside))
    return dict(content[chosen])


def _renamed(
    path: Path, state: dict[str, Tensor], metadata: Mapping[str, str], stated: int | None, weights: Weights
) -> Stored:
    """The weights without the prefixes of wrappers, and under our names where they have diffusers'."""
    state = {key.replace(COMPILED, ""): tensor for key, tensor in state.items()}
    if MARK in state:
        return _from_diffusers(path, state, metadata)
    prefixes = sorted(key.removesuffix(FIRST) for key in state if key.endswith(f".{FIRST}"))
    if FIRST in state or not prefixes:
        return Stored(state, metadata, stated)
    if len(prefixes) > 1:
        averaged = [prefix for prefix in prefixes if ("ema" in prefix.lower()) == (weights == "ema")]
        if len(averaged) != 1:
            raise UserError(f"{path} holds several models, under {', '.join(prefixes)}. Save one of them alone.")
        prefixes, others = averaged, [prefix for prefix in prefixes if prefix not in averaged]
        state = {key: tensor for key, tensor in state.items() if not key.startswith(tuple(others))}
    (prefix,) = prefixes
    log.warning("%s: its weights are read without the prefix '%s'", path, prefix)
    return Stored({key.removeprefix(prefix): tensor for key, tensor in state.items()}, metadata, stated)


def _from_diffusers(path: Path, state: Mapping[str, Tensor], metadata: Mapping[str, str]) -> Stored:
    file = path.with_name("config.json")
    try:
        with open_regular(file) as stream:
            config = json.loads(stream.read())
    except (OSError, ValueError) as error:
        raise UserError(
            f"{path} has diffusers' names, so that {file} must say what it is of, but that cannot be read ({error})."
        ) from None
    problem = config_problem(config) if isinstance(config, dict) else "it is no mapping"
    if problem is not None:
        raise UserError(f"{file} is not of a DiT that this version can read: {problem}.")
    try:
        ours = from_diffusers_state(state, config)
    except (KeyError, ValueError, RuntimeError) as error:
        raise UserError(f"{path} does not hold the weights that {file} describes ({error}).") from None
    log.warning("%s: weights with diffusers' names are read under ours", path)
    scheduler = path.parents[1] / "scheduler" / "scheduler_config.json"
    return Stored(ours, metadata, config["num_embeds_ada_norm"], config["num_attention_heads"], _process_of(scheduler))


def _process_of(scheduler: Path) -> DiffusionSettings:
    """The process of a pipeline's scheduler; the paper's where a transformer stands alone.

    Raises:
        UserError: its betas are of none of our schedules, or what it predicts is not the noise.
    """
    if not scheduler.is_file():
        return PAPER_PROCESS
    try:
        config = json.loads(scheduler.read_text())
        total = int(config["num_train_timesteps"])
        prediction = config["prediction_type"]
        if prediction in get_args(PredictionType):
            for name, schedule in SCHEDULES.items():
                betas = (
                    {"trained_betas": None, "rescale_betas_zero_snr": False, **schedule.diffusers(total)}
                    if schedule.diffusers
                    else {"trained_betas": schedule.betas(total).tolist()}
                )
                if all((config.get(key) or None) == (value or None) for key, value in betas.items()):
                    return DiffusionSettings(schedule=name, num_timesteps=total, prediction=prediction)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{scheduler} does not say which process the weights reverse ({error!r}).") from None
    raise UserError(
        f"{scheduler} is of no process that this version knows: {', '.join(SCHEDULES)} betas, predicting noise or v."
    )
