from pathlib import Path

from dit_scaling.config.stages import TrainSettings
from dit_scaling.health.gates.gate_record import refuse_if_broken
from dit_scaling.training.launch import TrainJob
from dit_scaling.training.milestone import MilestoneFiles, train_milestone

from _job import job, paths, record_provenance, training_runtime

with job() as snakemake:
    for gate in paths(snakemake.input.gate):
        refuse_if_broken(gate)
    settings = TrainSettings.parse(snakemake.params.settings)
    output, resources = snakemake.output, snakemake.resources
    runtime, device = training_runtime(resources, settings.recipe.precision)
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
    record_provenance(snakemake, settings, device, micro_batch=micro_batch)
