"""What the gates of a study found so far, for those who watch it."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from dit_scaling.common.errors import UserError
from dit_scaling.common.files import read_json
from dit_scaling.config.stages import Stages
from dit_scaling.config.study import Study

BROKEN = "broken"


@dataclass(frozen=True)
class GateFinding:
    """The verdict of one gate."""

    variant: str
    seed: int
    step: int
    status: str
    """on track, undertrained for this budget, or broken."""
    reason: str
    page: Path
    digest: str
    """Of the settings that were judged."""

    @property
    def warning(self) -> str:
        """One line about a run that is broken."""
        return f"BROKEN: {self.variant} seed {self.seed} at step {self.step:,}: {self.reason} See {self.page}"


def read_gate(record: Path) -> GateFinding | None:
    """The finding in a gate's record; None where it is missing or no such record."""
    try:
        gate = read_json(record)
        return GateFinding(
            variant=gate["variant"],
            seed=gate["seed"],
            step=gate["step"],
            status=gate["status"],
            reason=gate["reason"],
            page=record.with_name(gate["page"]),
            digest=gate["settings_digest"],
        )
    except (UserError, KeyError, TypeError):
        return None


def read_gates(study: Study, stages: Stages, results: Path) -> Iterator[GateFinding]:
    """What gates found with today's settings, by variant, seed and step."""
    for name in study.trained if study.training.gates != "off" else ():
        slug = study.variant(name).slug
        for seed in study.training.seeds:
            for step in study.training.stops:
                found = read_gate(results / slug / f"seed-{seed}" / f"step-{step}" / "gate.json")
                if found and found.digest == stages.gate(slug, seed, step).digest:
                    yield found


def broken_runs(findings: Iterable[GateFinding]) -> list[GateFinding]:
    """The first gate that found each run broken."""
    first: dict[tuple[str, int], GateFinding] = {}
    for found in findings:
        if found.status == BROKEN:
            first.setdefault((found.variant, found.seed), found)
    return list(first.values())
