from pathlib import Path

from dit_scaling.config.stages import TrainSettings
from dit_scaling.devices import choose_device
from dit_scaling.training.loop import Runtime
from dit_scaling.training.stage import MilestoneFiles, train_milestone

from _job import job, record_provenance

with job() as snakemake:
    settings = TrainSettings.parse(snakemake.params.settings)
    output, resources = snakemake.output, snakemake.resources
    runtime = Runtime(choose_device(resources.device), resources.save_minutes, resources.log_seconds)
    train_milestone(
        settings,
        Path(snakemake.input.manifest),
        int(snakemake.wildcards.step),
        Path(snakemake.params.states),
        MilestoneFiles(Path(output.ema), Path(output.raw), Path(output.metrics), Path(output.curve)),
        runtime,
    )
    record_provenance(snakemake, settings, runtime.device)
