"""The model card of an exported pipeline: README.md in the Hugging Face hub's format."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, ModelCardData

from dit_scaling.common.errors import UserError
from dit_scaling.common.files import canonical_json, read_json
from dit_scaling.common.words import count
from dit_scaling.config.stages import AggregateSettings
from dit_scaling.config.study import Study
from dit_scaling.latents.manifest import origin_in
from dit_scaling.metrics.catalogue import parse_column
from dit_scaling.models.checkpoints import CheckpointHeader
from dit_scaling.paper.deviations import ProtocolRow, compare_protocol

TASK = "unconditional-image-generation"
"""The hub's nearest task: it has none for images of a class."""
SCORED = "ema.safetensors"
"""The weights that a study scores."""
ASIDES = {"se": "standard error over samples", "sd": "standard deviation over subsets or splits"}


@dataclass(frozen=True)
class Given:
    """What only the user knows, as it was given; None where it was not."""

    licence: str | None = None
    """An id of the hub's list, as "cc-by-4.0", or "other"."""
    data: str | None = None
    """The training data, in the user's words."""
    dataset: str | None = None
    """Its id on the hub."""


@dataclass(frozen=True)
class Result:
    """One metric of one evaluation."""

    column: str
    label: str
    guidance_scale: float
    value: float
    spread: float | None
    aside: str | None
    """What ``spread`` is, one of `ASIDES`."""
    samples: int
    way: str = ""
    """Sampler and number of steps, where they are not ddpm's in the study's own number."""


def write_card(checkpoint: Path, header: CheckpointHeader, given: Given) -> str:
    """The card of an exported checkpoint: metadata, results with ± and N, protocol with its deviations, data, licence.

    Results and protocol are those of the study that the checkpoint lies in, where it lies in one that is finished.

    Raises:
        UserError: a record of the study cannot be read.
    """
    study, results = find_study(checkpoint), list(find_results(checkpoint))
    name = header.variant.name
    data = given.data or (_describe_data(study) if study else None)
    metadata = ModelCardData(
        model_name=name,
        license=given.licence,
        library_name="diffusers",
        pipeline_tag=TASK,
        datasets=given.dataset,
        tags=["dit", "class-conditional", "dit-scaling"],
        eval_results=[_entry(result, data or "not stated", given.dataset) for result in results] or None,
    )
    parts = [
        f"---\n{metadata.to_yaml()}\n---",
        f"# {name}",
        _about(header, study),
        "## Results\n\n" + _results(results),
        "## Protocol\n\n" + _protocol(study, checkpoint),
        f"## Training data\n\n{data or 'Not stated by whoever exported it.'}",
        f"## Licence\n\n{given.licence or 'Not stated by whoever exported it; that of the training data may bind it.'}",
        "Made by dit-scaling, `dit-scaling export`.",
    ]
    return "\n\n".join(parts) + "\n"


def find_study(checkpoint: Path) -> Study | None:
    """The study that a checkpoint lies in, as its verdicts record it; None where it lies in none that is finished."""
    for folder in checkpoint.resolve().parents:
        record = folder / "provenance.json"
        if record.is_file() and (folder / "claims.json").is_file():
            try:
                return AggregateSettings.parse(canonical_json(read_json(record)["settings"])).study
            except (KeyError, TypeError, ValueError) as error:
                reason = str(error).splitlines()[0]
                raise UserError(f"{record} is of no study of this version ({reason}). Run: snakemake") from None
    return None


def find_results(checkpoint: Path) -> Iterator[Result]:
    """What was measured of a checkpoint, from the records beside it; nothing for weights that are not scored."""
    if checkpoint.name != SCORED:
        return
    for path in sorted(checkpoint.parent.rglob("guidance-*/metrics.json")):
        record, way = read_json(path), _way(path.parent.parent.relative_to(checkpoint.parent))
        scale = float(path.parent.name.removeprefix("guidance-"))
        for column, value in record.items():
            parsed = parse_column(column)
            if parsed is None or parsed.aside or not isinstance(value, int | float):
                continue
            aside = next((name for name in ASIDES if f"{column}_{name}" in record), None)
            spread = float(record[f"{column}_{aside}"]) if aside else None
            label = parsed.metric.label_on(parsed.features)
            if column not in {of_features for of_features, _ in parsed.metric.names.values()}:
                label += f" on {parsed.features}"
            yield Result(column, label, scale, float(value), spread, aside, int(record["n_samples"]), way)


def _way(folder: Path) -> str:
    """How samples were drawn, from the folders that they lie apart in: SAMPLER/steps-N, each where it is needed."""
    return ", ".join(re.sub(r"^steps-(\d+)$", r"\1 steps", part) for part in folder.parts)


def _entry(result: Result, data: str, dataset: str | None) -> EvalResult:
    """The entry of the hub's format; ± and N stand in the name, which the hub shows, and as arguments."""
    arguments: dict[str, Any] = {"guidance_scale": result.guidance_scale, "num_samples": result.samples}
    if result.way:
        arguments["sampling"] = result.way
    if result.aside:
        arguments[ASIDES[result.aside].replace(" ", "_")] = result.spread
    return EvalResult(
        task_type=TASK,
        dataset_type=dataset or "custom",
        dataset_name=data,
        metric_type=result.column,
        metric_value=result.value,
        metric_name=f"{result.label}, guidance {_guidance(result)} ({_plus_minus(result)}N = {result.samples:,})",
        metric_args=arguments,
    )


def _guidance(result: Result) -> str:
    return f"{result.guidance_scale:g}{f', {result.way}' if result.way else ''}"


def _plus_minus(result: Result) -> str:
    return "" if result.spread is None else f"± {result.spread:.2g}, "


def _about(header: CheckpointHeader, study: Study | None) -> str:
    step = "" if header.step is None else f", after {header.step:,} steps of training"
    within = f" in the study '{study.study}'" if study else ""
    return (
        f"A class-conditional latent diffusion transformer of {count(header.num_classes, 'class')}{step}{within}. It "
        f"denoises latents of {header.in_channels} x {header.input_size} x {header.input_size}. Load it with "
        "`dit_scaling.models.export.load_pipeline`, or with `diffusers.DiTPipeline.from_pretrained`."
    )


def _results(results: Sequence[Result]) -> str:
    if not results:
        return "None are known of these weights."
    lines = ["| metric | guidance scale | value | ± | samples |", "|---|---|---|---|---|"]
    for result in results:
        spread = (
            "" if result.spread is None or result.aside is None else f"{result.spread:.2g} ({ASIDES[result.aside]})"
        )
        cells = (result.label, _guidance(result), f"{result.value:.5g}", spread, f"{result.samples:,}")
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n\nNo ± holds the scatter between training runs."


def _protocol(study: Study | None, checkpoint: Path) -> str:
    if study is None:
        return "Not known: the checkpoint lay in no finished study."
    data, manifest = (_record_above(checkpoint, file) for file in ("data/data.json", "latents/manifest.json"))
    rows = compare_protocol(study, data.get("images"), origin_in(manifest))
    differing = [row for row in rows if row.deviates]
    head = f"Of {len(rows)} settings {len(differing)} differ from those of DiT (arXiv 2212.09748)"
    if not differing:
        return f"{head}."
    lines = ["| setting | here | paper | what it means | reason |", "|---|---|---|---|---|", *map(_row, differing)]
    return f"{head}:\n\n" + "\n".join(lines)


def _row(row: ProtocolRow) -> str:
    cells = (row.setting, row.ours, row.paper, row.meaning, row.reason or "none given")
    return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"


def _record_above(checkpoint: Path, file: str) -> dict[str, Any]:
    """A JSON record of the study that a checkpoint lies in; empty where there is none."""
    found = next((path for up in checkpoint.resolve().parents if (path := up / file).is_file()), None)
    return dict(read_json(found)) if found else {}


def _describe_data(study: Study) -> str:
    """The source, and of a folder its name alone: where it lies is nobody's business."""
    data = study.data
    path = getattr(data, "path", None)
    named = f"{data.source} '{Path(path).name}'" if path else data.source
    size, channels = f"{data.image_size} x {data.image_size} pixels", count(data.channels, "channel")
    return f"{named}: {count(data.classes, 'class')}, {size}, {channels}"
