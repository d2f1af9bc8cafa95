"""Training state on disk: whole or not at all, verified by checksum, never unpickled.

The folder's name holds the digest of the settings and of the latents' content, so changed settings never
continue an old run; they start anew beside it. Snakemake does not know of the folder and cannot delete it.

States and exports each carry the log up to their step: a run that is trained again to an earlier stop writes over the
log of the folder, and takes nothing from theirs.
"""

import hashlib
import json
import logging
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from dit_scaling.common.errors import UserError
from dit_scaling.common.files import atomic_path, read_json, remove_leftovers, sha256_file, write_json
from dit_scaling.common.seals import broken, seal
from dit_scaling.training.state_folders import EXPORTS, saved_steps

DTYPES = {torch.float32: "F32", torch.float64: "F64"}  # as safetensors names them
CHUNK = 2**24  # bytes written at a time
KEEP = 2  # the newest state, and the one before it in case the newest is torn

log = logging.getLogger(__name__)


@dataclass
class TrainingState:
    """Everything that the next step depends on; random draws are functions of (seed, step)."""

    step: int
    tensors: dict[str, Tensor]
    """weights, ema, exp_avg, exp_avg_sq (n,) and window (4,), the sums of the open log window, float32; seconds ()
    float64, of training so far."""
    log: str
    """The lines of the log up to the step."""


class StateFolder:
    """The undeclared folder of one run: its states, its log, and its exports."""

    def __init__(self, root: Path, digest: str, facts: Mapping[str, object]) -> None:
        """``facts``: what the folder says of the run it belongs to."""
        self.path = root / digest
        self.metrics = self.path / "metrics.jsonl"
        self._facts = facts

    def start(self) -> None:
        """Make the folder, clear what a kill left half-written, and say what it belongs to; its lock must be held."""
        remove_leftovers(self.path)
        whole = {self._tensors(step) for step in saved_steps(self.path)}
        for tensors in set(self.path.glob("state-*.safetensors")) - whole:
            tensors.unlink()
        write_json(self.path / "settings.json", dict(self._facts))

    def export_path(self, step: int, name: str) -> Path:
        """Where an exported file of a milestone is kept."""
        return self.path / f"step-{step}" / name

    def has_exports(self, step: int) -> bool:
        """Whether all that a milestone exports is there, as it was left."""
        paths = [self.export_path(step, name) for name in EXPORTS]
        if not all(path.exists() for path in paths):
            return False
        complaints = [complaint for path in paths if (complaint := broken(path))]
        if complaints:
            log.warning("%s is altered; it is trained again from the state before it.", self.export_path(step, ""))
        return not complaints

    def seal_exports(self, step: int) -> None:
        """Record the sha256 of what a milestone has exported."""
        seal((self.export_path(step, name) for name in EXPORTS), self.path)

    def save(self, state: TrainingState) -> None:
        """Write a state; its checksum is written last, so that a torn state is never taken for a whole one.

        Of the states up to its step the newest stay. Those beyond are of a run that went farther before: they are what
        a later stop resumes from, and no reason to drop the one that was just written.
        """
        tensors = self._tensors(state.step)
        with atomic_path(tensors) as temporary:
            sha256 = write_hashed(state.tensors, temporary)
        record = {"step": state.step, "sha256": sha256, "log": state.log}
        write_json(tensors.with_suffix(".json"), record)
        for step in [step for step in saved_steps(self.path) if step <= state.step][:-KEEP]:
            self._tensors(step).with_suffix(".json").unlink(missing_ok=True)
            self._tensors(step).unlink(missing_ok=True)

    def load(self, last_step: int) -> TrainingState | None:
        """The newest valid state that is not beyond ``last_step``; None where there is none."""
        for step in reversed(saved_steps(self.path)):
            if step > last_step:
                continue
            tensors = self._tensors(step)
            record = _read_record(tensors.with_suffix(".json"))
            if record is None or not tensors.exists() or sha256_file(tensors) != record["sha256"]:
                log.warning("%s is torn or altered; trying the state before it.", tensors)
                continue
            return TrainingState(step, load_file(tensors), record["log"])
        return None

    def _tensors(self, step: int) -> Path:
        return self.path / f"state-{step:09d}.safetensors"


def write_hashed(tensors: Mapping[str, Tensor], path: Path) -> str:
    """Write tensors of the host as safetensors; hex sha256 of the file, taken while it is written.

    The format: the header's length in 8 bytes, the header as JSON, padded to a multiple of 8, and the numbers.
    """
    header, end = dict[str, object](), 0
    for name, tensor in tensors.items():
        start, end = end, end + tensor.nbytes
        header[name] = {"dtype": DTYPES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [start, end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    sha256 = hashlib.sha256()
    with path.open("wb") as stream:
        for content in (memoryview(len(text).to_bytes(8, "little") + text), *map(_bytes, tensors.values())):
            for start in range(0, len(content), CHUNK):
                part = content[start : start + CHUNK]
                sha256.update(part)
                stream.write(part)
    return sha256.hexdigest()


def _bytes(tensor: Tensor) -> memoryview:
    """The numbers of a contiguous tensor on the host, not copied."""
    return tensor.detach().reshape(-1).numpy().data.cast("B")


def _read_record(path: Path) -> dict[str, str] | None:
    """Checksum and log that stand beside a state; None where that file is torn."""
    try:
        record = read_json(path)
        return {name: str(record[name]) for name in ("sha256", "log")}
    except (UserError, KeyError, TypeError):
        return None


def publish(source: Path, target: Path) -> None:
    """Make ``target`` the same file as ``source``, without a second copy where the disk allows a link."""
    with atomic_path(target) as temporary:
        temporary.unlink()
        try:
            temporary.hardlink_to(source)
        except OSError:
            shutil.copyfile(source, temporary)
