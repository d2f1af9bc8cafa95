from pathlib import Path

from dit_scaling.common.devices import choose_device, describe_device
from dit_scaling.config.stages import LossSettings
from dit_scaling.losses.run_losses import LossFiles, measure_run

from _job import job, paths, record_provenance

with job() as snakemake:
    settings = LossSettings.parse(snakemake.params.settings)
    device = choose_device(snakemake.resources.device, jobs_per_gpu=snakemake.resources.jobs_per_gpu)
    ema, raw = (
        {int(path.parent.name.removeprefix("step-")): path for path in paths(files)}
        for files in (snakemake.input.ema, snakemake.input.raw)
    )
    files = LossFiles(Path(snakemake.input.manifest), Path(snakemake.output.record), Path(snakemake.output.images))
    measure_run(settings, ema, raw, files, device)
    record_provenance(snakemake, settings, describe_device(device))
