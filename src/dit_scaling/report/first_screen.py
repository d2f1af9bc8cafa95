"""What stands first: faults, the outcome, one row a claim, and a line on health."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from dit_scaling.charts.interval import bar_scale, interval_bar
from dit_scaling.charts.scales import Scale
from dit_scaling.claims.verdicts import Claim, ClaimsReport, describe_level
from dit_scaling.common.words import count, listing, sentence
from dit_scaling.config.study import Study
from dit_scaling.paper.deviations import ProtocolRow, ProtocolStatus
from dit_scaling.report.classes import ClassesView
from dit_scaling.report.health_tables import GatesView, PreflightView
from dit_scaling.report.measurements import Measurements
from dit_scaling.report.numbers import describe_signed
from dit_scaling.report.sentences import ABSENT, Said, describe_change, describe_interval, say, subject_of
from dit_scaling.variants import UNET

FAMILIES = "0"  # the claim that compares with U-Nets
SOURCES = {
    "mnist": "MNIST digits",
    "shapes": "generated shapes",
    "image_folder": "images of a folder",
    "webdataset": "images of tars",
    "parquet": "images of Parquet files",
}


@dataclass(frozen=True)
class ClaimRow:
    """A claim as the first screen shows it."""

    said: Said
    bar: Markup | None
    claim: Claim


@dataclass(frozen=True)
class Alarm:
    """A fault: what, in a sentence, and pages to look at by their address."""

    title: str
    text: str
    links: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Health:
    """Faults, what is only worth a note, and what was looked at without finding one."""

    alarms: tuple[Alarm, ...]
    notes: tuple[str, ...]
    fine: str


def judged_claims(report: ClaimsReport, study: Study) -> list[Claim]:
    """The claims by number; that on U-Nets only where one was run."""
    unets = any(study.variant(name).family == UNET for name in study.variants)
    return sorted((c for c in report.claims if c.claim != FAMILIES or unets), key=lambda c: c.claim)


def claim_rows(claims: Sequence[Claim], names: Mapping[str, str]) -> list[ClaimRow]:
    """One row for each claim that could be tested; the bars of mean effects share a scale."""
    tested = [claim for claim in claims if claim.verdict != ABSENT]
    effects = [
        value
        for claim in tested
        if claim.confidence and claim.claim != "3"
        for value in (claim.confidence.low, claim.confidence.high, *(c.effect for c in claim.comparisons))
    ]
    shared = bar_scale(effects)
    return [ClaimRow(say(claim, names), _draw_bar(claim, shared), claim) for claim in tested]


def _draw_bar(claim: Claim, shared: Scale) -> Markup | None:
    ends = subject_of(claim.claim).axis
    if claim.claim == "3":
        advantage = claim.correlations.advantage if claim.correlations else None
        if advantage is None:
            return None
        bounds = (-advantage.high, -advantage.difference, -advantage.low)
        said = (
            f"Correlation with Gflops minus that with parameters: {advantage.difference:+.2f}, "
            f"{describe_level(advantage.level)} interval {advantage.low:+.2f} to {advantage.high:+.2f}"
        )
        value = describe_signed(advantage.difference)
        return interval_bar(said, value, bounds, (), bar_scale(bounds), (ends, "parameters do"))
    if claim.effect is None or claim.confidence is None:
        return None
    said = f"{describe_change(claim.effect)}, {describe_interval(claim)}; dots are the single comparisons"
    value = f"{100 * math.expm1(claim.effect):+.0f}%".replace("-", "−")
    bounds = (claim.confidence.low, claim.effect, claim.confidence.high)
    return interval_bar(said, value, bounds, [c.effect for c in claim.comparisons], shared, (ends, "worse"))


def describe_run(study: Study, measured: Measurements, records: Mapping[str, Mapping[str, object]]) -> list[str]:
    """The run line, part by part: data, variants, samples, cost, version."""
    final, seeds = measured.final, len(study.training.seeds)
    images = records["data"].get("images")
    number = f"{images:,} " if isinstance(images, int) else ""
    done = f"{count(len(final), 'variant')} × {count(seeds, 'seed')} × {final['step'].iloc[0]:,} steps"
    parts = [f"{number}{SOURCES[study.data.source]}", done, f"{study.sampling.num_samples:,} samples a run"]
    last = measured.rows[measured.rows["step"] == final["step"].iloc[0]]
    hours = float(last["train_seconds"].sum()) / 3600 if "train_seconds" in last.columns else 0.0
    if hours > 0:
        devices = listing(sorted(set(map(str, last["device"]))))
        parts.append(f"{hours:.2g} hours of training, {devices}")
    if measured.guidance_scale != 1:
        parts.append(f"guidance {measured.guidance_scale:g}")
    commit = records["provenance"].get("git_commit")
    return [*parts, f"commit {str(commit)[:7]}"] if commit else parts


def judge_health(
    preflight: PreflightView | None,
    gates: GatesView,
    classes: ClassesView | None,
    status: ProtocolStatus,
    names: Mapping[str, str],
) -> Health:
    """Faults come first and red; undertrained runs are a note; the rest is one line."""
    alarms, notes, fine = [], [], []
    for gate in gates.broken:
        name = f"{names.get(gate.variant, gate.variant)}, seed {gate.seed}"
        text = f"At step {gate.step:,}: {gate.reason}"
        alarms.append(Alarm(f"Broken: {name}.", text, (("What the gate saw", gate.page),)))
    if gates.broken:
        alarms.insert(0, Alarm("Gates:", gates.sentence))
    if preflight and preflight.failed:
        told = [f"{c.name}: {c.value}, expected {c.expected}. It usually means: {c.meaning}." for c in preflight.failed]
        alarms.append(Alarm("Preflight:", " ".join([preflight.sentence, *told]), (("All checks", "#preflight"),)))
    elif preflight:
        fine.append("preflight")
    if preflight and not gates.broken:
        if gates.level == "green":
            fine.append("gates")
        else:
            notes.append(gates.sentence)
    if classes and classes.level != "green":
        alarms.append(Alarm("Samples:", classes.sentence, (("The samples", "#samples"),)))
    elif classes:
        fine.append("samples")
    alarms += [Alarm("Settings to doubt:", doubt, (("All settings", "#differences"),)) for doubt in status.doubts]
    return Health(tuple(alarms), tuple(notes), sentence(listing(fine)) if fine else "")


def describe_differences(rows: Sequence[ProtocolRow]) -> str:
    """How many settings differ from the paper's, and whether each has a reason."""
    differing = [row for row in rows if row.deviates]
    if not differing:
        return "Every setting that is known is the paper’s."
    bare = sum(not row.reason for row in differing)
    reasons = "all with a reason" if not bare else f"{bare} without a reason"
    verb = "differs" if len(differing) == 1 else "differ"
    return f"{len(differing)} of {count(len(rows), 'setting')} {verb} from the paper, {reasons}."
