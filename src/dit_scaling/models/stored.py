"""Weights as files hold them: safetensors, torch's own, what training scripts wrap around them, diffusers' folders."""

import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from torch import Tensor

from dit_scaling.common.errors import UserError
from dit_scaling.common.files import open_regular, parse_json_once
from dit_scaling.data.assets import PIPELINE_WEIGHTS
from dit_scaling.diffusion.process import AnyProcess, DiffusionSettings, PredictionType
from dit_scaling.diffusion.schedule import SCHEDULES
from dit_scaling.models.diffusers_names import MARK, config_problem, from_diffusers_state
from dit_scaling.models.weights_file import read_safetensors, read_torch

Weights = Literal["ema", "model"]
FIRST = "x_embedder.proj.weight"  # a key of every DiT, by which the prefix of a wrapper shows
WRAPPERS = re.compile(r"_orig_mod\.|_fsdp_wrapped_module\.|_checkpoint_wrapped_module\.")
"""What torch.compile, FSDP and activation checkpointing put before names, or in the middle of them."""

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
    diffusion: AnyProcess | None = None
    """The process that the weights reverse, where something beside the weights says it."""


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
    if path.is_dir():
        raise UserError(f"{path} is a folder without the weights of a pipeline or transformer. Name a file.")
    if not path.is_file():
        raise UserError(f"{path} does not exist. Run the training stage that makes it, or check the path.")
    if path.suffix == ".safetensors":
        state, metadata = read_safetensors(path)
        return _renamed(path, state, metadata, None, weights)
    content = read_torch(path)
    if not isinstance(content, Mapping):
        raise UserError(f"{path} holds {type(content).__name__}, not a state dict. Save the weights alone.")
    stated = getattr(content.get("args"), "num_classes", None)
    state = dict(content) if _is_state(content) else _unwrapped(path, content, weights)
    return _renamed(path, state, {}, stated if type(stated) is int else None, weights)


def _is_state(content: object) -> bool:
    return isinstance(content, Mapping) and all(isinstance(tensor, Tensor) for tensor in content.values())


def _unwrapped(path: Path, content: Mapping[str, Any], weights: Weights) -> dict[str, Tensor]:
    """One of the state dicts of DiTs that a training script saved together: averaged where its name has "ema" in it."""
    states = [key for key, value in content.items() if _is_state(value) and any(map(_is_mark, value))]
    averaged = [key for key in states if "ema" in str(key).lower()]
    raw = [key for key in states if key not in averaged]
    found = (averaged or raw) if weights == "ema" else raw
    unread = [key for key, value in content.items() if "ema" in str(key).lower() and _holds_tensors(value)]
    if weights == "ema" and not averaged and unread:
        raise UserError(
            f"{path}: what it holds under '{unread[0]}' is no state dict of a DiT. Save these averaged weights as one, "
            "or take the raw ones: --weights model."
        )
    if len(found) != 1:
        there = " and ".join(f"'{key}'" for key in found) if found else ", ".join(map(str, content))
        alone = " alone" if averaged and not found else ""
        held = f"weights under {there}" if found else f"the weights under '{averaged[0]}'" if alone else there
        raise UserError(
            f"{path} is not a plain state dict, and has {'several' if found else 'no'} '{weights}': it holds "
            f"{held}{alone}. Save its weights alone, like torch.save(content['ema'], ...)."
        )
    (chosen,) = found
    beside = sorted(str(key) for key in content if key != chosen)
    also = f"; it also holds {', '.join(beside)}" if beside else ""
    log.warning("%s: its weights under '%s' are taken%s", path, chosen, also)
    return dict(content[chosen])


def _holds_tensors(value: object) -> bool:
    if isinstance(value, Mapping | list | tuple):
        return any(map(_holds_tensors, value.values() if isinstance(value, Mapping) else value))
    return isinstance(value, Tensor) and value.ndim > 0


def _is_mark(key: str) -> bool:
    """Whether a name in a state dict is a DiT's, as it is or behind a prefix."""
    return key.endswith((FIRST, MARK))


def _renamed(
    path: Path, state: dict[str, Tensor], metadata: Mapping[str, str], stated: int | None, weights: Weights
) -> Stored:
    """The weights without the prefixes of wrappers, and under our names where they have diffusers'."""
    wrappers = sorted({found for key in state for found in WRAPPERS.findall(key)})
    if wrappers:
        log.warning("%s: '%s' is taken out of its weights' names", path, "', '".join(wrappers))
        unwrapped = {WRAPPERS.sub("", key): tensor for key, tensor in state.items()}
        if len(unwrapped) < len(state):
            raise UserError(f"{path} holds weights twice, with '{wrappers[0]}' and without. Save one of them alone.")
        state = unwrapped
    if MARK in state:
        return _from_diffusers(path, state, metadata)
    prefixes = sorted(key.removesuffix(FIRST) for key in state if key.endswith(f".{FIRST}"))
    if FIRST in state or not prefixes:
        return Stored(state, metadata, stated)
    if len(prefixes) > 1:
        averaged = [prefix for prefix in prefixes if ("ema" in prefix.lower()) == (weights == "ema")]
        if len(averaged) != 1:
            raise UserError(f"{path} holds several models, under {', '.join(prefixes)}. Save one of them alone.")
        prefixes = averaged
    (prefix,) = prefixes
    others = sorted({key.partition(".")[0] for key in state if not key.startswith(prefix)})
    beside = f", and what is beside them is left out: {', '.join(others)}" if others else ""
    log.warning("%s: its weights are read without the prefix '%s'%s", path, prefix, beside)
    ours = {key.removeprefix(prefix): tensor for key, tensor in state.items() if key.startswith(prefix)}
    return Stored(ours, metadata, stated)


def _from_diffusers(path: Path, state: Mapping[str, Tensor], metadata: Mapping[str, str]) -> Stored:
    file = path.with_name("config.json")
    try:
        with open_regular(file) as stream:
            config = parse_json_once(stream.read())
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


def _process_of(scheduler: Path) -> DiffusionSettings | None:
    """The process of a pipeline's scheduler; None where a transformer stands alone.

    Raises:
        UserError: its betas are of none of our schedules, or what it predicts is not the noise.
    """
    if not scheduler.is_file():
        return None
    try:
        config = parse_json_once(scheduler.read_text())
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
