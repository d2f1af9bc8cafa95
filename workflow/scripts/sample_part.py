from pathlib import Path

from dit_scaling.common.devices import choose_device, describe_device
from dit_scaling.config.stages import SampleSettings
from dit_scaling.health.gates.gate_record import refuse_if_broken
from dit_scaling.sampling.parts import PartFiles, sample_part

from _job import job, paths, record_provenance

with job() as snakemake:
    for gate in paths(snakemake.input.gate):
        refuse_if_broken(gate)
    settings = SampleSettings.parse(snakemake.params.settings)
    device = choose_device(snakemake.resources.device, jobs_per_gpu=snakemake.resources.jobs_per_gpu)
    sample_part(
        settings,
        int(snakemake.wildcards.part),
        PartFiles(
            checkpoint=Path(snakemake.input.checkpoint),
            vae=Path(snakemake.input.vae),
            samples=Path(snakemake.output.images),
            first=Path(snakemake.output.first),
            grid=Path(snakemake.output.grid),
        ),
        snakemake.resources.batch,
        device,
        snakemake.resources.log_seconds,
        graphs=bool(snakemake.resources.graphs),
    )
    record_provenance(snakemake, settings, describe_device(device))
