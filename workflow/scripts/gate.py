from pathlib import Path

from dit_scaling.common.devices import choose_device
from dit_scaling.config.stages import GateSettings
from dit_scaling.health.gates.gate import GateFiles, run_gate

from _job import job

with job() as snakemake:
    files = snakemake.input
    run_gate(
        GateSettings.parse(snakemake.params.settings),
        GateFiles(Path(files.raw), Path(files.ema), Path(files.log), Path(files.manifest), Path(files.vae)),
        Path(snakemake.output.record),
        Path(snakemake.output.page),
        choose_device(snakemake.resources.device, jobs_per_gpu=snakemake.resources.jobs_per_gpu),
    )
