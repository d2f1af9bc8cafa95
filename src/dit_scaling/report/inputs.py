"""Everything the report reads, and where a study's results have it."""

from dataclasses import dataclass
from pathlib import Path

from dit_scaling.config.study import Study


@dataclass(frozen=True)
class ReportInputs:
    """Everything the report reads."""

    table: Path
    """metrics.parquet of the aggregate stage."""
    curves: Path
    """training.csv of it."""
    claims: Path
    agreement: Path
    levels: Path
    data: Path
    vae: Path
    reconstructions: Path
    manifest: Path | None
    """Manifest of the latents; None where nothing is trained."""
    preflight: Path | None
    """Record of the checks before training; None where nothing is trained."""
    gates: list[Path]
    """Records of the gates during training; none where they are off."""
    extractor: Path
    provenance: Path
    times: Path
    """Folder with records of the jobs' wall time; see ``tabulate_stages``."""
    figures: Path
    """Folder with the figures' files, which the page links."""
    samples: list[Path]
    """First part of each variant's samples, in the order of the study's variants."""
    memorisation: list[Path]
    """memorisation.json of each variant, in that order; its picture lies beside it."""
    sampling_steps: Path | None = None
    """The table of evaluations in further numbers of sampling steps; None where the study has none."""


def find_inputs(study: Study, results: Path, made: Path) -> ReportInputs:
    """The inputs of a study's report, as the rules name them.

    Args:
        study: the study, of the variants that are to be reported.
        results: its folder.
        made: the folder with what the aggregate and figures stages made, usually ``results`` itself.
    """
    training, scale = study.training, study.sampling.guidance_scales[0]
    headlines = [
        evaluation_folder(study, results, study.variant(name).slug, training.seeds[0], training.steps, scale)
        for name in study.variants
    ]
    gates = [
        results / study.variant(name).slug / f"seed-{seed}" / f"step-{step}" / "gate.json"
        for name in study.trained
        for seed in training.seeds
        for step in training.stops
        if training.gates != "off"
    ]
    reference = results / "reference" / study.metrics.extractor.kind
    whole = made / "provenance.json"
    return ReportInputs(
        table=made / "metrics.parquet",
        curves=made / "training.csv",
        claims=made / "claims.json",
        agreement=made / "agreement.csv",
        levels=reference / "levels.json",
        data=results / "data" / "data.json",
        vae=results / "vae" / "vae.json",
        reconstructions=results / "vae" / "reconstructions.png",
        manifest=results / "latents" / "manifest.json" if study.trained else None,
        preflight=results / "preflight" / "preflight.json" if study.trained else None,
        gates=[path for path in gates if path.is_file()],
        extractor=reference / "extractor.json",
        provenance=whole if whole.is_file() else results / "data" / "provenance.json",
        times=results / "times",
        figures=made / "figures",
        samples=[headline / "samples" / "first-00000.npz" for headline in headlines],
        memorisation=[headline / "memorisation.json" for headline in headlines],
        sampling_steps=made / "sampling-steps.csv" if study.sampling.further_steps else None,
    )


def evaluation_folder(study: Study, results: Path, slug: str, seed: int, step: int, scale: float) -> Path:
    """Where the results of one evaluation lie."""
    return results / slug / f"seed-{seed}" / f"step-{step}" / study.sampling.folder(scale)
