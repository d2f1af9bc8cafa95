from dataclasses import replace
from pathlib import Path

from dit_scaling.common.devices import choose_device, describe_device
from dit_scaling.config.stages import LossSettings, TrainSettings
from dit_scaling.losses.run_losses import LossFiles, measure_run
from dit_scaling.training.launch import TrainJob
from dit_scaling.training.milestone import train
from dit_scaling.training.runtime import Runtime

from _job import job, record_provenance

with job() as snakemake:
    settings = LossSettings.parse(snakemake.params.settings)
    output, resources = snakemake.output, snakemake.resources
    training = TrainJob(
        settings=TrainSettings.parse(snakemake.params.training),
        manifest=Path(snakemake.input.manifest),
        last_step=settings.steps[-1],
        states=Path(snakemake.params.states),
        runtime=Runtime(
            device=choose_device(resources.device, resources.ranks, resources.jobs_per_gpu),
            save_minutes=resources.save_minutes,
            save_steps=resources.save_steps,
            log_seconds=resources.log_seconds,
            micro_batch=resources.micro_batch,
            jobs_per_gpu=resources.jobs_per_gpu,
        ),
    )
    # With a constant rate the beginning of a run is the shorter run.
    folders = {
        step: train(replace(training, last_step=step), resources.ranks, resources.nodes) for step in settings.steps
    }
    ema = {step: folder.export_path(step, "ema.safetensors") for step, folder in folders.items()}
    files = LossFiles(training.manifest, Path(output.record), Path(output.images))
    measure_run(settings, ema, {}, files, training.runtime.device)
    device = describe_device(training.runtime.device, resources.ranks * resources.nodes)
    record_provenance(snakemake, settings, device)
