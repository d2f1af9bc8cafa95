"""Weights on disk: ours as safetensors with a JSON header, and those of others as `stored` reads them."""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from pydantic import TypeAdapter, ValidationError
from safetensors.torch import save_file
from torch import Tensor, nn

from dit_scaling.common.errors import UserError
from dit_scaling.common.files import atomic_path, canonical_json
from dit_scaling.diffusion.process import (
    OBJECTIVES,
    PAPER_OBJECTIVE,
    PAPER_PROCESS,
    AnyProcess,
    DiffusionSettings,
    FlowSettings,
)
from dit_scaling.models import DiT, Network, create_model
from dit_scaling.models.stored import Stored, Weights, read_stored
from dit_scaling.variants import SIZES, AnyVariant, ClassVariant, Size, parse_variant, variant_from_fields

HEADER_KEY = "dit_scaling"
LABEL_TABLE = "y_embedder.embedding_table.weight"
IMAGENET_CLASSES = 1000
UNNAMED = "Unnamed"  # size of an exported model that is none of the paper's
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
    diffusion: AnyProcess = PAPER_PROCESS
    """The process that the weights reverse: the paper's where a file says nothing of it, as the released ones."""

    def plain(self) -> dict[str, Any]:
        """As values for JSON."""
        sections = {"variant": self.variant, "diffusion": self.diffusion}
        return asdict(self) | {key: section.stored() for key, section in sections.items()}

    def build(self) -> Network:
        """The model to load weights into: a class of one's own may keep tensors that are in no file."""
        if not isinstance(self.variant, ClassVariant):
            return self.build_empty()
        return create_model(self.variant, self.input_size, self.num_classes, self.in_channels)

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


def load_model(path: Path | str, weights: Weights = "ema", num_classes: int | None = None) -> Network:
    """The model of a checkpoint, on the CPU, in float32 and evaluation mode.

    Reads the files of ``save_model``; checkpoints with the released state-dict names in one of the sizes that ship
    (.pt, or .safetensors without our header), also with a wrapper's prefix or inside the checkpoint of a training
    script such as DiT's train.py; and what ``export`` writes. A .pt cannot run code while it is read.

    Args:
        path: the file, or the folder of an exported pipeline.
        weights: which of a training checkpoint's to take; see ``read_stored``.
        num_classes: without the null class, for files that leave it open. A model whose label table has no row for a
            null class gets one of NaN, with which it cannot be guided (``has_null_class``).

    Raises:
        UserError: no such file, not a checkpoint, cut short, with missing, extra or misshapen keys, or of an unclear
            number of classes.
    """
    return load_checkpoint(path, weights, num_classes)[0]


def load_checkpoint(
    path: Path | str,
    weights: Weights = "ema",
    num_classes: int | None = None,
    process: Mapping[str, str] = MappingProxyType({}),
) -> tuple[Network, CheckpointHeader]:
    """The model as by `load_model`, and the header of its file, which says what process it reverses.

    Args:
        path: as `load_model`.
        weights: as `load_model`.
        num_classes: as `load_model`.
        process: what is known of the process beside the file, by ``objective``, ``schedule`` and ``prediction``. The
            paper's where neither tells.

    Raises:
        UserError: as `load_model`; or the file says itself that it is of another process.
    """
    path = Path(path)
    stored = read_stored(path, weights)
    header = _header(path, stored, num_classes, process)
    state = {key: tensor.to(torch.float32, copy=path.suffix != ".safetensors") for key, tensor in stored.state.items()}
    if HEADER_KEY not in stored.metadata and len(state[LABEL_TABLE]) == header.num_classes:
        state[LABEL_TABLE] = torch.cat([state[LABEL_TABLE], torch.full_like(state[LABEL_TABLE][:1], math.nan)])
    _check_shapes(path, _shapes(state), header)
    model = header.build()
    model.load_state_dict(state, assign=True)
    return model.eval(), header


def has_null_class(model: Network) -> bool:
    """Whether a loaded model has a null class, so that it can be guided."""
    return not isinstance(model, DiT) or not bool(model.state_dict()[LABEL_TABLE][-1].isnan().any())


def read_header(path: Path | str, num_classes: int | None = None) -> CheckpointHeader:
    """The header of a checkpoint; of a released one, what its shapes tell.

    Raises:
        UserError: no such file, not a checkpoint, cut short, or of an unclear number of classes.
    """
    return _header(Path(path), read_stored(Path(path)), num_classes)


def _header(
    path: Path, stored: Stored, num_classes: int | None, process: Mapping[str, str] = MappingProxyType({})
) -> CheckpointHeader:
    if HEADER_KEY not in stored.metadata:
        header = _infer_header(path, stored, num_classes)
        if stored.diffusion is None:
            return replace(header, diffusion=_stated_process(process))
    else:
        header = _own_header(path, stored)
    for key, value in process.items():
        said = getattr(header.diffusion, key, None)
        if said != value:
            tells = f"{key} {said}" if said else f"objective {header.diffusion.objective}, which has no {key}"
            raise UserError(f"{path} says itself that its weights are of {tells}: leave out --{key} {value}.")
    return header


def _stated_process(stated: Mapping[str, str]) -> AnyProcess:
    """The process of weights that do not tell theirs.

    Raises:
        UserError: no process is like that.
    """
    objective = stated.get("objective", PAPER_OBJECTIVE)
    if objective not in OBJECTIVES:
        raise UserError(f"objective {objective}: choose one of {', '.join(OBJECTIVES)}.")
    others = {key: value for key, value in stated.items() if key != "objective"}
    try:
        if objective == PAPER_OBJECTIVE:
            return DiffusionSettings.model_validate(others)
        return FlowSettings.model_validate({"objective": objective, **others})
    except ValidationError as error:
        reasons = "; ".join(f"{'.'.join(map(str, item['loc']))}: {item['msg']}".lstrip(": ") for item in error.errors())
        raise UserError(f"objective {objective}: {reasons}.") from None


def _own_header(path: Path, stored: Stored) -> CheckpointHeader:
    try:
        fields = json.loads(stored.metadata[HEADER_KEY])
        diffusion = TypeAdapter[AnyProcess](AnyProcess).validate_python(fields.pop("diffusion", {}))
        parsed = {"variant": variant_from_fields(fields["variant"]), "diffusion": diffusion}
        return CheckpointHeader(**(fields | parsed))
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        reason = "; ".join(item["msg"] for item in error.errors()) if isinstance(error, ValidationError) else error
        raise UserError(f"{path}: this version cannot read its header ({reason}). Train or convert it again.") from None


def _infer_header(path: Path, stored: Stored, num_classes: int | None) -> CheckpointHeader:
    """Variant and sizes from the shapes of the released names."""
    shapes = _shapes(stored.state)
    ranks = {"x_embedder.proj.weight": 4, LABEL_TABLE: 2, "pos_embed": 3}
    for key, rank in ranks.items():
        if len(shapes.get(key, ())) != rank:
            raise UserError(f"{path} is no DiT checkpoint: key {key} is missing or has not {rank} dimensions.")
    hidden_size, in_channels, patch, _ = shapes["x_embedder.proj.weight"]
    depth = len({key.split(".")[1] for key in shapes if key.startswith("blocks.")})
    return CheckpointHeader(
        variant=_infer_variant(path, depth, hidden_size, stored.num_heads, patch),
        input_size=math.isqrt(shapes["pos_embed"][1]) * patch,
        num_classes=_infer_classes(path, shapes[LABEL_TABLE][0], num_classes or stored.num_classes),
        in_channels=in_channels,
        settings_digest=None,
        step=None,
        provenance={"source": path.name},
        diffusion=stored.diffusion or PAPER_PROCESS,
    )


def _infer_variant(path: Path, depth: int, hidden_size: int, num_heads: int | None, patch: int) -> AnyVariant:
    """The shipped variant of that size; one of its own where the file tells the heads, and they are of none."""
    names = [
        name
        for name, size in SIZES.items()
        if (size.depth, size.hidden_size) == (depth, hidden_size) and num_heads in (None, size.num_heads)
    ]
    if len(names) == 1:
        return parse_variant(f"DiT-{names[0]}/{patch}")
    if num_heads is None:
        alike = f"those of sizes {' and '.join(names)}" if names else f"none of the sizes {', '.join(SIZES)}"
        raise UserError(
            f"{path}: {depth} blocks of hidden size {hidden_size} are {alike}, and a file without our header doesn't "
            "tell the number of heads. Convert it with dit_scaling.models.checkpoints.save_model."
        )
    own = Size(depth=depth, hidden_size=hidden_size, num_heads=num_heads)
    return parse_variant(f"DiT-{UNNAMED}/{patch}", {UNNAMED: own})


def _infer_classes(path: Path, rows: int, stated: int | None) -> int:
    """Classes without the null class, of a label table with so many rows.

    Raises:
        UserError: the stated number fits no such table, or none is stated and ImageNet's leaves it open.
    """
    if stated is None and rows == IMAGENET_CLASSES:
        raise UserError(
            f"{path}: its label table has {rows:,} rows. These are {rows - 1:,} classes and a null class, or {rows:,} "
            "classes of a model trained without class dropout. Say which: --num-classes, or num_classes of load_model."
        )
    if stated is not None and rows not in (stated, stated + 1):
        raise UserError(f"{path}: its label table has {rows:,} rows, not {stated:,} and one for the null class.")
    return rows - 1 if stated is None else stated


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
