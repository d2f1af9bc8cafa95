from dataclasses import replace
from pathlib import Path

from dit_scaling.config.stages import LossSettings, TrainSettings
from dit_scaling.losses.run_losses import LossFiles, measure_run
from dit_scaling.training.launch import TrainJob
from dit_scaling.training.milestone import train

from _job import job, record_provenance, training_runtime

with job() as snakemake:
    settings = LossSettings.parse(snakemake.params.settings)
    run = TrainSettings.parse(snakemake.params.training)
    output, resources = snakemake.output, snakemake.resources
    runtime, device = training_runtime(resources, run.recipe.precision)
    training = TrainJob(
        settings=run,
        manifest=Path(snakemake.input.manifest),
        last_step=settings.steps[-1],
        states=Path(snakemake.params.states),
        runtime=runtime,
    )
    # With a constant rate the beginning of a run is the shorter run.
    folders = {
        step: train(replace(training, last_step=step), resources.ranks, resources.nodes) for step in settings.steps
    }
    ema = {step: folder.export_path(step, "ema.safetensors") for step, folder in folders.items()}
    files = LossFiles(training.manifest, Path(output.record), Path(output.images))
    measure_run(settings, ema, {}, files, runtime.device)
    record_provenance(snakemake, settings, device)
