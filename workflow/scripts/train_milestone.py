from pathlib import Path

from dit_scaling.common.devices import choose_device, describe_device
from dit_scaling.config.stages import TrainSettings
from dit_scaling.health.gates.gate_record import refuse_if_broken
from dit_scaling.plan.peaks import peak_of
from dit_scaling.training.launch import TrainJob
from dit_scaling.training.milestone import MilestoneFiles, train_milestone
from dit_scaling.training.runtime import Runtime

from _job import job, paths, record_provenance

with job() as snakemake:
    for gate in paths(snakemake.input.gate):
        refuse_if_broken(gate)
    settings = TrainSettings.parse(snakemake.params.settings)
    output, resources = snakemake.output, snakemake.resources
    device = choose_device(resources.device, resources.ranks, resources.jobs_per_gpu)
    named_device = describe_device(device, resources.ranks * resources.nodes)
    runtime = Runtime(
        device=device,
        save_minutes=resources.save_minutes,
        save_steps=resources.save_steps,
        log_seconds=resources.log_seconds,
        micro_batch=resources.micro_batch,
        jobs_per_gpu=resources.jobs_per_gpu,
        loggers=tuple(resources.loggers.split("+")) if resources.loggers != "none" else (),
        peak_tflops=peak_of(named_device, settings.recipe.precision),
    )
    micro_batch = train_milestone(
        TrainJob(
            settings=settings,
            manifest=Path(snakemake.input.manifest),
            last_step=int(snakemake.wildcards.step),
            states=Path(snakemake.params.states),
            runtime=runtime,
        ),
        MilestoneFiles(Path(output.ema), Path(output.raw), Path(output.metrics), Path(output.curve)),
        resources.ranks,
        resources.nodes,
    )
    record_provenance(snakemake, settings, named_device, micro_batch=micro_batch)
