"""Weights on disk: ours as safetensors with a JSON header, and the released DiT checkpoints as they are."""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from dit_scaling.common.errors import UserError
from dit_scaling.common.files import atomic_path, canonical_json
from dit_scaling.diffusion.process import PAPER_PROCESS, DiffusionSettings
from dit_scaling.models import Network, create_model
from dit_scaling.variants import SIZES, AnyVariant, parse_variant, variant_from_fields

HEADER_KEY = "dit_scaling"
MAX_NAMED = 5  # keys named in one message

Shapes = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True)
class CheckpointHeader:
    """What a checkpoint says about itself; the released ones know neither settings nor step (None)."""

    variant: AnyVariant
    input_size: int
    num_classes: int
    in_channels: int
    settings_digest: str | None
    step: int | None
    provenance: Mapping[str, Any]
    diffusion: DiffusionSettings = PAPER_PROCESS
    """The process that the weights reverse: the paper's where a file says nothing of it, as the released ones."""

    def plain(self) -> dict[str, Any]:
        """As values for JSON."""
        sections = {"variant": self.variant, "diffusion": self.diffusion}
        return asdict(self) | {key: section.model_dump(mode="json") for key, section in sections.items()}

    def build_empty(self) -> Network:
        """The model with shapes but no weights, on torch's meta device."""
        with torch.device("meta"):
            return create_model(self.variant, self.input_size, self.num_classes, self.in_channels)


def save_model(path: Path | str, model: nn.Module | Mapping[str, Tensor], header: CheckpointHeader) -> None:
    """Write weights and header as safetensors, whole or not at all.

    Args:
        path: file name ending in .safetensors.
        model: the model or its state dict, on any device.
        header: what the file says of itself; its variant and sizes are those of the model.

    Raises:
        UserError: the weights are not those of the variant.
    """
    state = model.state_dict() if isinstance(model, nn.Module) else model
    _check_shapes(Path(path), _shapes(state), header)
    tensors = {key: tensor.detach().cpu().contiguous() for key, tensor in state.items()}
    with atomic_path(Path(path)) as temporary:
        save_file(tensors, temporary, metadata={"format": "pt", HEADER_KEY: canonical_json(header.plain())})


def load_model(path: Path | str) -> Network:
    """The model of a checkpoint, on the CPU, in float32 and evaluation mode.

    Reads the files of ``save_model``, and checkpoints with the released state-dict names (.pt, or .safetensors without
    our header) in one of the sizes that ship. A .pt cannot run code while it is read (``weights_only``).

    Raises:
        UserError: no such file, not a checkpoint, cut short, or with missing, extra or misshapen keys.
    """
    return load_checkpoint(path)[0]


def load_checkpoint(path: Path | str) -> tuple[Network, CheckpointHeader]:
    """The model as by `load_model`, and the header of its file, which says what process it reverses.

    Raises:
        UserError: as `load_model`.
    """
    path = Path(path)
    state, metadata = _read(path)
    header = _header(path, _shapes(state), metadata)
    _check_shapes(path, _shapes(state), header)
    model = header.build_empty()
    model.load_state_dict({key: tensor.float() for key, tensor in state.items()}, assign=True)
    return model.eval(), header


def read_header(path: Path | str) -> CheckpointHeader:
    """The header of a checkpoint; of a released one, what its shapes tell.

    Raises:
        UserError: no such file, not a checkpoint, or cut short.
    """
    state, metadata = _read(Path(path))
    return _header(Path(path), _shapes(state), metadata)


def _read(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """State dict and metadata; the tensors of a .safetensors stay on disk until they are used."""
    if not path.is_file():
        raise UserError(f"{path} does not exist. Run the training stage that makes it, or check the path.")
    try:
        if path.suffix == ".safetensors":
            with safe_open(path, "pt") as file:
                metadata = file.metadata() or {}
            return load_file(path), metadata
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # broken bytes make torch.load raise nearly anything
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise UserError(
            f"{path} cannot be read as a checkpoint ({reason}). It may be cut short or no checkpoint at all: "
            "fetch or make it again."
        ) from None
    if not isinstance(state, Mapping) or not all(isinstance(tensor, Tensor) for tensor in state.values()):
        raise UserError(
            f"{path} is not a plain state dict. Save its weights alone, like torch.save(content['ema'], ...)."
        )
    return dict(state), {}


def _header(path: Path, shapes: Shapes, metadata: Mapping[str, str]) -> CheckpointHeader:
    if HEADER_KEY not in metadata:
        return _infer_header(path, shapes)
    try:
        fields = json.loads(metadata[HEADER_KEY])
        diffusion = DiffusionSettings.model_validate(fields.pop("diffusion", {}))
        parsed = {"variant": variant_from_fields(fields["variant"]), "diffusion": diffusion}
        return CheckpointHeader(**(fields | parsed))
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        reason = "; ".join(item["msg"] for item in error.errors()) if isinstance(error, ValidationError) else error
        raise UserError(f"{path}: this version cannot read its header ({reason}). Train or convert it again.") from None


def _infer_header(path: Path, shapes: Shapes) -> CheckpointHeader:
    """Variant and sizes from the shapes of the released names."""
    ranks = {"x_embedder.proj.weight": 4, "y_embedder.embedding_table.weight": 2, "pos_embed": 3}
    for key, rank in ranks.items():
        if len(shapes.get(key, ())) != rank:
            raise UserError(f"{path} is no DiT checkpoint: key {key} is missing or has not {rank} dimensions.")
    hidden_size, in_channels, patch, _ = shapes["x_embedder.proj.weight"]
    depth = len({key.split(".")[1] for key in shapes if key.startswith("blocks.")})
    names = [name for name, size in SIZES.items() if (size.depth, size.hidden_size) == (depth, hidden_size)]
    if len(names) != 1:
        alike = f"those of sizes {' and '.join(names)}" if names else f"none of the sizes {', '.join(SIZES)}"
        raise UserError(
            f"{path}: {depth} blocks of hidden size {hidden_size} are {alike}, and a file without our header doesn't "
            "tell the number of heads. Convert it with dit_scaling.models.checkpoints.save_model."
        )
    return CheckpointHeader(
        variant=parse_variant(f"DiT-{names[0]}/{patch}"),
        input_size=math.isqrt(shapes["pos_embed"][1]) * patch,
        num_classes=shapes["y_embedder.embedding_table.weight"][0] - 1,
        in_channels=in_channels,
        settings_digest=None,
        step=None,
        provenance={"source": path.name},
    )


def _shapes(state: Mapping[str, Tensor]) -> Shapes:
    return {key: tuple(tensor.shape) for key, tensor in state.items()}


def _check_shapes(path: Path, found: Shapes, header: CheckpointHeader) -> None:
    """Compare keys and shapes with the model that the header describes; report each difference by name."""
    expected = _shapes(header.build_empty().state_dict())
    faults = [f"{key} is missing" for key in expected if key not in found]
    faults += [f"{key} is unknown" for key in found if key not in expected]
    faults += [
        f"{key} has shape {found[key]} instead of {shape}"
        for key, shape in expected.items()
        if key in found and found[key] != shape
    ]
    if faults:
        more = f"; and {len(faults) - MAX_NAMED} more" if len(faults) > MAX_NAMED else ""
        raise UserError(
            f"{path}: these are not the weights of {header.variant.name} on {header.in_channels}x{header.input_size}x"
            f"{header.input_size} latents with {header.num_classes} classes: {'; '.join(faults[:MAX_NAMED])}{more}."
        )
